//! What is not read again, and what is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::compare::{describe, fill, pattern, set_mtime};
use super::memory::MemoryStore;
use crate::archive::export::{LinkMode, export_directory};
use crate::archive::import::{DirectoryImport, import_directory_with};
use crate::archive::observer::{ImportTotals, Unobserved};
use crate::archive::stat_cache::StatCacheOptions;
use crate::archive::{ArchiveError, ArchivePath};
use crate::model::time::Timestamp;

/// A directory with the stat cache of its imports.
struct Scene {
    home: TempDir,
    store: MemoryStore,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("top")).unwrap();
        Self { home, store: MemoryStore::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("top").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Imports; says which files were read.
    fn import(&mut self) -> (BTreeSet<String>, ImportTotals) {
        self.import_at(long_after(), false)
    }

    fn import_at(&mut self, now: Timestamp, read_all: bool) -> (BTreeSet<String>, ImportTotals) {
        self.store.next_import();
        let read = Mutex::new(BTreeSet::new());
        let between = |path: &ArchivePath| {
            read.lock().insert(path.to_string());
        };
        let directory = self.home.path().join("memos");
        let stat_cache = Some(StatCacheOptions { directory, read_all, now });
        let options = DirectoryImport { refused: Vec::new(), stat_cache };
        let top = self.home.path().join("top");
        let imported =
            import_directory_with(&top, options, &mut self.store, &mut Unobserved, &between);
        (read.into_inner(), imported.unwrap().totals)
    }

    /// What the last import says equals the directory.
    fn check(&mut self) {
        let to = tempfile::tempdir().unwrap();
        export_directory(&mut self.store, to.path(), LinkMode::Copy, &mut |_| {}).unwrap();
        assert_eq!(describe(&self.path("")), describe(to.path()));
    }
}

/// A time at which everything has been at rest for long.
fn long_after() -> Timestamp {
    let now = Timestamp::now();
    Timestamp { seconds: now.seconds + 60, ..now }
}

