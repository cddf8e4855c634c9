//! The pool as the source of file contents.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::model::hash::BlobHash;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::Pool;
use crate::sys::{self, FsSpace};

use super::Blobs;

/// The blobs of a store.
pub(crate) struct PoolBlobs {
    pool: Arc<Pool>,
    layout: Layout,
}

impl PoolBlobs {
    /// Reads from `pool`.
    pub(crate) fn new(pool: Arc<Pool>, layout: Layout) -> Self {
        Self { pool, layout }
    }
}

impl Blobs for PoolBlobs {
    type Error = StoreError;

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
