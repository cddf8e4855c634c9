//! Directories in and out again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::compare::{allocated, describe, fill, pattern, set_mtime};
use super::memory::MemoryStore;
use crate::archive::export::{LinkMode, export_directory, export_directory_unless};
use crate::archive::import::{DirectoryImport, Imported, import_directory, import_directory_with};
use crate::archive::observer::{ImportTotals, Observer, Unobserved};
use crate::archive::{ArchiveError, ArchivePath, FileId, Refused};

fn import(top: &Path, store: &mut MemoryStore) -> Result<Imported, ArchiveError> {
    import_directory(top, DirectoryImport::default(), store, &mut Unobserved)
}

fn export(store: &mut MemoryStore, to: &Path) -> Result<(), ArchiveError> {
    export_directory(store, to, LinkMode::Copy, &mut |_| {}).map(drop)
}

#[test]
fn a_directory_comes_out_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fill(&from);
    let mut store = MemoryStore::default();
    import(&from, &mut store).unwrap();
    export(&mut store, &to).unwrap();
    assert_same(&describe(&from), &describe(&to));
    assert!(allocated(&to.join("sparse")) < 1 << 20, "holes were filled");
    assert_eq!(allocated(&to.join("only a hole")), 0);
}

fn assert_same(
    left: &std::collections::BTreeMap<String, String>,
    right: &std::collections::BTreeMap<String, String>,
) {
    for (name, text) in left {
        assert_eq!(Some(text), right.get(name), "{name}");
    }
    assert_eq!(left.len(), right.len());
}

#[test]
fn an_unchanged_directory_costs_no_copying() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let mut store = MemoryStore::default();
    let first = import(dir.path(), &mut store).unwrap().totals;
    assert_eq!(store.attached, 3, "equal large contents travel once");
    assert_eq!(first.reused_files, 1);
    store.next_import();
    let second = import(dir.path(), &mut store).unwrap().totals;
    assert_eq!((store.attached, store.inline_bytes), (0, 0));
    assert_eq!(second.new_bytes, 0);
    assert_eq!((second.files, second.bytes), (first.files, first.bytes));
    // All but the empty file, links and what is no regular file.
    assert_eq!(second.reused_files, 10);
}

#[test]
fn many_files_go_in_few_batches() {
    let dir = tempfile::tempdir().unwrap();
    for directory in 0..40 {
        let directory = dir.path().join(directory.to_string());
        fs::create_dir(&directory).unwrap();
        for file in 0..100 {
            fs::write(directory.join(file.to_string()), format!("{file}")).unwrap();
        }
    }
    let mut store = MemoryStore::default();
    let totals = import(dir.path(), &mut store).unwrap().totals;
    assert_eq!((totals.files, totals.directories), (4000, 41));
    assert!(store.batches <= 3 && store.questions <= 3, "{} batches", store.batches);
    let to = tempfile::tempdir().unwrap();
    export(&mut store, to.path()).unwrap();
    assert_eq!(describe(dir.path()), describe(to.path()));
}

#[test]
fn a_chain_of_directories_may_be_deep() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d/".repeat(1500));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"x").unwrap();
    crate::archive::raise_open_files();
    let mut store = MemoryStore::default();
    import(dir.path(), &mut store).unwrap();
    let to = tempfile::tempdir().unwrap();
    export(&mut store, to.path()).unwrap();
    assert_eq!(fs::read(to.path().join("d/".repeat(1500)).join("bottom")).unwrap(), b"x");
}

#[test]
fn symbolic_links_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    symlink(outside.path(), dir.path().join("directory")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
    symlink("/", dir.path().join("top")).unwrap();
    let mut store = MemoryStore::default();
    import(dir.path(), &mut store).unwrap();
    assert_eq!(store.paths(), ["", "directory", "file", "top"]);
    assert!(store.blobs.is_empty());
}

/// An observer that keeps what it is told.
#[derive(Default)]
struct Kept {
    reread: Vec<String>,
}

impl Observer for Kept {
    fn progress(&mut self, _totals: &ImportTotals) {}
    fn reread(&mut self, path: &ArchivePath) {
        self.reread.push(path.to_string());
    }
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    for (size, name) in [(10, "small"), (200_000, "large")] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        fs::write(&file, pattern(size)).unwrap();
        set_mtime(&file, 1, 0);
        let changes = AtomicU32::new(0);
        let change = |_: &ArchivePath| {
            if changes.fetch_add(1, Ordering::Relaxed) == 0 {
                fs::write(&file, b"changed").unwrap();
            }
        };
        let mut store = MemoryStore::default();
        let mut kept = Kept::default();
        let options = DirectoryImport::default();
        let imported =
            import_directory_with(dir.path(), options, &mut store, &mut kept, &change).unwrap();
        assert_eq!(kept.reread, [name]);
        assert_eq!(imported.totals.reread_files, 1);
        let blobs: Vec<_> = store.blobs.into_values().collect();
        assert_eq!(blobs, [b"changed"]);
    }
}

#[test]
fn a_file_that_keeps_changing_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("steady"), b"x").unwrap();
    fs::write(dir.path().join("log"), b"x").unwrap();
    let size = AtomicU32::new(2);
    let change = |path: &ArchivePath| {
        if path.as_bytes() == b"log" {
            let size = size.fetch_add(1, Ordering::Relaxed);
            fs::write(dir.path().join("log"), pattern(size)).unwrap();
        }
    };
    let mut store = MemoryStore::default();
    let options = DirectoryImport::default();
    let error = import_directory_with(dir.path(), options, &mut store, &mut Unobserved, &change)
        .unwrap_err();
    assert!(error.to_string().contains("log: it changed while it was read, twice"), "{error}");
    assert!(store.aborted && store.published == 0);
}

