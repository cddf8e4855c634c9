//! Room for changes where the disk is full (R3).
//!
//! A change needs room in the write-ahead log. The log's file is kept with some to spare, also over a
//! stop; what was copied from it into the catalog is written over. Where that does not suffice, the
//! space set aside is given up: for somebody who deletes, or asks for a collection, and for the journal,
//! but not for a collection that began by itself.

use std::time::{Duration, Instant};

use crate::engine::after::After;
use crate::engine::durability::Durable;
use crate::engine::thread::MetadataThread;

/// How long a collection that nobody asked for waits before it looks for room again.
const WAIT: Duration = Duration::from_secs(1);

impl MetadataThread {
    /// Whether the collection may run its next slice now. If not, it is called again later: once the log
    /// has been copied, or after [`WAIT`].
    pub(super) fn has_room_for_slice(&mut self) -> bool {
        if !self.writer.lacks_room() {
            self.gc.wal.copied_for_room = false;
            return true;
        }
        if !std::mem::replace(&mut self.gc.wal.copied_for_room, true) {
            self.copy_wal();
            return false;
        }
        let is_asked_for = !self.gc.next_waiters.is_empty()
            || self.gc.run.as_ref().is_some_and(|run| !run.waiters.is_empty());
        if is_asked_for || !self.writer.store().reserve.exists() {
            return true;
        }
        self.gc.wal.copied_for_room = false;
        self.gc.paused_until = Some(Instant::now() + WAIT);
        false
    }

    /// Asks the durability thread to copy the log into the catalog. The collector removes nothing until
    /// the copy is done.
    pub(super) fn copy_wal(&mut self) {
        self.gc.wal.copying = true;
        self.writer.effects().when_durable(Durable::Catalog, After::WalCopied);
    }
}
