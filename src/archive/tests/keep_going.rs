//! Reading that goes on without what cannot be read (V6).

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::compare::pattern;
use super::memory::MemoryStore;
use crate::archive::error::Problem;
use crate::archive::import::{Reading, read_directory};
use crate::archive::observer::{ImportTotals, Observer};
use crate::archive::walk::Walker;
use crate::archive::{ArchiveError, ArchivePath, Batch, EntrySink, Taken};
use crate::model::hash::BlobHash;

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
    let mut store = MemoryStore::default();
    let (read, heard) = read_into(&mut store, top, keep_going, between);
    (read.map(|_| names(&store)), heard)
}

fn read_into(
    sink: &mut dyn EntrySink,
    top: &Path,
    keep_going: bool,
    between: &(dyn Fn(&ArchivePath) + Sync),
) -> (Result<ImportTotals, ArchiveError>, Vec<String>) {
    let (mut heard, stop) = (Heard::default(), AtomicBool::new(false));
    let reading = Reading { stat_cache: None, keep_going, stop: &stop, between };
    let walker = Walker::new(top, Vec::new()).unwrap();
    let read = read_directory(walker, reading, sink, &mut heard);
    (read.map(|(totals, _)| totals), heard.0)
}

fn names(store: &MemoryStore) -> Vec<String> {
    store.paths().into_iter().filter(|path| !path.is_empty()).collect()
}

/// A store that takes large contents before their entries. Each time something happens before it says so.
struct Taking<'a> {
    store: MemoryStore,
    /// Gets how many were taken.
    act: &'a mut dyn FnMut(usize),
    taken: usize,
}

impl<'a> Taking<'a> {
    fn new(act: &'a mut dyn FnMut(usize)) -> Self {
        Self { store: MemoryStore::default(), act, taken: 0 }
    }
}

impl EntrySink for Taking<'_> {
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError> {
        self.store.known(hashes)
    }

    fn take_content(&mut self, file: &File, size_bytes: u64) -> Result<Taken, ArchiveError> {
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap()];
        let is_whole = file.read_exact_at(&mut bytes, 0).is_ok();
        self.taken += 1;
        (self.act)(self.taken);
        if !is_whole {
            return Ok(Taken::Short);
        }
        let hash = BlobHash::of(&bytes);
        self.store.blobs.insert(hash, bytes);
        Ok(Taken::Whole(hash))
    }

    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError> {
        self.store.put(batch)
    }
}

/// Longer than what travels in a message.
const LARGE_BYTES: u32 = 300_000;

/// A directory with a large file that has two names, another large one, and small ones.
fn with_large() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "z"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::write(dir.path().join("log"), pattern(LARGE_BYTES)).unwrap();
    fs::write(dir.path().join("steady"), pattern(LARGE_BYTES + 1)).unwrap();
    rustix::fs::link(dir.path().join("log"), dir.path().join("other")).unwrap();
    dir
}

/// Appends a byte, or takes all but one away.
fn change(path: &Path, shrinks: bool) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    file.set_len(if shrinks { size / 2 } else { size + 1 }).unwrap();
}

#[test]
fn v6_a_large_file_that_keeps_changing_while_it_is_copied_is_left_out() {
    let dir = with_large();
    let path = dir.path().join("log");
    // Small ones are copied when they are read; the first large one is taken twice, then comes the steady one.
    let mut act = |taken| {
        if taken < 3 {
            change(&path, false);
        }
    };
    let mut sink = Taking::new(&mut act);
    let (read, heard) = read_into(&mut sink, dir.path(), true, &|_| {});
    let totals = read.unwrap();
    assert_eq!(sink.taken, 3);
    assert_eq!(names(&sink.store), ["a", "steady", "z"]);
    assert_eq!((totals.files, totals.new_bytes), (3, u64::from(LARGE_BYTES) + 3));
    let begins = [
        "log: it changed while it was read, twice",
        "other: it is another name of `log`, which could not be read",
    ];
    assert_eq!(heard.len(), begins.len(), "{heard:?}");
    for (heard, begin) in heard.iter().zip(begins) {
        assert!(heard.starts_with(begin), "{heard}");
    }
}

#[test]
fn v6_without_keep_going_a_large_file_that_keeps_changing_is_an_error_as_a_small_one_is() {
    let dir = with_large();
    let path = dir.path().join("log");
    let mut act = |_| change(&path, false);
    let mut sink = Taking::new(&mut act);
    let (read, heard) = read_into(&mut sink, dir.path(), false, &|_| {});
    let error = read.unwrap_err();
    assert!(matches!(error, ArchiveError::Unreadable(_)), "{error}");
    assert!(error.to_string().contains("log: it changed while it was read, twice"), "{error}");
    assert!(heard[0].starts_with("log: it changed while it was read, twice"), "{heard:?}");
}

#[test]
fn v6_a_large_file_that_changed_once_while_it_was_copied_is_read_again() {
    for shrinks in [false, true] {
        let dir = with_large();
        let path = dir.path().join("log");
        let mut act = |taken| {
            if taken == 1 {
                change(&path, shrinks);
            }
        };
        let mut sink = Taking::new(&mut act);
        let (read, heard) = read_into(&mut sink, dir.path(), true, &|_| {});
        assert_eq!(read.unwrap().reread_files, 1);
        assert_eq!(heard, [] as [&str; 0]);
        assert_eq!(names(&sink.store), ["a", "log", "other", "steady", "z"]);
        let now = BlobHash::of(&fs::read(&path).unwrap());
        assert!(sink.store.blobs.contains_key(&now), "shrinks: {shrinks}");
    }
}

/// Its other names would become links of a file that is not it.
#[test]
fn v6_a_large_file_with_other_names_that_is_replaced_while_it_is_copied_is_left_out() {
    let dir = with_large();
    let path = dir.path().join("log");
    let mut act = |taken| {
        if taken == 1 {
            change(&path, false);
            fs::write(dir.path().join("new"), pattern(LARGE_BYTES)).unwrap();
            rustix::fs::rename(dir.path().join("new"), &path).unwrap();
        }
    };
    let mut sink = Taking::new(&mut act);
    let (read, heard) = read_into(&mut sink, dir.path(), true, &|_| {});
    read.unwrap();
    assert!(heard[0].starts_with("log: it was replaced by another file"), "{heard:?}");
    assert_eq!(names(&sink.store), ["a", "steady", "z"]);
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
