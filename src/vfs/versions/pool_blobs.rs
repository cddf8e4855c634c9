//! The pool as the source of file contents.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::fetcher::OnFetched;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::store::error::StoreError;
use crate::sys::{self, FsSpace};

use super::Blobs;

/// The blobs of a store.
pub(crate) struct PoolBlobs {
    engine: Arc<Engine>,
}

impl PoolBlobs {
    /// Of a running engine.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

impl Blobs for PoolBlobs {
    type Error = StoreError;

    fn resolve(&self, name: &ContentName) -> Result<BlobHash, StoreError> {
        self.engine.trees.blob_names().resolve(name)
    }

    fn sha256(&self, name: &ContentName) -> Option<Sha256> {
        let known = self.engine.trees.blob_names().sha256_of(name);
        known.inspect_err(|error| log::error!("SHA-256 of {name}: {error}")).ok().flatten()
    }

    fn note_use(&self, name: &ContentName, blob: &BlobHash) {
        self.engine.note_use(name, blob);
    }

    fn fetch(&self, name: ContentName, part: Range<u64>, then: OnFetched) {
        self.engine.fetch_part(name, part, then);
    }

    fn read_part(&self, name: &ContentName, offset: u64, buffer: &mut [u8]) -> bool {
        self.engine.read_part(name, offset, buffer)
    }

    fn absent(name: &ContentName, error: &StoreError) -> Option<ContentName> {
        match error {
            StoreError::AbsentContent(name) => Some(*name),
            StoreError::DamagedBlob(_) => Some(*name),
            _ => None,
        }
    }

    fn open(&self, hash: &BlobHash) -> Result<Arc<File>, StoreError> {
        self.engine.pool.open(hash).inspect_err(|error| {
            if !matches!(error, StoreError::DamagedBlob(_) | StoreError::AbsentContent(_)) {
                log::error!("{error}");
            }
        })
    }

    fn allocated_blocks(&self, hash: &BlobHash) -> Option<u64> {
        self.engine.pool.allocated_blocks(hash)
    }

    fn space(&self) -> Result<FsSpace, StoreError> {
        let path = self.engine.layout.root();
        sys::statvfs(path).map_err(|source| StoreError::Io {
            action: "statfs",
            path: path.to_owned(),
            source,
        })
    }

    fn read_failed(&self, hash: &BlobHash, file: &Arc<File>, error: &io::Error) {
        self.engine.pool.read_failed(hash, file, error);
    }
}
