//! unlink(2)

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use support::{Area, check, errno};

#[test]
fn removes_fresh_and_sealed_files() {
    let area = Area::new();
    for path in [area.file("f", "x"), area.sealed("g", "y")] {
        fs::remove_file(&path).unwrap();
        assert_eq!(errno(fs::metadata(&path)), Errno::NOENT);
        assert_eq!(errno(fs::remove_file(&path)), Errno::NOENT);
    }
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
}

#[test]
fn removes_a_link_not_its_target() {
    let area = Area::new();
    let target = area.file("f", "x");
    std::os::unix::fs::symlink("f", area.path("s")).unwrap();
    fs::remove_file(area.path("s")).unwrap();
    assert!(target.exists());
}

#[test]
fn refuses_a_directory() {
    let area = Area::new();
    check::one_of(rustix::fs::unlink(area.directory("d")), &[Errno::ISDIR, Errno::PERM]);
}

#[test]
fn one_of_two_equal_files_leaves_the_other() {
    let area = Area::new();
    let first = area.sealed("a", "equal");
    let second = area.sealed("b", "equal");
    fs::remove_file(&first).unwrap();
    assert_eq!(fs::read(&second).unwrap(), b"equal");
}

#[test]
fn a_name_made_again_is_a_new_file() {
    let area = Area::new();
    let path = area.sealed("f", "old");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
}

#[test]
fn changes_the_ctime_of_the_remaining_link() {
    let area = Area::new();
    let path = area.file("f", "x");
    fs::hard_link(&path, area.path("g")).unwrap();
    let before = fs::metadata(&path).unwrap();
    fs::remove_file(area.path("g")).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.nlink(), 1);
    assert!((after.ctime(), after.ctime_nsec()) >= (before.ctime(), before.ctime_nsec()));
}
