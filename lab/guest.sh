# Sourced by init-uml and init-qemu: what both machines do alike once they can
# see the tree (read-only) and the run folder. Runs as process 1 under busybox.
#
# The run folder holds: `shares`, the host folders that appear at their own
# path, one a line; `environment`, lines for the shell; `command`, a script.
# It gets `status`, the command's exit status, written last.

say() {
    echo "lab: $*" >/dev/kmsg
}

# The machine ends here, whatever happened. Without a `status` file the driver
# knows that the command did not run to its end.
give_up() {
    say "$*"
    echo "$*" >"${run:-/nowhere}/failure" 2>/dev/null
    sync
    poweroff -f
}

# graft FROM TO: shows everything in FROM below TO, which is a tmpfs. Folders on
# the way to a share are remade so that they can take a new entry; anything else
# is one bind mount. The tree itself stays read-only and clean.
graft() {
    local from="$1" to="$2" name path
    for path in "$from"/* "$from"/.[!.]*; do
        name=${path##*/}
        if [ -h "$path" ]; then
            cp -P "$path" "$to/$name"
        elif [ -d "$path" ]; then
            mkdir -p "$to/$name"
            case "$from/$name" in
            "$tree"/proc | "$tree"/sys | "$tree"/dev | "$tree"/run | "$tree"/tmp | \
                "$tree"/lab | "$tree"/mnt | "$tree"/root | "$tree"/home) continue ;;
            "$tree"/etc) cp -a "$path/." "$to/$name" ; continue ;;
            esac
            if grep -q "^${path#"$tree"}/" "$run/shares" || [ "$path" = "$tree/var" ]; then
                graft "$path" "$to/$name"
            else
                mount -o bind "$path" "$to/$name"
            fi
        elif [ -f "$path" ]; then
            : >"$to/$name"
            mount -o bind "$path" "$to/$name"
        fi
    done
}

# make_root TREE NEW: fills the tmpfs at NEW. Sets $tree for graft.
make_root() {
    tree=$1
    graft "$tree" "$2"
    mkdir -p "$2/proc" "$2/sys" "$2/dev" "$2/run" "$2/tmp" "$2/root" "$2/mnt"
    # These are written to, so they are the tmpfs's own.
    for folder in tmp cache log; do
        umount "$2/var/$folder" 2>/dev/null
        mkdir -p "$2/var/$folder"
    done
    chmod 1777 "$2/tmp" "$2/var/tmp"
    ln -sfn /proc/mounts "$2/etc/mtab"
}

# Kernel file systems, in the new root.
mount_kernel() {
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount -t debugfs debugfs /sys/kernel/debug
    mount -t configfs configfs /sys/kernel/config
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/user/0
    chmod 700 /run/user/0
    ln -sfn /proc/self/fd /dev/fd
    ln -sfn /proc/self/fd/0 /dev/stdin
    ln -sfn /proc/self/fd/1 /dev/stdout
    ln -sfn /proc/self/fd/2 /dev/stderr
}

# run_command OUT ERR: runs the command with pipes for its output, so that no
# program takes the machine's channels for a terminal, and relays the pipes.
run_command() {
    ip link set lo up 2>/dev/null
    mkfifo /run/lab-out /run/lab-err
    cat /run/lab-out >"$1" &
    out=$!
    cat /run/lab-err >"$2" &
    err=$!
    sh "$run/command" </dev/null >/run/lab-out 2>/run/lab-err
    status=$?
    # A child that was left behind may still hold the pipes: wait for what is in
    # flight, not for it.
    (sleep 3; kill "$out" "$err") 2>/dev/null &
    wait "$out" "$err" 2>/dev/null
    echo "$status" >"$run/status.new"
    sync
    mv "$run/status.new" "$run/status"
    sync
}
