//! A writer without a metadata thread, for unit tests of those who use it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};

use super::{Parts, StoreWriter};
use crate::engine::durability::DurabilityJob;
use crate::engine::event::NoObserver;
use crate::engine::pins::Pins;
use crate::engine::reaper::{ReaperThread, reaper};
use crate::engine::registry::Registry;
use crate::engine::staging::Staging;
use crate::engine::staging::content::ContentStore;
use crate::model::id::AreaId;
use crate::store::Store;
use crate::store::catalog::Reader;
use crate::store::layout::PrivateId;
use crate::store::tree_cache::TreeCache;

/// A writer, and the ends of its lines, at which nobody is.
pub(in crate::engine) struct TestWriter {
    pub(in crate::engine) writer: StoreWriter,
    pub(in crate::engine) trees: Arc<TreeCache>,
    /// Does nothing until a test has it run.
    pub(in crate::engine) reaper: ReaperThread,
    _durability_jobs: Receiver<DurabilityJob>,
    _directory: tempfile::TempDir,
}

impl TestWriter {
    /// Of a new store.
    pub(in crate::engine) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        crate::store::init(directory.path()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (layout, pins) = (store.layout.clone(), Arc::new(Pins::default()));
        let open = move || Reader::open(&layout);
        let trees = Arc::new(TreeCache::new(open, 1 << 20, store.pool.absent()));
        let contents = ContentStore::new(&store, trees.blob_names(), &pins, 1);
        let ((reaper, reaper_thread), (jobs, durability_jobs)) = (reaper(), unbounded());
        let writer = StoreWriter::new(Parts {
            reader: store.catalog.reader().unwrap(),
            store,
            reaper,
            registry: Arc::new(Registry::default()),
            staging: Arc::new(Staging::new(contents).0),
            pins,
            observer: Arc::new(NoObserver),
            durability_jobs: jobs,
            first_id: 1,
        });
        let (reaper, _durability_jobs, _directory) = (reaper_thread, durability_jobs, directory);
        Self { writer, trees, reaper, _durability_jobs, _directory }
    }

    /// Removes a file, and leaves it to the reaper.
    pub(in crate::engine) fn remove_file(&self, id: u64) {
        let (area, file, store) = (AreaId(1), PrivateId(id), self.writer.store());
        store.private_files.create(area, file).unwrap().set_len(1 << 20).unwrap();
        self.writer.let_go(store.private_files.remove(&store.lock, area, file).unwrap());
    }
}
