//! Blobs: immutable files named by the hash of their content.
//!
//! Invariants: a file in the pool has mode 0444 and is never written; it gets its name complete
//! (by rename or link), and only the owner of the [`RootLock`] gives or takes names. The pool does
//! not know which blobs are wanted (the catalog counts references), and does not check content:
//! whoever adds a blob has hashed it.
//!
//! # Who opens a blob's file, and what a damaged blob is to them (H33)
//!
//! Damage is known by a mark ([`Pool::mark_damaged`]), which fsck, the scrub, the check after an
//! outage and failed reads set. Whoever wants the content of a marked blob gets
//! [`StoreError::DamagedBlob`]; whoever checks, heals or removes its file still gets the file.
//!
//! | who | how | a marked blob |
//! |---|---|---|
//! | READ, lseek, read-ahead in `versions` (`vfs::versions`) | [`Pool::open`] | EIO; read-ahead skips it |
//! | READ, lseek, copy_file_range, a partial change of a sealed file (`engine::staging::content`) | [`Pool::open`] | EIO; copy_file_range does not share it either |
//! | fsync of a sealed file | [`Pool::open`] | EIO |
//! | export, tar and `--unsafe-hardlink` (`daemon::service::export`) | by path, a description of its own | refused |
//! | flush of a commit (`engine::to_disk`) | [`Pool::open`] | skipped: the commit's build has refused what it names, others must not fail |
//! | check after an outage (`engine::start`) | [`Pool::open`] | not asked: marked ones are lost already |
//! | fsck, scrub (`engine::fsck::examine`) | by path | hashed, also to find that it is right again |
//! | backup's source (`backup::content`) | by path | hashed while it is copied, and left out where it is wrong |
//! | backup's target ([`Pool::is_sound`], [`Pool::copy_incoming`]) | by path | hashed |
//! | is the content known? (seals and imports, `engine::blobs`) | length only | counts as not known, so that storing it replaces the file |
//! | `stat` (blocks), [`Pool::look_at`] | stat | as any other |
//!
//! # And what an absent blob is to them
//!
//! Content with a declared name that is absent has no blob. A blob of a bucket that is absent has a row with its references
//! and no file, and is in [`AbsentBlobs`]. Whoever turns a name into a blob ([`crate::store::blob_names`]) or opens a
//! blob here gets [`StoreError::AbsentContent`] for both, and no mark is set:
//!
//! | who | absent content |
//! |---|---|
//! | READ, export, the web face, a change of a part of a file, a push that the bucket lacks it for | is fetched first ([`crate::engine::fetcher`]) |
//! | read-ahead, listing prefetch | is skipped |
//! | lseek | is all data |
//! | `stat` (blocks) | as many as its length takes |
//! | copy_file_range of a whole file, commit | the name alone is used |
//! | fsync, the flush of a commit, the check after an outage | nothing of it is on any disk here |
//! | fsck, scrub | is not looked at; fsck says so where nobody has it any more |
//! | backup | its row and where it can be had are copied, and no file is expected |
//! | is the content known? (seals and imports) | no: storing it makes the blob a stored one, with the references that it has |
//! | damage reports | are not about it |
//! | collector | removes its row when nothing names it; there is no file to remove |
//!
//! A file that has the name of an absent blob is a leftover of a crash, or of somebody who is writing it: nobody reads it, and
//! storing the content replaces it (H1).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::absent_blobs::AbsentBlobs;
use super::durable;
use super::error::{Result, StoreError, is_damage};
use super::layout::{FAN_OUT, Layout};
use super::room::Room;
use super::root_lock::RootLock;
use super::unlinked_file::{self, UnlinkedFile};
use crate::model::hash::BlobHash;

mod copy;
mod damaged;
mod fd_cache;
mod file;
mod incoming;
mod insert;
mod names;

pub use copy::Copied;
use damaged::Marks;
pub use damaged::{Damage, OnDamage};
use fd_cache::FdCache;
pub use file::BlobFile;
pub use incoming::{Incoming, NamedFile, UnnamedFile};
pub use names::PoolName;

/// Blob files kept open unless told otherwise.
pub const OPEN_FILES_MAX: usize = 1024;

/// Mode of a blob's file.
const BLOB_MODE: u32 = 0o444;