/// Does something to a file until its time of change shows it: old kernels count in ticks, which
/// an import would wait for.
fn change(path: &Path, mut act: impl FnMut()) {
    let time = || fs::symlink_metadata(path).map(|found| (found.ctime(), found.ctime_nsec()));
    let before = time().unwrap();
    while time().is_ok_and(|now| now == before) {
        act();
    }
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_unchanged_directory_is_not_read() {
    let mut scene = Scene::new();
    fill(&scene.path(""));
    let (read, first) = scene.import();
    assert!(!read.is_empty() && first.unread_files == 0);
    for _ in 0..2 {
        let (read, again) = scene.import();
        assert_eq!(read, names(&[]));
        assert_eq!((again.files, again.bytes), (first.files, first.bytes));
        assert_eq!((again.new_bytes, again.unread_files), (0, again.reused_files + 1), "one empty");
        scene.check();
    }
    let (read, all) = scene.import_at(long_after(), true);
    assert_eq!(all.unread_files, 0);
    assert!(!read.is_empty());
    assert_eq!(scene.import().0, names(&[]), "what was read because of --checksum is remembered");
}

#[test]
fn whatever_happens_to_a_file_is_noticed() {
    /// A change of `file`, which has 8 bytes; `other` has as many.
    type Act = fn(file: &Path, other: &Path);
    let cases: [(&str, Act); 7] = [
        ("written", |file, _| fs::write(file, b"another8").unwrap()),
        ("written, time restored", |file, _| {
            fs::write(file, b"another8").unwrap();
            set_mtime(file, 1, 0);
        }),
        ("touched", |file, _| set_mtime(file, 2, 0)),
        ("mode", |file, _| fs::set_permissions(file, PermissionsExt::from_mode(0o640)).unwrap()),
        ("attribute", |file, _| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(file, "user.a", b"1", flags).unwrap();
        }),
        ("replaced by another of its size and time", |file, other| {
            fs::copy(other, file.with_extension("new")).unwrap();
            set_mtime(&file.with_extension("new"), 1, 0);
            #[allow(clippy::disallowed_methods, reason = "no durable step of the store")]
            fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("longer", |file, _| fs::write(file, b"longer than before").unwrap()),
    ];
    for (name, act) in cases {
        let mut scene = Scene::new();
        let (file, other) = (scene.path("d/file"), scene.path("other"));
        scene.write("d/file", b"8 bytes.");
        scene.write("other", b"8 others");
        for path in [&file, &other] {
            set_mtime(path, 1, 0);
        }
        scene.import();
        change(&file, || act(&file, &other));
        let (read, totals) = scene.import();
        assert_eq!(read, names(&["d/file"]), "{name}");
        assert_eq!(totals.unread_files, 1, "{name}");
        scene.check();
        assert_eq!(scene.import().0, names(&[]), "{name}");
    }
}

#[test]
fn names_come_and_go_without_reading() {
    let mut scene = Scene::new();
    for name in ["gone", "kept", "old/a", "old/b", "becomes a file/x"] {
        scene.write(name, name.as_bytes());
    }
    scene.import();
    rustix::fs::unlink(scene.path("gone")).unwrap();
    fs::remove_dir_all(scene.path("becomes a file")).unwrap();
    scene.write("becomes a file", b"now");
    #[allow(clippy::disallowed_methods, reason = "no durable step of the store")]
    fs::rename(scene.path("old"), scene.path("new")).unwrap();
    symlink("kept", scene.path("link")).unwrap();
    let (read, _) = scene.import();
    assert_eq!(read, names(&["becomes a file"]), "a moved directory's files are where they were");
    scene.check();
}

#[test]
fn a_new_name_of_a_file_is_a_change_of_it() {
    let mut scene = Scene::new();
    scene.write("a", b"content");
    scene.import();
    let (a, b) = (scene.path("a"), scene.path("b"));
    change(&a, || {
        rustix::fs::unlink(&b).ok();
        #[allow(clippy::disallowed_methods, reason = "no durable step of the store")]
        fs::hard_link(&a, &b).unwrap();
    });
    assert_eq!(scene.import().0, names(&["a"]));
    scene.check();
    assert_eq!(scene.import().0, names(&[]));
    scene.check();
}

#[test]
fn attributes_of_unread_files_are_kept() {
    let mut scene = Scene::new();
    scene.write("file", b"content");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(scene.path("file"), "user.a", b"1", flags).unwrap();
    scene.import();
    let (read, totals) = scene.import();
    assert_eq!((read, totals.unread_files), (names(&[]), 1));
    scene.check();
}

#[test]
fn what_changed_just_now_is_not_remembered() {
    let mut scene = Scene::new();
    scene.write("file", b"content");
    let found = fs::metadata(scene.path("file")).unwrap();
    let at = |seconds| Timestamp { seconds: found.ctime() + seconds, nanoseconds: 0 };
    for seconds in [-1, 0, 2, 3] {
        assert_eq!(scene.import_at(at(seconds), false).0, names(&["file"]), "{seconds}");
    }
    assert_eq!(scene.import_at(at(4), false).0, names(&[]));
}

#[test]
fn content_that_the_store_lost_is_read_after_all() {
    let mut scene = Scene::new();
    // More than a message carries, and files that follow under a second name.
    for number in 0..100 {
        scene.write(&format!("d/{number:03}"), &pattern(100_000 + number));
    }
    scene.write("large", &pattern(300_000));
    scene.write("same", &pattern(300_000));
    #[allow(clippy::disallowed_methods, reason = "no durable step of the store")]
    fs::hard_link(scene.path("d/000"), scene.path("linked")).unwrap();
    scene.import();
    scene.store.blobs.clear();
    let (read, totals) = scene.import();
    assert_eq!(read.len(), 102);
    assert_eq!(totals.unread_files, 0);
    assert!(scene.store.batches >= 3, "4 MiB each, whatever was remembered");
    scene.check();
    assert_eq!(scene.import().0, names(&[]));
}

#[test]
fn lost_content_that_cannot_be_read_fails_the_import() {
    let mut scene = Scene::new();
    scene.write("file", b"content");
    scene.write("gone", b"gone");
    scene.import();
    scene.store.next_import();
    scene.store.blobs.clear();
    let directory = scene.home.path().join("memos");
    let stat_cache = Some(StatCacheOptions { directory, read_all: false, now: long_after() });
    let options = DirectoryImport { refused: Vec::new(), stat_cache };
    let gone = scene.path("gone");
    // Read first, when the walk has passed the other one.
    let between = |_: &ArchivePath| {
        rustix::fs::unlink(&gone).ok();
    };
    let top = scene.path("");
    let failed = import_directory_with(&top, options, &mut scene.store, &mut Unobserved, &between);
    let error = failed.unwrap_err();
    assert!(matches!(error, ArchiveError::Unreadable(_)), "{error}");
    assert!(scene.store.aborted);
    assert_eq!(scene.store.published, 1, "the first import's");
}
