#!/bin/sh
# Runs inside the tree while it is being made, with its package lists present.
# Adds the kernel image, its modules and its source, all of exactly the version
# of the headers that are installed, and writes /lab/kernel-release.
#
# Why not by the meta packages: the archive publishes the parts of one kernel
# hours or days apart (signed images last), so `linux-source` may already be
# the next series. Why unpacked and not installed: the image's scripts would
# build an initramfs and configure a boot loader.
set -eu
export LC_ALL=C

release=$(dpkg-query --show --showformat '${Package}\n' 'linux-headers-*-amd64' |
    sed -n 's/^linux-headers-\([0-9].*-amd64\)$/\1/p')
if [ "$(echo "$release" | wc -w)" != 1 ]; then
    echo "tree-kernel.sh: expected headers of one kernel, found: ${release:-none}" >&2
    exit 1
fi
version=$(dpkg-query --show --showformat '${Version}' "linux-headers-$release")
series=$(echo "$release" | cut -d. -f1,2)

mkdir -p /lab/debs /lab/work
cd /lab/debs
# Until Linux 7.0 the image was one package, since then it is three.
for package in "linux-image-$release" "linux-binary-$release" \
    "linux-modules-$release" "linux-source-$series"; do
    if apt-cache show "$package=$version" >/dev/null 2>&1; then
        apt-get -o APT::Sandbox::User=root download "$package=$version"
    else
        echo "tree-kernel.sh: no $package of version $version in the archive"
    fi
done
for deb in *.deb; do
    dpkg-deb --extract "$deb" /
    dpkg-deb --show --showformat '${Package} ${Version}\n' "$deb" >>/lab/kernel-packages
done
cd /
rm -r /lab/debs

modules=/usr/lib/modules/$release
if [ ! -e "$modules/vmlinuz" ]; then
    mv "/boot/vmlinuz-$release" "$modules/vmlinuz"
fi
for part in "$modules/vmlinuz" "$modules/kernel" "/usr/src/linux-source-$series.tar.xz"; do
    if [ ! -e "$part" ]; then
        echo "tree-kernel.sh: the packages of kernel $version hold no $part" >&2
        exit 1
    fi
done
depmod -a "$release"
echo "$release" >/lab/kernel-release
