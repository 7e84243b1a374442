#!/bin/sh
# Runs inside the tree while it is being made. Adds the source of v4l2loopback,
# a module that Debian packages apart from the kernel, as /usr/src/v4l2loopback-…,
# and writes package and version to /lab/module-packages.
#
# Why not this release's: backports has the next release's kernel, and not the
# modules that go with it. 0.15.0 of trixie does not compile for Linux 7.3, whose
# v4l2_fh_add takes one argument more. Why unpacked and not installed: dkms
# builds for the kernel that runs, which is the host's.
set -eu
export LC_ALL=C
next=forky

mkdir -p /lab/next/lists/partial
cd /lab/next
sed -n "s/^deb \(.*\) trixie main.*/deb \1 $next main/p" /etc/apt/sources.list >sources
# Lists of its own, so that nothing else comes from there. Mirrors that lag behind
# by weeks will do; whether it is Debian's is checked all the same.
of_next() {
    apt-get -o APT::Default-Release="$next" -o APT::Sandbox::User=root \
        -o Acquire::Check-Valid-Until=false \
        -o Dir::Etc::SourceList="$PWD/sources" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$PWD/lists" "$@"
}
of_next update
of_next download v4l2loopback-dkms
dpkg-deb --extract v4l2loopback-dkms_*.deb /
dpkg-deb --show --showformat '${Package} ${Version}\n' v4l2loopback-dkms_*.deb \
    >/lab/module-packages
cd /
rm -r /lab/next
