//! fsync(2), fdatasync(2)

use std::fs::{self, File};
use std::io::Write;

use support::{Area, content};

#[test]
fn succeeds_on_fresh_sealed_and_empty_files_and_directories() {
    let area = Area::new();
    let paths = [
        area.file("f", "x"),
        area.sealed("g", "y"),
        area.file("empty", ""),
        area.directory("d"),
        area.file("large", content::bytes(1, 3_000_000)),
    ];
    for path in paths {
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
    }
}

#[test]
fn in_the_middle_of_writing() {
    let area = Area::new();
    let path = area.path("f");
    let mut file = File::create(&path).unwrap();
    for round in 0..20 {
        writeln!(file, "record {round}").unwrap();
        file.sync_data().unwrap();
    }
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 20);
}

#[test]
fn of_an_unlinked_file() {
    let area = Area::new();
    let path = area.path("f");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"gone").unwrap();
    fs::remove_file(&path).unwrap();
    file.sync_all().unwrap();
}
