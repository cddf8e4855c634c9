//! H15: the table of ARCHITECTURE.md, line by line: which operation is possible at which level.
//! What is refused changes nothing.

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, XattrFlags, mknodat, renameat_with, setxattr};
use rustix::io::Errno;

use support::area::set_mode;
use support::{Cairn, errno, tree};

/// A repository with a version, a tag and two areas, and another repository.
fn sample() -> Cairn {
    let cairn = Cairn::start();
    fs::write(cairn.area("lib", "v1").join("f"), "x").unwrap();
    cairn.publish("lib", "v1").unwrap();
    let area = cairn.area("lib", "a");
    fs::create_dir(area.join("d")).unwrap();
    fs::write(area.join("f"), "x").unwrap();
    cairn.area("lib", "b");
    fs::create_dir(cairn.staging("other")).unwrap();
    cairn
}

/// The directories of the writable mount that are no part of an area.
fn levels(cairn: &Cairn) -> [PathBuf; 5] {
    [cairn.mnt(), cairn.staging(""), cairn.tags(""), cairn.staging("lib"), cairn.tags("lib")]
}

/// Everything that a user sees, but for versions.
fn shown(cairn: &Cairn) -> [tree::Tree; 2] {
    [tree::read(&cairn.staging("")), tree::read(&cairn.tags(""))]
}

#[track_caller]
fn not_permitted<T: std::fmt::Debug, E: Into<std::io::Error>>(at: &Path, result: Result<T, E>) {
    assert_eq!(errno(result), Errno::PERM, "{}", at.display());
}

#[test]
fn mkdir_makes_repositories_and_areas() {
    let cairn = sample();
    for parent in [cairn.mnt(), cairn.tags(""), cairn.tags("lib")] {
        not_permitted(&parent, fs::create_dir(parent.join("new")));
    }
    fs::create_dir(cairn.staging("new")).unwrap();
    fs::create_dir(cairn.staging("lib/new")).unwrap();
    fs::create_dir(cairn.staging("lib/new/directory")).unwrap();
    assert_eq!(errno(fs::create_dir(cairn.versions("new"))), Errno::EXIST);
    assert_eq!(errno(fs::create_dir(cairn.versions("newer"))), Errno::ROFS);
}

#[test]
fn rmdir_removes_what_is_empty() {
    let cairn = sample();
    for fixed in [cairn.staging(""), cairn.tags(""), cairn.tags("lib"), cairn.tags("other")] {
        not_permitted(&fixed, fs::remove_dir(&fixed));
    }
    // A mount point is busy, whoever asks.
    assert_eq!(errno(fs::remove_dir(cairn.versions(""))), Errno::BUSY);
    assert_eq!(errno(fs::remove_dir(cairn.staging("lib"))), Errno::NOTEMPTY);
    assert_eq!(errno(fs::remove_dir(cairn.staging("lib/a"))), Errno::NOTEMPTY);
    fs::remove_dir(cairn.staging("lib/b")).unwrap();
    fs::remove_dir(cairn.staging("other")).unwrap();
}

#[test]
fn files_and_links_are_made_in_areas_only() {
    let cairn = sample();
    let before = shown(&cairn);
    for parent in levels(&cairn) {
        not_permitted(&parent, File::create(parent.join("f")));
        not_permitted(&parent, mknodat(CWD, parent.join("p"), FileType::Fifo, Mode::RUSR, 0));
        let link = fs::hard_link(cairn.staging("lib/a/f"), parent.join("l"));
        not_permitted(&parent, link);
        if parent != cairn.tags("lib") {
            not_permitted(&parent, symlink("1", parent.join("s")));
        }
    }
    assert_eq!(errno(symlink("nothing", cairn.tags("lib/s"))), Errno::INVAL);
    assert!(shown(&cairn) == before);
    symlink("1", cairn.tags("lib/s")).unwrap();
}

