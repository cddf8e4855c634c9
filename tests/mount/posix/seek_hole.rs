//! lseek(2) with SEEK_DATA and SEEK_HOLE

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use support::{Area, errno};

const MIB: u64 = 1 << 20;

/// A hole of 2 MiB, 1 MiB of data, and a hole of 1 MiB.
fn sparse(area: &Area) -> std::path::PathBuf {
    let path = area.path("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(4 * MIB).unwrap();
    file.write_all_at(&vec![1; 1 << 20], 2 * MIB).unwrap();
    path
}

#[test]
fn data_and_holes_are_found_fresh_and_sealed() {
    let area = Area::new();
    let path = sparse(&area);
    for _ in 0..2 {
        let file = File::open(&path).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data(0)).unwrap(), 2 * MIB);
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 0);
        assert_eq!(seek(&file, SeekFrom::Hole(2 * MIB)).unwrap(), 3 * MIB);
        assert_eq!(errno(seek(&file, SeekFrom::Data(3 * MIB))), Errno::NXIO);
        assert_eq!(errno(seek(&file, SeekFrom::Data(4 * MIB))), Errno::NXIO);
        area.settle(&path);
    }
}

/// The number is signed in the system call: this one is -1, and so on.
#[test]
fn nothing_is_before_the_start() {
    let area = Area::new();
    let path = sparse(&area);
    for _ in 0..2 {
        let file = File::open(&path).unwrap();
        for before in [u64::MAX, u64::MAX - 4095, 1 << 63] {
            assert_eq!(errno(seek(&file, SeekFrom::Data(before))), Errno::NXIO);
            assert_eq!(errno(seek(&file, SeekFrom::Hole(before))), Errno::NXIO);
        }
        area.settle(&path);
    }
}

#[test]
fn the_end_is_a_hole() {
    let area = Area::new();
    let path = area.file("f", "dense");
    for _ in 0..2 {
        let file = File::open(&path).unwrap();
        assert_eq!(seek(&file, SeekFrom::Hole(0)).unwrap(), 5);
        assert_eq!(seek(&file, SeekFrom::Data(2)).unwrap(), 2);
        assert_eq!(errno(seek(&file, SeekFrom::Hole(5))), Errno::NXIO);
        area.settle(&path);
    }
}

#[test]
fn a_sparse_file_occupies_little() {
    use std::os::unix::fs::MetadataExt;
    let area = Area::new();
    let path = sparse(&area);
    area.settle(&path);
    let Some(cairn) = area.cairn() else {
        return;
    };
    let held: u64 =
        cairn.pool().iter().map(|(path, _)| std::fs::metadata(path).unwrap().blocks() * 512).sum();
    assert!(held < 2 * MIB, "{held} bytes for 1 MiB of data");
}

#[test]
fn blocks_tell_that_a_file_is_sparse() {
    let area = Area::new();
    let path = sparse(&area);
    let file = File::open(&path).unwrap();
    let blocks = || [path.metadata().unwrap().blocks(), file.metadata().unwrap().blocks()];
    for _ in 0..2 {
        for blocks in blocks() {
            assert!((2048..3000).contains(&blocks), "{blocks} blocks for 1 MiB of data");
        }
        area.settle(&path);
    }
    // So does the answer to the change itself, which the kernel keeps.
    let path = area.file("truncated", "x");
    File::options().write(true).open(&path).unwrap().set_len(64 * MIB).unwrap();
    assert!(path.metadata().unwrap().blocks() < 100);
}

#[test]
fn cp_keeps_the_holes() {
    let area = Area::new();
    let path = sparse(&area);
    for how in ["--sparse=always", "--sparse=auto"] {
        let copy = area.path("copy");
        let mut cp = std::process::Command::new("cp");
        assert!(cp.arg(how).args([&path, &copy]).status().unwrap().success());
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap());
        area.settle(&copy);
        assert_eq!(seek(File::open(&copy).unwrap(), SeekFrom::Data(0)).unwrap(), 2 * MIB);
        std::fs::remove_file(copy).unwrap();
        area.settle(&path);
    }
}

#[test]
fn tar_stores_the_data_only() {
    let area = Area::new();
    let path = sparse(&area);
    let archive = std::process::Command::new("tar")
        .args(["--create", "--sparse", "--file=-", "--directory"])
        .args([area.root().as_os_str(), path.file_name().unwrap()])
        .output()
        .unwrap();
    assert!(archive.status.success());
    assert!((1 << 20..2 << 20).contains(&archive.stdout.len()), "{} bytes", archive.stdout.len());
}
