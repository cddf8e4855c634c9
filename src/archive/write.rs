//! Creates entries below an open destination directory, with the caller's credentials.
//!
//! Every step names one component relative to an open directory, creates exclusively and follows
//! no symbolic link: whoever can write to the destination meanwhile cannot lead cairn out of it.
//! Directories stay 0700 until everything is below them; see [`Destination::complete`].

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, chmodat, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, mkdirat, mknodat, openat, symlinkat,
    utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::error::ArchiveError;
use super::path::ArchivePath;
use super::stat::{Stat, decode_rdev};
use crate::model::tree::{Attributes, Content};

/// An open directory that is being filled.
const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory tree being written.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    top: Arc<OwnedFd>,
    /// Whether owners can be set (the caller is root).
    privileged: bool,
    /// Extended attributes that the caller or the file system cannot set.
    xattrs_dropped: AtomicU64,
}

impl Destination {
    /// Makes the directory `path`, or takes it when it exists and is empty.
    pub(super) fn create(path: &Path) -> Result<Self, ArchiveError> {
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(ArchiveError::io("make the directory", path)(error)),
        }
        // The caller's own path may lead through symbolic links, its last component included.
        let top = openat(CWD, path, OPEN_DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())
            .map_err(ArchiveError::io("open the directory", path))?;
        let entries = Dir::read_from(&top).map_err(ArchiveError::io("read", path))?;
        for entry in entries {
            let entry = entry.map_err(ArchiveError::io("read", path))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(ArchiveError::Destination {
                    path: path.to_owned(),
                    reason: "the directory is not empty; name one that is, or that does not exist"
                        .to_owned(),
                });
            }
        }
        let privileged = rustix::process::geteuid().is_root();
        let xattrs_dropped = AtomicU64::new(0);
        Ok(Self { path: path.to_owned(), top: Arc::new(top), privileged, xattrs_dropped })
    }

    /// The destination itself.
    pub(super) fn top(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.top)
    }

    /// Extended attributes that could not be set, so far.
    pub(super) fn xattrs_dropped(&self) -> u64 {
        self.xattrs_dropped.load(Ordering::Relaxed)
    }

    /// Wraps a failure at `path` below the destination.
    pub(super) fn failed<E: Into<std::io::Error>>(
        &self,
        action: &'static str,
        path: &ArchivePath,
    ) -> impl FnOnce(E) -> ArchiveError {
        use std::os::unix::ffi::OsStrExt;
        ArchiveError::io(action, self.path.join(std::ffi::OsStr::from_bytes(path.as_bytes())))
    }

    /// Opens the directory `path`, which this export has made.
    pub(super) fn open_directory(&self, path: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        let mut directory = self.top();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            directory = Arc::new(openat(&directory, name, OPEN_DIRECTORY, Mode::empty())?);
        }
        Ok(directory)
    }

    /// Makes a directory and opens it.
    pub(super) fn make_directory(&self, place: &Place) -> Result<Arc<OwnedFd>, Errno> {
        mkdirat(&place.parent, &place.name, Mode::RWXU)?;
        openat(&place.parent, &place.name, OPEN_DIRECTORY, Mode::empty()).map(Arc::new)
    }

    /// Makes an empty file and opens it for writing.
    pub(super) fn make_file(&self, place: &Place) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        openat(&place.parent, &place.name, flags, mode).map(File::from)
    }

    /// Makes one more name of the file at `first`.
    pub(super) fn make_link(&self, place: &Place, first: &ArchivePath) -> Result<(), Errno> {
        let (parent, name) = first.split();
        let parent = self.open_directory(parent)?;
        linkat(&parent, name, &place.parent, &place.name, AtFlags::empty())
    }

    /// Makes a name of an open blob. All its names share mode, owner and time.
    pub(super) fn make_blob_link(&self, place: &Place, blob: &File) -> Result<(), Errno> {
        let blob = format!("/proc/self/fd/{}", blob.as_raw_fd());
        linkat(CWD, blob, &place.parent, &place.name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Makes what is neither directory nor regular file, with its attributes.
    pub(super) fn make_special(
        &self,
        place: &Place,
        content: &Content,
        attributes: &Attributes,
    ) -> Result<(), Errno> {
        let Place { parent, name } = place;
        let mode = Mode::RUSR | Mode::WUSR;
        let node = |kind, rdev| {
            let (major, minor) = decode_rdev(rdev);
            mknodat(parent, name, kind, mode, rustix::fs::makedev(major, minor))
        };
        match content {
            Content::Symlink { target } => symlinkat(&**target, parent, name)?,
            Content::Fifo => node(FileType::Fifo, 0)?,
            Content::Socket => node(FileType::Socket, 0)?,
            Content::CharDevice { rdev } => node(FileType::CharacterDevice, *rdev)?,
            Content::BlockDevice { rdev } => node(FileType::BlockDevice, *rdev)?,
            Content::File { .. } | Content::Directory { .. } => return Err(Errno::INVAL),
        }
        if self.privileged {
            let (uid, gid) = owner(attributes);
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if !attributes.xattrs.is_empty() {
            // Opening these has side effects; /proc gives a path below the open parent.
            let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
            path.extend_from_slice(name.to_bytes());
            self.set_xattrs(attributes, |name, value| {
                lsetxattr(&path[..], name, value, XattrFlags::empty())
            })?;
        }
        if !matches!(content, Content::Symlink { .. }) {
            // The name was made just now; only its maker and root can have replaced it.
            chmodat(parent, name, self.mode(attributes, None), AtFlags::empty())?;
        }
        utimensat(parent, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Gives an open file or directory its attributes; the time last, as nothing follows.
    pub(super) fn set_attributes(
        &self,
        file: BorrowedFd<'_>,
        attributes: &Attributes,
    ) -> Result<(), Errno> {
        let made = Stat::of(file)?;
        if self.privileged && (made.uid, made.gid) != (attributes.uid, attributes.gid) {
            let (uid, gid) = owner(attributes);
            fchown(file, uid, gid)?;
        }
        self.set_xattrs(attributes, |name, value| {
            fsetxattr(file, name, value, XattrFlags::empty())
        })?;
        fchmod(file, self.mode(attributes, Some(&made)))?;
        futimens(file, &times(attributes))
    }

    /// Sets the attributes of all directories, those below before those above.
    /// `directories` are in the order of the walk, the top first.
    pub(super) fn complete(
        &self,
        directories: &[(ArchivePath, Attributes)],
    ) -> Result<(), ArchiveError> {
        for (path, attributes) in directories.iter().rev() {
            self.open_directory(path.as_bytes())
                .and_then(|directory| self.set_attributes(directory.as_fd(), attributes))
                .map_err(self.failed("set attributes of", path))?;
        }
        Ok(())
    }

    /// Set-user-id and set-group-id only make sense with the owner they were meant for: whoever
    /// cannot set owners must not hand out his own rights instead.
    fn mode(&self, attributes: &Attributes, made: Option<&Stat>) -> Mode {
        let mut mode = attributes.mode & 0o7777;
        if !self.privileged {
            if made.is_none_or(|made| made.uid != attributes.uid) {
                mode &= !0o4000;
            }
            if made.is_none_or(|made| made.gid != attributes.gid) {
                mode &= !0o2000;
            }
        }
        Mode::from_raw_mode(u32::from(mode))
    }

    fn set_xattrs(
        &self,
        attributes: &Attributes,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        for (name, value) in &attributes.xattrs {
            match set(name, value) {
                Ok(()) => {}
                // What this caller or this file system cannot hold is counted, not fatal: data
                // and modes are worth having without it.
                Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {
                    self.xattrs_dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A name in an open directory.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) parent: Arc<OwnedFd>,
    pub(super) name: CString,
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

fn times(attributes: &Attributes) -> Timestamps {
    let mtime =
        Timespec { tv_sec: attributes.mtime.seconds, tv_nsec: attributes.mtime.nanoseconds.into() };
    // The access time is not kept; the time of last change is as good as any.
    Timestamps { last_access: mtime, last_modification: mtime }
}
