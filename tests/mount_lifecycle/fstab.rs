//! `mount -t cairn`, `/etc/fstab` and `umount`, as mount(8) does it

use std::path::Path;
use std::process::Command;

use crate::toy::{MountDirectories, require_mounting};
use support::cairn::binary;

/// Installs the helpers where mount(8) looks for them, in a mount namespace of this script's own.
const INSTALL: &str = r#"
set -eu
cairn=$1 root=$2
store=$root/store mnt=$root/mnt
mkdir "$root/layer"
mount -t tmpfs none "$root/layer"
mkdir "$root/layer/upper" "$root/layer/scratch" "$mnt"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$root/layer/upper,workdir=$root/layer/scratch" /usr/sbin
for name in mount.cairn mount.fuse.cairn umount.fuse.cairn; do ln -s "$cairn" /usr/sbin/$name; done
export CAIRN_STORE=$store
"$cairn" init "$store" >&2
fail() { echo "FAILED: $*" >&2; exit 1; }
mounts() { grep -c " $mnt.* - fuse.cairn " /proc/self/mountinfo || true; }
# The daemon holds the lock until it has written everything.
ended() {
    tries=0
    until flock --nonblock "$store/lock" true; do
        tries=$((tries + 1)); [ $tries -lt 300 ] || fail "the daemon runs on"; sleep 0.1
    done
    [ "$(mounts)" = 0 ] || fail "still mounted"
}
publish() {
    mkdir -p "$mnt/staging/lib/$1"
    echo "$1" > "$mnt/staging/lib/$1/file"
    mv "$mnt/staging/lib/$1" "$mnt/tags/lib/"
}
"#;

/// Runs [`INSTALL`] and `script` with namespaces of their own: what they mount and start ends with
/// them, also when they fail.
fn run(script: &str) {
    require_mounting();
    let place = MountDirectories::new();
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &format!("{INSTALL}\n{script}"), "sh", binary()])
        .arg(place.root().canonicalize().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(Path::new("/usr/sbin").exists());
}