#[test]
fn unlink_removes_tags_and_files() {
    let cairn = sample();
    let latest = cairn.tags("lib/latest");
    not_permitted(&latest, fs::remove_file(&latest));
    fs::remove_file(cairn.tags("lib/v1")).unwrap();
    fs::remove_file(cairn.staging("lib/a/f")).unwrap();
}

#[test]
fn renames_within_a_level() {
    let cairn = sample();
    let before = shown(&cairn);
    for (parent, from, to) in [
        (cairn.mnt(), "staging", "new"),
        (cairn.mnt(), "staging", "tags"),
        (cairn.staging(""), "lib", "new"),
        (cairn.tags(""), "lib", "new"),
        (cairn.staging("lib"), "a", "new"),
        (cairn.staging("lib"), "a", "b"),
    ] {
        not_permitted(&parent, fs::rename(parent.join(from), parent.join(to)));
    }
    assert!(shown(&cairn) == before);
    fs::rename(cairn.tags("lib/v1"), cairn.tags("lib/renamed")).unwrap();
    assert_eq!(fs::read(cairn.tags("lib/renamed/f")).unwrap(), b"x");
    let whiteout = RenameFlags::WHITEOUT;
    let (from, to) = (cairn.staging("lib/a/f"), cairn.staging("lib/a/g"));
    assert_eq!(errno(renameat_with(CWD, from, CWD, to, whiteout)), Errno::INVAL);
}

#[test]
fn renames_across_levels_are_refused() {
    let cairn = sample();
    let before = shown(&cairn);
    for (from, to) in [
        (cairn.staging("lib/a/d"), cairn.staging("lib/d")),
        (cairn.staging("lib/a/d"), cairn.staging("d")),
        (cairn.staging("lib/a/f"), cairn.staging("lib/f")),
        (cairn.staging("lib/a/f"), cairn.tags("lib/f")),
        (cairn.staging("lib/a/d"), cairn.tags("lib/d")),
        (cairn.staging("lib/a"), cairn.staging("lib/b/a")),
        (cairn.staging("lib/a"), cairn.staging("other/a")),
        (cairn.staging("lib/a"), cairn.staging("new")),
        (cairn.staging("lib/a"), cairn.tags("other/a")),
        (cairn.staging("lib/a"), cairn.tags("new")),
        (cairn.staging("lib/a"), cairn.mnt().join("new")),
        (cairn.staging("lib"), cairn.tags("new")),
        (cairn.tags("lib/v1"), cairn.staging("lib/b/v1")),
        (cairn.tags("lib/v1"), cairn.tags("other/v1")),
    ] {
        not_permitted(&from, fs::rename(&from, &to));
    }
    let exchange = |from, to| renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE);
    not_permitted(&cairn.tags("lib/v1"), exchange(cairn.staging("lib/a"), cairn.tags("lib/v1")));
    not_permitted(&cairn.tags("lib"), exchange(cairn.staging("lib"), cairn.tags("lib")));
    assert!(shown(&cairn) == before);
    // Another filesystem: mv copies, and fails at the first name.
    let into_versions = fs::rename(cairn.staging("lib/a"), cairn.versions("lib/9"));
    assert_eq!(errno(into_versions), Errno::XDEV);
}

#[test]
fn files_cross_areas_by_copy() {
    let cairn = sample();
    let (from, to) = (cairn.staging("lib/a/f"), cairn.staging("lib/b/f"));
    assert_eq!(errno(fs::rename(&from, &to)), Errno::XDEV);
    assert_eq!(errno(fs::hard_link(&from, &to)), Errno::XDEV);
    let mv = std::process::Command::new("mv").args([&from, &to]).status().unwrap();
    assert!(mv.success());
    assert_eq!(fs::read(&to).unwrap(), b"x");
    assert!(!from.exists());
}

