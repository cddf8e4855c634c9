//! Which blob a declared name stands for: the one place where a name of content becomes a file of the pool.

use std::fmt;
use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;

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
    /// Both name the same bytes for ever, whether these are stored or not; so nothing here is ever stale.
    known: Mutex<LruCache<Sha256, BlobHash>>,
}

impl fmt::Debug for BlobNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobNames").finish_non_exhaustive()
    }
}

impl BlobNames {
    /// Looks names up in the catalog.
    pub fn new(readers: Arc<Readers>) -> Self {
        Self { readers, known: Mutex::new(LruCache::new(KNOWN_MAX)) }
    }

    /// The blob of a declared digest; `None` when the store has never had its content.
    ///
    /// # Errors
    /// The database's.
    pub fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>> {
        let known = self.known.lock().get(digest).copied();
        if known.is_some() {
            return Ok(known);
        }
        let found = self.readers.read(|reader| reader.blob_of(digest))?;
        if let Some(blob) = found {
            self.known.lock().insert(*digest, blob);
        }
        Ok(found)
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
    /// [`StoreError::AbsentContent`]; the database's.
    pub fn resolve(&self, name: &ContentName) -> Result<BlobHash> {
        match name {
            ContentName::Blake3(blob) => Ok(*blob),
            ContentName::Sha256(digest) => {
                self.blob_of(digest)?.ok_or(StoreError::AbsentContent(*digest))
            }
        }
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
        let names = BlobNames::new(Arc::new(Readers::new(move || Reader::open(&layout))));
        let (digest, blob) = (Sha256::of(b"x"), BlobHash::of(b"x"));
        assert_eq!(names.resolve(&blob.into()).unwrap(), blob);
        let absent = names.resolve(&digest.into());
        assert!(matches!(absent, Err(StoreError::AbsentContent(name)) if name == digest));
        let tx = store.catalog.begin().unwrap();
        tx.put_digest(&digest, &blob).unwrap();
        tx.commit().unwrap();
        assert_eq!(names.resolve(&digest.into()).unwrap(), blob);
        assert_eq!(names.sha256_of(&blob.into()).unwrap(), Some(digest));
    }
}
