//! Writers that cannot read, whose bytes go around the page cache, beside everybody else (N5).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use support::mapping::Mapping;
use support::{Area, content};

const LENGTH: usize = 300_000;

fn writer(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

#[test]
fn readers_and_mappings_see_each_write() {
    let area = Area::new();
    for path in [area.file("f", vec![b'.'; LENGTH]), area.sealed("g", vec![b'.'; LENGTH])] {
        let reader = File::open(&path).unwrap();
        let mapping = Mapping::shared(&reader, LENGTH, false).unwrap();
        let mut expected = vec![b'.'; LENGTH];
        let writer = writer(&path);
        // Within a page, across pages, whole pages.
        for (at, length) in [(10, 5), (4_000, 200), (8_192, 4_096), (99_999, 150_001), (1, 1)] {
            let mut found = vec![0; LENGTH];
            reader.read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected && mapping.read(0, LENGTH) == expected);
            let bytes = content::bytes(at as u64, length);
            writer.write_all_at(&bytes, at as u64).unwrap();
            expected[at..at + length].copy_from_slice(&bytes);
        }
        assert!(fs::read(&path).unwrap() == expected && mapping.read(0, LENGTH) == expected);
    }
}

#[test]
fn a_file_grows_under_its_readers() {
    let area = Area::new();
    let path = area.path("log");
    let mut writer = File::options().append(true).create_new(true).open(&path).unwrap();
    let mut expected = Vec::new();
    for round in 0..200_u64 {
        let line = content::bytes(round, 1 + usize::try_from(round % 7).unwrap() * 300);
        writer.write_all(&line).unwrap();
        expected.extend(line);
        assert!(fs::read(&path).unwrap() == expected, "after {round} lines");
    }
    writer.set_len(1_000).unwrap();
    writer.write_all(b"end").unwrap();
    expected.truncate(1_000);
    expected.extend(b"end");
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn a_stored_page_and_a_write_into_it_both_stay() {
    let area = Area::new();
    let path = area.file("f", vec![b'.'; 8_192]);
    let writer = writer(&path);
    let other = File::options().read(true).write(true).open(&path).unwrap();
    let mapping = Mapping::shared(&other, 8_192, true).unwrap();
    for round in 0..100_u64 {
        let (stored, written) = (content::bytes(round, 7), content::bytes(round + 1_000, 9));
        mapping.write(4_000, &stored);
        writer.write_all_at(&written, 4_010).unwrap();
        assert_eq!(mapping.read(4_000, 7), stored);
        assert_eq!(mapping.read(4_010, 9), written);
        let found = fs::read(&path).unwrap();
        assert_eq!((&found[4_000..4_007], &found[4_010..4_019]), (&*stored, &*written));
    }
}

#[test]
fn who_reads_at_the_same_time_brings_no_old_page_back() {
    let area = Area::new();
    let path = area.file("f", vec![0; LENGTH]);
    let (writer, ended) = (writer(&path), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let reader = File::open(&path).unwrap();
                let mut found = vec![0; LENGTH];
                while !ended.load(Ordering::Relaxed) {
                    reader.read_exact_at(&mut found, 0).unwrap();
                }
            });
        }
        for round in 0..300_u64 {
            let bytes = content::bytes(round, LENGTH);
            writer.write_all_at(&bytes, 0).unwrap();
            let same = fs::read(&path).is_ok_and(|found| found == bytes);
            if !same || round == 299 {
                ended.store(true, Ordering::Relaxed);
            }
            assert!(same, "round {round} reads as it was before");
        }
    });
}
