//! The write-ahead log while much is removed.
//!
//! Each removed row changes pages all over a large catalog, so the log grows by tens of megabytes
//! in a second. A copy of the log into the catalog cannot catch up with such a writer; in the end the
//! writer is locked out while the rest is copied, and whoever waits for the metadata thread waits for the
//! disk. So the log is not copied while a collection writes. Instead the collection pauses after so many
//! pages until the log was copied; others go on writing meanwhile.

use super::{Collector, RunPhase};
use crate::engine::durability::has_room;
use crate::engine::error::Result;
use crate::engine::writer::StoreWriter;

/// Pages of the log between two copies, in a large catalog, where each row is on a page of its own: 240
/// MB. A copy writes each page of the catalog once, however often the log has it.
const PAGES_PER_COPY: u64 = 60_000;

/// Where the disk has little room.
const PAGES_PER_COPY_SHORT: u64 = 4_000;

/// Pages that change when a row loses a reference: the row's own, and one of the index of what nothing names,
/// where it gets a place. Rows that are removed are next to each other in that index.
pub(super) const PAGES_PER_RELEASE: u64 = 2;

/// What the collection has added to the log.
#[derive(Debug, Default)]
pub(super) struct Wal {
    /// Pages since the last copy, if it is large.
    pages: u64,
    /// The durability thread was told that the collector asks for copies itself.
    announced: bool,
    /// A copy is on its way.
    pub(super) copying: bool,
    /// The log was copied because there was no room for the next slice.
    pub(super) copied_for_room: bool,
    /// The disk had little room for a long log when it was last looked at.
    is_short: bool,
}

impl Wal {
    /// Whether nothing more may be removed before the log was copied.
    pub(super) fn is_waiting(&self) -> bool {
        self.copying
    }
}

impl Collector {
    /// Counts pages that rows were removed from or changed in.
    pub(super) fn note_removed(&mut self, writer: &mut StoreWriter, pages: u64) {
        if pages == 0 {
            return;
        }
        if !std::mem::replace(&mut self.wal.announced, true) {
            self.wal.is_short = !has_room(&writer.store().layout);
            writer.durability().set_collecting(true);
        }
        self.wal.pages += pages;
        let limit = if self.wal.is_short { PAGES_PER_COPY_SHORT } else { PAGES_PER_COPY };
        if self.wal.pages >= limit {
            self.wal.pages = 0;
            self.wal.is_short = !has_room(&writer.store().layout);
            self.copy_wal(writer);
        }
    }

    /// The log was copied as far as readers and writers allowed. If that failed, the log stays long until the
    /// next copy, or the store is poisoned, which the next slice finds out.
    pub(in crate::engine) fn wal_copied(&mut self, result: Result<()>) {
        self.wal.copying = false;
        if let Err(error) = result {
            log::debug!("the log was not copied: {error}");
        }
    }

    /// Lets the durability thread decide about copies again, once nothing is to be removed.
    pub(in crate::engine) fn tidy_wal(&mut self, writer: &StoreWriter) {
        let removing = self.awake
            || self.run.as_ref().is_some_and(|run| match run.phase {
                RunPhase::Release | RunPhase::Metadata | RunPhase::Blobs | RunPhase::Locations => {
                    true
                }
                RunPhase::Expire(_) | RunPhase::Account | RunPhase::Sweep => false,
            });
        if self.wal.announced && !removing && !self.wal.copying {
            self.wal.announced = false;
            writer.durability().set_collecting(false);
        }
    }
}
