//! The errors that each system call may answer, and where that is written.
//!
//! Files are the kernel's, of Linux 7.2. Errors that only a killed process could see, such as the
//! `EINTR` of dma-heaps, are left out.

use rustix::io::Errno;

/// The errors of a call.
pub struct Failures {
    /// Errors that come back to the caller.
    pub reported: &'static [Errno],
    /// Errors upon which the call is made again.
    pub retried: &'static [Errno],
    /// The words of the message about the call, or where there are several places to call from,
    /// one of these; nothing where the error number itself is what comes back.
    pub words: &'static [&'static str],
}

/// The errors of a call that waits, when a signal comes or the device is reset.
const INTERRUPTED: &[Errno] = &[Errno::INTR, Errno::AGAIN];

/// The failures of a call, by the name that fault injection gives it.
pub fn of(call: &str) -> Failures {
    let (reported, retried, words): (&[Errno], &[Errno], &[&str]) = match call {
        // open(2); the nodes' own: fs/char_dev.c, chrdev_open; v4l2-dev.c, v4l2_open
        "open" => (
            &[
                Errno::ACCESS,
                Errno::PERM,
                Errno::NOENT,
                Errno::NODEV,
                Errno::NXIO,
                Errno::BUSY,
                Errno::NOMEM,
                Errno::MFILE,
                Errno::NFILE,
            ],
            &[],
            &["open"],
        ),
        // mm/memfd.c: sanitize_flags, check_sysctl_memfd_noexec, alloc_name, memfd_alloc_file;
        // ENODEV of fs/hugetlbfs/inode.c, hugetlb_file_setup; memfd_create(2) for the others
        "memfd_create" => (
            &[
                Errno::INVAL,
                Errno::ACCESS,
                Errno::PERM,
                Errno::FAULT,
                Errno::NODEV,
                Errno::NOMEM,
                Errno::MFILE,
                Errno::NFILE,
            ],
            &[],
            &["create a memfd"],
        ),
        // ftruncate(2); mm/shmem.c, shmem_setattr
        "ftruncate" => (
            &[Errno::INVAL, Errno::FBIG, Errno::PERM, Errno::NOMEM, Errno::IO],
            INTERRUPTED,
            &["size the memfd"],
        ),
        // mm/memfd.c, memfd_add_seals; EBUSY is for write seals, which are not added
        "F_ADD_SEALS" => (&[Errno::INVAL, Errno::PERM], &[], &["seal the memfd"]),
        // mm/memfd.c, memfd_get_seals
        "F_GET_SEALS" => (&[Errno::INVAL, Errno::BADF], &[], &[NOT_MEMFD]),
        // udmabuf.c: udmabuf_create, check_memfd_seals; mm/gup.c, memfd_pin_folios; dma-buf.c:
        // dma_buf_export, dma_buf_fd
        "UDMABUF_CREATE" | "UDMABUF_CREATE_LIST" => (
            &[
                Errno::INVAL,
                Errno::BADFD,
                Errno::FAULT,
                Errno::NOMEM,
                Errno::NOSPC,
                Errno::MFILE,
                Errno::NFILE,
                Errno::NOTTY,
            ],
            &[],
            &["UDMABUF_CREATE"],
        ),
        // dma-heap.c: dma_heap_ioctl, dma_heap_ioctl_allocate; heaps/system_heap.c
        "DMA_HEAP_IOCTL_ALLOC" => (
            &[
                Errno::INVAL,
                Errno::FAULT,
                Errno::NOMEM,
                Errno::MFILE,
                Errno::NFILE,
                Errno::NOTTY,
                Errno::NODEV,
            ],
            &[],
            &["DMA_HEAP_IOCTL_ALLOC"],
        ),
        // drm_dumb_buffers.c: drm_mode_create_dumb; drm_ioctl.c: drm_ioctl, drm_ioctl_permit
        "DRM_IOCTL_MODE_CREATE_DUMB" => (
            &[
                Errno::INVAL,
                Errno::NOSYS,
                Errno::NOMEM,
                Errno::NOSPC,
                Errno::ACCESS,
                Errno::OPNOTSUPP,
                Errno::NODEV,
                Errno::FAULT,
            ],
            INTERRUPTED,
            &["DRM_IOCTL_MODE_CREATE_DUMB"],
        ),
        // drm_prime.c: drm_gem_prime_handle_to_dmabuf, drm_gem_prime_handle_to_fd
        "DRM_IOCTL_PRIME_HANDLE_TO_FD" => (
            &[
                Errno::INVAL,
                Errno::NOENT,
                Errno::NOSYS,
                Errno::NOMEM,
                Errno::MFILE,
                Errno::NFILE,
                Errno::ACCESS,
                Errno::OPNOTSUPP,
                Errno::NODEV,
            ],
            INTERRUPTED,
            &["DRM_IOCTL_PRIME_HANDLE_TO_FD"],
        ),
        // drm_ioctl.c: drm_version, drm_getcap
        "DRM_IOCTL_VERSION" | "DRM_IOCTL_GET_CAP" => (
            &[Errno::INVAL, Errno::FAULT, Errno::ACCESS, Errno::NODEV, Errno::NOTTY],
            INTERRUPTED,
            &["open"],
        ),
        // libgbm passes on what the driver's calls left in errno.
        "gbm_create_device" => {
            (&[Errno::INVAL, Errno::NOSYS, Errno::NODEV, Errno::NOMEM], &[], &["open"])
        }
        "gbm_bo_create" => (
            &[Errno::INVAL, Errno::NOSYS, Errno::NOMEM, Errno::ACCESS],
            &[],
            &["create a GBM buffer"],
        ),
        "gbm_bo_get_fd_for_plane" => {
            (&[Errno::IO, Errno::NOMEM, Errno::MFILE], &[], &["export a GBM buffer"])
        }
        // v4l2-ioctl.c: __video_do_ioctl, v4l_s_fmt; EINTR where its lock is waited for
        "VIDIOC_QUERYCAP" | "VIDIOC_G_FMT" => {
            (&[Errno::INVAL, Errno::NODEV, Errno::NOTTY], &[Errno::INTR], &[])
        }
        "VIDIOC_S_FMT" => (
            &[Errno::INVAL, Errno::BUSY, Errno::NODEV, Errno::NOTTY],
            &[Errno::INTR],
            &["VIDIOC_S_FMT"],
        ),
        // videobuf2-core.c: vb2_verify_memory_type, vb2_core_reqbufs
        "VIDIOC_REQBUFS" => (
            &[Errno::INVAL, Errno::BUSY, Errno::NOMEM, Errno::NOBUFS, Errno::NODEV, Errno::NOTTY],
            &[Errno::INTR],
            &["VIDIOC_REQBUFS"],
        ),
        // videobuf2-core.c: vb2_core_expbuf
        "VIDIOC_EXPBUF" => (
            &[
                Errno::INVAL,
                Errno::BUSY,
                Errno::NOMEM,
                Errno::MFILE,
                Errno::NFILE,
                Errno::NODEV,
                Errno::NOTTY,
            ],
            &[Errno::INTR],
            &["VIDIOC_EXPBUF"],
        ),
        // fstatfs(2), lseek(2), fstat(2); dma-buf.c: dma_buf_llseek
        "fstatfs" => {
            (&[Errno::BADF, Errno::FAULT, Errno::IO, Errno::NOMEM, Errno::NOSYS], &[], &[ASKED])
        }
        "lseek" => {
            (&[Errno::BADF, Errno::INVAL, Errno::SPIPE, Errno::OVERFLOW], &[], &[ASKED, NOT_MEMFD])
        }
        "fstat" => (&[Errno::BADF, Errno::FAULT, Errno::NOMEM, Errno::OVERFLOW], &[], &[ASKED]),
        // dma-buf.c: dma_buf_set_name; EBUSY before Linux 5.8
        "DMA_BUF_SET_NAME" => {
            (&[Errno::INVAL, Errno::FAULT, Errno::NOMEM, Errno::BUSY, Errno::NOTTY], &[], &[])
        }
        // mmap(2); dma-buf.c: dma_buf_mmap_internal; mm/memfd.c: check_write_seal
        "mmap" => (
            &[
                Errno::ACCESS,
                Errno::AGAIN,
                Errno::BADF,
                Errno::INVAL,
                Errno::NFILE,
                Errno::NODEV,
                Errno::NOMEM,
                Errno::OVERFLOW,
                Errno::PERM,
            ],
            &[],
            &["could not map buffer"],
        ),
        // dma-buf.c: dma_buf_ioctl, __dma_buf_begin_cpu_access; udmabuf.c: begin_cpu_udmabuf,
        // end_cpu_udmabuf
        "DMA_BUF_IOCTL_SYNC" => (
            &[Errno::INVAL, Errno::FAULT, Errno::NOMEM, Errno::NOTTY],
            INTERRUPTED,
            &["DMA_BUF_IOCTL_SYNC"],
        ),
        // dma-buf.c: dma_buf_export_sync_file
        "DMA_BUF_IOCTL_EXPORT_SYNC_FILE" => {
            (&[Errno::INVAL, Errno::FAULT, Errno::NOMEM, Errno::MFILE, Errno::NOTTY], &[], &[])
        }
        // dma-buf.c: dma_buf_import_sync_file
        "DMA_BUF_IOCTL_IMPORT_SYNC_FILE" => {
            (&[Errno::INVAL, Errno::FAULT, Errno::NOMEM, Errno::NOTTY], &[], &[])
        }
        other => panic!("it is not written down what {other} may answer"),
    };
    Failures { reported, retried, words }
}

/// The words about the three questions to a new descriptor.
const ASKED: &str = "ask the kernel about the buffer's descriptor";

/// The words about the questions to a memfd that another program made.
const NOT_MEMFD: &str = "is not of a memfd";
