//! Private files that are open, and how many may be.
//!
//! A private file is kept open from its first byte to its seal, so whoever writes many large files at once
//! uses up descriptors of the daemon, which all users share. Half of the descriptors that the process may
//! have are for private files, and half of these for any one repository. So the writers of one repository
//! cannot keep others from reading, sealing, publishing, or writing a few large files.

use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::staging::area::AreaShared;
use crate::store::error::StoreError;

/// How many private files may be open, and are.
#[derive(Debug)]
pub struct Slots {
    max: u64,
    open: AtomicU64,
}

impl Slots {
    /// For a process that may have `descriptors` in all.
    pub fn new(descriptors: u64) -> Self {
        Self { max: (descriptors / 2).max(2), open: AtomicU64::new(0) }
    }

    /// How many private files may be open.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// How many of them one repository may have open.
    pub fn share(&self) -> u64 {
        self.max / 2
    }

    pub(super) fn is_full_for(&self, area: &AreaShared) -> bool {
        let own = area.charge.account().open_files.load(Ordering::Relaxed);
        own >= self.share() || self.open() >= self.max
    }

    /// How many are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// An open private file.
#[derive(Debug)]
pub struct PrivateFile {
    file: File,
    _slot: OpenFileSlot,
}

/// The place of one file among those that may be open.
#[derive(Debug)]
pub(super) struct OpenFileSlot {
    slots: Arc<Slots>,
    area: Arc<AreaShared>,
}

impl OpenFileSlot {
    /// Takes a place for a file of `area`. `force` is for files that are there already.
    pub(super) fn take(
        slots: &Arc<Slots>,
        area: &Arc<AreaShared>,
        force: bool,
    ) -> Result<Self, StoreError> {
        let all = slots.open.fetch_add(1, Ordering::Relaxed);
        let own = area.charge.account().open_files.fetch_add(1, Ordering::Relaxed);
        let slot = Self { slots: Arc::clone(slots), area: Arc::clone(area) };
        if !force && (all >= slots.max || own >= slots.share()) {
            return Err(StoreError::TooManyOpenFiles { max: all.min(own) });
        }
        Ok(slot)
    }

    pub(super) fn hold(self, file: File) -> Arc<PrivateFile> {
        Arc::new(PrivateFile { file, _slot: self })
    }
}

impl Drop for OpenFileSlot {
    fn drop(&mut self) {
        self.slots.open.fetch_sub(1, Ordering::Relaxed);
        self.area.charge.account().open_files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for PrivateFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::quota::{Account, AreaCharge};
    use crate::model::id::{AreaId, RepoId};

    fn area(repo: u64) -> Arc<AreaShared> {
        let account = Arc::new(Account::default());
        Arc::new(AreaShared::new(AreaId(repo), RepoId(repo), true, AreaCharge::new(account), 0))
    }

    #[test]
    fn a_repository_gets_its_share_and_gives_it_back() {
        let slots = Arc::new(Slots::new(16));
        let (greedy, other, third) = (area(1), area(2), area(3));
        let take = |area| OpenFileSlot::take(&slots, area, false);
        let mut held: Vec<OpenFileSlot> = (0..4).map(|_| take(&greedy).unwrap()).collect();
        assert!(matches!(take(&greedy), Err(StoreError::TooManyOpenFiles { .. })));
        assert_eq!(slots.open(), 4, "a refusal takes nothing");
        let others: Vec<OpenFileSlot> = (0..4).map(|_| take(&other).unwrap()).collect();
        assert!(take(&third).is_err());
        held.push(OpenFileSlot::take(&slots, &third, true).unwrap());
        drop(others);
        take(&third).unwrap();
        drop(held);
        assert_eq!(slots.open(), 0);
        take(&greedy).unwrap();
    }
}
