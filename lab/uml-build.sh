#!/bin/sh
# Runs inside the tree, in a scratch folder that holds uml.config. Builds the
# User-Mode Linux kernel from the source of the kernel the tree is for.
# Leaves out/linux and out/config.
set -eu
release=$1
jobs=$2

series=$(echo "$release" | cut -d. -f1,2)
mkdir -p out source
tar -x -f "/usr/src/linux-source-$series.tar.xz" --strip-components=1 -C source
cd source

make ARCH=um defconfig
ARCH=um scripts/kconfig/merge_config.sh -m .config ../uml.config
make ARCH=um olddefconfig
cp .config ../out/config
make ARCH=um -j"$jobs" linux
strip -o ../out/linux linux
