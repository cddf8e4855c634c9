//! Private files that no row names any more: they go once that is on disk (H2).
//!
//! The catalog's WAL is not synced with every batch. If a file went as soon as its row has, a power
//! loss could bring the row back without the file. So the removal waits for a flush of the WAL that
//! came after the row; files that no row ever named go at once. Must not know why a file is
//! obsolete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::id::AreaId;
use crate::store::layout::PrivateId;

/// After this long, obsolete files ask for a flush themselves. Until then they share the flushes of others.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What is to become of the private files of an area that has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum AreaFiles {
    /// They may go.
    Go,
    /// They may go when a flush ends that is under way or wanted.
    Wait,
}

/// What waits for the disk. Flushes of the WAL are numbered.
#[derive(Debug)]
pub(super) struct Obsolete {
    /// Private files from this number on were made by this process.
    first_id: u64,
    /// Files that a row named, each with the number of the flush after which it may go.
    files: BTreeMap<(AreaId, PrivateId), u64>,
    /// Areas whose last row is gone, each with the number of the flush after which its files may go.
    areas: BTreeMap<AreaId, u64>,
    /// Files made by this process that a row has named.
    named: BTreeSet<PrivateId>,
    /// The last flush that was asked for, and the last that ended.
    asked: u64,
    durable: u64,
    /// Since when something waits for which no flush was asked.
    since: Option<Instant>,
    /// A flush is wanted now.
    urgent: bool,
}

impl Obsolete {
    pub(super) fn new(first_id: u64) -> Self {
        Self {
            first_id,
            files: BTreeMap::new(),
            areas: BTreeMap::new(),
            named: BTreeSet::new(),
            asked: 0,
            durable: 0,
            since: None,
            urgent: false,
        }
    }

    pub(super) fn named(&mut self, file: PrivateId) {
        self.named.insert(file);
    }

    pub(super) fn has(&self, area: AreaId, file: PrivateId) -> bool {
        self.files.contains_key(&(area, file))
    }

    pub(super) fn may_remove_file(&mut self, area: AreaId, file: PrivateId, now: Instant) -> bool {
        let no_row_named_it = file.0 >= self.first_id && !self.named.contains(&file);
        if !no_row_named_it {
            let flush = self.next_flush(now);
            self.files.entry((area, file)).or_insert(flush);
        }
        no_row_named_it
    }

    pub(super) fn may_remove_area(&mut self, area: AreaId, now: Instant) -> AreaFiles {
        match self.areas.get(&area) {
            Some(flush) if *flush <= self.durable => AreaFiles::Go,
            Some(_) => AreaFiles::Wait,
            None => {
                let flush = self.next_flush(now);
                self.areas.insert(area, flush);
                self.urgent = true;
                AreaFiles::Wait
            }
        }
    }

    pub(super) fn area_removed(&mut self, area: AreaId) {
        self.areas.remove(&area);
        self.files.retain(|(of, _), _| *of != area);
    }

    pub(super) fn wants_flush(&mut self, now: Instant) -> bool {
        let due = self.since.is_some_and(|since| now.duration_since(since) >= WAIT_MAX);
        // One at a time: what comes meanwhile shares the next.
        let wants = (self.urgent || due) && self.asked <= self.durable;
        if wants {
            self.urgent = false;
            self.since = None;
            self.asked += 1;
        }
        wants
    }

    pub(super) fn flushed(&mut self) -> Vec<(AreaId, PrivateId)> {
        self.durable = self.asked;
        self.urgent = self.areas.values().any(|flush| *flush > self.asked);
        self.take_files()
    }

    pub(super) fn flush_failed(&mut self, now: Instant) {
        self.asked = self.durable;
        self.since = Some(now);
    }

    pub(super) fn all_flushed(&mut self) -> Vec<(AreaId, PrivateId)> {
        self.durable = u64::MAX;
        self.take_files()
    }

    /// The number of the flush that covers what was written so far.
    fn next_flush(&mut self, now: Instant) -> u64 {
        self.since.get_or_insert(now);
        self.asked + 1
    }

    fn take_files(&mut self) -> Vec<(AreaId, PrivateId)> {
        let durable = self.durable;
        let files = std::mem::take(&mut self.files);
        let (gone, wait): (BTreeMap<_, _>, _) =
            files.into_iter().partition(|(_, flush)| *flush <= durable);
        self.files = wait;
        let gone: Vec<_> = gone.into_keys().collect();
        for (_, file) in &gone {
            self.named.remove(file);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: AreaId = AreaId(1);

    #[test]
    fn h2_a_file_that_a_row_named_waits_for_a_flush_that_began_after_it() {
        let mut obsolete = Obsolete::new(10);
        let now = Instant::now();
        assert!(obsolete.may_remove_file(AREA, PrivateId(12), now), "no row has named it");
        obsolete.named(PrivateId(11));
        assert!(!obsolete.may_remove_file(AREA, PrivateId(11), now));
        assert!(!obsolete.may_remove_file(AREA, PrivateId(9), now), "of an earlier process");
        assert!(!obsolete.wants_flush(now), "others may share it");
        assert!(obsolete.wants_flush(now + 2 * WAIT_MAX));
        assert!(!obsolete.may_remove_file(AREA, PrivateId(8), now), "after the flush began");
        assert!(!obsolete.wants_flush(now + 4 * WAIT_MAX), "one at a time");
        assert_eq!(obsolete.flushed(), [(AREA, PrivateId(9)), (AREA, PrivateId(11))]);
        assert!(obsolete.has(AREA, PrivateId(8)));
        assert!(obsolete.wants_flush(now + 4 * WAIT_MAX));
        assert_eq!(obsolete.flushed(), [(AREA, PrivateId(8))]);
    }

    #[test]
    fn h2_a_flush_that_failed_is_asked_for_again_after_a_while() {
        let mut obsolete = Obsolete::new(10);
        let now = Instant::now();
        assert_eq!(obsolete.may_remove_area(AREA, now), AreaFiles::Wait);
        assert!(obsolete.wants_flush(now));
        obsolete.flush_failed(now);
        assert_eq!(obsolete.may_remove_area(AREA, now), AreaFiles::Wait, "nothing is on disk");
        assert!(!obsolete.wants_flush(now));
        assert!(obsolete.wants_flush(now + WAIT_MAX));
        assert_eq!(obsolete.flushed(), []);
        assert_eq!(obsolete.may_remove_area(AREA, now), AreaFiles::Go);
    }

    #[test]
    fn h2_an_area_has_a_flush_begun_at_once() {
        let mut obsolete = Obsolete::new(10);
        let now = Instant::now();
        assert_eq!(obsolete.may_remove_area(AREA, now), AreaFiles::Wait);
        assert!(obsolete.wants_flush(now));
        assert_eq!(obsolete.may_remove_area(AreaId(2), now), AreaFiles::Wait);
        assert!(!obsolete.wants_flush(now), "one at a time");
        assert_eq!(obsolete.flushed(), []);
        assert_eq!(obsolete.may_remove_area(AREA, now), AreaFiles::Go);
        assert_eq!(obsolete.may_remove_area(AreaId(2), now), AreaFiles::Wait);
        assert!(obsolete.wants_flush(now), "the other area came after the flush had begun");
        assert_eq!(obsolete.flushed(), []);
        assert_eq!(obsolete.may_remove_area(AreaId(2), now), AreaFiles::Go);
    }
}