/// All blobs of a store.
#[derive(Debug)]
pub struct Pool {
    layout: Layout,
    fds: FdCache,
    /// Blobs that are known to be damaged.
    marks: Marks,
    absent: Arc<AbsentBlobs>,
    /// Directories known to exist, by first byte of the hash.
    fan_out_made: [AtomicBool; FAN_OUT],
    /// Directories whose own name is known to be on disk.
    fan_out_synced: [AtomicBool; FAN_OUT],
    /// Distinguishes this process's files in `incoming/` from leftovers.
    incoming_prefix: String,
    next_incoming: AtomicU64,
    /// Files without a name that are open; more than any number of them where there are none.
    unnamed: Arc<AtomicUsize>,
    room: Arc<Room>,
}

impl Pool {
    /// The pool of the store with that layout, with [`OPEN_FILES_MAX`] files open at most.
    ///
    /// # Errors
    /// When the system has no randomness to offer.
    pub fn new(layout: Layout) -> Result<Self> {
        // Of few descriptors most are for what users write.
        let share =
            usize::try_from(crate::sys::open_files::nofile_limit() / 8).unwrap_or(usize::MAX);
        Self::with_open_files_max(layout, OPEN_FILES_MAX.min(share))
    }

    /// As [`Pool::new`], keeping at most `files_max` files open.
    ///
    /// # Errors
    /// When the system has no randomness to offer.
    pub fn with_open_files_max(layout: Layout, files_max: usize) -> Result<Self> {
        let uuid =
            crate::sys::new_uuid().map_err(StoreError::io("make names in", &layout.incoming()))?;
        let room = Arc::new(Room::new(&layout));
        Ok(Self {
            layout,
            fds: FdCache::new(files_max),
            marks: Marks::default(),
            absent: Arc::default(),
            fan_out_made: [const { AtomicBool::new(false) }; FAN_OUT],
            fan_out_synced: [const { AtomicBool::new(false) }; FAN_OUT],
            incoming_prefix: format!("{uuid}."),
            next_incoming: AtomicU64::new(0),
            unnamed: Arc::default(),
            room,
        })
    }

    /// How much content may still be written.
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// The blobs that are absent.
    pub fn absent(&self) -> &Arc<AbsentBlobs> {
        &self.absent
    }

    /// From now on nobody gets the content of these blobs from here, until it is stored again. Returns those of which that
    /// was not so before.
    pub fn mark_absent(&self, hashes: &[BlobHash]) -> Vec<BlobHash> {
        let marked = self.absent.add(hashes);
        // Forgotten after that, since whoever opens a file from then on looks whether it is absent first.
        hashes.iter().for_each(|hash| self.fds.forget(hash));
        marked
    }

    /// The blob is not absent: it stays stored, or its row is gone.
    pub fn unmark_absent(&self, hash: &BlobHash) {
        self.absent.remove(hash);
    }

    /// Opens a blob for reading. What cannot be opened because of damage is told on
    /// ([`Pool::on_damage`]).
    ///
    /// # Errors
    /// [`StoreError::AbsentContent`], [`StoreError::DamagedBlob`], [`StoreError::MissingBlob`], or the disk's.
    pub fn open(&self, hash: &BlobHash) -> Result<Arc<File>> {
        self.fds.get_or_open(hash, || {
            if self.marks.has(hash) {
                return Err(StoreError::DamagedBlob(*hash));
            }
            if self.absent.has(hash) {
                return Err(StoreError::AbsentContent((*hash).into()));
            }
            let path = self.layout.blob(hash);
            File::open(&path).map_err(|source| {
                let missing = source.kind() == io::ErrorKind::NotFound;
                if missing || is_damage(&source) {
                    self.marks.tell(Damage { hash: *hash, file: None });
                }
                match missing {
                    true => StoreError::MissingBlob(*hash),
                    false => StoreError::Io { action: "open", path, source },
                }
            })
        })
    }

    /// Fills `buffer` from `offset` of a blob on. A blob that is shorter or unreadable is told on.
    ///
    /// # Errors
    /// As of [`Pool::open`]; [`StoreError::DamagedBlob`] when the file ends before.
    pub fn read_exact_at(&self, hash: &BlobHash, buffer: &mut [u8], offset: u64) -> Result<()> {
        let file = self.open(hash)?;
        file.read_exact_at(buffer, offset).map_err(|source| {
            self.read_failed(hash, &file, &source);
            match source.kind() {
                io::ErrorKind::UnexpectedEof => StoreError::DamagedBlob(*hash),
                _ => StoreError::Io { action: "read", path: self.layout.blob(hash), source },
            }
        })
    }

