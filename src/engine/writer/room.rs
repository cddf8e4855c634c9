//! Room for changes where the disk is full (R3).
//!
//! A change needs room in the write-ahead log. The log's file is kept with some to spare, also over a
//! stop; what was copied from it into the catalog is written over. Where that does not suffice, the
//! space set aside is given up: for somebody who deletes, or asks for a collection, and for the journal,
//! but not for a collection that began by itself.

use super::StoreWriter;
use crate::store::reserve::CHANGE_BYTES;

impl StoreWriter {
    /// Whether neither the disk nor the log has room for a change.
    pub(in crate::engine) fn lacks_room(&self) -> bool {
        let log_room = || self.store.catalog.log_room().unwrap_or(0);
        self.store.reserve.is_needed() && log_room() < CHANGE_BYTES
    }

    /// Room for the rows of a deletion, where the disk is full: the reserve is for this.
    pub(in crate::engine) fn make_room(&mut self) {
        match self.store.reserve.give_up_if_full(&self.store.lock) {
            Ok(true) => {
                log::warn!("the disk is full: the space set aside is used, and content collected");
                self.effects.collect();
            }
            Ok(false) => {
                // The next change may find room in the log.
                self.durability.checkpoint();
            }
            Err(error) => log::warn!("the space set aside cannot be given up: {error}"),
        }
    }

    /// Sets space aside again, if it can be had.
    pub(in crate::engine) fn fill_reserve(&self) {
        if let Err(error) = self.store.reserve.fill(&self.store.lock) {
            log::debug!("no space is set aside for a full disk: {error}");
        }
    }
}
