//! symlink(2), readlink(2)

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::io::Errno;

use support::{Area, errno};

#[test]
fn keeps_any_target() {
    let area = Area::new();
    let long = "t".repeat(4095);
    let targets: [&[u8]; 6] =
        [b"relative", b"/absolute/path", b"../..", b"no\xffutf8", b" ", long.as_bytes()];
    for (index, target) in targets.iter().enumerate() {
        let path = area.path(format!("s{index}"));
        symlink(OsStr::from_bytes(target), &path).unwrap();
        assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), *target);
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.is_symlink());
        assert_eq!(meta.len(), target.len() as u64);
    }
}

#[test]
fn resolves_through_directories() {
    let area = Area::new();
    fs::create_dir_all(area.path("a/b")).unwrap();
    area.file("a/b/f", "here");
    symlink("a/b", area.path("short")).unwrap();
    symlink("../../short/f", area.path("a/b/around")).unwrap();
    assert_eq!(fs::read(area.path("short/around")).unwrap(), b"here");
}

#[test]
fn a_circle_is_eloop() {
    let area = Area::new();
    symlink("b", area.path("a")).unwrap();
    symlink("a", area.path("b")).unwrap();
    assert_eq!(errno(fs::read(area.path("a"))), Errno::LOOP);
}

#[test]
fn refusals() {
    let area = Area::new();
    area.file("f", "");
    assert_eq!(errno(symlink("x", area.path("f"))), Errno::EXIST);
    assert_eq!(errno(symlink("x", area.path("none/s"))), Errno::NOENT);
    assert_eq!(errno(symlink("", area.path("s"))), Errno::NOENT);
    assert_eq!(errno(fs::read_link(area.path("f"))), Errno::INVAL);
    assert_eq!(errno(symlink("x", area.path("n".repeat(256)))), Errno::NAMETOOLONG);
}

#[test]
fn has_its_own_owner_and_times() {
    let area = Area::new();
    let target = area.file("f", "");
    symlink("f", area.path("s")).unwrap();
    std::os::unix::fs::lchown(area.path("s"), Some(7), Some(8)).unwrap();
    let meta = fs::symlink_metadata(area.path("s")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
    assert_eq!(fs::metadata(&target).unwrap().uid(), rustix::process::geteuid().as_raw());
}

#[test]
fn is_replaced_by_ln_sfn() {
    let area = Area::new();
    area.directory("one");
    area.directory("two");
    for target in ["one", "two", "one"] {
        let status = std::process::Command::new("ln")
            .args(["-sfn", target])
            .arg(area.path("current"))
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_link(area.path("current")).unwrap(), Path::new(target));
    }
}
