# The uml machine: everything is built into the kernel, folders come by hostfs.

mount_tree() {
    mount -t hostfs -o ro,"$tree" none "$1"
}

mount_share() {
    mount -t hostfs -o "$2" none "$3"
}

devices() {
    for path in /dev/udmabuf /dev/dma_heap/system /dev/dri/card0 /dev/video0; do
        [ -e "$path" ] || { say "no $path"; return 1; }
    done
}

# Two more consoles are the command's output. They are terminals to the kernel,
# which must not translate a byte.
channels() {
    out_channel=/dev/tty1
    err_channel=/dev/tty2
    # Held open, so that the settings last.
    exec 8>"$out_channel" 9>"$err_channel"
    stty raw -echo <"$out_channel" && stty raw -echo <"$err_channel"
}

drain() {
    # Setting a terminal's modes waits for its output to have left.
    stty raw -echo <"$out_channel"
    stty raw -echo <"$err_channel"
}

terminal() {
    echo /dev/tty3
}
