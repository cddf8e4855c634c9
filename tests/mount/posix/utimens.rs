//! utimensat(2), futimens(2)

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use support::Area;

fn stamp(seconds: i64, nanoseconds: i64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}

fn set(path: &Path, access: Timespec, modification: Timespec) {
    let times = Timestamps { last_access: access, last_modification: modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn mtime(path: &Path) -> (i64, i64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.mtime(), meta.mtime_nsec())
}

#[test]
fn keeps_nanoseconds_of_every_kind() {
    let area = Area::new();
    std::os::unix::fs::symlink("x", area.path("s")).unwrap();
    let paths = [area.file("f", "x"), area.sealed("g", "y"), area.directory("d"), area.path("s")];
    for path in paths {
        for (seconds, nanoseconds) in [(1, 1), (1_700_000_000, 999_999_999), (0, 0)] {
            set(&path, stamp(5, 6), stamp(seconds, nanoseconds));
            assert_eq!(mtime(&path), (seconds, nanoseconds), "{}", path.display());
        }
    }
}

#[test]
fn before_1970_and_after_2038() {
    let area = Area::new();
    let path = area.file("f", "x");
    for seconds in [-1, -1_000_000_000, 1 << 31, 8_000_000_000] {
        set(&path, stamp(0, 0), stamp(seconds, 250_000_000));
        assert_eq!(mtime(&path), (seconds, 250_000_000));
    }
}

#[test]
fn omit_leaves_and_now_sets() {
    let area = Area::new();
    let path = area.file("f", "x");
    set(&path, stamp(100, 0), stamp(200, 0));
    set(&path, stamp(300, 0), stamp(0, UTIME_OMIT));
    assert_eq!(mtime(&path), (200, 0));
    set(&path, stamp(0, UTIME_OMIT), stamp(0, UTIME_NOW));
    assert!(mtime(&path).0 > 1_600_000_000);
    assert!(mtime(&path).0 <= now());
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap() + 1
}

#[test]
fn touch_and_cp_p_agree() {
    let area = Area::new();
    let path = area.file("f", "x");
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
    };
    run("touch", &["-d".as_ref(), "2001-02-03 04:05:06.789012345 UTC".as_ref(), path.as_ref()]);
    assert_eq!(mtime(&path), (981_173_106, 789_012_345));
    run("cp", &["-p".as_ref(), path.as_ref(), area.path("copy").as_ref()]);
    assert_eq!(mtime(&area.path("copy")), mtime(&path));
}

#[test]
fn survives_the_close_of_the_writer() {
    let area = Area::new();
    let path = area.path("f");
    let file = File::create(&path).unwrap();
    rustix::io::write(&file, b"data").unwrap();
    set(&path, stamp(1, 0), stamp(42, 43));
    drop(file);
    area.settle(&path);
    assert_eq!(mtime(&path), (42, 43));
}

#[test]
fn a_change_inside_moves_the_directory_and_nothing_else_does() {
    let area = Area::new();
    let directory = area.directory("d");
    area.file("d/f", "x");
    set(&directory, stamp(1, 0), stamp(1000, 0));
    fs::write(area.path("d/f"), "changed content").unwrap();
    assert_eq!(mtime(&directory), (1000, 0), "a write into a file is no change of the directory");
    fs::remove_file(area.path("d/f")).unwrap();
    assert!(mtime(&directory).0 > 1000);
}
