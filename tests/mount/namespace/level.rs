//! H15: which operation is possible at which level; what is refused changes nothing

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::common::{Cairn, errno, tree};

/// A repository with a version, a tag and an area.
fn sample() -> Cairn {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "v1").join("f"), "x").unwrap();
    cairn.publish("lib", "v1").unwrap();
    let area = cairn.area("lib", "a");
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("f"), "x").unwrap();
    cairn.area("lib", "b");
    cairn
}

/// Asserts a refusal that a user understands: never EIO, ENOSYS or ESTALE.
#[track_caller]
fn refused<T: std::fmt::Debug, E: Into<std::io::Error>>(what: &str, result: Result<T, E>) {
    let found = errno(result);
    let unclear = [Errno::IO, Errno::NOSYS, Errno::STALE, Errno::NOTCONN];
    assert!(!unclear.contains(&found), "{what}: {found:?}");
}

#[test]
fn the_top_level_is_fixed() {
    let cairn = sample();
    let mut names: Vec<_> = fs::read_dir(cairn.mnt())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["staging", "tags", "versions"]);
    refused("mkdir", fs::create_dir(cairn.mnt().join("x")));
    refused("create", fs::write(cairn.mnt().join("x"), ""));
    refused("symlink", symlink("x", cairn.mnt().join("x")));
    for name in names {
        let path = cairn.mnt().join(&name);
        refused("rmdir", fs::remove_dir(&path));
        refused("rename", fs::rename(&path, cairn.mnt().join("x")));
    }
    assert_eq!(fs::read_dir(cairn.mnt()).unwrap().count(), 3);
}

#[test]
fn only_directories_are_made_above_the_areas() {
    let cairn = sample();
    for parent in [cairn.staging(""), cairn.staging("lib")] {
        refused("create", File::create(parent.join("f")));
        refused("symlink", symlink("x", parent.join("s")));
        refused("link", fs::hard_link(cairn.staging("lib/a/f"), parent.join("l")));
        let kind = rustix::fs::FileType::Fifo;
        let made = rustix::fs::mknodat(CWD, parent.join("p"), kind, rustix::fs::Mode::RUSR, 0);
        refused("mknod", made);
    }
    refused("create", File::create(cairn.tags("f")));
    refused("symlink", symlink("1", cairn.tags("s")));
}

#[test]
fn renames_between_levels_are_refused() {
    let cairn = sample();
    let before = tree::read(&cairn.staging(""));
    let moves: [(PathBuf, PathBuf); 9] = [
        (cairn.staging("lib/a/d"), cairn.staging("lib/d")),
        (cairn.staging("lib/a/d"), cairn.staging("d")),
        (cairn.staging("lib/a/f"), cairn.staging("lib/f")),
        (cairn.staging("lib/a/f"), cairn.tags("lib/f")),
        (cairn.staging("lib/a"), cairn.staging("lib/b/a")),
        (cairn.staging("lib/a"), cairn.staging("a")),
        (cairn.staging("lib/a"), cairn.tags("a")),
        (cairn.staging("lib"), cairn.tags("other")),
        (cairn.tags("lib/v1"), cairn.staging("lib/b/v1")),
    ];
    for (from, to) in moves {
        let what = format!("{} to {}", from.display(), to.display());
        refused(&what, fs::rename(&from, &to));
    }
    assert_eq!(tree::differences(&before, &tree::read(&cairn.staging(""))), [""; 0]);
    assert!(cairn.tags("lib/v1").exists());
}

#[test]
fn files_cross_areas_by_copy() {
    let cairn = sample();
    let moved = fs::rename(cairn.staging("lib/a/f"), cairn.staging("lib/b/f"));
    assert_eq!(errno(moved), Errno::XDEV);
    let linked = fs::hard_link(cairn.staging("lib/a/f"), cairn.staging("lib/b/f"));
    assert_eq!(errno(linked), Errno::XDEV);
    let status = std::process::Command::new("mv")
        .args([cairn.staging("lib/a/f"), cairn.staging("lib/b/f")])
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read(cairn.staging("lib/b/f")).unwrap(), b"x");
    assert!(!cairn.staging("lib/a/f").exists());
}

#[test]
fn areas_are_not_exchanged_with_tags() {
    let cairn = sample();
    let exchange =
        |from: PathBuf, to: PathBuf| renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE);
    refused("area and tag", exchange(cairn.staging("lib/a"), cairn.tags("lib/v1")));
    refused("repositories", exchange(cairn.staging("lib"), cairn.tags("lib")));
    assert!(cairn.staging("lib/a/d").is_dir());
    assert_eq!(fs::read(cairn.tags("lib/v1/f")).unwrap(), b"x");
}

#[test]
fn attributes_of_the_fixed_directories_stay() {
    let cairn = sample();
    for path in [cairn.mnt(), cairn.staging(""), cairn.tags("")] {
        let flags = rustix::fs::XattrFlags::empty();
        refused("setxattr", rustix::fs::setxattr(&path, "user.a", b"1", flags));
    }
    refused(
        "chmod",
        fs::set_permissions(
            cairn.versions(""),
            fs::metadata(cairn.versions("")).unwrap().permissions(),
        ),
    );
}

#[test]
fn attributes_of_an_area_become_the_version_root() {
    use std::os::unix::fs::MetadataExt;
    let cairn = sample();
    let area = cairn.staging("lib/a");
    crate::common::area::set_mode(&area, 0o2750);
    std::os::unix::fs::chown(&area, Some(3), Some(4)).unwrap();
    crate::common::area::set_mode(&area, 0o2750);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&area, "user.note", b"on the root", flags).unwrap();
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 7);
    File::open(&area).unwrap().set_modified(stamp).unwrap();
    cairn.publish("lib", "a").unwrap();
    let root = tree::read(&cairn.versions("lib/2")).remove(std::path::Path::new("")).unwrap();
    assert_eq!((root.mode, root.uid, root.gid), (0o2750, 3, 4));
    assert_eq!(root.mtime, (1_000_000_000, 7));
    assert_eq!(root.xattrs[&b"user.note"[..]], b"on the root");
    assert_eq!(fs::metadata(cairn.versions("lib/2")).unwrap().mode() & 0o7777, 0o2750);
}
