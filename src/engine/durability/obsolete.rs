//! Private files that no row names any more: they go once that is on disk (H2).
//!
//! The catalog's WAL is not synced with every batch. If a file went as soon as its row has, a power
//! loss could bring the row back without the file. So the removal waits for a flush of the WAL that
//! came after the row; files that no row ever named go at once. Must not know why a file is
//! obsolete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{DurabilityJob, Scope, Then};
use crate::engine::error::EngineError;
use crate::engine::request::Request;
use crate::engine::thread::MetadataThread;
use crate::model::id::AreaId;
use crate::store::layout::PrivateId;

/// How long files wait for a flush of their own, so that many share it.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What waits for the disk. Flushes of the WAL are numbered.
#[derive(Debug, Default)]
pub(in crate::engine) struct Obsolete {
    /// Files that a row named, with the first flush after that.
    files: BTreeMap<(AreaId, PrivateId), u64>,
    /// Areas whose last row is gone, likewise.
    areas: BTreeMap<AreaId, u64>,
    /// Files made by this process that a row has named.
    named: BTreeSet<PrivateId>,
    /// The last flush that was asked for, and the last that ended.
    asked: u64,
    durable: u64,
    /// Since when something waits that no flush was asked for.
    since: Option<Instant>,
}

impl Obsolete {
    /// A row names the file.
    pub(in crate::engine) fn named(&mut self, file: PrivateId) {
        self.named.insert(file);
    }

    /// Whether the file is to go, but not yet.
    pub(in crate::engine) fn has(&self, area: AreaId, file: PrivateId) -> bool {
        self.files.contains_key(&(area, file))
    }

    /// The number of the flush that covers what was written so far.
    fn next_flush(&mut self) -> u64 {
        self.since.get_or_insert_with(Instant::now);
        self.asked + 1
    }
}

impl MetadataThread {
    /// A private file is not needed any more, and the rows written so far do not name it.
    pub(in crate::engine) fn file_obsolete(&mut self, area: AreaId, file: PrivateId) {
        let fresh = file.0 >= self.first_id && !self.obsolete.named.contains(&file);
        if fresh {
            self.remove_private(area, file);
        } else {
            let flush = self.obsolete.next_flush();
            self.obsolete.files.entry((area, file)).or_insert(flush);
        }
    }

    /// Whether the private files of an area without rows may go. If not, a flush is on its way
    /// that wakes the collector.
    pub(in crate::engine) fn may_remove_area(&mut self, area: AreaId) -> bool {
        if !self.store.layout.area(area).exists() {
            return true;
        }
        if let Some(flush) = self.obsolete.areas.get(&area) {
            return *flush <= self.obsolete.durable;
        }
        let flush = self.obsolete.next_flush();
        self.obsolete.areas.insert(area, flush);
        self.flush_rows();
        false
    }

    /// The area is gone.
    pub(in crate::engine) fn area_removed(&mut self, area: AreaId) {
        self.obsolete.areas.remove(&area);
        self.obsolete.files.retain(|(of, _), _| *of != area);
    }

    /// Asks for a flush when something has waited long enough.
    pub(in crate::engine) fn advance_obsolete(&mut self, now: Instant) {
        let due = self.obsolete.since.is_some_and(|since| now.duration_since(since) >= WAIT_MAX);
        if due {
            self.flush_rows();
        }
    }

    fn flush_rows(&mut self) {
        // One at a time: what comes meanwhile shares the next.
        if self.obsolete.asked > self.obsolete.durable {
            return;
        }
        self.obsolete.since = None;
        self.obsolete.asked += 1;
        let requests = self.requests_sender.clone();
        let then = Then::new(move |result| drop(requests.send(Request::RowsDurable { result })));
        self.sync(DurabilityJob::Catalog { scope: Scope::Rows, then });
    }

    /// The flush that was asked for has ended.
    pub(in crate::engine) fn rows_durable(&mut self, result: Result<(), EngineError>) {
        if let Err(error) = result {
            // A run that waits for it hears so. Where the store is not poisoned, it is tried again.
            log::error!("obsolete files stay: {error}");
            self.obsolete.asked = self.obsolete.durable;
            self.obsolete.since = Some(Instant::now());
            return self.gc.purge_goes_on();
        }
        self.obsolete.durable = self.obsolete.asked;
        self.remove_obsolete_files();
        if self.obsolete.areas.values().any(|flush| *flush > self.obsolete.asked) {
            self.flush_rows();
        }
        self.gc.purge_goes_on();
    }

    /// All rows written so far are on disk, and nothing more will be written.
    pub(in crate::engine) fn all_rows_durable(&mut self) {
        self.obsolete.durable = u64::MAX;
        self.remove_obsolete_files();
    }

    fn remove_obsolete_files(&mut self) {
        let durable = self.obsolete.durable;
        let files = std::mem::take(&mut self.obsolete.files);
        let (gone, wait) = files.into_iter().partition(|(_, flush)| *flush <= durable);
        self.obsolete.files = wait;
        let gone: BTreeMap<(AreaId, PrivateId), u64> = gone;
        for (area, file) in gone.into_keys() {
            self.obsolete.named.remove(&file);
            self.remove_private(area, file);
        }
    }

    fn remove_private(&self, area: AreaId, file: PrivateId) {
        match self.store.private_files.remove(&self.store.lock, area, file) {
            Ok(unlinked) => self.reaper.take(unlinked),
            Err(error) => log::warn!("cannot remove a private file: {error}"),
        }
    }
}
