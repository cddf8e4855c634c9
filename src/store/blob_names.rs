//! Which blob a name of content stands for, and whether it is here: the one place where a name becomes a file of the pool.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;

use super::absent_blobs::AbsentBlobs;
use super::catalog::Reader;
use super::error::{Result, StoreError};
use super::readers::Readers;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;

/// Digests whose blob is kept: some megabytes.
const KNOWN_MAX: usize = 65_536;

/// Finds the blobs of names, and keeps what it found last.
pub struct BlobNames {
    readers: Arc<Readers>,
    absent: Arc<AbsentBlobs>,
    known: Mutex<Known>,
}

/// What was found. Both digests name the same bytes for ever, but these may not be stored any more.
struct Known {
    blobs: LruCache<Sha256, BlobHash>,
    /// How often blobs were removed.
    removals: u64,
    /// What is about to become absent, or not: for now it stands for nothing.
    hidden: BTreeSet<Sha256>,
}

impl fmt::Debug for BlobNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobNames").finish_non_exhaustive()
    }
}

impl BlobNames {
    /// Looks names up in the catalog, and blobs in the set of those that are absent.
    pub fn new(readers: Arc<Readers>, absent: Arc<AbsentBlobs>) -> Self {
        let known = Known { blobs: LruCache::new(KNOWN_MAX), removals: 0, hidden: BTreeSet::new() };
        Self { readers, absent, known: Mutex::new(known) }
    }

    /// The blob of a declared digest; `None` when the store has never had its content.
    ///
    /// # Errors
    /// The database's.
    pub fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>> {
        let removals = {
            let mut known = self.known.lock();
            if known.hidden.contains(digest) {
                return Ok(None);
            }
            if let Some(blob) = known.blobs.get(digest) {
                return Ok(Some(*blob));
            }
            known.removals
        };
        let found = self.readers.read(|reader| reader.blob_of(digest))?;
        let mut known = self.known.lock();
        // What was removed meanwhile must not be remembered.
        if let Some(blob) = found.filter(|_| known.removals == removals) {
            known.blobs.insert(*digest, blob);
        }
        Ok(found)
    }

    /// Blobs were removed: what is remembered may be of one of them.
    pub fn removed(&self) {
        let mut known = self.known.lock();
        known.removals += 1;
        known.blobs.clear();
    }

    /// From now on these names stand for nothing, whatever is stored. Who pins a name first and then resolves it is seen by
    /// whoever hides it first and then looks at the pins, or finds nothing.
    pub fn hide(&self, digests: impl IntoIterator<Item = Sha256>) {
        self.known.lock().hidden.extend(digests);
    }

    /// All names stand again for what is stored.
    pub fn show_all(&self) {
        self.known.lock().hidden.clear();
    }

    /// Whether any tree or area names content by a declared digest.
    ///
    /// # Errors
    /// The database's.
    pub fn any_declared(&self) -> Result<bool> {
        self.readers.read(Reader::any_declared)
    }

    /// The SHA-256 of a content, as far as it is known: it is declared, or was computed once.
    ///
    /// # Errors
    /// The database's.
    pub fn sha256_of(&self, name: &ContentName) -> Result<Option<Sha256>> {
        match name {
            ContentName::Sha256(digest) => Ok(Some(*digest)),
            ContentName::Blake3(blob) => self.readers.read(|reader| reader.digest_of(blob)),
        }
    }

    /// The blob of a content.
    ///
    /// # Errors
    /// [`StoreError::AbsentContent`], with the name by which it can be fetched; the database's.
    pub fn resolve(&self, name: &ContentName) -> Result<BlobHash> {
        let blob = match name {
            ContentName::Blake3(blob) => *blob,
            ContentName::Sha256(digest) => {
                self.blob_of(digest)?.ok_or(StoreError::AbsentContent(*name))?
            }
        };
        if self.absent.has(&blob) {
            return Err(StoreError::AbsentContent(blob.into()));
        }
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn a_name_is_looked_up_until_it_is_known() {
        let mut store = TestStore::new();
        let layout = store.layout.clone();
        let names =
            BlobNames::new(Arc::new(Readers::new(move || Reader::open(&layout))), Arc::default());
        let (digest, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        assert_eq!(names.resolve(&blob.into()).unwrap(), blob);
        let absent = names.resolve(&digest.into());
        assert!(matches!(absent, Err(StoreError::AbsentContent(name)) if name == digest.into()));
        let tx = store.catalog.begin().unwrap();
        tx.put_digest(&digest, &blob).unwrap();
        tx.commit().unwrap();
        assert_eq!(names.resolve(&digest.into()).unwrap(), blob);
        assert_eq!(names.sha256_of(&blob.into()).unwrap(), Some(digest));
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&blob, 1, 0, 0, crate::model::time::Timestamp::now()).unwrap();
        tx.delete_blob(&blob).unwrap();
        tx.commit().unwrap();
        assert_eq!(names.blob_of(&digest).unwrap(), Some(blob), "nobody has said so yet");
        names.removed();
        assert_eq!(names.blob_of(&digest).unwrap(), None);
    }

    #[test]
    fn a_hidden_name_stands_for_nothing() {
        let mut store = TestStore::new();
        let layout = store.layout.clone();
        let names =
            BlobNames::new(Arc::new(Readers::new(move || Reader::open(&layout))), Arc::default());
        let (digest, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        let tx = store.catalog.begin().unwrap();
        tx.put_digest(&digest, &blob).unwrap();
        tx.commit().unwrap();
        for _ in 0..2 {
            assert_eq!(names.blob_of(&digest).unwrap(), Some(blob), "known or not");
            names.hide([digest]);
            assert!(names.resolve(&digest.into()).is_err());
            names.show_all();
        }
    }
}
