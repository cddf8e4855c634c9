//! truncate(2), ftruncate(2)

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::io::Errno;

use support::{Area, content, errno};

fn set_length(path: &std::path::Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn shrinks_and_grows_fresh_and_sealed_files() {
    let area = Area::new();
    for size in [10_000, 3_000_000] {
        let original = content::bytes(1, size);
        let fresh = area.file(&format!("fresh{size}"), &original);
        let sealed = area.sealed(&format!("sealed{size}"), &original);
        for path in [fresh, sealed] {
            set_length(&path, 5_000);
            assert!(fs::read(&path).unwrap() == original[..5_000]);
            area.settle(&path);
            set_length(&path, 9_000);
            let found = fs::read(&path).unwrap();
            assert!(found[..5_000] == original[..5_000]);
            assert!(found.len() == 9_000 && found[5_000..].iter().all(|byte| *byte == 0));
            area.settle(&path);
            assert!(fs::read(&path).unwrap() == found);
        }
    }
}

#[test]
fn what_was_cut_off_never_comes_back() {
    let area = Area::new();
    let path = area.file("f", vec![7; 8192]);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    file.set_len(8192).unwrap();
    let mut found = vec![1; 8192];
    file.read_exact_at(&mut found, 0).unwrap();
    assert!(found[..100].iter().all(|byte| *byte == 7));
    assert!(found[100..].iter().all(|byte| *byte == 0));
}

#[test]
fn to_zero_and_back_through_the_path() {
    let area = Area::new();
    let path = area.sealed("f", "content");
    set_length(&path, 0);
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    fs::write(&path, "again").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"again");
}

#[test]
fn every_handle_sees_the_new_length() {
    let area = Area::new();
    let path = area.file("f", vec![1; 10_000]);
    let reader = File::open(&path).unwrap();
    let writer = File::options().write(true).open(&path).unwrap();
    writer.set_len(10).unwrap();
    assert_eq!(reader.metadata().unwrap().len(), 10);
    assert_eq!(reader.read_at(&mut [0; 100], 0).unwrap(), 10);
    assert_eq!(fs::metadata(&path).unwrap().len(), 10);
}

#[test]
fn changes_mtime_even_to_the_same_length() {
    let area = Area::new();
    let path = area.file("f", "12345");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    file.set_len(5).unwrap();
    assert!(file.metadata().unwrap().mtime() > 0);
}

#[test]
fn needs_a_writable_file() {
    let area = Area::new();
    let file = File::open(area.file("f", "x")).unwrap();
    assert_eq!(errno(file.set_len(0)), Errno::INVAL);
    let directory = File::open(area.directory("d")).unwrap();
    assert_eq!(errno(directory.set_len(0)), Errno::INVAL);
}

#[test]
fn a_huge_length_costs_nothing_or_is_refused() {
    let area = Area::new();
    let path = area.file("f", "x");
    let file = File::options().write(true).open(&path).unwrap();
    // 1 TiB: a sparse file, unless the limit of files is lower.
    match file.set_len(1 << 40) {
        Ok(()) => {
            assert_eq!(file.metadata().unwrap().len(), 1 << 40);
            file.set_len(1).unwrap();
        }
        Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::FBIG)),
    }
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"x");
}
