//! Mounting as another user, through the set-uid `fusermount3`.
//!
//! The kernel lets such a user open /dev/fuse only where its mode says so, which a container or a
//! hardened machine may not do. Then what is tested is that the error says what to do.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use cairn::fuse::mount::{
    Method, MountError, MountOptions, MountPlan, VersionsPlacement, preflight,
};

use crate::toy::{MountDirectories, Serving, Toy, require_mounting, short};

/// Tells the child what to mount where.
const CHILD: &str = "CAIRN_TEST_USER";

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Mounts as an ordinary user: the child of [`an_ordinary_user_mounts_through_fusermount3`].
#[test]
fn child_mounts_as_a_user() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let (target, store) = (root.join("m nt"), root.join("st ore"));
    for option in ["dev", "suid"] {
        let error = preflight(&target, &store, &option.parse().unwrap()).unwrap_err();
        assert!(matches!(error, MountError::RootOnly(_)), "{error}");
    }
    let options = MountOptions::default();
    let plan = MountPlan::prepare(&target, &store, options, Method::Auto).unwrap();
    let beside = root.join("m nt.versions");
    assert_eq!(plan.versions, VersionsPlacement::Beside(beside.clone()));
    let started = Serving::start(plan, Toy::default(), Toy::default(), short());
    let device = std::fs::metadata("/dev/fuse").unwrap().permissions().mode();
    if device & 0o006 == 0o006 {
        let serving = started.ready();
        assert_eq!(std::fs::read_to_string(beside.join("file")).unwrap(), "0");
        assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "0");
        serving.controller.stop();
        serving.join().unwrap();
    } else {
        eprintln!("not tested: /dev/fuse is {device:o} here, users cannot mount");
        let error = started.join().unwrap_err();
        eprintln!("{}", error.full_text());
        assert!(error.to_string().contains("/dev/fuse"), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    assert!(!beside.exists());
}

#[test]
fn a_missing_fusermount3_is_named() {
    require_mounting();
    let place = MountDirectories::new();
    let root = place.root().canonicalize().unwrap();
    let store = root.join("of a user");
    for path in [&root, &place.target] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // What is needed for the rest is at hand; then nothing is left where programs are. Into one of the
    // directories of PATH the user may not look.
    let script = r#"
set -eu
cairn=$1 root=$2 store=$3 mnt=$4
cp "$cairn" "$root/cairn"
cp "$(command -v setpriv)" "$root/setpriv"
mkdir -m 700 "$root/closed" "$root/empty"
chmod 755 "$root/empty"
as_user() { "$root/setpriv" --reuid 65534 --regid 65534 --clear-groups "$@"; }
as_user "$root/cairn" init "$store"
for directory in /usr/bin /usr/local/bin /bin; do mount --bind "$root/empty" "$directory" || true; done
export PATH=$root/closed:/usr/bin
as_user "$root/cairn" mount "$store" "$mnt"
"#;
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", script, "sh", support::cairn::binary()])
        .args([&root, &store, &place.target])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("fusermount3 is missing"), "{said}");
    assert!(said.contains("apt install fuse3"), "{said}");
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    require_mounting();
    let place = MountDirectories::new();
    let root = place.root().canonicalize().unwrap();
    for path in [&root, &place.store, &place.target] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The test program itself may lie where others cannot reach it.
    let program = root.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new(&program)
        .args(["--exact", "unprivileged::child_mounts_as_a_user", "--nocapture"])
        .env(CHILD, &root)
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output()
        .unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}