#[test]
fn a_line_of_fstab_is_mounted_and_unmounted() {
    run(r#"
echo "$store $mnt cairn allow_other,noexec,gc_period=6h,nofail,noauto,_netdev,x-systemd.requires-mounts-for=$root 0 0" > "$root/fstab"
mount -T "$root/fstab" "$mnt"
[ "$(mounts)" = 2 ] || fail "not mounted"
findmnt -n -o OPTIONS "$mnt" | grep allow_other | grep noexec >/dev/null || fail "options"
grep -q 'gc-period=21600' "/proc/$(cat "$store/lock")/cmdline" || fail "options of cairn"
publish v1
umount "$mnt"
ended
mount -T "$root/fstab" "$mnt"
[ "$(cat "$mnt/versions/lib/1/file")" = v1 ] || fail "lost"
umount "$mnt"
ended
"#);
}

#[test]
fn mount_and_umount_know_the_type() {
    run(r#"
mount -t cairn -o uhelper=fuse.cairn "$store" "$mnt"
publish v1
umount "$mnt"
ended
mount -t fuse.cairn -o ro,x-anything "$store" "$mnt"
mkdir "$mnt/staging/other" 2>/dev/null && fail "not read-only"
[ "$(cat "$mnt/tags/lib/latest/file")" = v1 ] || fail "lost"
umount "$mnt"
ended
# Without an option that mount(8) writes down, umount asks for no helper of ours.
mount -t cairn "$store" "$mnt"
umount "$mnt" 2>/dev/null && fail "versions is mounted inside"
umount -R "$mnt"
ended
mount -t cairn -o no_such_option "$store" "$mnt" 2> "$root/message" && fail "an unknown option"
grep -q 'unknown mount option' "$root/message" || fail "$(cat "$root/message")"
mount -f -t cairn "$store" "$mnt" && [ "$(mounts)" = 0 ] || fail "a fake mount"
"#);
}

#[test]
fn busy_files_are_respected_unless_lazily() {
    run(r#"
mount -t cairn -o uhelper=fuse.cairn "$store" "$mnt"
mkdir -p "$mnt/staging/lib/v1"
exec 3> "$mnt/staging/lib/v1/file"
umount "$mnt" 2> "$root/message" && fail "a busy mount was unmounted"
grep -q 'in use' "$root/message" || fail "$(cat "$root/message")"
umount -l "$mnt"
echo written >&3
exec 3>&-
ended
mount -t cairn "$store" "$mnt"
[ "$(cat "$mnt/staging/lib/v1/file")" = written ] || fail "lost"
umount -R "$mnt"
ended
"#);
}

#[test]
fn without_the_helper_the_daemon_ends_by_itself() {
    run(r#"
mount -t cairn "$store" "$mnt"
publish v1
mkdir "$mnt/staging/lib/open"
echo kept > "$mnt/staging/lib/open/file"
# As systemd does it at shutdown: each mount by itself, the innermost first.
umount -i "$mnt" 2>/dev/null && fail "versions is mounted inside"
umount -i "$mnt/versions"
umount -i "$mnt" 2>/dev/null || true
ended
mount -t cairn "$store" "$mnt"
[ "$(cat "$mnt/versions/lib/1/file")" = v1 ] || fail "lost"
[ "$(cat "$mnt/staging/lib/open/file")" = kept ] || fail "lost"
umount -i -R "$mnt" 2>/dev/null || true
ended
"#);
}

#[test]
fn a_daemon_that_died_is_unmounted() {
    run(r#"
mount -t cairn "$store" "$mnt"
publish v1
kill -9 "$(cat "$store/lock")"
flock "$store/lock" true
# Its guard does that.
tries=0
until [ "$(mounts)" = 0 ]; do
    tries=$((tries + 1)); [ $tries -lt 300 ] || fail "left mounted"; sleep 0.1
done
mount -t cairn "$store" "$mnt"
# If the guard was killed as well, umount does. This script sees no processes but its own.
until guard=$(grep -lx cairn-guard /proc/[0-9]*/comm); do sleep 0.1; done
guard=${guard#/proc/}
kill -9 "${guard%/comm}" "$(cat "$store/lock")"
flock "$store/lock" true
umount "$mnt"
ended
mount -t cairn "$store" "$mnt"
kill -9 "$(cat "$store/lock")"
flock "$store/lock" true
mount -t cairn "$store" "$mnt"
[ "$(cat "$mnt/versions/lib/1/file")" = v1 ] || fail "lost"
umount -R "$mnt"
ended
"#);
}

#[test]
fn what_can_change_is_remounted_and_all_else_is_refused() {
    run(r#"
echo "$store $mnt cairn allow_other,inode32,gc_period=6h,max_file_size=1M,nofail,noauto 0 0" > "$root/fstab"
again() { mount -T "$root/fstab" -o "remount,$1" "$mnt" 2> "$root/message"; }
has() { findmnt -n -o OPTIONS "$2" | tr , '\n' | grep -qx "$1"; }
mount -T "$root/fstab" "$mnt"
daemon=$(cat "$store/lock")
publish v1
mkdir "$mnt/staging/lib/draft"
cp /bin/true "$mnt/staging/lib/draft/program"
"$mnt/staging/lib/draft/program" || fail "it can be executed"
again noexec,noatime || fail "$(cat "$root/message")"
"$mnt/staging/lib/draft/program" 2>/dev/null && fail "noexec has no effect"
has noexec "$mnt" && has noatime "$mnt" && has noexec "$mnt/versions" || fail "flags"
has nosuid "$mnt" && has nodev "$mnt" || fail "what is not named stays"
again exec || fail "$(cat "$root/message")"
"$mnt/staging/lib/draft/program" || fail "exec has no effect"
has nosuid "$mnt" || fail "what is not named stays"
"$cairn" mount -o remount,suid "$store" "$mnt" >&2
has nosuid "$mnt" && fail "suid has no effect"
# Not while somebody writes, and then for those who use the mount.
exec 3> "$mnt/staging/lib/draft/open"
again ro && fail "files are open for writing"
grep -q 'open for writing' "$root/message" || fail "$(cat "$root/message")"
exec 3>&-
again ro || fail "$(cat "$root/message")"
mkdir "$mnt/staging/lib/more" 2> "$root/message" && fail "ro has no effect"
grep -q 'Read-only file system' "$root/message" || fail "$(cat "$root/message")"
"$cairn" stage lib/by-command >&2 || fail "commands are not refused"
again rw || fail "$(cat "$root/message")"
mkdir "$mnt/staging/lib/more"
# The daemon's own settings: one that it can change, and those that it refuses.
truncate -s 2M "$mnt/staging/lib/draft/large" 2>/dev/null && fail "the limit has no effect"
again max_file_size=4M || fail "$(cat "$root/message")"
truncate -s 2M "$mnt/staging/lib/draft/large" || fail "the new limit has no effect"
again max_file_size=8M,noexec,gc_period=1h && fail "gc_period cannot change"
grep -q 'gc_period is 21600' "$root/message" || fail "$(cat "$root/message")"
truncate -s 5M "$mnt/staging/lib/draft/large" 2>/dev/null && fail "all or nothing: the limit"
has noexec "$mnt" && fail "all or nothing: the flags"
for option in max_read=65536 fsname=other on_commit=true no_such_option; do
    again "$option" && fail "$option cannot change"
    grep -qE 'cannot be changed|unknown mount option' "$root/message" || fail "$(cat "$root/message")"
done
# By what the table of mounts says alone, and by our own command.
mount -o remount,nosuid "$mnt" || fail "without fstab"
has nosuid "$mnt" || fail "nosuid has no effect"
"$cairn" mount -o remount,noatime "$store" "$mnt" --json | grep -q '"mount"' || fail "cairn mount"
"$cairn" mount -o remount,noexec "$root" "$mnt" 2> "$root/message" && fail "another store"
grep -q 'shows' "$root/message" || fail "$(cat "$root/message")"
[ "$(cat "$store/lock")" = "$daemon" ] || fail "it is another daemon"
[ "$(cat "$mnt/versions/lib/1/file")" = v1 ] || fail "lost"
umount -R "$mnt"
ended
mount -t cairn -o ro "$store" "$mnt"
mount -o remount,rw "$mnt" 2> "$root/message" && fail "the daemon is read-only"
grep -q 'read-only' "$root/message" || fail "$(cat "$root/message")"
mount -o remount,noexec "$mnt" || fail "flags of a read-only mount"
"$cairn" mount -o remount,ro "$store" /proc 2> "$root/message" && fail "no mount of ours"
grep -q 'not a mount of cairn' "$root/message" || fail "$(cat "$root/message")"
umount -R "$mnt"
ended
"#);
}
