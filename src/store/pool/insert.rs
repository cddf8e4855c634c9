//! How a file gets its name in the pool.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::incoming::Incoming;
use super::{BLOB_MODE, Pool, discard};
use crate::model::hash::BlobHash;
use crate::store::durable;
use crate::store::error::{Result, StoreError};
use crate::store::root_lock::RootLock;
use crate::sys;

/// What to do when a link could not be made.
#[derive(Debug, PartialEq, Eq)]
enum Fallback {
    /// The name is taken: by a leftover, or by content to be healed. Take it over.
    Replace,
    /// The file cannot have one more name (G14), or not here: copy it.
    Copy,
    /// Report it.
    Fail,
}

fn fallback(error: io::ErrorKind) -> Fallback {
    match error {
        io::ErrorKind::AlreadyExists => Fallback::Replace,
        io::ErrorKind::TooManyLinks
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::Unsupported => Fallback::Copy,
        _ => Fallback::Fail,
    }
}

impl Pool {
    /// Makes a file on its way into the pool the blob `hash`. A file already there is replaced:
    /// without a row it is a leftover that nobody vouches for (H1), with one it is being healed
    /// (H5). After a failure it is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn adopt(&self, _lock: &RootLock, incoming: Incoming, hash: &BlobHash) -> Result<()> {
        self.make_fan_out(hash)?;
        let target = self.layout.blob(hash);
        let adopted = match incoming {
            Incoming::Named(named) => named.rename(&target),
            Incoming::Unnamed(unnamed) => self.name_file(&unnamed.file, &target),
            Incoming::Placed(placed) => self.keep_name(&placed.file, &target),
        };
        match adopted {
            Ok(()) => self.stored(hash),
            // It may have the name, or not: the file is as damaged as it was before.
            Err(_) => self.fds.forget(hash),
        }
        adopted
    }

    /// As [`Pool::adopt`], where no file has the name yet: says whether that is so, without asking
    /// before. A file in `incoming/` is left as it is; a rename would replace.
    ///
    /// # Errors
    /// The disk's.
    pub fn adopt_new(
        &self,
        _lock: &RootLock,
        incoming: &Incoming,
        hash: &BlobHash,
    ) -> Result<bool> {
        let unnamed = match incoming {
            Incoming::Unnamed(unnamed) => unnamed,
            Incoming::Named(_) => return Ok(false),
            Incoming::Placed(placed) => {
                let named = has_name(&placed.file, &self.layout.blob(hash))?;
                if named {
                    self.stored(hash);
                }
                return Ok(named);
            }
        };
        match link_outcome(durable::link_open(&unnamed.file, &self.layout.blob(hash))) {
            Ok(()) => {
                self.stored(hash);
                Ok(true)
            }
            Err((Fallback::Replace, _)) => Ok(false),
            Err((Fallback::Copy | Fallback::Fail, error)) => Err(error),
        }
    }

    /// Makes a file that had its name from the start keep it, or a copy of it have that: one that lost
    /// its last name cannot get another.
    fn keep_name(&self, file: &File, target: &Path) -> Result<()> {
        if has_name(file, target)? {
            return Ok(());
        }
        let (draft, copy) = self.incoming_file()?;
        durable::copy(file, &copy, draft.path())?;
        draft.rename(target)
    }

    /// Gives a file its first name, in place of whatever has it.
    fn name_file(&self, file: &File, target: &Path) -> Result<()> {
        match link_outcome(durable::link_open(file, target)) {
            Ok(()) => Ok(()),
            Err((Fallback::Replace, _)) => {
                let draft = self.next_incoming_path();
                durable::link_open(file, &draft)?;
                durable::rename(&draft, target).inspect_err(|_| discard(&draft))
            }
            Err((Fallback::Copy | Fallback::Fail, error)) => Err(error),
        }
    }

    /// Makes a private file a blob as well, by a second name. A file already there is replaced. The
    /// private name is the caller's to remove, once the blob's row is written.
    ///
    /// # Errors
    /// The disk's.
    pub fn link(&self, lock: &RootLock, private: &Path, hash: &BlobHash) -> Result<()> {
        self.make_fan_out(hash)?;
        // Before it has the name: a blob is never writable.
        fs::set_permissions(private, fs::Permissions::from_mode(BLOB_MODE))
            .map_err(StoreError::io("change the mode of", private))?;
        let target = self.layout.blob(hash);
        let linked = match link_outcome(durable::link(private, &target)) {
            Ok(()) => Ok(()),
            Err((Fallback::Replace, _)) => self.replace(lock, private, hash),
            Err((Fallback::Copy, _)) => self.insert_copy(lock, private, hash),
            Err((Fallback::Fail, error)) => Err(error),
        };
        match linked {
            Ok(()) => self.stored(hash),
            Err(_) => self.fds.forget(hash),
        }
        linked
    }

    /// Links over the file that has the name.
    fn replace(&self, lock: &RootLock, private: &Path, hash: &BlobHash) -> Result<()> {
        let target = self.layout.blob(hash);
        if is_same_file(private, &target)? {
            // Renaming one name of a file over another does nothing and leaves both.
            return Ok(());
        }
        let draft = self.next_incoming_path();
        match link_outcome(durable::link(private, &draft)) {
            Ok(()) => {}
            Err((Fallback::Copy, _)) => return self.insert_copy(lock, private, hash),
            Err((Fallback::Replace | Fallback::Fail, error)) => return Err(error),
        }
        durable::rename(&draft, &target).inspect_err(|_| discard(&draft))
    }

    /// Puts a copy of a private file into the pool.
    fn insert_copy(&self, lock: &RootLock, private: &Path, hash: &BlobHash) -> Result<()> {
        let (draft, target) = self.incoming_file()?;
        let copied = File::open(private).and_then(|source| {
            let length = source.metadata()?.len();
            sys::copy_range(&source, &target, length)
        });
        copied.map_err(StoreError::io("copy", private))?;
        self.adopt(lock, Incoming::Named(draft), hash)
    }
}

