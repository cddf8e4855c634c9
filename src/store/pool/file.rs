//! What the disk says of a blob's file, and putting right what it says wrongly.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;

use super::copy::Copied;
use super::incoming::Incoming;
use super::{BLOB_MODE, Pool};
use crate::model::hash::BlobHash;
use crate::store::durable;
use crate::store::error::{Result, StoreError};
use crate::store::root_lock::RootLock;
use crate::sys;

/// The bits of a mode that let anybody write.
const WRITE_BITS: u32 = 0o222;

/// The file of a blob, as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFile {
    /// Its length in bytes.
    pub size: u64,
    /// Its permissions.
    pub mode: u32,
    /// How many names it has.
    pub names: u64,
    /// Which file it is: device and inode number.
    pub inode: (u64, u64),
}

impl BlobFile {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            size: found.len(),
            mode: found.mode() & 0o7777,
            names: found.nlink(),
            inode: (found.dev(), found.ino()),
        }
    }

    /// Whether its mode lets somebody write to it. A blob is never written.
    pub fn is_writable(&self) -> bool {
        self.mode & WRITE_BITS != 0
    }
}

impl Pool {
    /// Takes away the permission to write to a blob; `false` when nobody had it, or the file is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn protect(&self, _lock: &RootLock, hash: &BlobHash) -> Result<bool> {
        if !self.look_at(hash)?.is_some_and(|file| file.is_writable()) {
            return Ok(false);
        }
        let path = self.layout.blob(hash);
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let changed = options.open(&path).and_then(|file| sys::set_mode(&file, BLOB_MODE));
        changed.map_err(StoreError::io("change the mode of", &path))?;
        Ok(true)
    }

    /// Copies the file of a blob, so that the copy, which is on disk when this returns, can take its
    /// name and no other name leads to it. Any thread may do it.
    ///
    /// # Errors
    /// The disk's; [`StoreError::DamagedBlob`] when the file does not have the blob's content.
    pub fn copy_apart(&self, hash: &BlobHash, size: u64) -> Result<Incoming> {
        let path = self.layout.blob(hash);
        let source = File::open(&path).map_err(StoreError::io("open", &path))?;
        match self.copy_incoming(&source, hash, size, &mut |_| {})? {
            Copied::Whole(incoming) => {
                match &incoming {
                    Incoming::Named(named) => durable::sync_file(named.path())?,
                    Incoming::Unnamed(unnamed) | Incoming::Placed(unnamed) => {
                        durable::fsync(&unnamed.file, &path)?;
                    }
                }
                Ok(incoming)
            }
            Copied::Altered => Err(StoreError::DamagedBlob(*hash)),
            Copied::Unreadable(source) => Err(unreadable(source, &path)),
        }
    }
}

fn unreadable(source: io::Error, path: &std::path::Path) -> StoreError {
    StoreError::io("read", path)(source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::testing::TestStore;

    const CONTENT: &[u8] = b"of a blob";

    fn store() -> (TestStore, BlobHash) {
        let store = TestStore::new();
        let hash = BlobHash::of(CONTENT);
        let incoming = store.pool.write_incoming(CONTENT, &hash).unwrap();
        store.pool.adopt(&store.lock, incoming, &hash).unwrap();
        (store, hash)
    }

    #[test]
    fn the_permission_to_write_is_taken_away_once() {
        let (store, hash) = store();
        let look = || store.pool.look_at(&hash).unwrap().unwrap();
        assert_eq!((look().mode, look().names, look().is_writable()), (0o444, 1, false));
        assert!(!store.pool.protect(&store.lock, &hash).unwrap());
        for mode in [0o644, 0o464, 0o446, 0o666, 0o4755] {
            let path = store.layout.blob(&hash);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(look().is_writable(), "{mode:o}");
            assert!(store.pool.protect(&store.lock, &hash).unwrap());
            assert_eq!(look().mode, 0o444, "{mode:o}");
        }
        let other = BlobHash::of(b"not there");
        assert!(!store.pool.protect(&store.lock, &other).unwrap());
    }

    #[test]
    fn a_copy_takes_the_name_and_the_other_name_keeps_the_old_file() {
        let (store, hash) = store();
        let outside = store.layout.root().join("outside");
        durable::link(&store.layout.blob(&hash), &outside).unwrap();
        let before = store.pool.look_at(&hash).unwrap().unwrap();
        assert_eq!(before.names, 2);
        let copy = store.pool.copy_apart(&hash, CONTENT.len() as u64).unwrap();
        store.pool.adopt(&store.lock, copy, &hash).unwrap();
        let after = store.pool.look_at(&hash).unwrap().unwrap();
        assert_eq!((after.names, after.mode), (1, 0o444));
        assert_ne!(after.inode, before.inode);
        assert_eq!(fs::read(store.layout.blob(&hash)).unwrap(), CONTENT);
        assert_eq!(fs::read(outside).unwrap(), CONTENT);
    }

    /// The copy takes the place of a file that may be on disk since long ago.
    #[test]
    fn r2_a_copy_is_on_disk_before_it_takes_the_name() {
        use crate::store::durable::testing::{Fault, on_this_thread};
        let (store, hash) = store();
        let fault = on_this_thread(Fault::full_at("sync"));
        store.pool.copy_apart(&hash, CONTENT.len() as u64).unwrap_err();
        drop(fault);
        store.pool.copy_apart(&hash, CONTENT.len() as u64).unwrap();
    }

    #[test]
    fn what_has_other_content_is_not_copied() {
        let (store, hash) = store();
        let path = store.layout.blob(&hash);
        durable::unlink(&path).unwrap();
        fs::write(&path, b"of a BLOB").unwrap();
        let refused = store.pool.copy_apart(&hash, CONTENT.len() as u64);
        assert!(matches!(refused, Err(StoreError::DamagedBlob(found)) if found == hash));
    }
}
