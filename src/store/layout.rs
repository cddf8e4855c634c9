//! Where things are in a store.
//!
//! ```text
//! STORE/ (0700)
//!   format            "cairn store", format number, store uuid; written last by `init`
//!   lock              flock: one owner, whose process id it holds
//!   catalog.db        SQLite, with catalog.db-wal
//!   reserve           space set aside for a full disk
//!   daemon.log        what a daemon in the background says
//!   pool/ab/cdef…     blobs: content by BLAKE3, mode 0444, never modified
//!   staging/A/F       data of file F in area A, private while being written
//!   incoming/         blobs on their way into the pool
//!   partial/SHA256    downloads that a sync could not end yet
//!   stat-cache/       what syncs remember of the directories that they read
//!   control.sock      the daemon's socket
//!   backup            in a backup: the uuid of the store that it is of
//!   draft.N/          in a backup: the catalog of the next one
//! ```
//!
//! An open store is reached through a descriptor of its directory (`/proc/self/fd/N/pool/…`), so that
//! what is done to its path meanwhile changes nothing: a store that is moved goes on to be used where it
//! is, and what is put in its place is never touched.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::model::hash::BlobHash;
use crate::model::id::AreaId;

/// Number of directories that the pool is spread over: one per value of a hash's first byte.
pub(super) const FAN_OUT: usize = 256;

/// A private file of a staging area, unique within the store for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateId(pub u64);

/// The catalog's name in the store.
pub(super) const CATALOG: &str = "catalog.db";

/// Where the process finds its descriptors.
const DESCRIPTORS: &str = "/proc/self/fd";

/// The paths of one store.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// What `root` leads to, where that is a descriptor.
    directory: Option<Arc<OwnedFd>>,
}

impl Layout {
    /// The layout of the store that is in `root` whenever a path is used.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), directory: None }
    }

    /// The layout of the store that is in `root` now. Its paths are valid while it, or a clone of it,
    /// lives.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty())?;
        let root = Path::new(DESCRIPTORS).join(directory.as_raw_fd().to_string());
        Ok(Self { root, directory: Some(Arc::new(directory)) })
    }

    /// Where the store is at the moment: for SQLite, which follows links by itself, and for people.
    ///
    /// # Errors
    /// It is nowhere: removed, or on a disk that was detached.
    pub fn place(&self) -> io::Result<PathBuf> {
        if self.directory.is_none() {
            return Ok(self.root.clone());
        }
        let place = fs::read_link(&self.root)?;
        let (found, own) = (fs::metadata(&place)?, fs::metadata(&self.root)?);
        if (found.dev(), found.ino()) == (own.dev(), own.ino()) {
            Ok(place)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
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
        self.root.join(CATALOG)
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

    /// The directory of downloads that are not whole yet.
    pub fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The directory of what syncs remember of the directories that they read.
    pub fn stat_cache(&self) -> PathBuf {
        self.root.join("stat-cache")
    }

    /// Space set aside for a full disk.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The file that says of which store this one is a backup.
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

/// A path of an open store as people know it: what leads through a descriptor is shown where it is.
pub fn shown(path: &Path) -> PathBuf {
    let mut rest = path.components();
    let root: PathBuf = rest.by_ref().take(5).collect();
    if !root.starts_with(DESCRIPTORS) {
        return path.to_owned();
    }
    let Ok(mut place) = fs::read_link(&root) else { return path.to_owned() };
    // Component by component, since joining an empty path would add a slash.
    place.extend(rest);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_layout_follows_its_directory_and_no_path() {
        let home = tempfile::tempdir().unwrap();
        let [store, moved, other] = ["store", "moved", "other"].map(|name| home.path().join(name));
        rustix::fs::mkdir(&store, Mode::RWXU).unwrap();
        rustix::fs::mkdir(&other, Mode::RWXU).unwrap();
        fs::write(store.join("format"), "mine").unwrap();
        let layout = Layout::open(&store).unwrap();
        assert_eq!(layout.place().unwrap(), store.canonicalize().unwrap());
        rustix::fs::rename(&store, &moved).unwrap();
        std::os::unix::fs::symlink(&other, &store).unwrap();
        assert_eq!(fs::read(layout.format()).unwrap(), b"mine");
        assert_eq!(layout.place().unwrap(), moved.canonicalize().unwrap());
        assert_eq!(shown(&layout.format()), moved.canonicalize().unwrap().join("format"));
        assert_eq!(shown(&store.join("format")), store.join("format"));
        rustix::fs::unlink(moved.join("format")).unwrap();
        rustix::fs::rmdir(&moved).unwrap();
        assert!(layout.place().is_err());
    }

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