    /// Closes the cached file of a blob that was replaced by other means than this pool's.
    pub fn forget_fd(&self, hash: &BlobHash) {
        self.fds.forget(hash);
    }

    /// The blob's name means another file now, or none: what was known of the old one is over.
    fn renamed(&self, hash: &BlobHash) {
        self.marks.remove(hash);
        self.fds.forget(hash);
    }

    /// The blob's name means a file with its content.
    fn stored(&self, hash: &BlobHash) {
        self.renamed(hash);
        self.absent.remove(hash);
    }

    /// Length of the blob's file in bytes; `None` when there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn size_on_disk(&self, hash: &BlobHash) -> Result<Option<u64>> {
        Ok(self.look_at(hash)?.map(|file| file.size))
    }

    /// What the disk says of the blob's file; `None` when there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn look_at(&self, hash: &BlobHash) -> Result<Option<BlobFile>> {
        let path = self.layout.blob(hash);
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok(Some(BlobFile::of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }

    /// 512-byte blocks that are allocated to the blob, which may have holes; `None` when unknown.
    pub fn allocated_blocks(&self, hash: &BlobHash) -> Option<u64> {
        fs::symlink_metadata(self.layout.blob(hash)).ok().map(|found| found.blocks())
    }

    /// Removes a blob, of `bytes` where its row says so; one that is missing is fine. The caller has
    /// checked, in the same slice of work, that nothing references it (G3).
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(
        &self,
        _lock: &RootLock,
        hash: &BlobHash,
        bytes: Option<u64>,
    ) -> Result<UnlinkedFile> {
        self.fds.forget(hash);
        let removed = unlinked_file::remove(&self.layout.blob(hash), bytes);
        self.renamed(hash);
        removed
    }

    /// Brings the blob's name to disk (its data is the caller's to sync).
    ///
    /// # Errors
    /// The disk's.
    pub fn sync_fan_out(&self, hash: &BlobHash) -> Result<()> {
        durable::sync_dir(&self.layout.fan_out(hash))?;
        let synced = &self.fan_out_synced[usize::from(hash.as_bytes()[0])];
        if !synced.load(Ordering::Acquire) {
            durable::sync_dir(&self.layout.pool())?;
            synced.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Makes the directory that the blob belongs in, once.
    fn make_fan_out(&self, hash: &BlobHash) -> Result<()> {
        let made = &self.fan_out_made[usize::from(hash.as_bytes()[0])];
        if made.load(Ordering::Acquire) {
            return Ok(());
        }
        match durable::mkdir(&self.layout.fan_out(hash), 0o700) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            }
            other => other?,
        }
        made.store(true, Ordering::Release);
        Ok(())
    }
}

/// Removes a file that is of no use any more. What stays is a leftover that the next start sweeps,
/// so a failure is only worth a line.
fn discard(path: &Path) {
    if let Err(error) = durable::unlink(path)
        && !error.is_not_found()
    {
        log::warn!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use crate::model::hash::BlobHash;
    use crate::store::error::StoreError;
    use crate::store::testing::TestStore;

    #[test]
    fn a_missing_blob_is_named() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"none");
        let error = store.pool.open(&hash).unwrap_err();
        assert!(matches!(error, StoreError::MissingBlob(missing) if missing == hash));
        assert_eq!(store.pool.size_on_disk(&hash).unwrap(), None);
        drop(store.pool.remove(&store.lock, &hash, None).unwrap());
    }

    #[test]
    fn a_removed_blob_is_gone_for_those_who_open_it_later() {
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        let reader = store.pool.open(&hash).unwrap();
        drop(store.pool.remove(&store.lock, &hash, None).unwrap());
        assert!(store.pool.open(&hash).is_err());
        assert_eq!(reader.metadata().unwrap().len(), 4, "an open file stays readable");
    }

    #[test]
    fn names_are_synced_with_their_directories() {
        use crate::store::durable::testing::{Fault, on_this_thread};
        let store = TestStore::new();
        let hash = store.add_blob(b"data");
        let counter = on_this_thread(Fault::none());
        store.pool.sync_fan_out(&hash).unwrap();
        assert_eq!(counter.steps(), 2, "the directory and, the first time, the pool");
        store.pool.sync_fan_out(&hash).unwrap();
        assert_eq!(counter.steps(), 3);
    }
}
