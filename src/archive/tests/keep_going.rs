//! Reading that goes on without what cannot be read (V6).

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::compare::pattern;
use super::memory::MemoryStore;
use crate::archive::error::Problem;
use crate::archive::import::{Reading, read_directory};
use crate::archive::observer::{ImportTotals, Observer};
use crate::archive::walk::Walker;
use crate::archive::{ArchiveError, ArchivePath};

#[derive(Default)]
struct Heard(Vec<String>);

impl Observer for Heard {
    fn progress(&mut self, _totals: &ImportTotals) {}

    fn reread(&mut self, _path: &ArchivePath) {}

    fn unreadable(&mut self, problem: &Problem) {
        self.0.push(problem.to_string());
    }
}

/// Reads a directory; returns the names that the store has then, and what was heard of.
fn read(
    top: &Path,
    keep_going: bool,
    between: &(dyn Fn(&ArchivePath) + Sync),
) -> (Result<Vec<String>, ArchiveError>, Vec<String>) {
    let (mut store, mut heard, stop) =
        (MemoryStore::default(), Heard::default(), AtomicBool::new(false));
    let reading = Reading { stat_cache: None, keep_going, stop: &stop, between };
    let walker = Walker::new(top, Vec::new()).unwrap();
    let read = read_directory(walker, reading, &mut store, &mut heard);
    let names = read.map(|_| store.paths().into_iter().filter(|path| !path.is_empty()).collect());
    (names, heard.0)
}

#[test]
fn v6_what_vanishes_or_keeps_changing_is_left_out_with_all_of_its_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "gone", "log", "many", "z"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    rustix::fs::link(dir.path().join("many"), dir.path().join("other")).unwrap();
    let size = AtomicU32::new(10);
    // One worker reads them in order: what happens here happens after the walk.
    let act = |path: &ArchivePath| match path.as_bytes() {
        b"a" => {
            for name in ["gone", "many"] {
                let path = dir.path().join(name);
                if path.exists() {
                    rustix::fs::unlink(path).unwrap();
                }
            }
        }
        b"log" => {
            let size = size.fetch_add(1, Ordering::Relaxed);
            fs::write(dir.path().join("log"), pattern(size)).unwrap();
        }
        _ => {}
    };
    let (names, heard) = read(dir.path(), true, &act);
    assert_eq!(names.unwrap(), ["a", "z"]);
    let begins = [
        "gone: cannot read: No such file",
        "log: it changed while it was read, twice",
        "many: cannot read: No such file",
        "other: it is another name of `many`, which could not be read",
    ];
    assert_eq!(heard.len(), begins.len(), "{heard:?}");
    for (heard, begin) in heard.iter().zip(begins) {
        assert!(heard.starts_with(begin), "{heard}");
    }
}

#[test]
fn v6_otherwise_it_is_an_error_and_each_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let act = |path: &ArchivePath| {
        if path.as_bytes() == b"a" {
            rustix::fs::unlink(dir.path().join("b")).unwrap();
            rustix::fs::unlink(dir.path().join("c")).unwrap();
        }
    };
    let (names, heard) = read(dir.path(), false, &act);
    assert!(matches!(names, Err(ArchiveError::Unreadable(_))), "{names:?}");
    assert_eq!(heard.len(), 2, "{heard:?}");
}

#[test]
fn reading_that_is_stopped_ends_in_the_middle_of_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    // Hashing its zeros would take an hour.
    fs::File::create(dir.path().join("hole")).unwrap().set_len(8 << 40).unwrap();
    fs::write(dir.path().join("a"), b"1").unwrap();
    let (mut store, mut heard, stop) =
        (MemoryStore::default(), Heard::default(), AtomicBool::new(false));
    let between = |_: &ArchivePath| stop.store(true, Ordering::Relaxed);
    let reading = Reading { stat_cache: None, keep_going: false, stop: &stop, between: &between };
    let walker = Walker::new(dir.path(), Vec::new()).unwrap();
    read_directory(walker, reading, &mut store, &mut heard).unwrap_err();
    assert_eq!(heard.0, ["hole: reading it was stopped"]);
}
