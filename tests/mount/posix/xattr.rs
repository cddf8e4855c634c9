//! setxattr(2), getxattr(2), listxattr(2), removexattr(2)

use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, lremovexattr, lsetxattr, removexattr, setxattr};
use rustix::io::Errno;

use support::{Area, errno, tree};

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn get(path: &Path, name: &str) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; 65536];
    let length = getxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

#[test]
fn values_come_back() {
    let area = Area::new();
    for path in [area.file("f", "x"), area.sealed("g", "y"), area.directory("d")] {
        set(&path, "user.text", b"value");
        set(&path, "user.empty", b"");
        set(&path, "user.binary", &[0, 255, 0, 1]);
        assert_eq!(get(&path, "user.text").unwrap(), b"value");
        assert_eq!(get(&path, "user.empty").unwrap(), b"");
        assert_eq!(get(&path, "user.binary").unwrap(), [0, 255, 0, 1]);
        let names: Vec<_> = tree::xattrs(&path).into_keys().collect();
        assert_eq!(names, [&b"user.binary"[..], b"user.empty", b"user.text"]);
        set(&path, "user.text", b"changed");
        assert_eq!(get(&path, "user.text").unwrap(), b"changed");
        removexattr(&path, "user.text").unwrap();
        assert_eq!(errno(get(&path, "user.text")), Errno::NODATA);
        assert_eq!(errno(removexattr(&path, "user.text")), Errno::NODATA);
    }
}

#[test]
fn create_and_replace_check_first() {
    let area = Area::new();
    let path = area.file("f", "x");
    let replaced = setxattr(&path, "user.a", b"1", XattrFlags::REPLACE);
    assert_eq!(errno(replaced), Errno::NODATA);
    setxattr(&path, "user.a", b"1", XattrFlags::CREATE).unwrap();
    assert_eq!(errno(setxattr(&path, "user.a", b"2", XattrFlags::CREATE)), Errno::EXIST);
    setxattr(&path, "user.a", b"3", XattrFlags::REPLACE).unwrap();
    assert_eq!(get(&path, "user.a").unwrap(), b"3");
}

#[test]
fn a_short_buffer_is_erange_and_none_asks_the_size() {
    let area = Area::new();
    let path = area.file("f", "x");
    set(&path, "user.a", b"0123456789");
    assert_eq!(errno(getxattr(&path, "user.a", &mut [0_u8; 5][..])), Errno::RANGE);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.a").unwrap(), 10);
    assert_eq!(errno(rustix::fs::listxattr(&path, &mut [0_u8; 3][..])), Errno::RANGE);
    assert_eq!(rustix::fs::listxattr_query(&path).unwrap(), "user.a\0".len());
}

#[test]
fn large_values_and_many_names() {
    let area = Area::new();
    let path = area.file("f", "x");
    // What fits into one block beside the inode of ext4 must fit here.
    set(&path, "user.large", &[7; 2000]);
    for index in 0..20 {
        set(&path, &format!("user.n{index}"), &[b'v'; 10]);
    }
    assert_eq!(get(&path, "user.large").unwrap(), [7; 2000]);
    assert_eq!(tree::xattrs(&path).len(), 21);
    area.settle(&path);
    assert_eq!(tree::xattrs(&path).len(), 21);
}

#[test]
fn names_outside_of_the_known_namespaces_are_refused() {
    let area = Area::new();
    let path = area.file("f", "x");
    let refused = setxattr(&path, "unknown.name", b"1", XattrFlags::empty());
    assert_eq!(errno(refused), Errno::OPNOTSUPP);
    for name in ["user.", "trusted.", "security."] {
        assert_eq!(errno(setxattr(&path, name, b"1", XattrFlags::empty())), Errno::INVAL);
    }
}

#[test]
fn trusted_attributes_are_kept_for_root() {
    let area = Area::new();
    let path = area.file("f", "x");
    set(&path, "trusted.secret", b"1");
    assert_eq!(get(&path, "trusted.secret").unwrap(), b"1");
}

#[test]
fn user_attributes_of_a_symlink_are_refused() {
    let area = Area::new();
    let path = area.path("s");
    std::os::unix::fs::symlink("x", &path).unwrap();
    let refused = lsetxattr(&path, "user.a", b"1", XattrFlags::empty());
    assert_eq!(errno(refused), Errno::PERM);
    lsetxattr(&path, "trusted.a", b"1", XattrFlags::empty()).unwrap();
    lremovexattr(&path, "trusted.a").unwrap();
}

#[test]
fn links_share_and_copies_do_not() {
    let area = Area::new();
    let path = area.sealed("f", "same");
    let equal = area.sealed("g", "same");
    std::fs::hard_link(&path, area.path("l")).unwrap();
    set(&path, "user.a", b"1");
    assert_eq!(get(&area.path("l"), "user.a").unwrap(), b"1");
    assert_eq!(errno(get(&equal, "user.a")), Errno::NODATA);
}

#[test]
fn writing_keeps_them_and_renaming_too() {
    let area = Area::new();
    let path = area.sealed("f", "one");
    set(&path, "user.a", b"kept");
    std::fs::write(&path, "two").unwrap();
    std::fs::rename(&path, area.path("g")).unwrap();
    area.settle(&area.path("g"));
    assert_eq!(get(&area.path("g"), "user.a").unwrap(), b"kept");
}

#[test]
fn security_attributes_are_kept_and_only_roots_to_set() {
    let area = Area::shared();
    let path = area.file("f", "x");
    support::area::set_mode(&path, 0o666);
    set(&path, "security.label", b"1");
    assert_eq!(get(&path, "security.label").unwrap(), b"1");
    let line = "setfattr -n security.label -v 2 \"$1\"";
    assert!(!support::area::as_nobody(line, &[&path]).status.success());
    let line = "setfattr -n trusted.label -v 2 \"$1\"";
    assert!(!support::area::as_nobody(line, &[&path]).status.success());
    let line = "setfattr -n user.label -v 2 \"$1\"";
    assert!(support::area::as_nobody(line, &[&path]).status.success());
}

#[test]
fn access_control_lists_are_refused_not_dropped() {
    let area = Area::new();
    if area.cairn().is_none() {
        return;
    }
    let path = area.file("f", "x");
    let directory = area.directory("d");
    // A version and the entries user::rw-, group::r--, other::r--.
    let entries = [(1, 6), (4, 4), (32, 4)];
    let mut value = vec![2, 0, 0, 0];
    for (tag, permissions) in entries {
        value.extend([tag, 0, permissions, 0, 255, 255, 255, 255]);
    }
    for (path, name) in [
        (&path, "system.posix_acl_access"),
        (&directory, "system.posix_acl_access"),
        (&directory, "system.posix_acl_default"),
    ] {
        assert_eq!(errno(setxattr(path, name, &value, XattrFlags::empty())), Errno::OPNOTSUPP);
        assert_eq!(errno(get(path, name)), Errno::OPNOTSUPP);
    }
    // What has none is copied with its mode; what has one is refused by name, with an exit status.
    let outside = tempfile::NamedTempFile::new().unwrap();
    let copy = |name: &str| {
        let mut cp = std::process::Command::new("cp");
        cp.arg("-a").arg(outside.path()).arg(area.path(name)).status().unwrap().success()
    };
    assert!(copy("plain"));
    let mut setfacl = std::process::Command::new("setfacl");
    if setfacl.args(["-m", "u:1:rw"]).arg(outside.path()).status().unwrap().success() {
        assert!(!copy("with-list"));
    }
}
