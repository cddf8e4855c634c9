//! chown(2), fchown(2), lchown(2)

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown, fchown};

use support::Area;
use support::area::{as_nobody, set_mode};

#[test]
fn sets_owner_and_group_independently() {
    let area = Area::new();
    for path in [area.file("f", "x"), area.sealed("g", "y"), area.directory("d")] {
        chown(&path, Some(1000), None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), 1000);
        chown(&path, None, Some(4_000_000_000)).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (1000, 4_000_000_000));
        fchown(File::open(&path).unwrap(), Some(0), Some(0)).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (0, 0));
    }
}

#[test]
fn clears_the_set_id_bits_of_an_executable() {
    let area = Area::new();
    let path = area.file("f", "x");
    set_mode(&path, 0o6755);
    chown(&path, Some(1000), Some(1000)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn others_cannot_give_files_away() {
    let area = Area::shared();
    let path = area.file("f", "x");
    chown(&path, Some(support::area::NOBODY), None).unwrap();
    let output = as_nobody("chown 0 \"$1\"", &[&path]);
    assert!(!output.status.success());
    assert_eq!(fs::metadata(&path).unwrap().uid(), support::area::NOBODY);
}
