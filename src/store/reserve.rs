//! Space set aside for the moment when the disk is full: a deletion needs room in the write-ahead
//! log before it can give any back (R3).
//!
//! The file is removed when there is no other room. Once there is room again, a part of it is set
//! aside, and more as room comes back.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::durable;
use super::error::{Result, StoreError};
use super::layout::Layout;
use super::room::Room;
use super::root_lock::RootLock;
use crate::sys;

/// Enough for some thousand rows in the write-ahead log and for the checkpoint that follows.
pub(crate) const RESERVE_BYTES: u64 = 8 << 20;

/// What one change takes in the write-ahead log at most, as a rule.
pub(crate) const CHANGE_BYTES: u64 = 1 << 20;

/// The reserve takes no more than this part of the space that is free without it.
const ROOM_FACTOR: u64 = 4;

/// By how much the reserve grows at least.
const STEP_BYTES: u64 = 1 << 20;

/// The reserve of a store.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    root: PathBuf,
    room: Arc<Room>,
}

impl Reserve {
    /// The reserve of the store with that layout. As many bytes as it lacks, `room` keeps free of
    /// content.
    pub fn new(layout: &Layout, room: &Arc<Room>) -> Self {
        let (path, root) = (layout.reserve(), layout.root().to_owned());
        let reserve = Self { path, root, room: Arc::clone(room) };
        reserve.room.set_missing(RESERVE_BYTES.saturating_sub(reserve.bytes()));
        reserve
    }

    /// How much is set aside.
    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Sets aside what is missing: all of it if there is plenty of room, else a part.
    ///
    /// # Errors
    /// The disk's; a file system that cannot set space aside.
    pub fn fill(&self, lock: &RootLock) -> Result<()> {
        let bytes = self.bytes();
        if bytes >= RESERVE_BYTES {
            return Ok(());
        }
        let space = sys::statvfs(&self.root).map_err(StoreError::io("look at", &self.root))?;
        let part = (space.available_bytes() + bytes) / ROOM_FACTOR;
        let wanted = part.min(RESERVE_BYTES) / STEP_BYTES * STEP_BYTES;
        if wanted <= bytes {
            return Ok(());
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .mode(0o600)
            .open(&self.path)
            .map_err(StoreError::io("create", &self.path))?;
        self.grow(&file, bytes, wanted, lock)?;
        self.room.set_missing(RESERVE_BYTES.saturating_sub(wanted));
        Ok(())
    }

    /// Enlarges the reserve from `bytes` to `wanted` bytes. If the disk was filled meanwhile, the
    /// reserve keeps what it has.
    fn grow(&self, file: &File, bytes: u64, wanted: u64, lock: &RootLock) -> Result<()> {
        let failed = StoreError::io("set space aside in", &self.path);
        let Err(error) = sys::fallocate(file, 0, 0, wanted) else { return Ok(()) };
        if bytes == 0 {
            self.give_up(lock)?;
        } else if let Err(error) = file.set_len(bytes) {
            log::warn!("cannot cut {} back: {error}", self.path.display());
        }
        Err(failed(error))
    }

    /// Whether any space is set aside.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Whether the disk has too little room for a change that needs more than the write-ahead log
    /// has.
    pub fn is_needed(&self) -> bool {
        let space = sys::statvfs(&self.root);
        space.is_ok_and(|space| space.available_bytes() < CHANGE_BYTES)
    }

    /// Gives the space up when less than that is left on the disk. Returns whether it did.
    ///
    /// # Errors
    /// The disk's.
    pub fn give_up_if_full(&self, lock: &RootLock) -> Result<bool> {
        let space = sys::statvfs(&self.root).map_err(StoreError::io("look at", &self.root))?;
        if space.available_bytes() >= RESERVE_BYTES || !self.exists() {
            return Ok(false);
        }
        self.give_up(lock)?;
        Ok(true)
    }

    /// Gives the space up; fine where there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn give_up(&self, _lock: &RootLock) -> Result<()> {
        self.room.set_missing(RESERVE_BYTES);
        match durable::unlink(&self.path) {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::store::testing::TestStore;

    #[test]
    fn the_space_is_taken_once_and_given_up() {
        let store = TestStore::new();
        let reserve = Reserve::new(&store.layout, store.pool.room());
        reserve.fill(&store.lock).unwrap();
        reserve.fill(&store.lock).unwrap();
        let found = std::fs::metadata(store.layout.reserve()).unwrap();
        assert_eq!(found.len(), RESERVE_BYTES);
        assert!(found.blocks() * 512 >= RESERVE_BYTES, "it is no hole");
        assert!(!reserve.give_up_if_full(&store.lock).unwrap(), "the disk is not full");
        reserve.give_up(&store.lock).unwrap();
        reserve.give_up(&store.lock).unwrap();
        assert!(!store.layout.reserve().exists());
    }

    #[test]
    fn what_is_set_aside_stays_where_more_cannot_be() {
        let store = TestStore::new();
        let reserve = Reserve::new(&store.layout, store.pool.room());
        reserve.fill(&store.lock).unwrap();
        let file = OpenOptions::new().write(true).open(store.layout.reserve()).unwrap();
        // No disk has so much.
        reserve.grow(&file, RESERVE_BYTES, 1 << 60, &store.lock).unwrap_err();
        let found = std::fs::metadata(store.layout.reserve()).unwrap();
        assert_eq!(found.len(), RESERVE_BYTES);
        assert!(found.blocks() * 512 >= RESERVE_BYTES);
        reserve.grow(&file, 0, 1 << 60, &store.lock).unwrap_err();
        assert!(!store.layout.reserve().exists());
    }
}