fn link_outcome(linked: Result<()>) -> std::result::Result<(), (Fallback, StoreError)> {
    linked.map_err(|error| match &error {
        StoreError::Io { source, .. } => (fallback(source.kind()), error),
        _ => (Fallback::Fail, error),
    })
}

/// Whether a file that was made with the name `path`, and got no other, still has it.
fn has_name(file: &File, path: &Path) -> Result<bool> {
    Ok(file.metadata().map_err(StoreError::io("look at", path))?.nlink() > 0)
}

fn is_same_file(one: &Path, other: &Path) -> Result<bool> {
    let look = |path| fs::symlink_metadata(path).map_err(StoreError::io("look at", path));
    let (one, other) = (look(one)?, look(other)?);
    Ok(one.dev() == other.dev() && one.ino() == other.ino())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::model::id::AreaId;
    use crate::store::durable::testing::{Fault, on_this_thread};
    use crate::store::layout::PrivateId;
    use crate::store::testing::TestStore;

    fn content(store: &TestStore, hash: &BlobHash) -> Vec<u8> {
        let mut bytes = Vec::new();
        File::open(store.layout.blob(hash)).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn private(store: &TestStore, id: u64, data: &[u8]) -> std::path::PathBuf {
        let file = store.private_files.create(AreaId(1), PrivateId(id)).unwrap();
        let path = store.private_files.path(AreaId(1), PrivateId(id));
        durable::write_all(&file, &path, data, 0).unwrap();
        path
    }

    fn incoming_count(store: &TestStore) -> usize {
        fs::read_dir(store.layout.incoming()).unwrap().count()
    }

    /// The same bytes on their way, without a name and with one.
    fn incoming(store: &TestStore, data: &[u8], hash: &BlobHash) -> [Incoming; 2] {
        let unnamed = store.pool.write_incoming(data, hash).unwrap();
        assert!(matches!(unnamed, Incoming::Unnamed(_)), "the tests' file system has such files");
        let (named, file) = store.pool.incoming_file().unwrap();
        durable::write_all(&file, named.path(), data, 0).unwrap();
        [unnamed, Incoming::Named(named)]
    }

    #[test]
    fn adopting_moves_and_replaces() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"right");
        for data in [&b"wrong"[..], b"right", b"again"] {
            for incoming in incoming(&store, data, &hash) {
                store.pool.adopt(&store.lock, incoming, &hash).unwrap();
                assert_eq!(content(&store, &hash), data);
                let mut cached = Vec::new();
                store.pool.open(&hash).unwrap().as_ref().read_to_end(&mut cached).unwrap();
                assert_eq!(cached, data, "the replaced file is not served from the cache");
                let found = fs::metadata(store.layout.blob(&hash)).unwrap();
                assert_eq!((found.nlink(), found.mode() & 0o7777), (1, BLOB_MODE));
            }
        }
        assert_eq!(store.pool.size_on_disk(&hash).unwrap(), Some(5));
        assert_eq!(incoming_count(&store), 0);
    }

    #[test]
    fn only_a_new_blob_is_taken_in_unseen() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"data");
        let [unnamed, named] = incoming(&store, b"data", &hash);
        assert!(!store.pool.adopt_new(&store.lock, &named, &hash).unwrap(), "it might replace");
        assert!(store.pool.adopt_new(&store.lock, &unnamed, &hash).unwrap());
        let second = store.pool.write_incoming(b"other", &hash).unwrap();
        assert!(!store.pool.adopt_new(&store.lock, &second, &hash).unwrap());
        assert_eq!(content(&store, &hash), b"data");
        drop((second, named));
        assert_eq!(incoming_count(&store), 0);
    }

    #[test]
    fn a_placed_file_is_a_blob_while_it_has_its_name() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"data");
        let placed = store.pool.place(b"data", &hash).unwrap();
        assert!(placed.is_placed());
        let other = store.pool.place(b"data", &hash).unwrap();
        assert!(matches!(other, Incoming::Unnamed(_)), "the name is taken");
        assert!(!store.pool.adopt_new(&store.lock, &other, &hash).unwrap());
        assert!(store.pool.adopt_new(&store.lock, &placed, &hash).unwrap());
        // A leftover is what nobody vouches for: it is replaced, whoever still holds it.
        store.pool.adopt(&store.lock, other, &hash).unwrap();
        assert!(!store.pool.adopt_new(&store.lock, &placed, &hash).unwrap());
        durable::unlink(&store.layout.blob(&hash)).unwrap();
        store.pool.adopt(&store.lock, placed, &hash).unwrap();
        assert_eq!(content(&store, &hash), b"data");
        let found = fs::metadata(store.layout.blob(&hash)).unwrap();
        assert_eq!((found.nlink(), found.mode() & 0o7777), (1, BLOB_MODE));
        assert_eq!(incoming_count(&store), 0);
    }

    #[test]
    fn a_file_that_could_not_be_written_whole_is_a_leftover() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"data");
        store.pool.make_fan_out(&hash).unwrap();
        // Steps: create, write.
        for (step, left) in [(1, false), (2, true)] {
            let fault = on_this_thread(Fault::full(step));
            assert!(store.pool.place(b"data", &hash).unwrap_err().is_full());
            drop(fault);
            assert_eq!(store.layout.blob(&hash).exists(), left);
        }
        let again = store.pool.place(b"data", &hash).unwrap();
        assert!(!store.pool.adopt_new(&store.lock, &again, &hash).unwrap());
        store.pool.adopt(&store.lock, again, &hash).unwrap();
        assert_eq!(content(&store, &hash), b"data");
    }

    #[test]
    fn a_file_that_fails_to_become_a_blob_leaves_nothing() {
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        // Steps without a name: link (taken), link to the draft, rename. With one: rename.
        for (named, step) in [(false, 2), (false, 3), (true, 1)] {
            let mut files = incoming(&store, b"fresh", &hash).into_iter();
            let file = files.nth(usize::from(named)).unwrap();
            drop(files);
            let fault = on_this_thread(Fault::io_error(step));
            assert!(store.pool.adopt(&store.lock, file, &hash).is_err());
            drop(fault);
            assert_eq!(content(&store, &hash), b"data");
            assert_eq!(incoming_count(&store), 0);
        }
    }

    #[test]
    fn linking_shares_the_file_and_makes_it_read_only() {
        let store = TestStore::new();
        let path = private(&store, 1, b"large");
        let hash = BlobHash::of(b"large");
        store.pool.link(&store.lock, &path, &hash).unwrap();
        let found = fs::metadata(store.layout.blob(&hash)).unwrap();
        assert_eq!((found.nlink(), found.mode() & 0o7777), (2, BLOB_MODE));
        // Again, as after a crash before the row was written.
        store.pool.link(&store.lock, &path, &hash).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 2);
        assert_eq!(incoming_count(&store), 0);
    }

    #[test]
    fn linking_replaces_a_leftover() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"new");
        let leftover = store.pool.write_incoming(b"left over", &hash).unwrap();
        store.pool.adopt(&store.lock, leftover, &hash).unwrap();
        store.pool.link(&store.lock, &private(&store, 1, b"new"), &hash).unwrap();
        assert_eq!(content(&store, &hash), b"new");
        assert_eq!(incoming_count(&store), 0);
    }

    #[test]
    fn g14_a_file_with_too_many_names_is_copied() {
        assert_eq!(fallback(io::ErrorKind::TooManyLinks), Fallback::Copy);
        assert_eq!(fallback(io::ErrorKind::AlreadyExists), Fallback::Replace);
        assert_eq!(fallback(io::ErrorKind::StorageFull), Fallback::Fail);
        let store = TestStore::new();
        let path = private(&store, 1, b"data");
        let hash = BlobHash::of(b"data");
        store.pool.make_fan_out(&hash).unwrap();
        store.pool.insert_copy(&store.lock, &path, &hash).unwrap();
        assert_eq!(content(&store, &hash), b"data");
        let found = fs::metadata(store.layout.blob(&hash)).unwrap();
        assert_eq!((found.nlink(), found.mode() & 0o7777), (1, BLOB_MODE));
    }

    #[test]
    fn a_failed_step_leaves_the_old_blob_and_no_draft() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"new");
        let old = store.pool.write_incoming(b"old", &hash).unwrap();
        store.pool.adopt(&store.lock, old, &hash).unwrap();
        let path = private(&store, 1, b"new");
        // Steps: link (taken), link to the draft, rename.
        for step in [2, 3] {
            let fault = on_this_thread(Fault::io_error(step));
            assert!(store.pool.link(&store.lock, &path, &hash).is_err());
            drop(fault);
            assert_eq!(content(&store, &hash), b"old");
            assert_eq!(incoming_count(&store), 0);
        }
        store.pool.link(&store.lock, &path, &hash).unwrap();
        assert_eq!(content(&store, &hash), b"new");
    }
}
