//! O_APPEND

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use crate::common::{Area, content};

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
