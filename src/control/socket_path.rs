//! Reaches a socket whatever the length of its path.
//!
//! `sun_path` holds 107 bytes. A longer path is addressed through its directory's descriptor
//! (`/proc/self/fd/N/control.sock`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The longest path that fits `sun_path` with its terminating NUL, in bytes.
const SUN_PATH_BYTES_MAX: usize = 107;

/// A path short enough for a socket address, valid while this value lives.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl SocketPath {
    /// Finds a short path to the same socket as `path`.
    ///
    /// # Errors
    /// Its directory cannot be opened.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().len() <= SUN_PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        Ok(Self {
            path: Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name),
            _directory: Some(directory),
        })
    }

    /// The short path.
    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}
