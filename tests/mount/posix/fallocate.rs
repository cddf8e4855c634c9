//! fallocate(2)

use std::fs::{self, File};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use support::{Area, content, errno};

fn writable(path: &std::path::Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn reserves_and_grows() {
    let area = Area::new();
    for path in [area.file("f", "x"), area.sealed("g", "x"), area.file("empty", "")] {
        let file = writable(&path);
        fallocate(&file, FallocateFlags::empty(), 0, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_000);
        let found = fs::read(&path).unwrap();
        assert!(found[1..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn keep_size_keeps_it() {
    let area = Area::new();
    let path = area.file("f", "12345");
    let file = writable(&path);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5);
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"12345");
}

#[test]
fn punching_a_hole_leaves_zeros() {
    let area = Area::new();
    let original = content::bytes(1, 2_000_000);
    for path in [area.file("f", &original), area.sealed("g", &original)] {
        let file = writable(&path);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, flags, 10_000, 500_000).unwrap();
        drop(file);
        area.settle(&path);
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), original.len());
        assert!(found[..10_000] == original[..10_000]);
        assert!(found[10_000..510_000].iter().all(|byte| *byte == 0));
        assert!(found[510_000..] == original[510_000..]);
    }
}

#[test]
fn zeroing_a_range() {
    let area = Area::new();
    let path = area.file("f", vec![9; 50_000]);
    let file = writable(&path);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 100, 20_000).unwrap();
    drop(file);
    let found = fs::read(&path).unwrap();
    assert!(found[..100].iter().all(|byte| *byte == 9));
    assert!(found[100..20_100].iter().all(|byte| *byte == 0));
    assert!(found[20_100..].iter().all(|byte| *byte == 9));
}

#[test]
fn refusals() {
    let area = Area::new();
    let path = area.file("f", "x");
    let read_only = File::open(&path).unwrap();
    assert_eq!(errno(fallocate(&read_only, FallocateFlags::empty(), 0, 10)), Errno::BADF);
    let file = writable(&path);
    assert_eq!(errno(fallocate(&file, FallocateFlags::empty(), 0, 0)), Errno::INVAL);
}
