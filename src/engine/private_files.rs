//! Removing private files: at once, or after a flush of the rows that named them (H2).
//!
//! When that is says [`Durability`](super::durability::Durability).

use std::time::Instant;

use super::after::After;
use super::durability::{AreaFiles, Durable};
use super::error::Result;
use super::thread::MetadataThread;
use crate::model::id::AreaId;
use crate::store::layout::PrivateId;

impl MetadataThread {
    /// A private file is not needed any more, and the rows written so far do not name it.
    pub(super) fn file_obsolete(&mut self, area: AreaId, file: PrivateId) {
        if self.durability.may_remove_file(area, file) {
            self.remove_private(area, file);
        }
    }

    /// Whether the private files of an area without rows may go. If not, a flush is on its way that wakes
    /// the collector.
    pub(super) fn may_remove_area_files(&mut self, area: AreaId) -> bool {
        if !self.store.layout.area(area).exists() {
            return true;
        }
        let files = self.durability.may_remove_area(area);
        self.advance_obsolete(Instant::now());
        files == AreaFiles::Go
    }

    /// Asks for a flush when obsolete files want one.
    pub(super) fn advance_obsolete(&mut self, now: Instant) {
        if self.durability.wants_flush(now) {
            self.when_durable(Durable::Rows, After::RemoveObsolete);
        }
    }

    /// The flush that obsolete files asked for has ended.
    pub(super) fn rows_durable(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {
                for (area, file) in self.durability.flushed() {
                    self.remove_private(area, file);
                }
                self.advance_obsolete(Instant::now());
            }
            // A run that waits for it hears so. Where the store is not poisoned, it is tried again.
            Err(error) => {
                log::error!("obsolete files stay: {error}");
                self.durability.flush_failed(Instant::now());
            }
        }
        self.gc.purge_goes_on();
    }

    pub(super) fn remove_private(&self, area: AreaId, file: PrivateId) {
        match self.store.private_files.remove(&self.store.lock, area, file) {
            Ok(unlinked) => self.reaper.take(unlinked),
            Err(error) => log::warn!("cannot remove a private file: {error}"),
        }
    }
}
