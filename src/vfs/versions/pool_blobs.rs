//! The pool as the source of file contents.

use std::fs::File;
use std::sync::Arc;

use crate::model::hash::BlobHash;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::Pool;
use crate::store::sys::{self, FsSpace};

use super::Blobs;

/// What is called with a blob that turned out to be damaged.
pub type OnDamage = Box<dyn Fn(&BlobHash) + Send + Sync>;

/// The blobs of a store.
pub struct PoolBlobs {
    pool: Arc<Pool>,
    layout: Layout,
    on_damage: OnDamage,
}

impl PoolBlobs {
    /// Reads from `pool`. `on_damage` is called on the thread that answers a read and must not
    /// block.
    pub fn new(pool: Arc<Pool>, layout: Layout, on_damage: OnDamage) -> Self {
        Self { pool, layout, on_damage }
    }
}

impl Blobs for PoolBlobs {
    type Error = StoreError;

    fn open(&self, hash: &BlobHash) -> Result<Arc<File>, StoreError> {
        self.pool.open(hash)
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

    fn report_damage(&self, hash: &BlobHash) {
        self.pool.forget_fd(hash);
        (self.on_damage)(hash);
    }
}
