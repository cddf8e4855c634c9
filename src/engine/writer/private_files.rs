//! Removing private files: at once, or after a flush of the rows that named them (H2).
//!
//! [`Durability`](crate::engine::durability::Durability) decides which.

use std::time::Instant;

use super::StoreWriter;
use crate::engine::after::After;
use crate::engine::durability::{AreaFiles, Durable};
use crate::engine::error::Result;
use crate::model::id::AreaId;
use crate::store::layout::PrivateId;

impl StoreWriter {
    /// A row names the private file.
    pub(in crate::engine) fn file_named(&mut self, file: PrivateId) {
        self.durability.named(file);
    }

    /// A private file is not needed any more, and the rows written so far do not name it.
    pub(in crate::engine) fn file_obsolete(&mut self, area: AreaId, file: PrivateId, now: Instant) {
        if self.durability.may_remove_file(area, file, now) {
            self.remove_private(area, file);
        }
    }

    /// Whether the private files of an area without rows may go. If not, a flush is on its way that wakes
    /// the collector.
    pub(in crate::engine) fn may_remove_area_files(&mut self, area: AreaId, now: Instant) -> bool {
        if !self.store.layout.area(area).exists() {
            return true;
        }
        let files = self.durability.may_remove_area(area, now);
        self.advance_obsolete(now);
        files == AreaFiles::Go
    }

    /// Removes some private files of an area; returns whether all are gone.
    pub(in crate::engine) fn remove_area_files(&mut self, area: AreaId) -> Result<bool> {
        let mut unlinked = Vec::new();
        let done = self.store.private_files.remove_area(&self.store.lock, area, &mut unlinked);
        unlinked.into_iter().for_each(|file| self.let_go(file));
        Ok(done?)
    }

    /// The area is gone.
    pub(in crate::engine) fn area_removed(&mut self, area: AreaId) {
        self.durability.area_removed(area);
    }

    /// Asks for a flush when obsolete files want one.
    pub(in crate::engine) fn advance_obsolete(&mut self, now: Instant) {
        if self.durability.wants_flush(now) {
            self.effects.when_durable(Durable::Rows, After::RemoveObsolete);
        }
    }

    /// The flush that obsolete files asked for has ended.
    pub(in crate::engine) fn rows_durable(&mut self, result: Result<()>, now: Instant) {
        match result {
            Ok(()) => {
                for (area, file) in self.durability.flushed() {
                    self.remove_private(area, file);
                }
                self.advance_obsolete(now);
            }
            // If the store is poisoned, a collection that waits for this ends; else it is tried again.
            Err(error) => {
                log::error!("obsolete files stay: {error}");
                self.durability.flush_failed(now);
            }
        }
    }

    /// All rows are on disk and none will be written any more: no obsolete file need stay.
    pub(in crate::engine) fn all_rows_durable(&mut self) {
        for (area, file) in self.durability.all_flushed() {
            self.remove_private(area, file);
        }
    }

    fn remove_private(&self, area: AreaId, file: PrivateId) {
        match self.store.private_files.remove(&self.store.lock, area, file) {
            Ok(unlinked) => self.let_go(unlinked),
            Err(error) => log::warn!("cannot remove a private file: {error}"),
        }
    }
}
