//! Areas over versions whose content is not there (L13).

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};

use crate::shared::{Origin, is_stored};

/// L13: none of these needs the bytes.
#[test]
fn l13_changes_that_need_no_bytes_fetch_none() {
    let origin = Origin::new();
    let area = origin.cairn.area("lib", "work@latest");
    fs::set_permissions(area.join("a"), Permissions::from_mode(0o600)).unwrap();
    fs::rename(area.join("dir/b"), area.join("moved")).unwrap();
    fs::remove_file(area.join("dir/deep/c")).unwrap();
    fs::write(area.join("a"), "anew").unwrap();
    origin.cairn.cli(&["commit", "lib/work"]);
    assert_eq!(origin.requests(), 0);
    let version = origin.cairn.versions("lib/2");
    assert_eq!(fs::read(version.join("a")).unwrap(), b"anew");
    assert_eq!(fs::metadata(version.join("moved")).unwrap().len(), 6);
    assert_eq!(origin.requests(), 0, "published, and still not here");
    assert_eq!(fs::read(version.join("moved")).unwrap(), b"second");
    assert_eq!(origin.requests(), 1);
    origin.check();
}

/// `copy_file_range` over the whole file shares the name.
#[test]
fn l13_a_copy_of_a_whole_file_fetches_nothing() {
    let origin = Origin::new();
    let area = origin.cairn.area("lib", "work@latest");
    let from = fs::File::open(area.join("dir/b")).unwrap();
    let to = fs::File::create(area.join("copy")).unwrap();
    let copied = rustix::fs::copy_file_range(&from, None, &to, None, 1 << 20).unwrap();
    assert_eq!(copied, 6);
    drop(to);
    assert_eq!(origin.requests(), 0);
    origin.cairn.cli(&["commit", "lib/work"]);
    origin.cairn.cli(&["delete", "lib/1", "--force"]);
    origin.cairn.cli(&["gc", "--wait", "--protect", "0"]);
    assert_eq!(fs::read(origin.cairn.versions("lib/2/copy")).unwrap(), b"second");
    origin.check();
}

#[test]
fn l13_a_change_of_a_part_fetches_the_rest_first() {
    let mut origin = Origin::new();
    let area = origin.cairn.area("lib", "work@latest");
    let file = OpenOptions::new().write(true).open(area.join("dir/b")).unwrap();
    assert_eq!(origin.asked_for("dir/b"), 1, "before the first byte is written");
    file.write_all_at(b"S", 0).unwrap();
    drop(file);
    OpenOptions::new().append(true).open(area.join("a")).unwrap().write_all(b"!").unwrap();
    fs::File::options().write(true).open(area.join("dir/deep/c")).unwrap().set_len(2).unwrap();
    assert_eq!(fs::read(area.join("dir/b")).unwrap(), b"Second");
    origin.cairn.restart();
    origin.cairn.cli(&["commit", "lib/work"]);
    let version = origin.cairn.versions("lib/2");
    assert_eq!(fs::read(version.join("dir/b")).unwrap(), b"Second");
    assert_eq!(fs::read(version.join("a")).unwrap(), b"first!");
    assert_eq!(fs::read(version.join("dir/deep/c")).unwrap(), b"th");
    origin.check();
}

#[test]
fn truncate_by_path_fetches_what_stays() {
    let origin = Origin::new();
    let area = origin.cairn.area("lib", "work@latest");
    let truncate = |path: &str, size: &str| {
        let path = area.join(path);
        let status = std::process::Command::new("truncate").args(["-s", size]).arg(path).status();
        assert!(status.unwrap().success());
    };
    drop(fs::File::create(area.join("a")).unwrap());
    assert_eq!(origin.requests(), 0, "nothing of it is needed");
    truncate("dir/b", "3");
    assert_eq!(fs::read(area.join("dir/b")).unwrap(), b"sec");
    origin.check();
}

/// A row of the journal keeps the name over a restart, and so does the version that is made of it.
#[test]
fn a_moved_file_is_found_again_after_a_crash() {
    let mut origin = Origin::new();
    let area = origin.cairn.area("lib", "work@latest");
    fs::rename(area.join("dir/b"), area.join("moved")).unwrap();
    fs::File::open(&area).unwrap().sync_all().unwrap();
    origin.cairn.crash();
    let area = origin.cairn.staging("lib/work@latest");
    assert_eq!(fs::metadata(area.join("moved")).unwrap().len(), 6);
    assert!(!is_stored(&origin.cairn, b"second"));
    assert_eq!(fs::read(area.join("moved")).unwrap(), b"second");
    origin.check();
}
