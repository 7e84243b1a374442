//! What an error number means at the step where it came up.
//!
//! `EINVAL` says nothing; that it came from `ADDFB2` says more. Each line names the place in the
//! kernel's source that it was read in.

use crate::errno;

/// The step that hands a dma-buf to a DRM driver.
const PRIME: &str = "PRIME_FD_TO_HANDLE";

/// What an error number means at a step, where that is known.
pub fn meaning(step: &str, errno: i32) -> Option<&'static str> {
    Some(match (step, errno) {
        // virtgpu_prime.c: virtgpu_gem_prime_import_sg_table
        (PRIME, errno::ENODEV) => "the driver imports no memory but its own",
        // drm_prime.c: drm_gem_prime_fd_to_handle; qxl_prime.c
        (PRIME, errno::ENOSYS) => "the driver has no import at all",
        // drm_gem_dma_helper.c: drm_gem_dma_prime_import_sg_table
        (PRIME, errno::EINVAL) => {
            "the driver does not take this memory: it is not contiguous, or no dma-buf at all"
        }
        // dma-buf.c: dma_buf_map_attachment, from the device's DMA mapping
        (PRIME, errno::ENOMEM | errno::EIO) => "the memory cannot be mapped for the device",
        (PRIME, errno::EOPNOTSUPP) => "the driver or the memory's owner does not share buffers",
        // drm_framebuffer.c: drm_mode_addfb2
        ("ADDFB2", errno::EOPNOTSUPP) => "the device has no displays",
        // drm_ioctl.c: drm_ioctl_permit
        ("ADDFB2", errno::EACCES | errno::EPERM) => "a render node may not make framebuffers",
        // drm_framebuffer.c: framebuffer_check, and each driver's fb_create
        ("ADDFB2", errno::EINVAL) => {
            "the card does not take a framebuffer of this format, size, stride, offset or memory"
        }
        // virtgpu_display.c: virtio_gpu_user_framebuffer_create
        ("ADDFB2", errno::ENOENT) => "the card does not take this format",
        ("ADDFB2", errno::ERANGE) => "the picture is outside of the card's limits",
        // drm_ioctl.c: the ioctl is the master's
        ("atomic TEST_ONLY" | "atomic commit", errno::EACCES | errno::EPERM) => {
            "another program controls the displays"
        }
        // drm_atomic.c: drm_atomic_plane_check, and each driver's atomic_check
        ("atomic TEST_ONLY" | "atomic commit", errno::EINVAL) => {
            "the plane does not show this buffer: its format, size, place or arrangement"
        }
        ("atomic TEST_ONLY" | "atomic commit", errno::ERANGE) => {
            "the picture is outside of the plane's limits"
        }
        ("atomic TEST_ONLY" | "atomic commit", errno::ENOSPC) => {
            "the picture does not fill what the plane is to show, or the card lacks the bandwidth"
        }
        // videobuf2-core.c: vb2_verify_memory_type
        ("VIDIOC_REQBUFS", errno::EINVAL) => "the driver streams from no dma-bufs",
        ("VIDIOC_REQBUFS" | "VIDIOC_S_FMT", errno::EBUSY) => "another program uses the device",
        // videobuf2-dma-contig.c: vb2_dc_map_dmabuf, "contiguous chunk is too small"
        ("VIDIOC_QBUF", errno::EFAULT) => {
            "the device needs contiguous memory, and this buffer's is not"
        }
        // videobuf2-core.c: __prepare_dmabuf
        ("VIDIOC_QBUF", errno::EINVAL) => "the buffer is too small for the picture, or no dma-buf",
        ("VIDIOC_QBUF", errno::ENOMEM | errno::EIO) => "the memory cannot be mapped for the device",
        // videobuf2-v4l2.c: streaming was stopped, or the device failed
        ("VIDIOC_DQBUF" | "VIDIOC_STREAMON", errno::EIO) => "the device failed while it streamed",
        (_, errno::EBUSY) => "another program uses the device",
        (_, errno::EACCES | errno::EPERM) => "this user may not",
        (_, errno::EMFILE) => "the process has no descriptor left (see `ulimit -n`)",
        (_, errno::ENOMEM) => "there is not enough memory",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_another_thing_at_another_step() {
        let einval = errno::EINVAL;
        let steps = [PRIME, "ADDFB2", "atomic TEST_ONLY", "VIDIOC_REQBUFS", "VIDIOC_QBUF"];
        let mut words: Vec<_> = steps.iter().map(|step| meaning(step, einval)).collect();
        assert!(words.iter().all(Option::is_some), "{words:?}");
        words.sort();
        words.dedup();
        assert_eq!(words.len(), steps.len());
        assert_eq!(meaning("anything", einval), None);
    }
}
