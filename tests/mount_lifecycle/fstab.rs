//! `mount -t cairn`, `/etc/fstab` and `umount`, as mount(8) does it

use std::path::Path;
use std::process::Command;

use crate::common::cairn::BINARY;
use crate::toy::{Place, require_mounting};

/// Installs the helpers where mount(8) looks for them, in a mount namespace of this script's own.
const INSTALL: &str = r#"
set -eu
cairn=$1 root=$2
store=$root/store mnt=$root/mnt
mkdir "$root/layer"
mount -t tmpfs none "$root/layer"
mkdir "$root/layer/upper" "$root/layer/work" "$mnt"
mount -t overlay overlay -o "lowerdir=/usr/sbin,upperdir=$root/layer/upper,workdir=$root/layer/work" /usr/sbin
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
    let place = Place::new();
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &format!("{INSTALL}\n{script}"), "sh", BINARY])
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
