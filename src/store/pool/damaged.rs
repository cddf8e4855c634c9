//! Which blobs are known to be damaged, and who is told of new damage.
//!
//! A marked blob is not opened for anybody who wants its content: better an error than wrong bytes
//! (R5). The marks follow the column `damaged` of the catalog, from which a start loads them, and
//! are kept in memory so that a read costs no query. They end when another file takes the blob's name,
//! because whoever stores content has hashed it (H5).

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::Pool;
use crate::model::hash::BlobHash;
use crate::store::error::{Result, StoreError, is_damage};

/// What somebody saw of a blob that is not right.
#[derive(Debug, Clone)]
pub struct Damage {
    /// The blob.
    pub hash: BlobHash,
    /// The file whose content is wrong or unreadable. `None` when none could be opened, or when its
    /// length alone is wrong: that can be looked at again at no cost.
    pub file: Option<Arc<File>>,
}

/// Called when damage is met, on the thread that met it; must not block.
pub type OnDamage = Box<dyn Fn(Damage) + Send + Sync>;

/// The marks, 40 bytes each.
#[derive(Default)]
pub(super) struct Marks {
    marked: RwLock<BTreeSet<BlobHash>>,
    listener: OnceLock<OnDamage>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").field("count", &self.marked.read().len()).finish_non_exhaustive()
    }
}

impl Marks {
    pub(super) fn has(&self, hash: &BlobHash) -> bool {
        self.marked.read().contains(hash)
    }

    pub(super) fn remove(&self, hash: &BlobHash) {
        self.marked.write().remove(hash);
    }

    pub(super) fn tell(&self, damage: Damage) {
        match self.listener.get() {
            Some(listener) if !self.has(&damage.hash) => listener(damage),
            Some(_) | None => {}
        }
    }
}

impl Pool {
    /// From now on `listener` is told of blobs that cannot be opened or read. The first one stays.
    pub fn on_damage(&self, listener: OnDamage) {
        if self.marks.listener.set(listener).is_err() {
            log::warn!("somebody is told of damaged blobs already");
        }
    }

    /// Marks blobs: whoever opens them from now on gets [`StoreError::DamagedBlob`].
    pub fn mark_damaged(&self, hashes: impl IntoIterator<Item = BlobHash>) {
        for hash in hashes {
            self.marks.marked.write().insert(hash);
            // Forgotten after the mark was set, since whatever is opened from then on looks at the
            // mark first.
            self.fds.forget(&hash);
        }
    }

    /// Takes the mark away: the blob's file has turned out to be right.
    pub fn unmark(&self, hash: &BlobHash) {
        self.marks.remove(hash);
        self.fds.forget(hash);
    }

    /// Whether a blob is marked.
    pub fn is_damaged(&self, hash: &BlobHash) -> bool {
        self.marks.has(hash)
    }

    /// Whether any blob is marked.
    pub fn has_damage(&self) -> bool {
        !self.marks.marked.read().is_empty()
    }

    /// To be called with an error of reading an open blob. Damage is passed on to the listener; an
    /// error of this process, such as a lack of memory, is not. An end that came too early may be the fault of whoever
    /// declared the size of a file, so the length of the blob is looked at again.
    pub fn read_failed(&self, hash: &BlobHash, file: &Arc<File>, error: &io::Error) {
        let is_short = error.kind() == io::ErrorKind::UnexpectedEof;
        if is_short || is_damage(error) {
            let file = (!is_short).then(|| Arc::clone(file));
            self.marks.tell(Damage { hash: *hash, file });
        }
    }

    /// To be called by who has read all of an open blob and found that its content does not have its hash.
    pub fn content_is_wrong(&self, hash: &BlobHash, file: &Arc<File>) {
        self.marks.tell(Damage { hash: *hash, file: Some(Arc::clone(file)) });
    }

    /// Whether what was seen of a blob of `size` bytes is still so: it may have been healed, which
    /// gives its name to another file.
    ///
    /// # Errors
    /// The disk's, where it says nothing of this blob.
    pub fn is_still_damaged(&self, damage: &Damage, size: u64) -> Result<bool> {
        let path = self.layout.blob(&damage.hash);
        let looked = match &damage.file {
            Some(seen) => fs::symlink_metadata(&path).and_then(|named| {
                let seen = seen.metadata()?;
                Ok((named.dev(), named.ino()) == (seen.dev(), seen.ino()))
            }),
            None => File::open(&path).and_then(|file| Ok(file.metadata()?.len() != size)),
        };
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_damage(&error) => Ok(true),
            looked => looked.map_err(StoreError::io("look at", &path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::store::testing::TestStore;

    fn marked(error: &StoreError) -> bool {
        matches!(error, StoreError::DamagedBlob(_))
    }

    #[test]
    fn r5_a_marked_blob_is_not_opened_until_its_content_comes_again() {
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        store.pool.open(&hash).unwrap();
        store.pool.mark_damaged([hash]);
        assert!(store.pool.is_damaged(&hash) && store.pool.has_damage());
        assert!(marked(&store.pool.open(&hash).unwrap_err()), "it was open and is not any more");
        assert!(marked(&store.pool.read_exact_at(&hash, &mut [0; 4], 0).unwrap_err()));
        store.add_blob(b"data");
        assert!(!store.pool.has_damage());
        let mut read = [0; 4];
        store.pool.read_exact_at(&hash, &mut read, 0).unwrap();
        assert_eq!(&read, b"data");
    }

    #[test]
    fn a_mark_goes_with_its_blob() {
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        store.pool.mark_damaged([hash]);
        drop(store.pool.remove(&store.lock, &hash, None).unwrap());
        assert!(!store.pool.has_damage());
    }

    #[test]
    fn h5_what_was_healed_since_it_was_seen_is_not_damaged() {
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        let file = store.pool.open(&hash).unwrap();
        let content = Damage { hash, file: Some(file) };
        let name = Damage { hash, file: None };
        assert!(store.pool.is_still_damaged(&content, 4).unwrap());
        assert!(!store.pool.is_still_damaged(&name, 4).unwrap(), "it opens, and has its length");
        assert!(store.pool.is_still_damaged(&name, 5).unwrap());
        store.add_blob(b"data");
        assert!(!store.pool.is_still_damaged(&content, 4).unwrap(), "another file has the name");
        drop(store.pool.remove(&store.lock, &hash, None).unwrap());
        assert!(store.pool.is_still_damaged(&content, 4).unwrap());
        assert!(store.pool.is_still_damaged(&name, 4).unwrap());
    }

    #[test]
    fn damage_is_told_once_and_other_errors_never() {
        let store = TestStore::new();
        let heard = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&heard);
        store.pool.on_damage(Box::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        let told = || heard.load(Ordering::Relaxed);
        let hash = store.add_blob(b"data");
        assert!(marked(&store.pool.read_exact_at(&hash, &mut [0; 9], 0).unwrap_err()));
        assert_eq!(told(), 1, "it is shorter than its reader knows");
        let file = store.pool.open(&hash).unwrap();
        store.pool.read_failed(&hash, &file, &io::ErrorKind::OutOfMemory.into());
        assert_eq!(told(), 1);
        store.pool.open(&BlobHash::of(b"missing")).unwrap_err();
        assert_eq!(told(), 2);
        store.pool.mark_damaged([hash]);
        store.pool.open(&hash).unwrap_err();
        store.pool.read_failed(&hash, &file, &io::ErrorKind::UnexpectedEof.into());
        assert_eq!(told(), 2, "it is known");
    }
}
