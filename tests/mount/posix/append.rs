//! O_APPEND

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use support::mapping::Mapping;
use support::{Area, content};

#[test]
fn goes_to_the_end_of_fresh_and_sealed_files() {
    let area = Area::new();
    for path in [area.file("f", "one\n"), area.sealed("g", "one\n")] {
        for text in ["two\n", "three\n"] {
            let mut file = File::options().append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
        area.settle(&path);
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
    }
}

#[test]
fn appending_to_a_large_sealed_file_keeps_its_start() {
    let area = Area::new();
    let mut expected = content::bytes(3, 4_000_000);
    let path = area.sealed("f", &expected);
    File::options().append(true).open(&path).unwrap().write_all(b"tail").unwrap();
    expected.extend_from_slice(b"tail");
    area.settle(&path);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn writers_in_turn_never_overwrite_each_other() {
    let area = Area::new();
    let path = area.file("f", "");
    let mut first = File::options().append(true).open(&path).unwrap();
    let mut second = File::options().append(true).open(&path).unwrap();
    for round in 0..100 {
        write!(first, "a{round} ").unwrap();
        write!(second, "b{round} ").unwrap();
    }
    let expected: String = (0..100).map(|round| format!("a{round} b{round} ")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn threads_append_whole_lines() {
    let area = Area::new();
    let path = area.file("f", "");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut file = File::options().append(true).open(path).unwrap();
                for line in 0..100 {
                    file.write_all(format!("{thread}:{line}\n").as_bytes()).unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 400);
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 400, "no line was overwritten");
}

#[test]
fn processes_append_whole_lines() {
    let area = Area::new();
    let path = area.file("f", "");
    // One opens the file for each line, so that it is closed, sealed and opened again meanwhile;
    // the other keeps it open.
    let scripts = [
        "for i in $(seq 500); do echo one:$i >> \"$1\"; done",
        "for i in $(seq 500); do echo two:$i; done >> \"$1\"",
    ];
    let spawn = |script| Command::new("sh").args(["-c", script, "sh"]).arg(&path).spawn().unwrap();
    for mut process in scripts.map(spawn) {
        assert!(process.wait().unwrap().success());
    }
    let text = fs::read_to_string(&path).unwrap();
    for who in ["one", "two"] {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(who)).collect();
        let expected: Vec<_> = (1..=500).map(|index| format!("{who}:{index}")).collect();
        assert_eq!(lines, expected, "in order, and none overwritten");
    }
    assert_eq!(text.lines().count(), 1000);
}

/// Appends `count` records of `length` bytes through a handle that can read as well, while `look` is
/// called with each size that `stat` says beside it.
fn beside_an_appender(
    area: &Area,
    length: usize,
    count: usize,
    look: impl Fn(&File, usize, usize),
) {
    let path = area.path(format!("log{length}"));
    let mut writer = File::options();
    let mut writer = writer.read(true).append(true).create_new(true).open(&path).unwrap();
    let reader = File::open(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let record = vec![b'x'; length];
            for _ in 0..count {
                writer.write_all(&record).unwrap();
            }
        });
        let mut seen = 0;
        while seen < length * count {
            let size = usize::try_from(reader.metadata().unwrap().len()).unwrap();
            assert!(size >= seen, "{size} bytes after {seen}");
            if size > seen {
                look(&reader, seen, size);
                seen = size;
            }
        }
    });
}

const RECORDS: [(usize, usize); 3] = [(200, 4_000), (5_000, 2_000), (200_000, 300)];

#[test]
fn a_reader_beside_an_appender_finds_what_stat_says() {
    let area = Area::new();
    for (length, count) in RECORDS {
        beside_an_appender(&area, length, count, |reader, from, to| {
            let mut found = vec![0; to - from];
            let read = reader.read_at(&mut found, from as u64).unwrap();
            assert_eq!(from + read, to, "the file ends early");
            assert!(found.iter().all(|byte| *byte == b'x'));
        });
    }
}

/// A handle that appends and reads can be mapped, and what is stored so disturbs no append.
#[test]
fn stores_and_appends_in_one_page_both_stay() {
    let area = Area::new();
    for round in 0..20_u8 {
        let path = area.path(format!("f{round}"));
        let mut file = File::options();
        let mut file = file.read(true).append(true).create_new(true).open(&path).unwrap();
        let mut expected = vec![b'.'; 100];
        file.write_all(&expected).unwrap();
        let (same, ended) = (file.try_clone().unwrap(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mapping = Mapping::shared(&same, 100, true).unwrap();
                mapping.write(7, &[round]);
                while !ended.load(Ordering::Relaxed) {
                    mapping.write(7, &[round]);
                }
            });
            for record in 0..400_u64 {
                let record = content::bytes(record, 9);
                file.write_all(&record).unwrap();
                expected.extend(record);
            }
            ended.store(true, Ordering::Relaxed);
        });
        expected[7] = round;
        drop((file, same));
        assert!(fs::read(&path).unwrap() == expected, "round {round}");
    }
}
