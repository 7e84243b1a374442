#!/bin/sh
# Process 1 of both machines once the tree is the root: see init.sh. Brings up
# the devices, runs the command, leaves its status and ends the machine.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
run=$(cat /run/lab/run)

say() {
    echo "lab: $*" >/dev/kmsg
}

give_up() {
    say "gives up: $*"
    sync
    busybox poweroff -f
}

. /run/machine.sh

mkdir -p /dev/pts /dev/shm /run/lock /run/user/0
chmod 700 /run/user/0
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -d /sys/kernel/config ] && mount -t configfs configfs /sys/kernel/config
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
busybox ip link set lo up

devices || give_up "devices are missing"
# A heap that was loaded just now may have come after this.
[ -d /sys/kernel/config ] && ! mountpoint -q /sys/kernel/config &&
    mount -t configfs configfs /sys/kernel/config
channels || give_up "no channels to the host"

export HOME=/root XDG_CACHE_HOME=/tmp/cache XDG_RUNTIME_DIR=/run/user/0
export LANG=C.UTF-8 TMPDIR=/tmp
. /run/lab/environment

# The command writes to pipes, so no program takes the machine's channels for a
# terminal; two relays carry the bytes on.
mkfifo /run/lab/out /run/lab/err
cat /run/lab/out >"$out_channel" &
out=$!
cat /run/lab/err >"$err_channel" &
err=$!
# From here on the driver does not start the machine again if it crashes.
: >"$run/started"
say "runs the command"
if [ -e /run/lab/terminal ]; then
    # For a person: on a terminal of its own, of the size and kind of theirs.
    terminal=$(terminal)
    { read -r rows && read -r columns && read -r TERM; } </run/lab/terminal
    export TERM
    stty sane rows "$rows" cols "$columns" <"$terminal"
    setsid --ctty --wait sh /run/lab/command <"$terminal" >"$terminal" 2>&1
    status=$?
    stty sane <"$terminal"
    # Nothing came this way, and the relays end.
    : >/run/lab/out
    : >/run/lab/err
else
    sh /run/lab/command </dev/null >/run/lab/out 2>/run/lab/err
    status=$?
fi
say "command ended: $status"
# A child that was left behind may still hold the pipes: wait for the bytes
# that are under way, not for the child.
(sleep 3 && kill "$out" "$err") >/dev/null 2>&1 &
wait "$out" "$err"
drain

echo "$status" >"$run/status.new"
mv "$run/status.new" "$run/status"
sync
busybox poweroff -f
