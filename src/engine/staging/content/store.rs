//! What all contents share: the store's files, and what the metadata thread is to do for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{FileContent, Slots};
use crate::engine::pins::Pins;
use crate::store::Store;
use crate::store::blob_names::BlobNames;
use crate::store::layout::PrivateId;
use crate::store::pool::Pool;
use crate::store::staging_dir::StagingDir;
use crate::sys::open_files;

/// What reading and writing content needs of the store.
#[derive(Debug)]
pub struct ContentStore {
    /// Sealed content.
    pub pool: Arc<Pool>,
    /// Finds the blobs of names.
    pub names: Arc<BlobNames>,
    /// Content being written.
    pub private_files: Arc<StagingDir>,
    /// Pins of blobs that no row names yet.
    pub pins: Arc<Pins>,
    /// Private files that may be open.
    pub slots: Arc<Slots>,
    /// Bytes in all buffers.
    pub buffered_bytes: AtomicU64,
    /// Source of ids for nodes and private files; never repeats, also not after a restart.
    pub next_id: AtomicU64,
    /// Private files that a content does not use any more. The metadata thread removes each once no row and
    /// no content needs it.
    pub obsolete: Mutex<Vec<(Arc<FileContent>, PrivateId)>>,
    /// Contents that replace synced ones: to be brought to disk before a row may name them.
    pub unsettled: Mutex<Vec<Arc<FileContent>>>,
}

impl ContentStore {
    /// Of an open store; ids from `next_id` on are free.
    pub fn new(store: &Store, names: &Arc<BlobNames>, pins: &Arc<Pins>, next_id: u64) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::clone(&store.pool),
            names: Arc::clone(names),
            private_files: Arc::clone(&store.private_files),
            pins: Arc::clone(pins),
            slots: Arc::new(Slots::new(open_files::nofile_limit())),
            buffered_bytes: AtomicU64::new(0),
            next_id: AtomicU64::new(next_id),
            obsolete: Mutex::default(),
            unsettled: Mutex::default(),
        })
    }

    /// A fresh id.
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}
