//! rmdir(2)

use std::fs;

use rustix::io::Errno;

use support::{Area, check, errno};

#[test]
fn removes_an_empty_directory() {
    let area = Area::new();
    let path = area.directory("d");
    fs::remove_dir(&path).unwrap();
    assert_eq!(errno(fs::metadata(&path)), Errno::NOENT);
    fs::create_dir(&path).unwrap();
}

#[test]
fn refuses_a_directory_with_entries() {
    let area = Area::new();
    let path = area.directory("d");
    fs::write(path.join("f"), "x").unwrap();
    check::one_of(fs::remove_dir(&path), &[Errno::NOTEMPTY, Errno::EXIST]);
    fs::remove_file(path.join("f")).unwrap();
    fs::remove_dir(&path).unwrap();
}

#[test]
fn refuses_what_is_no_directory() {
    let area = Area::new();
    area.file("f", "");
    std::os::unix::fs::symlink(".", area.path("s")).unwrap();
    assert_eq!(errno(fs::remove_dir(area.path("f"))), Errno::NOTDIR);
    assert_eq!(errno(fs::remove_dir(area.path("s"))), Errno::NOTDIR);
    assert_eq!(errno(fs::remove_dir(area.path("none"))), Errno::NOENT);
}

#[test]
fn refuses_dot() {
    let area = Area::new();
    let path = area.directory("d");
    assert_eq!(errno(rustix::fs::rmdir(path.join("."))), Errno::INVAL);
}

#[test]
fn a_removed_directory_takes_no_new_entries() {
    let area = Area::new();
    let path = area.directory("d");
    let handle = fs::File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    let made = rustix::fs::mkdirat(&handle, "x", rustix::fs::Mode::RWXU);
    assert_eq!(errno(made), Errno::NOENT);
}

#[test]
fn remove_dir_all_takes_a_whole_tree() {
    let area = Area::new();
    for directory in 0..10 {
        let path = area.directory(&format!("d{directory}"));
        for file in 0..20 {
            fs::write(path.join(format!("f{file}")), format!("{file}")).unwrap();
        }
        fs::create_dir_all(path.join("a/b/c")).unwrap();
    }
    for entry in fs::read_dir(area.root()).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
}
