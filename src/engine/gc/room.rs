//! What a collection does where the disk has no room for its changes (R3): see `writer::room`.

use std::time::{Duration, Instant};

use super::Collector;
use crate::engine::after::After;
use crate::engine::durability::Durable;
use crate::engine::writer::StoreWriter;

/// How long a collection that nobody asked for waits before it looks for room again.
const WAIT: Duration = Duration::from_secs(1);

impl Collector {
    /// Whether the collection may do its next slice now. If not, the caller asks again: once the log has been
    /// copied, or after [`WAIT`].
    pub(super) fn has_room_for_slice(&mut self, writer: &mut StoreWriter, now: Instant) -> bool {
        if !writer.lacks_room() {
            self.wal.copied_for_room = false;
            return true;
        }
        if !std::mem::replace(&mut self.wal.copied_for_room, true) {
            self.copy_wal(writer);
            return false;
        }
        let is_asked_for = !self.next_waiters.is_empty()
            || self.run.as_ref().is_some_and(|run| !run.waiters.is_empty());
        if is_asked_for || !writer.store().reserve.exists() {
            return true;
        }
        self.wal.copied_for_room = false;
        self.paused_until = Some(now + WAIT);
        false
    }

    /// Asks the durability thread to copy the log into the catalog. The collector removes nothing until the
    /// copy is done.
    pub(super) fn copy_wal(&mut self, writer: &mut StoreWriter) {
        self.wal.copying = true;
        writer.effects().when_durable(Durable::Catalog, After::WalCopied);
    }
}
