//! mkdir(2)

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use rustix::io::Errno;

use support::{Area, errno};

#[test]
fn makes_an_empty_directory() {
    let area = Area::new();
    let path = area.path("d");
    fs::create_dir(&path).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.is_dir());
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    assert_eq!(meta.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(meta.gid(), rustix::process::getegid().as_raw());
}

#[test]
fn applies_mode_and_umask() {
    let area = Area::new();
    let path = area.path("d");
    fs::DirBuilder::new().mode(0o1750).create(&path).unwrap();
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o1750 & !umask.as_raw_mode());
}

#[test]
fn refuses_existing_names_of_any_kind() {
    let area = Area::new();
    area.file("f", "");
    area.directory("d");
    std::os::unix::fs::symlink("nowhere", area.path("s")).unwrap();
    for name in ["f", "d", "s"] {
        assert_eq!(errno(fs::create_dir(area.path(name))), Errno::EXIST, "{name}");
    }
}

#[test]
fn needs_its_parent() {
    let area = Area::new();
    area.file("f", "");
    assert_eq!(errno(fs::create_dir(area.path("a/b"))), Errno::NOENT);
    assert_eq!(errno(fs::create_dir(area.path("f/b"))), Errno::NOTDIR);
}

#[test]
fn takes_names_of_255_bytes_and_no_more() {
    let area = Area::new();
    fs::create_dir(area.path("n".repeat(255))).unwrap();
    assert_eq!(errno(fs::create_dir(area.path("n".repeat(256)))), Errno::NAMETOOLONG);
}

#[test]
fn changes_the_times_of_the_parent() {
    let area = Area::new();
    let parent = area.directory("p");
    let before = fs::metadata(&parent).unwrap();
    fs::create_dir(parent.join("d")).unwrap();
    let after = fs::metadata(&parent).unwrap();
    let time = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec());
    assert!(time(&after) >= time(&before));
    assert!((after.ctime(), after.ctime_nsec()) >= (before.ctime(), before.ctime_nsec()));
}

#[test]
fn inherits_the_group_of_a_setgid_parent() {
    let area = Area::new();
    let parent = area.directory("p");
    std::os::unix::fs::chown(&parent, None, Some(1234)).unwrap();
    support::area::set_mode(&parent, 0o2775);
    fs::create_dir(parent.join("d")).unwrap();
    let meta = fs::metadata(parent.join("d")).unwrap();
    assert_eq!(meta.gid(), 1234);
    assert_eq!(meta.mode() & 0o2000, 0o2000, "a directory inherits the bit itself");
    fs::write(parent.join("f"), "").unwrap();
    assert_eq!(fs::metadata(parent.join("f")).unwrap().gid(), 1234);
}

#[test]
fn goes_a_hundred_levels_deep() {
    let area = Area::new();
    let mut path = area.root().to_owned();
    for level in 0..100 {
        path.push(format!("level{level}"));
        fs::create_dir(&path).unwrap();
    }
    fs::write(path.join("f"), "deep").unwrap();
    assert_eq!(fs::read(path.join("f")).unwrap(), b"deep");
}

#[test]
fn a_setgid_parent_passes_its_group_to_all_that_others_make() {
    let area = Area::shared();
    let parent = area.directory("p");
    rustix::fs::chown(&parent, None, Some(rustix::fs::Gid::from_raw(5))).unwrap();
    support::area::set_mode(&parent, 0o2777);
    let script = "umask 0; mkdir \"$1/d\" && : > \"$1/f\" && mkfifo \"$1/p\" && ln -s x \"$1/s\" && \
                  mkdir \"$1/d/deep\"";
    let output = support::area::as_nobody(script, &[&parent]);
    assert!(output.status.success(), "{output:?}");
    for (name, mode) in [("d", 0o2777), ("f", 0o666), ("p", 0o666), ("d/deep", 0o2777)] {
        let meta = fs::metadata(parent.join(name)).unwrap();
        assert_eq!((meta.gid(), meta.mode() & 0o7777), (5, mode), "{name}");
    }
    assert_eq!(fs::symlink_metadata(parent.join("s")).unwrap().gid(), 5);
    // Not in the group: the bit that would make a program run with it is lost.
    let script = "umask 0; cp /bin/true \"$1/t\" && chmod 2755 \"$1/t\"";
    assert!(support::area::as_nobody(script, &[&parent]).status.success());
    assert_eq!(fs::metadata(parent.join("t")).unwrap().mode() & 0o7777, 0o755);
}
