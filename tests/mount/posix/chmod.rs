//! chmod(2), fchmod(2)

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use support::Area;
use support::area::set_mode;

#[test]
fn sets_every_bit() {
    let area = Area::new();
    let (file, sealed, directory) =
        (area.file("f", "x"), area.sealed("g", "y"), area.directory("d"));
    for path in [file, sealed, directory] {
        for mode in [0o000, 0o644, 0o755, 0o1777, 0o4755, 0o2711, 0o7777, 0o600] {
            set_mode(&path, mode);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }
}

#[test]
fn keeps_content_and_mtime() {
    let area = Area::new();
    let path = area.sealed("f", "content");
    let before = fs::metadata(&path).unwrap();
    set_mode(&path, 0o640);
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()));
    assert!((after.ctime(), after.ctime_nsec()) >= (before.ctime(), before.ctime_nsec()));
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

#[test]
fn through_a_handle_and_through_a_link() {
    let area = Area::new();
    let path = area.file("f", "x");
    File::open(&path).unwrap().set_permissions(fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o604);
    std::os::unix::fs::symlink("f", area.path("s")).unwrap();
    set_mode(&area.path("s"), 0o700);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn does_not_close_handles_already_open() {
    use std::io::Write;
    let area = Area::new();
    let path = area.path("f");
    let mut file = File::create(&path).unwrap();
    set_mode(&path, 0);
    file.write_all(b"still").unwrap();
    drop(file);
    set_mode(&path, 0o600);
    assert_eq!(fs::read(&path).unwrap(), b"still");
}
