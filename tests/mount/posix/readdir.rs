//! getdents64(2), seekdir(3)

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Dir, FileType};

use support::Area;

const MANY: usize = 10_000;

fn names(path: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(path).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.insert(name.clone()), "{name} was listed twice");
    }
    names
}

fn fill(path: &Path, count: usize) -> BTreeSet<String> {
    let names = (0..count).map(|index| format!("name-{index:05}"));
    names
        .inspect(|name| {
            File::create(path.join(name)).unwrap();
        })
        .collect()
}

#[test]
fn lists_ten_thousand_entries_once_each() {
    let area = Area::new();
    let directory = area.directory("d");
    let expected = fill(&directory, MANY);
    assert!(names(&directory) == expected);
    assert!(names(&directory) == expected, "the second time too");
}

#[test]
fn a_position_can_be_returned_to() {
    let area = Area::new();
    let directory = area.directory("d");
    fill(&directory, 3000);
    let mut listing = Dir::new(File::open(&directory).unwrap()).unwrap();
    let mut seen = Vec::new();
    while let Some(entry) = listing.read() {
        let entry = entry.unwrap();
        seen.push((entry.offset(), entry.file_name().to_owned()));
    }
    assert_eq!(seen.len(), 3002, "with . and ..");
    // After the entry at `offset` comes the next one, wherever it was read before.
    for at in [0, 1, 2, 1500, 2999, 3000, 17] {
        listing.seek(seen[at].0).unwrap();
        let next = listing.read().unwrap().unwrap();
        assert_eq!(next.file_name(), seen[at + 1].1.as_c_str(), "after entry {at}");
    }
}

#[test]
fn dot_entries_and_kinds_are_right() {
    let area = Area::new();
    area.file("f", "");
    area.directory("d");
    std::os::unix::fs::symlink("x", area.path("s")).unwrap();
    let mut listing = Dir::new(File::open(area.root()).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    while let Some(entry) = listing.read() {
        let entry = entry.unwrap();
        found.insert((entry.file_name().to_bytes().to_vec(), format!("{:?}", entry.file_type())));
    }
    let kind = |kind: FileType| format!("{kind:?}");
    let expected = [
        (b".".to_vec(), kind(FileType::Directory)),
        (b"..".to_vec(), kind(FileType::Directory)),
        (b"d".to_vec(), kind(FileType::Directory)),
        (b"f".to_vec(), kind(FileType::RegularFile)),
        (b"s".to_vec(), kind(FileType::Symlink)),
    ];
    assert_eq!(found, expected.into_iter().collect());
}

#[test]
fn inode_numbers_match_stat() {
    use std::os::unix::fs::{DirEntryExt, MetadataExt};
    let area = Area::new();
    fill(area.root(), 50);
    area.sealed("sealed", "x");
    for entry in fs::read_dir(area.root()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
    }
}

#[test]
fn removing_while_listing_skips_nothing_else() {
    let area = Area::new();
    let directory = area.directory("d");
    let expected = fill(&directory, 5000);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        assert!(seen.insert(entry.file_name().into_string().unwrap()));
        fs::remove_file(entry.path()).unwrap();
    }
    assert!(seen == expected, "{} of {} were listed", seen.len(), expected.len());
    fs::remove_dir(&directory).unwrap();
}

#[test]
fn adding_while_listing_shows_old_entries_exactly_once() {
    let area = Area::new();
    let directory = area.directory("d");
    let expected = fill(&directory, 2000);
    let mut seen = BTreeSet::new();
    for (index, entry) in fs::read_dir(&directory).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(seen.insert(name.clone()), "{name} was listed twice");
        if index < 500 {
            File::create(directory.join(format!("added-{index}"))).unwrap();
        }
    }
    assert!(expected.is_subset(&seen));
}

#[test]
fn a_listing_sees_what_changed_before_it_began() {
    let area = Area::new();
    for round in 0..50 {
        let name = format!("f{round}");
        area.file(&name, "");
        assert!(names(area.root()).contains(&name));
        fs::remove_file(area.path(&name)).unwrap();
        assert!(!names(area.root()).contains(&name));
    }
}

#[test]
fn rewinding_shows_what_is_new() {
    let area = Area::new();
    area.file("a", "");
    let mut listing = Dir::new(File::open(area.root()).unwrap()).unwrap();
    while listing.read().is_some() {}
    area.file("b", "");
    listing.rewind();
    let mut found = BTreeSet::new();
    while let Some(entry) = listing.read() {
        found.insert(entry.unwrap().file_name().to_bytes().to_vec());
    }
    assert!(found.contains(&b"b"[..]), "{found:?}");
}

#[test]
fn names_are_listed_as_they_were_given() {
    let area = Area::new();
    let names = ["z", "a", "\u{e9}", "e\u{301}", "A", ".hidden", "with space"];
    for name in names {
        area.file(name, "");
    }
    let found: BTreeSet<_> = fs::read_dir(area.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    assert_eq!(found, names.iter().map(|name| name.as_bytes().to_vec()).collect());
}

#[test]
fn a_hundred_thousand_entries_are_listed_while_others_come_and_go() {
    let area = Area::new();
    let directory = area.directory("d");
    let kept = fill(&directory, 100_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut made = 0_u32;
            while !done.load(Ordering::Relaxed) {
                let path = directory.join(format!("passing-{made}"));
                File::create(&path).unwrap();
                fs::rename(&path, directory.join("passing")).unwrap();
                fs::remove_file(directory.join("passing")).unwrap();
                made += 1;
            }
            made
        });
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(seen.insert(name.clone()), "{name} was listed twice");
        }
        seen.retain(|name| !name.starts_with("passing"));
        assert!(seen == kept, "{} of {} were listed", seen.len(), kept.len());
        done.store(true, Ordering::Relaxed);
        assert!(busy.join().unwrap() > 0);
    });
    assert!(names(&directory) == kept);
}
