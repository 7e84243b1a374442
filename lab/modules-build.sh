#!/bin/sh
# Runs inside the tree, in a scratch folder. Builds the modules that Debian's
# kernel leaves out, and v4l2loopback, which is packaged apart from it, against
# the headers of the kernel the machine boots.
# Leaves out/*.ko.
set -eu
release=$1

series=$(echo "$release" | cut -d. -f1,2)
headers=/usr/src/linux-headers-$release
mkdir -p out vkms cma
tar -x -f "/usr/src/linux-source-$series.tar.xz" --strip-components=1 \
    "linux-source-$series/drivers/gpu/drm/vkms" \
    "linux-source-$series/drivers/dma-buf/heaps"

# vkms as it is, less its KUnit tests, which need the symbols of a test build.
cp drivers/gpu/drm/vkms/*.[ch] vkms/
grep -v -i kunit drivers/gpu/drm/vkms/Makefile |
    sed 's/obj-\$(CONFIG_DRM_VKMS)/obj-m/' >vkms/Makefile
make -C "$headers" M="$PWD/vkms" modules

cp drivers/dma-buf/heaps/cma_heap.c cma/
echo 'obj-m := cma_heap.o' >cma/Makefile
make -C "$headers" M="$PWD/cma" modules

cp -r /usr/src/v4l2loopback-* v4l2loopback
make -C "$headers" M="$PWD/v4l2loopback" modules

cp vkms/vkms.ko cma/cma_heap.ko v4l2loopback/v4l2loopback.ko out/
