//! Open files and directories of the writable mount.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::directory::Listing;
use crate::engine::pins::NamePin;
use crate::engine::staging::content::FileContent;
use crate::model::id::{Ino, NodeId};
use crate::vfs::error::FsError;

/// Number of an open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle(pub u64);

/// How a regular file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenMode {
    /// For writing, too.
    pub writable: bool,
    /// What it held is thrown away.
    pub truncate: bool,
    /// Fail if the file exists (`O_EXCL`); only for one that is created.
    pub exclusive: bool,
    /// With `O_SYNC` or `O_DSYNC`: a change made through the handle is on disk when it is answered.
    pub synchronous: bool,
    /// The kernel can be told to send writes as they are, around its page cache.
    pub may_skip_cache: bool,
}

/// Answer to the opening of a regular file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    /// Its number.
    pub handle: Handle,
    /// Its writes go around the page cache. That needs the kernel's support, and that nothing else
    /// can write to the file at the moment: no other handle, no mapping.
    pub around_cache: bool,
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) node: NodeId,
    pub(super) content: Arc<FileContent>,
    pub(super) writable: bool,
    pub(super) synchronous: bool,
    pub(super) around_cache: bool,
    /// Keeps the content readable when area and version are gone (G16).
    pub(super) _pin: Option<NamePin>,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    pub(super) ino: Ino,
    /// The listing as of when the directory was opened or rewound, so that positions stay valid
    /// while it changes.
    pub(super) listing: Mutex<Option<Arc<Listing>>>,
}

/// All open files and directories.
#[derive(Debug, Default)]
pub(super) struct HandleTable {
    next: AtomicU64,
    files: RwLock<HashMap<Handle, Arc<OpenFile>>>,
    directories: RwLock<HashMap<Handle, Arc<OpenDirectory>>>,
}

impl HandleTable {
    fn number(&self) -> Handle {
        Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn add_file(&self, file: OpenFile) -> Handle {
        let handle = self.number();
        self.files.write().insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn file(&self, handle: Handle) -> Result<Arc<OpenFile>, FsError> {
        self.files.read().get(&handle).cloned().ok_or(FsError::BadHandle)
    }

    pub(super) fn remove_file(&self, handle: Handle) -> Result<Arc<OpenFile>, FsError> {
        self.files.write().remove(&handle).ok_or(FsError::BadHandle)
    }

    pub(super) fn add_directory(&self, ino: Ino) -> Handle {
        let handle = self.number();
        let directory = OpenDirectory { ino, listing: Mutex::new(None) };
        self.directories.write().insert(handle, Arc::new(directory));
        handle
    }

    pub(super) fn directory(&self, handle: Handle) -> Result<Arc<OpenDirectory>, FsError> {
        self.directories.read().get(&handle).cloned().ok_or(FsError::BadHandle)
    }

    pub(super) fn remove_directory(&self, handle: Handle) {
        self.directories.write().remove(&handle);
    }
}
