# The qemu machine: Debian's kernel, folders come by 9p over virtio.

# The initramfs holds the modules that reach the tree, in loading order.
load_first() {
    while read -r module; do
        insmod "/modules/$module" || say "cannot load $module"
    done </modules/order
}

nine_p=trans=virtio,version=9p2000.L,msize=512000

mount_tree() {
    load_first
    mount -t 9p -o "ro,$nine_p,cache=loose" tree "$1"
}

# The host writes into shares while the machine runs (screen dumps): no cache.
# Programs are run from them, which needs mmap.
mount_share() {
    mount -t 9p -o "$nine_p,cache=mmap" "share$1" "$3"
}

devices() {
    # Early, while there is memory in one piece: buffers of pages of 2 MiB.
    echo 8 >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" = 8 ] || { say "no huge pages"; return 1; }
    # The order fixes the numbers of the cards.
    modprobe -a virtio_gpu bochs vgem drm_shmem_helper drm_client_lib configfs vivid
    # Built in where Debian says so, and then these say nothing.
    modprobe -a -q virtio_console udmabuf
    mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
    insmod /run/lab/modules/cma_heap.ko
    insmod /run/lab/modules/vkms.ko
    # Counting by a tracepoint patches the kernel's code, and where QEMU emulates several processors
    # one of them may run an int3 that is replaced already, and the kernel ends: seen once, in
    # perf_event_open. So there are no tracepoints but for the test that uncovers them.
    mount -t tmpfs tmpfs /sys/kernel/debug/tracing
    for path in /dev/udmabuf /dev/dma_heap/system /dev/dri/card0 /dev/video0; do
        [ -e "$path" ] || { say "no $path"; return 1; }
    done
}

# Ports of virtio-serial carry bytes as they are. Their names are in sysfs.
port() {
    for entry in /sys/class/virtio-ports/*; do
        if [ "$(cat "$entry/name")" = "$1" ]; then
            echo "/dev/${entry##*/}"
            return
        fi
    done
    return 1
}

channels() {
    out_channel=$(port lab.out) && err_channel=$(port lab.err) && qmp=$(port lab.qmp) || return 1
    ln -sfn "$qmp" /dev/lab-qmp
    export VCAM_LAB_QMP=/dev/lab-qmp
}

drain() {
    :
}

terminal() {
    echo /dev/hvc0
}
