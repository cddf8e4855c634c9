//! link(2)

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use support::{Area, errno};

#[test]
fn gives_an_inode_a_second_name() {
    let area = Area::new();
    for path in [area.file("f", "content"), area.sealed("g", "content")] {
        let link = path.with_extension("link");
        fs::hard_link(&path, &link).unwrap();
        let (first, second) = (fs::metadata(&path).unwrap(), fs::metadata(&link).unwrap());
        assert_eq!(first.ino(), second.ino());
        assert_eq!((first.nlink(), second.nlink()), (2, 2));
        File::options().write(true).open(&link).unwrap().write_all_at(b"CON", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"CONtent");
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::metadata(&link).unwrap().nlink(), 1);
        assert_eq!(fs::read(&link).unwrap(), b"CONtent");
    }
}

#[test]
fn attributes_are_shared() {
    let area = Area::new();
    let path = area.file("f", "x");
    fs::hard_link(&path, area.path("g")).unwrap();
    support::area::set_mode(&area.path("g"), 0o640);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn equal_files_that_are_no_links_stay_apart() {
    let area = Area::new();
    let first = area.sealed("a", "the same bytes");
    let second = area.sealed("b", "the same bytes");
    let (one, two) = (fs::metadata(&first).unwrap(), fs::metadata(&second).unwrap());
    assert_ne!(one.ino(), two.ino());
    assert_eq!((one.nlink(), two.nlink()), (1, 1));
}

#[test]
fn refusals() {
    let area = Area::new();
    let file = area.file("f", "");
    area.file("taken", "");
    area.directory("d");
    assert_eq!(errno(fs::hard_link(&file, area.path("taken"))), Errno::EXIST);
    assert_eq!(errno(fs::hard_link(&file, area.path("d"))), Errno::EXIST);
    assert_eq!(errno(fs::hard_link(area.path("d"), area.path("x"))), Errno::PERM);
    assert_eq!(errno(fs::hard_link(area.path("none"), area.path("x"))), Errno::NOENT);
    assert_eq!(errno(fs::hard_link(&file, area.path("n".repeat(256)))), Errno::NAMETOOLONG);
}

#[test]
fn a_symlink_is_linked_itself_unless_asked_otherwise() {
    let area = Area::new();
    area.file("f", "target");
    symlink("f", area.path("s")).unwrap();
    linkat(CWD, area.path("s"), CWD, area.path("same"), AtFlags::empty()).unwrap();
    assert!(fs::symlink_metadata(area.path("same")).unwrap().is_symlink());
    linkat(CWD, area.path("s"), CWD, area.path("followed"), AtFlags::SYMLINK_FOLLOW).unwrap();
    assert!(fs::symlink_metadata(area.path("followed")).unwrap().is_file());
    assert_eq!(fs::metadata(area.path("f")).unwrap().nlink(), 2);
}

#[test]
fn a_thousand_names_for_one_file() {
    let area = Area::new();
    let path = area.file("f", "x");
    for index in 0..1000 {
        fs::hard_link(&path, area.path(format!("l{index}"))).unwrap();
    }
    assert_eq!(fs::metadata(area.path("l999")).unwrap().nlink(), 1001);
    for index in 0..1000 {
        fs::remove_file(area.path(format!("l{index}"))).unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
}

#[test]
fn a_link_made_while_the_file_is_written_sees_all_of_it() {
    let area = Area::new();
    let path = area.path("f");
    let file = File::create(&path).unwrap();
    file.write_all_at(b"one", 0).unwrap();
    fs::hard_link(&path, area.path("g")).unwrap();
    file.write_all_at(b"two", 3).unwrap();
    assert_eq!(fs::read(area.path("g")).unwrap(), b"onetwo");
    drop(file);
    area.settle(&path);
    assert_eq!(fs::read(area.path("g")).unwrap(), b"onetwo");
}

#[test]
fn the_limit_of_names_is_emlink() {
    let area = Area::new();
    let path = area.file("f", "x");
    let directory = area.directory("d");
    // ext4's limit, which is ours too; other local filesystems have others.
    let mut made = 1_u64;
    let refused = loop {
        match fs::hard_link(&path, directory.join(made.to_string())) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made <= 65_000 || area.cairn().is_none(), "more names than the limit");
        if made > 70_000 {
            return;
        }
    };
    assert_eq!(errno::<(), _>(Err(refused)), Errno::MLINK);
    assert_eq!(fs::metadata(&path).unwrap().nlink(), made);
}
