//! What all files of one staging area share: its counters and its phase.
//!
//! Kept outside the namespace lock so that the data path (write, close) can keep the counts that
//! a commit waits for without touching the namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

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

/// What the kernel was told of an area's name.
#[derive(Debug, Default)]
struct KeptName {
    /// When it was last told to keep it.
    asked: Option<Instant>,
    /// The name is about to go, so the kernel is not told to keep it any more.
    goes: bool,
    /// The kernel was made to ask again, so it does not keep the name from before.
    asked_again: bool,
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
    sealing_steps: AtomicU64,
    failed: Mutex<BTreeMap<NodeId, Arc<FileContent>>>,
    kept_name: Mutex<KeptName>,
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
            sealing_steps: AtomicU64::new(0),
            failed: Mutex::new(BTreeMap::new()),
            kept_name: Mutex::default(),
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
        self.note_sealing();
    }

    /// Steps that sealers have done for its files: a file sealed, or a part of a large one hashed.
    pub fn sealing_steps(&self) -> u64 {
        self.sealing_steps.load(Ordering::Relaxed)
    }

    /// Notes such a step.
    pub(in crate::engine) fn note_sealing(&self) {
        self.sealing_steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers a file that could not be sealed (disk full, I/O error).
    pub(crate) fn seal_failed(&self, node: NodeId, content: Arc<FileContent>) {
        self.failed.lock().insert(node, content);
    }

    /// Forgets a failure: the file is tried again, was sealed, changed or deleted.
    pub(super) fn seal_failure_over(&self, node: NodeId) {
        self.failed.lock().remove(&node);
    }

    /// Whether a file could not be sealed.
    pub(in crate::engine) fn has_failed(&self, node: NodeId) -> bool {
        self.failed.lock().contains_key(&node)
    }

    /// Files that could not be sealed.
    pub fn failed(&self) -> Vec<Arc<FileContent>> {
        self.failed.lock().values().cloned().collect()
    }

    /// The kernel asks for the area's name: returns whether it may keep the name for a while. It may not once
    /// the name is about to go.
    pub fn keep_name(&self, now: Instant) -> bool {
        let mut name = self.kept_name.lock();
        if !name.goes {
            name.asked = Some(now);
        }
        !name.goes
    }

    /// The area is to be published or discarded, so the kernel must not keep its name from now on.
    pub fn let_name_go(&self) {
        self.kept_name.lock().goes = true;
    }

    /// As [`Self::let_name_go`]. Returns whether the kernel may have kept the name from before and must be
    /// made to ask again; that is so once.
    pub fn let_name_move(&self) -> bool {
        let mut name = self.kept_name.lock();
        name.goes = true;
        name.asked.is_some() && !std::mem::replace(&mut name.asked_again, true)
    }

    /// The area stays.
    pub fn let_name_stay(&self) {
        let mut name = self.kept_name.lock();
        name.goes = false;
        name.asked_again = false;
    }

    /// When the name was given to be kept the last time.
    pub fn name_asked(&self) -> Option<Instant> {
        self.kept_name.lock().asked
    }

    /// Number of files that could not be sealed.
    pub fn failed_count(&self) -> usize {
        self.failed.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::staging::content::testing::area;

    #[test]
    fn a_name_is_kept_until_it_is_to_go() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let kept = area();
        assert!(kept.keep_name(now));
        kept.let_name_go();
        assert!(!kept.keep_name(later));
        assert_eq!(kept.name_asked(), Some(now));
        // A rename has the kernel ask once more, whoever said before that the name goes.
        assert!(kept.let_name_move());
        assert!(!kept.keep_name(later) && !kept.let_name_move());
        kept.let_name_stay();
        assert!(kept.keep_name(later) && kept.let_name_move());
    }

    #[test]
    fn a_name_that_nobody_asked_for_is_not_kept() {
        let unseen = area();
        assert!(!unseen.let_name_move());
        assert_eq!(unseen.name_asked(), None);
    }
}
