//! How far a sync is: all its threads add to it, and whoever wants to know reads it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::sync::{SyncCounts, SyncProgress, SyncStage};
use crate::net::{NetError, TRIES_MAX, Watcher};

/// What all stages of a sync add to. Nothing is sent to those who look, so that none of them can hold it up.
#[derive(Debug, Default)]
pub struct Tally {
    stage: AtomicU8,
    waits: Mutex<Waits>,
    pub(crate) declared: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
    pub(crate) added: AtomicU64,
    pub(crate) changed: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Fetches that wait for their next try.
#[derive(Debug, Default)]
struct Waits {
    count: u32,
    /// Why the latest of them does.
    reason: String,
}

impl Tally {
    /// What was done so far.
    pub fn counts(&self) -> SyncCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SyncCounts {
            declared: read(&self.declared),
            unchanged: read(&self.unchanged),
            reused: read(&self.reused),
            fetched: read(&self.fetched),
            fetched_bytes: read(&self.fetched_bytes),
            added: read(&self.added),
            changed: read(&self.changed),
            removed: read(&self.removed),
            failed: read(&self.failed),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> SyncProgress {
        let stages = [SyncStage::Declare, SyncStage::Fetch, SyncStage::Publish];
        let stage =
            stages.into_iter().find(|stage| *stage as u8 == self.stage.load(Ordering::Relaxed));
        let waits = self.waits.lock();
        let retry = (waits.count > 0).then(|| waits.reason.clone());
        SyncProgress { stage: stage.unwrap_or_default(), counts: self.counts(), retry }
    }

    /// Notes what the sync is at now.
    pub fn enter(&self, stage: SyncStage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Begins anew, since the sync does.
    pub fn reset(&self) {
        self.enter(SyncStage::Declare);
        for count in [
            &self.declared,
            &self.unchanged,
            &self.reused,
            &self.fetched,
            &self.fetched_bytes,
            &self.added,
            &self.changed,
            &self.removed,
            &self.failed,
        ] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl Watcher for Tally {
    fn waits(&self, reason: &NetError, tries: u32, wait: Duration) {
        let mut waits = self.waits.lock();
        waits.count += 1;
        let seconds = wait.as_millis().div_ceil(1000);
        waits.reason = format!("try {tries} of {TRIES_MAX}: {reason}; again in {seconds} s");
    }

    fn goes_on(&self) {
        let mut waits = self.waits.lock();
        waits.count = waits.count.saturating_sub(1);
    }
}

/// Adds to one of the counts.
pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v8_progress_names_the_stage_and_what_is_waited_for() {
        let tally = Tally::default();
        assert_eq!(tally.progress(), SyncProgress::default());
        tally.enter(SyncStage::Publish);
        add(&tally.declared, 3);
        let error = NetError::stopped();
        for tries in [1, 2] {
            tally.waits(&error, tries, Duration::from_millis(1500));
        }
        tally.goes_on();
        let progress = tally.progress();
        assert_eq!((progress.stage, progress.counts.declared), (SyncStage::Publish, 3));
        assert_eq!(progress.retry.as_deref(), Some("try 2 of 5: stopped; again in 2 s"));
        tally.goes_on();
        tally.reset();
        assert_eq!(tally.progress(), SyncProgress::default());
    }
}
