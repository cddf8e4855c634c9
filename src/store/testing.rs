//! A store in a temporary directory, for unit tests of all layers.

use std::ops::{Deref, DerefMut};

use super::Store;
use crate::model::hash::BlobHash;

/// An open store that goes with the value.
#[derive(Debug)]
pub(crate) struct TestStore {
    store: Store,
    /// Dropped last.
    _directory: tempfile::TempDir,
}

impl TestStore {
    /// Makes and opens a store.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        super::init(directory.path()).unwrap();
        Self { store: Store::open(directory.path()).unwrap(), _directory: directory }
    }

    /// Puts a blob into the pool, without a row.
    pub(crate) fn add_blob(&self, data: &[u8]) -> BlobHash {
        let hash = BlobHash::of(data);
        let incoming = self.pool.write_incoming(data, &hash).unwrap();
        self.pool.adopt(&self.lock, incoming, &hash).unwrap();
        hash
    }
}

impl Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for TestStore {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}
