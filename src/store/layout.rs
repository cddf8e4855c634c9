//! Where things are in a store.
//!
//! ```text
//! STORE/ (0700)
//!   format            "cairn store", format number, store uuid; written last by `init`
//!   lock              flock: one owner, whose process id it holds
//!   catalog.db        SQLite, with catalog.db-wal and catalog.db-shm while open
//!   pool/ab/cdef…     blobs: content by BLAKE3, mode 0444, never modified
//!   staging/A/F       data of file F in area A, private while being written
//!   incoming/         partial downloads and imports, blobs on their way into the pool
//!   control.sock      the daemon's socket
//!   backup            in a backup: the uuid of the store that it is of
//!   draft.N/          in a backup: the catalog of the next one
//! ```
//!
//! Only paths are made here; nothing touches the disk.

use std::path::{Path, PathBuf};

use crate::model::hash::BlobHash;
use crate::model::id::AreaId;

/// Number of directories that the pool is spread over: one per value of a hash's first byte.
pub(super) const FAN_OUT: usize = 256;

/// A private file of a staging area, unique within the store for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateId(pub u64);

/// The paths of one store.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the store in `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that makes the directory a store.
    pub fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    /// The owner's lock.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The SQLite database. Nothing but SQLite may open it: closing any other descriptor of the
    /// file drops SQLite's locks.
    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The database's write-ahead log; it carries no locks, so it may be opened and synced.
    pub fn wal(&self) -> PathBuf {
        self.root.join("catalog.db-wal")
    }

    /// The directory of all blobs.
    pub fn pool(&self) -> PathBuf {
        self.root.join("pool")
    }

    /// The directory in the pool that a blob is in.
    pub fn fan_out(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.pool().join(&name[..2])
    }

    /// The file of a blob.
    pub fn blob(&self, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        let mut path = self.pool();
        path.push(&name[..2]);
        path.push(&name[2..]);
        path
    }

    /// The directory of all areas' private files.
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The directory of one area's private files.
    pub fn area(&self, area: AreaId) -> PathBuf {
        self.staging().join(area.to_string())
    }

    /// A private file.
    pub fn private(&self, area: AreaId, file: PrivateId) -> PathBuf {
        self.area(area).join(file.0.to_string())
    }

    /// The directory of files on their way into the pool.
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Space set aside for a full disk.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// What says of which store this one is a backup.
    pub fn backup_mark(&self) -> PathBuf {
        self.root.join("backup")
    }

    /// The directory of a catalog that a backup is making, the `round`th of its run.
    pub fn draft(&self, round: u32) -> PathBuf {
        self.root.join(format!("draft.{round}"))
    }

    /// The daemon's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_spread_by_its_first_byte() {
        let layout = Layout::new(Path::new("/s"));
        let mut bytes = [0x11; 32];
        bytes[0] = 0xab;
        let hash = BlobHash::from_bytes(bytes);
        let expected = format!("/s/pool/ab/{}", "11".repeat(31));
        assert_eq!(layout.blob(&hash), Path::new(&expected));
        assert_eq!(layout.fan_out(&hash), Path::new("/s/pool/ab"));
        assert_eq!(layout.private(AreaId(3), PrivateId(9)), Path::new("/s/staging/3/9"));
    }
}
