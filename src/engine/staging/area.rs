//! What all files of one staging area share: its counters and its phase.
//!
//! Kept outside the namespace lock so that the data path (write, close) can keep the counts that
//! a commit waits for without touching the namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::content::FileContent;
use crate::engine::quota::AreaCharge;
use crate::model::id::{AreaId, NodeId, RepoId};

/// Whether an area may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Open for changes.
    Open,
    /// Being committed: changes wait until the commit succeeded or was refused (H13).
    Frozen,
    /// Published or discarded: what is still open can be read, changes are refused (H13).
    Closed,
}

/// Counters of one area. All are exact: a commit relies on them.
#[derive(Debug)]
pub struct AreaShared {
    /// The area.
    pub id: AreaId,
    /// Its repository.
    pub repo: RepoId,
    /// Whether changes are journalled. An import's area is not: after a crash it starts anew.
    pub journalled: bool,
    /// What it takes of its repository's quota.
    pub charge: AreaCharge,
    /// When something in it changed last, in seconds since 1970.
    changed: AtomicI64,
    writers: AtomicU32,
    unsealed: AtomicU32,
    failed: Mutex<BTreeMap<NodeId, Arc<FileContent>>>,
}

impl AreaShared {
    /// Counters of an area without open or unsealed files.
    pub fn new(
        id: AreaId,
        repo: RepoId,
        journalled: bool,
        charge: AreaCharge,
        changed: i64,
    ) -> Self {
        Self {
            id,
            repo,
            journalled,
            charge,
            changed: AtomicI64::new(changed),
            writers: AtomicU32::new(0),
            unsealed: AtomicU32::new(0),
            failed: Mutex::new(BTreeMap::new()),
        }
    }

    /// When something in it changed last, in seconds since 1970.
    pub fn changed(&self) -> i64 {
        self.changed.load(Ordering::Relaxed)
    }

    /// Notes that something in it changed.
    pub(in crate::engine) fn note_changed(&self, now: i64) {
        self.changed.store(now, Ordering::Relaxed);
    }

    /// Number of handles open for writing.
    pub fn writers(&self) -> u32 {
        self.writers.load(Ordering::SeqCst)
    }

    pub(super) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_writer(&self) {
        let before = self.writers.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "an area's writer was closed twice");
    }

    /// Number of files whose newest content is not a blob yet.
    pub fn unsealed(&self) -> u32 {
        self.unsealed.load(Ordering::SeqCst)
    }

    pub(super) fn add_unsealed(&self) {
        self.unsealed.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn remove_unsealed(&self) {
        let before = self.unsealed.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "an area's file was sealed twice");
    }

    /// Remembers a file that could not be sealed (disk full, I/O error).
    pub(crate) fn seal_failed(&self, node: NodeId, content: Arc<FileContent>) {
        self.failed.lock().insert(node, content);
    }

    /// Forgets a failure: the file is tried again, was sealed, changed or deleted.
    pub(super) fn seal_failure_over(&self, node: NodeId) {
        self.failed.lock().remove(&node);
    }

    /// Files that could not be sealed.
    pub fn failed(&self) -> Vec<Arc<FileContent>> {
        self.failed.lock().values().cloned().collect()
    }

    /// Number of files that could not be sealed.
    pub fn failed_count(&self) -> usize {
        self.failed.lock().len()
    }
}