#[test]
fn all_unreadable_files_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), b"x").unwrap();
    }
    // One worker reads them in order: what happens here happens after the walk.
    let replace = |path: &ArchivePath| {
        if path.as_bytes() == b"a" {
            for name in ["b", "c"] {
                rustix::fs::unlink(dir.path().join(name)).unwrap();
            }
            let fifo = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("b"), fifo, mode, 0).unwrap();
        }
    };
    let mut store = MemoryStore::default();
    let options = DirectoryImport::default();
    let error = import_directory_with(dir.path(), options, &mut store, &mut Unobserved, &replace)
        .unwrap_err();
    let ArchiveError::Unreadable(problems) = &error else { panic!("{error}") };
    let listed: Vec<_> = problems.listed().iter().map(ToString::to_string).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].starts_with("b: it was replaced by another kind"), "{error}");
    assert!(listed[1].starts_with("c: cannot read: No such file"), "{error}");
    assert!(store.aborted && store.published == 0);
}

#[test]
fn the_store_does_not_import_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("inside/store");
    fs::create_dir_all(&store_dir).unwrap();
    fs::write(store_dir.join("catalog.db"), b"x").unwrap();
    let id = FileId::of(fs::File::open(&store_dir).unwrap()).unwrap();
    for (refused, said) in [
        (Refused::store(id), "cairn's own store, which cannot import itself"),
        (Refused::mount(id), "shows the store itself, which cannot import itself"),
    ] {
        for top in [dir.path(), &dir.path().join("inside"), &store_dir] {
            let mut store = MemoryStore::default();
            let options = DirectoryImport { refused: vec![refused], stat_cache: None };
            let error = import_directory(top, options, &mut store, &mut Unobserved).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(store.aborted);
        }
    }
}

#[test]
fn an_export_that_is_asked_to_end_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fill(&from);
    let mut store = MemoryStore::default();
    import(&from, &mut store).unwrap();
    let stop = AtomicBool::new(true);
    let ended =
        export_directory_unless(&mut store, &to, LinkMode::Copy, &mut |_| {}, &stop).unwrap_err();
    assert!(matches!(ended, ArchiveError::Interrupted), "{ended}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|name| name.unwrap().path()).collect();
    assert_eq!(left, [from]);
}

#[test]
fn export_needs_an_empty_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let mut store = MemoryStore::default();
    import(dir.path(), &mut store).unwrap();
    let error = export(&mut store, dir.path()).unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    let error = export(&mut store, &dir.path().join("file")).unwrap_err();
    assert!(matches!(error, ArchiveError::Io { .. }), "{error}");
    let empty = dir.path().join("made before");
    fs::create_dir(&empty).unwrap();
    export(&mut store, &empty).unwrap();
    assert!(empty.join("file").exists());
}

#[test]
fn exported_hardlinks_are_the_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    for name in ["one", "two"] {
        fs::write(from.join(name), b"same").unwrap();
    }
    fs::write(from.join("empty"), b"").unwrap();
    let pool = dir.path().join("blob");
    fs::write(&pool, b"same").unwrap();
    fs::set_permissions(&pool, PermissionsExt::from_mode(0o444)).unwrap();
    /// A store whose blobs have names.
    struct Named(MemoryStore, std::path::PathBuf);
    impl crate::archive::ExportSource for Named {
        fn root(&mut self) -> Result<crate::model::tree::Root, ArchiveError> {
            self.0.root()
        }
        fn pages(
            &mut self,
            hashes: &[crate::model::hash::TreeHash],
        ) -> Result<Vec<Vec<u8>>, ArchiveError> {
            self.0.pages(hashes)
        }
        fn open(
            &mut self,
            names: &[crate::model::content_name::ContentName],
        ) -> Result<Vec<fs::File>, ArchiveError> {
            Ok(names.iter().map(|_| fs::File::open(&self.1).unwrap()).collect())
        }
    }
    let mut store = MemoryStore::default();
    import(&from, &mut store).unwrap();
    let mut store = Named(store, pool.clone());
    export_directory(&mut store, &to, LinkMode::UnsafeHardlink, &mut |_| {}).unwrap();
    let blob = fs::metadata(&pool).unwrap();
    assert_eq!((blob.nlink(), blob.mode() & 0o777), (3, 0o444));
    assert_eq!(fs::metadata(to.join("one")).unwrap().ino(), blob.ino());
    assert_eq!(fs::metadata(to.join("empty")).unwrap().nlink(), 1);
}

#[test]
fn damaged_content_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"content").unwrap();
    let mut store = MemoryStore::default();
    import(dir.path(), &mut store).unwrap();
    store.blobs.values_mut().for_each(|bytes| bytes.truncate(3));
    let error = export(&mut store, &dir.path().join("to")).unwrap_err();
    assert!(matches!(error, ArchiveError::NotExported { .. }), "{error}");
}

#[test]
fn a_required_reflink_is_shared_or_refused_clearly() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"content").unwrap();
    let mut store = MemoryStore::default();
    import(dir.path(), &mut store).unwrap();
    let to = dir.path().join("to");
    match export_directory(&mut store, &to, LinkMode::Reflink, &mut |_| {}) {
        Ok(_) => assert_eq!(fs::read(to.join("file")).unwrap(), b"content"),
        Err(error) => assert!(error.to_string().contains("cannot share blocks"), "{error}"),
    }
}
