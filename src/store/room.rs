//! How much content may still be written, so that writes are refused before the disk is full.
//!
//! Bytes that are accepted into memory must fit on the disk later: there they are lost without a
//! call that could complain. So memory is used only while there is plenty of room; else bytes go to
//! a file at once, and a write that does not fit is refused. And content must leave room for what
//! the journal and deletions need (R3), as far as that is not set aside for them already. Must not
//! know who writes.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{Result, StoreError};
use super::layout::Layout;
use crate::sys;

/// Room beside what is in memory that counts as plenty: more than others write between two looks.
const PLENTY_BYTES: u64 = 64 << 20;

/// What stays free of content that is fetched: so much, or of a small disk a part.
const FLOOR_BYTES: u64 = 64 << 20;
const FLOOR_PART: u64 = 20;

/// How long the result of a look at the disk is used again, if it found at least
/// [`BELIEVED_BYTES`].
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// With less room than this each question looks at the disk: another program may take all of it in
/// one step (`fallocate`), and what was accepted into memory since then would have no place.
const BELIEVED_BYTES: u64 = 1 << 30;

/// The room for content on a store's disk.
#[derive(Debug)]
pub struct Room {
    root: PathBuf,
    /// Bytes that the journal needs and that are not set aside for it; content may have the rest.
    missing_bytes: AtomicU64,
    looked: Mutex<Option<(Instant, u64)>>,
}

impl Room {
    /// The room on the disk of the store with that layout. Until [`Room::set_missing`] is called,
    /// all of the disk's free space may be used.
    pub fn new(layout: &Layout) -> Self {
        Self {
            root: layout.root().to_owned(),
            missing_bytes: AtomicU64::new(0),
            looked: Mutex::default(),
        }
    }

    /// How many bytes that the journal needs are not set aside for it.
    pub(super) fn set_missing(&self, bytes: u64) {
        self.missing_bytes.store(bytes, Ordering::Relaxed);
    }

    fn missing(&self) -> u64 {
        self.missing_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that content may still take, as of now. If the disk cannot be asked, the disk itself
    /// is the only bound.
    fn free(&self) -> u64 {
        let Ok(space) = sys::statvfs(&self.root) else { return u64::MAX };
        space.available_bytes().saturating_sub(self.missing())
    }

    /// As [`Room::free`], but may be a moment old if there was much room.
    fn recently_free(&self) -> u64 {
        let now = Instant::now();
        let mut looked = self.looked.lock();
        match *looked {
            Some((at, free))
                if free >= BELIEVED_BYTES && now.duration_since(at) < LOOK_INTERVAL =>
            {
                free
            }
            Some(_) | None => {
                let free = self.free();
                *looked = Some((now, free));
                free
            }
        }
    }

    /// Whether `bytes` that are in memory will fit for sure, as far as anybody can tell.
    pub fn is_plenty_for(&self, bytes: u64) -> bool {
        self.recently_free() >= bytes.saturating_add(PLENTY_BYTES)
    }

    /// How many bytes have to be freed until there is room for `bytes` that can be had again, with enough left for what
    /// cannot (H37).
    pub fn lacking_above_floor(&self, bytes: u64) -> u64 {
        let Ok(space) = sys::statvfs(&self.root) else { return 0 };
        let floor = FLOOR_BYTES.min(space.blocks.saturating_mul(space.block_size) / FLOOR_PART);
        let free = space.available_bytes().saturating_sub(self.missing());
        bytes.saturating_add(floor).saturating_sub(free)
    }

    /// Whether the store may grow: there is more room than the journal needs.
    pub fn is_open(&self) -> bool {
        self.missing() == 0 || self.recently_free() > 0
    }

    /// To be called before `bytes` of content are written.
    ///
    /// # Errors
    /// When they would take what the journal and deletions need.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let fits = self.missing() == 0 || self.is_plenty_for(bytes) || self.free() >= bytes.max(1);
        if fits {
            return Ok(());
        }
        Err(StoreError::Io {
            action: "write more content into",
            path: self.root.clone(),
            source: io::ErrorKind::StorageFull.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::reserve::RESERVE_BYTES;
    use crate::store::testing::TestStore;

    #[test]
    fn what_the_journal_needs_is_not_for_content() {
        let store = TestStore::new();
        let room = Room::new(&store.layout);
        let free = room.free();
        room.take(u64::MAX).expect("it is the disk that refuses");
        room.set_missing(RESERVE_BYTES);
        assert!(room.free() <= free - RESERVE_BYTES || free < RESERVE_BYTES);
        assert!(room.take(u64::MAX).unwrap_err().is_full());
        room.take(1).unwrap();
        assert!(room.is_open() && room.is_plenty_for(0) && !room.is_plenty_for(u64::MAX));
        room.set_missing(u64::MAX);
        *room.looked.lock() = None;
        assert!(!room.is_open() && !room.is_plenty_for(0) && room.lacking_above_floor(0) > 0);
    }

    #[test]
    fn only_a_look_that_found_much_is_believed() {
        let store = TestStore::new();
        let room = Room::new(&store.layout);
        let looked_at = |free| Some((Instant::now() + LOOK_INTERVAL, free));
        *room.looked.lock() = looked_at(u64::MAX);
        assert_eq!(room.recently_free(), u64::MAX);
        *room.looked.lock() = looked_at(BELIEVED_BYTES - 1);
        assert_ne!(room.recently_free(), BELIEVED_BYTES - 1);
    }
}
