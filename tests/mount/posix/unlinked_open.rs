//! Files that are open while their last name goes

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::io::Errno;

use support::{Area, content, errno};

#[test]
fn stay_readable_and_writable_until_closed() {
    let area = Area::new();
    for (name, size) in [("small", 100), ("large", 3_000_000)] {
        let expected = content::bytes(2, size);
        for path in [area.file(name, &expected), area.sealed(&format!("{name}2"), &expected)] {
            let file = File::options().read(true).write(true).open(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(file.metadata().unwrap().nlink(), 0);
            let mut found = vec![0; size];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected);
            file.write_all_at(b"more", size as u64).unwrap();
            let mut tail = [0; 4];
            file.read_exact_at(&mut tail, size as u64).unwrap();
            assert_eq!(&tail, b"more");
            assert_eq!(file.metadata().unwrap().len(), size as u64 + 4);
        }
    }
    assert_eq!(fs::read_dir(area.root()).unwrap().count(), 0);
}

#[test]
fn a_temporary_file_that_never_had_a_second_name() {
    let area = Area::new();
    let path = area.path("tmp");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all_at(&content::bytes(9, 500_000), 0).unwrap();
    file.set_len(10).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10);
    // A new file may take the name meanwhile.
    fs::write(&path, "other").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"other");
}

#[test]
fn a_removed_directory_lists_as_empty() {
    let area = Area::new();
    let path = area.directory("d");
    let handle = File::open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    let mut listing = rustix::fs::Dir::read_from(&handle).unwrap();
    let names: Vec<_> = std::iter::from_fn(|| listing.read())
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_owned()))
        .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    let created = rustix::fs::openat(
        &handle,
        "x",
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        rustix::fs::Mode::RUSR,
    );
    assert_eq!(errno(created), Errno::NOENT);
}

#[test]
fn the_last_name_of_a_link_pair_goes_while_open() {
    let area = Area::new();
    let path = area.file("f", "shared");
    fs::hard_link(&path, area.path("g")).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    fs::remove_file(area.path("g")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut buffer = [0; 6];
    file.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"shared");
}
