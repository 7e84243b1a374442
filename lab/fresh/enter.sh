#!/bin/sh
# Shows a bare Debian tree as a machine of its own and has a newcomer walk in it. Runs as root, in
# its own mount and process namespaces, so that nothing of it is left when it ends:
#
#   enter.sh TREE TOOLCHAIN CHECKOUT BUILD LAB PERSON WHAT
#
# TREE       the tree, which may be changed
# TOOLCHAIN  Rust, shown read-only
# CHECKOUT   a copy of the repository, which may be changed
# BUILD      a folder for what cargo fetches and builds
# LAB        a folder with finished parts of the lab, shown read-only where the machine's user keeps
#            them; or `none`
# PERSON     root, sudo or plain
# WHAT       build or all
set -eu
tree=$1 toolchain=$2 checkout=$3 build=$4 lab=$5 person=$6 what=$7

mount --make-rprivate /
mount --bind "$tree" "$tree"
# Programs run from here, and sudo is one of those that change the user.
mount -o remount,bind,suid,dev,exec "$tree"

show() {
    mkdir -p "$tree$2"
    mount --bind "$1" "$tree$2"
    mount -o "remount,bind,$3" "$tree$2"
}
# A blank in the path, for all of them.
show "$checkout" "/srv/my vcam" rw
show "$build" /srv/build rw
show "$toolchain" /opt/rust ro
if [ "$lab" != none ]; then
    for part in "$lab"/*; do
        show "$part" "/srv/lab/${part##*/}" ro
    done
fi

mount -t proc proc "$tree/proc"
mount -t sysfs -o ro sysfs "$tree/sys"
# No /dev/kvm, no /dev/dri; and little shared memory, as in containers.
mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
for node in null zero full random urandom tty; do
    : >"$tree/dev/$node"
    mount --bind "/dev/$node" "$tree/dev/$node"
done
mkdir "$tree/dev/pts" "$tree/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$tree/dev/pts"
mount -t tmpfs -o mode=1777,size=64M tmpfs "$tree/dev/shm"
ln -s pts/ptmx "$tree/dev/ptmx"
ln -s /proc/self/fd "$tree/dev/fd"
ln -s /proc/self/fd/0 "$tree/dev/stdin"
ln -s /proc/self/fd/1 "$tree/dev/stdout"
ln -s /proc/self/fd/2 "$tree/dev/stderr"
# The way to the network is the host's: names, and whose certificates it trusts.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || cp --remove-destination "$(readlink -f "$file")" "$tree$file"
done

exec chroot "$tree" /bin/sh /srv/walk.sh "$person" "$what"