#[test]
fn owner_and_mode_belong_to_repositories_and_below() {
    let cairn = sample();
    for fixed in [cairn.mnt(), cairn.staging(""), cairn.tags("")] {
        let mode = fs::metadata(&fixed).unwrap().permissions();
        not_permitted(&fixed, fs::set_permissions(&fixed, mode));
        not_permitted(&fixed, chown(&fixed, Some(1), None));
    }
    for free in [cairn.staging("lib"), cairn.tags("lib"), cairn.staging("lib/a")] {
        set_mode(&free, 0o750);
        chown(&free, Some(1), None).unwrap();
    }
    let versions = fs::metadata(cairn.versions("")).unwrap().permissions();
    assert_eq!(errno(fs::set_permissions(cairn.versions(""), versions)), Errno::ROFS);
}

#[test]
fn xattrs_belong_to_areas_and_below() {
    let cairn = sample();
    let set = |path: &Path, name: &str| setxattr(path, name, b"1", XattrFlags::empty());
    for fixed in levels(&cairn) {
        not_permitted(&fixed, set(&fixed, "user.a"));
        not_permitted(&fixed, set(&fixed, "user.cairn.message"));
    }
    for free in [cairn.staging("lib/a"), cairn.staging("lib/a/f")] {
        set(&free, "user.a").unwrap();
        set(&free, "trusted.a").unwrap();
        assert_eq!(errno(set(&free, "system.unknown")), Errno::OPNOTSUPP);
    }
    set(&cairn.staging("lib/a"), "user.cairn.author").unwrap();
    not_permitted(&cairn.staging("lib/a/f"), set(&cairn.staging("lib/a/f"), "user.cairn.author"));
}

#[test]
fn an_area_beside_one_of_the_same_name_with_a_base() {
    let cairn = sample();
    let based = cairn.area("lib", "a@1");
    assert_eq!(fs::read(based.join("f")).unwrap(), b"x");
    fs::write(based.join("f"), "based").unwrap();
    assert_eq!(fs::read(cairn.staging("lib/a/f")).unwrap(), b"x");
    cairn.publish("lib", "a@1").unwrap();
    assert_eq!(fs::read(cairn.tags("lib/a/f")).unwrap(), b"based");
    // The name is taken now, and the other area stays.
    assert!(cairn.publish("lib", "a").is_err());
    assert!(cairn.staging("lib/a/d").is_dir());
}

#[test]
fn a_closed_area_root_stays_closed_in_the_version() {
    let cairn = Cairn::start_with(&["-o", "allow_other"]);
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "x").unwrap();
    set_mode(&area, 0o500);
    cairn.publish("lib", "a").unwrap();
    let output = support::area::as_nobody("ls \"$1\"", &[&cairn.versions("lib/1")]);
    assert!(!output.status.success());
    // A later area starts with the same root, and root works in it.
    fs::write(cairn.area("lib", "b@1").join("g"), "y").unwrap();
    cairn.publish("lib", "b@1").unwrap();
    let root = tree::read(&cairn.versions("lib/2")).remove(Path::new("")).unwrap();
    assert_eq!(root.mode, 0o500);
}

#[test]
fn attributes_of_an_area_become_the_version_root() {
    let cairn = sample();
    let area = cairn.staging("lib/a");
    chown(&area, Some(3), Some(4)).unwrap();
    set_mode(&area, 0o2750);
    setxattr(&area, "user.note", b"on the root", XattrFlags::empty()).unwrap();
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 7);
    File::open(&area).unwrap().set_modified(stamp).unwrap();
    cairn.publish("lib", "a").unwrap();
    let root = tree::read(&cairn.versions("lib/2")).remove(Path::new("")).unwrap();
    assert_eq!((root.mode, root.uid, root.gid), (0o2750, 3, 4));
    assert_eq!(root.mtime, (1_000_000_000, 7));
    assert_eq!(root.xattrs[&b"user.note"[..]], b"on the root");
}
