#!/bin/sh
# A newcomer's walk through the README, inside a bare tree: see enter.sh. Runs as root and becomes
# the person of each step. Leaves lines `NAME SECONDS` in /srv/steps and ends with 0 if each step
# went as it must; the last line says which one did not.
#
# The three differ in their rights and in an obstacle of their machine:
#
#   root   a checkout that is read-only, and a target folder elsewhere
#   sudo   a mask of 077 and a language whose messages are not English
#   plain  no way to become root
set -u
person=$1 what=$2
checkout="/srv/my vcam"
: >/srv/steps

case $person in
root) user=root home=/root ;;
*) user=newcomer home=/home/newcomer ;;
esac
chown -R "$user:" "$checkout" /srv/build "$home"
if [ "$person" = sudo ]; then
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/newcomer
fi
target="$checkout/target"
mask=022 language=C.UTF-8
case $person in
root)
    target=/srv/build/target
    mount -o remount,bind,ro "$checkout"
    ;;
sudo) mask=077 language=de_DE.UTF-8 ;;
esac
if [ "$person" != root ]; then
    # The build folder outlives the machine.
    mkdir -p /srv/build/target "$target"
    chown "$user:" /srv/build/target "$target"
    mount --bind /srv/build/target "$target"
fi
# Finished parts of the lab, where a machine that had made them would keep them.
if [ -d /srv/lab ]; then
    mkdir -p "$home/.cache/vcam-lab"
    for part in /srv/lab/*; do
        mkdir "$home/.cache/vcam-lab/${part##*/}"
        mount --bind -o ro "$part" "$home/.cache/vcam-lab/${part##*/}"
    done
    chown "$user:" "$home/.cache" "$home/.cache/vcam-lab"
fi

# as FOLDER COMMAND: a shell's command as the person.
as() {
    setpriv --reuid "$user" --regid "$user" --init-groups env -i \
        HOME="$home" USER="$user" LANG="$language" TERM=dumb \
        PATH="$target/release:/opt/rust/bin:/usr/local/bin:/usr/bin:/bin${sbin:-}" \
        CARGO_HOME=/srv/build/cargo ${elsewhere:+"$elsewhere"} \
        sh -c "umask $mask; cd \"\$1\" && eval \"\$2\"" sh "$1" "$2" </dev/null
}
elsewhere=
[ "$person" != root ] || elsewhere="CARGO_TARGET_DIR=$target" sbin=:/usr/sbin:/sbin

fail() {
    echo "FAILED: $*"
    exit 1
}

# step NAME STATUS FOLDER COMMAND: runs it, and it must end like that.
step() {
    echo "== $4"
    begun=$(date +%s)
    as "$3" "$4" >/srv/out 2>/srv/err
    status=$?
    cat /srv/out /srv/err
    echo "$1 $(($(date +%s) - begun))" >>/srv/steps
    [ "$status" = "$2" ] || fail "$person: \`$4\` ended with $status, not $2: $(tail -n 1 /srv/err)"
}

case $person in
# The folder of the checkout cannot be written to.
root)
    step build 0 "$checkout" 'cargo build --release'
    step vcam 0 "$home" 'vcam'
    picture=$home/vcam.png
    ;;
*)
    step build 0 "$checkout" 'cargo build --release'
    step vcam 0 "$checkout" 'cargo run --release'
    picture=$checkout/vcam.png
    ;;
esac
[ "$(head -c 4 "$picture" | tail -c 3)" = PNG ] || fail "$person: vcam left no picture"
step list 0 "$checkout" 'vcam list'
grep -q memfd /srv/out || fail "$person: vcam list shows no memfd"

if [ "$person" = plain ]; then
    step demo 4 "$checkout" 'cargo xtask demo'
    [ "$(cat /srv/out /srv/err)" = "apt-get install --no-install-recommends mmdebstrap" ] ||
        fail "plain: \`cargo xtask demo\` says more or less than the one line that helps"
elif [ "$what" = all ]; then
    step demo 0 "$checkout" 'cargo xtask demo'
    [ -s "$target/demo/display.png" ] || fail "$person: the demonstration left no picture"
    step again 0 "$checkout" 'cargo xtask demo'
    step lab 0 "$checkout" 'cargo xtask lab -- vcam list'
    grep -q udmabuf /srv/out || fail "$person: vcam list in the lab shows no udmabuf"
    # A shell for a person, on a terminal.
    step shell 3 "$checkout" \
        "echo 'vcam --version; tty; exit 3' | script -qec 'cargo xtask lab' /dev/null"
    grep -q '/dev/tty3' /srv/out || fail "$person: \`cargo xtask lab\` gives no terminal"
fi
exit 0
