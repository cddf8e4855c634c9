//! The pool as the source of file contents.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::store::blob_names::BlobNames;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::Pool;
use crate::sys::{self, FsSpace};

use super::Blobs;

/// The blobs of a store.
pub(crate) struct PoolBlobs {
    pool: Arc<Pool>,
    names: Arc<BlobNames>,
    layout: Layout,
}

impl PoolBlobs {
    /// Reads from `pool` what `names` say.
    pub(crate) fn new(pool: Arc<Pool>, names: Arc<BlobNames>, layout: Layout) -> Self {
        Self { pool, names, layout }
    }
}

impl Blobs for PoolBlobs {
    type Error = StoreError;

    fn resolve(&self, name: &ContentName) -> Result<BlobHash, StoreError> {
        self.names.resolve(name)
    }

    fn sha256(&self, name: &ContentName) -> Option<Sha256> {
        let known = self.names.sha256_of(name);
        known.inspect_err(|error| log::error!("SHA-256 of {name}: {error}")).ok().flatten()
    }

    fn open(&self, hash: &BlobHash) -> Result<Arc<File>, StoreError> {
        self.pool.open(hash).inspect_err(|error| {
            if !matches!(error, StoreError::DamagedBlob(_)) {
                log::error!("{error}");
            }
        })
    }

    fn allocated_blocks(&self, hash: &BlobHash) -> Option<u64> {
        self.pool.allocated_blocks(hash)
    }

    fn space(&self) -> Result<FsSpace, StoreError> {
        let path = self.layout.root();
        sys::statvfs(path).map_err(|source| StoreError::Io {
            action: "statfs",
            path: path.to_owned(),
            source,
        })
    }

    fn read_failed(&self, hash: &BlobHash, file: &Arc<File>, error: &io::Error) {
        self.pool.read_failed(hash, file, error);
    }
}
