//! stat(2), statx(2)

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use support::{Area, content};

#[test]
fn the_inode_number_stays_through_seal_and_rewrite() {
    let area = Area::new();
    let path = area.file("f", "one");
    let ino = fs::metadata(&path).unwrap().ino();
    area.settle(&path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), ino);
    fs::write(&path, "two").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), ino);
    area.settle(&path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), ino);
}

#[test]
fn path_and_handle_agree() {
    let area = Area::new();
    let path = area.file("f", content::bytes(1, 10_000));
    let file = File::open(&path).unwrap();
    let (by_path, by_handle) = (fs::metadata(&path).unwrap(), file.metadata().unwrap());
    assert_eq!(by_path.ino(), by_handle.ino());
    assert_eq!(by_path.dev(), by_handle.dev());
    assert_eq!(by_path.len(), 10_000);
    assert_eq!(by_handle.len(), 10_000);
}

#[test]
fn blocks_cover_the_content() {
    let area = Area::new();
    let path = area.sealed("f", content::bytes(1, 100_000));
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.blocks() * 512 >= 100_000, "{} blocks", meta.blocks());
}

#[test]
fn files_are_best_written_by_as_much_as_a_request_holds() {
    let area = Area::new();
    let path = area.file("f", "x");
    assert_eq!(fs::metadata(&path).unwrap().blksize(), 1 << 20);
    assert_eq!(File::open(&path).unwrap().metadata().unwrap().blksize(), 1 << 20);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().blksize(), 4096, "of a directory");
}

#[test]
fn the_inode_number_is_stable_between_lookups() {
    let area = Area::new();
    let paths: Vec<_> = (0..100).map(|index| area.file(&format!("f{index}"), "x")).collect();
    let numbers = || -> Vec<_> {
        paths.iter().map(|path| fs::symlink_metadata(path).unwrap().ino()).collect()
    };
    let before = numbers();
    assert_eq!(before, numbers());
    let mut distinct = before.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), before.len());
}

#[test]
fn times_are_now_and_ordered() {
    let area = Area::new();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    let meta = fs::metadata(area.file("f", "x")).unwrap();
    let after = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    for time in [meta.modified().unwrap(), meta.accessed().unwrap()] {
        assert!(before <= time && time <= after, "{time:?}");
    }
}

#[test]
fn a_directory_counts_the_directories_in_it() {
    let area = Area::new();
    let (one, other) = (area.directory("one"), area.directory("other"));
    let links = || [&one, &other].map(|path| fs::metadata(path).unwrap().nlink());
    assert_eq!(links(), [2, 2]);
    fs::create_dir(one.join("a")).unwrap();
    fs::create_dir(one.join("b")).unwrap();
    fs::write(one.join("f"), "").unwrap();
    assert_eq!(links(), [4, 2]);
    fs::rename(one.join("a"), other.join("a")).unwrap();
    assert_eq!(links(), [3, 3]);
    fs::rename(one.join("b"), other.join("a")).unwrap();
    assert_eq!(links(), [2, 3], "one replaced the other");
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    let (file, directory) = (one.join("f"), other.join("a"));
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, &file, cwd, &directory, exchange).unwrap();
    assert_eq!(links(), [3, 2]);
    let handle = fs::File::open(&file).unwrap();
    fs::remove_dir(&file).unwrap();
    assert_eq!(links(), [2, 2]);
    assert_eq!(handle.metadata().unwrap().nlink(), 0);
}
