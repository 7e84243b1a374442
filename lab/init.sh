#!/bin/busybox sh
# Process 1 of both machines, in an initramfs that the driver packs for each
# run: busybox, this file, uml.sh or qemu.sh as /machine.sh, and /lab with the
# run's own facts:
#
#   machine      uml or qemu
#   tree         where the tree lies on the host
#   run          the run folder, also one of the shares
#   shares       host folders that appear at their own path, one a line
#   environment  exports, for a shell
#   command      what to run, a script
#
# The root of the machine is a tmpfs on which the tree is shown read-only, so
# that a run cannot change the tree and shares may lie anywhere. The run folder
# gets `status`, the command's exit status, as the last thing.

/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/sbin:/usr/sbin
umask 022

mkdir -p /proc /sys /dev /tree /new
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

machine=$(cat /lab/machine)
tree=$(cat /lab/tree)
run=$(cat /lab/run)
shares=/lab/shares

say() {
    echo "lab: $*" >/dev/kmsg
}

# Without a `status` file the driver knows that the command did not run to its
# end, and points at the console's log.
give_up() {
    say "gives up: $*"
    sync
    poweroff -f
}

# Defines mount_tree DIR, mount_share NUMBER PATH DIR, devices, channels.
. /machine.sh

# graft FROM TO: shows what is in FROM at TO, on the tmpfs. Folders on the way
# to a share are remade, so that they can take a new entry; all else is bound.
graft() {
    local from=$1 to=$2 path name
    for path in "$from"/* "$from"/.[!.]*; do
        name=${path##*/}
        if [ -h "$path" ]; then
            cp -P "$path" "$to/$name"
        elif [ -f "$path" ]; then
            : >"$to/$name"
            mount -o bind "$path" "$to/$name"
        elif [ -d "$path" ]; then
            mkdir -p "$to/$name"
            case ${path#/tree} in
            /proc | /sys | /dev | /run | /tmp | /root | /home | /mnt | /lab) ;;
            /var/tmp | /var/log | /var/cache) ;;
            /etc) cp -a "$path/." "$to/$name" ;;
            /var) graft "$path" "$to/$name" ;;
            *)
                if grep -q "^${path#/tree}/" "$shares"; then
                    graft "$path" "$to/$name"
                else
                    mount -o bind "$path" "$to/$name"
                fi
                ;;
            esac
        fi
    done
}

mount_tree /tree || give_up "cannot mount the tree"
mount -t tmpfs -o mode=755 tmpfs /new || give_up "no tmpfs"
graft /tree /new
chmod 1777 /new/tmp /new/var/tmp
number=0
while read -r path; do
    mkdir -p "/new$path" || give_up "cannot make $path"
    mount_share "$number" "$path" "/new$path" || give_up "cannot mount $path"
    number=$((number + 1))
done <"$shares"

mount -t tmpfs -o mode=755 tmpfs /new/run
cp -a /lab /machine.sh /new/run/
cp /second.sh /new/run/lab/
for folder in proc sys dev; do
    mount -o move "/$folder" "/new/$folder"
done
exec switch_root /new /bin/sh /run/lab/second.sh
