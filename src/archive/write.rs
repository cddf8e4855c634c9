//! Creates entries below an open destination directory, with the caller's credentials.
//!
//! Somebody else may be able to write to the destination, or to a directory above it, and replace
//! any name there at any time. So a name is used once, to create what is there exclusively. All
//! else (owner, mode, times, extended attributes, further names) goes to an open descriptor that is
//! known to be of what the export made. A file is created and opened in one call. A directory or a
//! special file is opened by its name, without following a symbolic link, and then examined, since
//! somebody may have replaced it in between (H24). Directories stay 0700 until
//! everything is below them; see [`Destination::complete`].

mod replace;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, chmod, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat, readlinkat,
    renameat, setxattr, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};

use super::error::ArchiveError;
use super::path::ArchivePath;
use super::stat::{FileId, Stat, decode_rdev};
use crate::model::kind::FileKind;
use crate::model::name::NAME_BYTES_MAX;
use crate::model::tree::{Attributes, Content};
use crate::store::caller_path::{self, own_path};

pub use replace::Existing;

/// An open directory that is being filled.
const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why one entry could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// A system call failed.
    #[error("{}", std::io::Error::from(*.0))]
    System(#[from] Errno),
    /// Somebody replaced what was made under the name.
    #[error("somebody replaced it while it was being written")]
    Replaced,
}

impl From<WriteError> for std::io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::System(errno) => errno.into(),
            replaced @ WriteError::Replaced => Self::other(replaced),
        }
    }
}

type Result<T> = std::result::Result<T, WriteError>;

/// Called with a name that was made, before anything else happens to it; does nothing but in tests,
/// which play the stranger there.
pub(super) type Made<'a> = &'a (dyn Fn(&CStr) + Sync);

/// A directory tree being written.
pub(super) struct Destination<'a> {
    path: PathBuf,
    top: Arc<OwnedFd>,
    /// Whether owners can be set (the caller is root).
    privileged: bool,
    /// Extended attributes that the caller or the file system cannot set.
    xattrs_dropped: AtomicU64,
    made: Made<'a>,
    /// The name that the directory gets once it is complete; `None` if the directory was there
    /// before.
    new: Option<New>,
}

/// A directory that has a temporary name until it is complete.
struct New {
    parent: OwnedFd,
    draft: CString,
    name: CString,
}

/// A directory that was made, and is to have these attributes in the end.
#[derive(Debug)]
pub(super) struct MadeDirectory {
    pub(super) path: ArchivePath,
    pub(super) attributes: Attributes,
    pub(super) id: FileId,
}

impl<'a> Destination<'a> {
    /// Takes the directory `path` if it is empty. If it does not exist, makes one under a temporary
    /// name, to which [`Destination::publish`] gives the name `path`.
    pub(super) fn create(path: &Path, made: Made<'a>) -> std::result::Result<Self, ArchiveError> {
        let (top, new) = match caller_path::open_directory(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (parent, name) = caller_path::open_parent(path)
                    .map_err(ArchiveError::io("make the directory", path))?;
                let draft = beside(&name);
                let top = make_directory(&parent, &draft, made)
                    .map_err(ArchiveError::io("make the directory", path))?;
                (top, Some(New { parent, draft, name }))
            }
            opened => (opened.map_err(ArchiveError::io("open the directory", path))?, None),
        };
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
        Ok(Self::over(path, top, made, new))
    }

    fn over(path: &Path, top: OwnedFd, made: Made<'a>, new: Option<New>) -> Self {
        Self {
            path: path.to_owned(),
            top: Arc::new(top),
            privileged: geteuid().is_root(),
            xattrs_dropped: AtomicU64::new(0),
            made,
            new,
        }
    }

    /// Gives a directory that is whole its name.
    pub(super) fn publish(&self) -> std::result::Result<(), ArchiveError> {
        let Some(New { parent, draft, name }) = &self.new else { return Ok(()) };
        renameat(parent, draft, parent, name).map_err(ArchiveError::io("make", &self.path))
    }

    /// Removes a directory that will not be completed. One that was there before stays, with what
    /// is in it by now, since some of that may be of others.
    pub(super) fn give_up(&self) {
        let Some(New { parent, draft, .. }) = &self.new else { return };
        let removed = fstat(&self.top)
            .map_err(WriteError::System)
            .and_then(|top| remove_below(&self.top, top.st_dev))
            .and_then(|()| Ok(unlinkat(parent, draft, AtFlags::REMOVEDIR)?));
        if let Err(error) = removed {
            self.left(draft, &error);
        }
    }

    fn left(&self, draft: &CStr, error: &WriteError) {
        let draft = self.path.with_file_name(draft.to_string_lossy().as_ref());
        log::warn!("{} is left over and cannot be removed: {error}", draft.display());
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

    /// Opens the directory at `path`, which this export has made.
    fn open_directory(&self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        let mut directory = self.top();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let opened = openat(&directory, name, OPEN_DIRECTORY, Mode::empty());
            directory = Arc::new(opened.map_err(gone)?);
        }
        Ok(directory)
    }

    /// Makes a directory and opens it.
    pub(super) fn make_directory(&self, place: &TargetName) -> Result<Arc<OwnedFd>> {
        make_directory(&place.parent, &place.name, self.made).map(Arc::new)
    }

    /// Makes an empty file and opens it for writing.
    pub(super) fn make_file(&self, place: &TargetName) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&place.parent, &place.name, flags, mode).map(File::from)?;
        (self.made)(&place.name);
        Ok(file)
    }

    /// Makes one more name of the file `id`, whose first name is `first`.
    pub(super) fn make_link(
        &self,
        place: &TargetName,
        first: &ArchivePath,
        id: FileId,
    ) -> Result<()> {
        let (parent, name) = first.split();
        let parent = self.open_directory(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&parent, name, flags, Mode::empty()).map_err(gone)?;
        if Stat::of(&file)?.id != id {
            return Err(WriteError::Replaced);
        }
        Ok(link(&file, place)?)
    }

    /// Makes a name of an open blob. All its names share mode, owner and time.
    pub(super) fn make_blob_link(
        &self,
        place: &TargetName,
        blob: &File,
    ) -> std::result::Result<(), Errno> {
        link(blob, place)
    }

    /// Makes what is neither directory nor regular file, with its attributes. Returns which file it
    /// is.
    pub(super) fn make_special(
        &self,
        place: &TargetName,
        content: &Content,
        attributes: &Attributes,
    ) -> Result<FileId> {
        let TargetName { parent, name } = place;
        let mode = Mode::RUSR | Mode::WUSR;
        let node = |kind, rdev| {
            let (major, minor) = decode_rdev(rdev);
            mknodat(parent, name, kind, mode, rustix::fs::makedev(major, minor))
        };
        let (kind, rdev) = match content {
            Content::Symlink { .. } => (FileKind::Symlink, 0),
            Content::Fifo => (FileKind::Fifo, 0),
            Content::Socket => (FileKind::Socket, 0),
            Content::CharDevice { rdev } => (FileKind::CharDevice, *rdev),
            Content::BlockDevice { rdev } => (FileKind::BlockDevice, *rdev),
            Content::File { .. } | Content::Directory { .. } => return Err(Errno::INVAL.into()),
        };
        match content {
            Content::Symlink { target } => symlinkat(&**target, parent, name)?,
            Content::Socket => node(FileType::Socket, 0)?,
            Content::CharDevice { rdev } => node(FileType::CharacterDevice, *rdev)?,
            Content::BlockDevice { rdev } => node(FileType::BlockDevice, *rdev)?,
            _ => node(FileType::Fifo, 0)?,
        }
        (self.made)(name);
        // Opened with O_PATH only. Opening it for reading could have effects (a device, a pipe) if
        // somebody has put something else there.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty()).map_err(gone)?;
        let found = Stat::of(&file)?;
        let is_same = match content {
            Content::Symlink { target } => {
                found.kind == kind && readlinkat(&file, c"", Vec::new())?.to_bytes() == &**target
            }
            _ => (found.kind, found.rdev) == (kind, rdev),
        };
        // Somebody may have put a further name of another file there; that file has two names.
        if !is_same || found.nlink != 1 || !is_ours(parent, &found)? {
            return Err(WriteError::Replaced);
        }
        self.set_special(&file, kind, attributes)?;
        Ok(found.id)
    }

    /// Gives what [`Destination::make_special`] made its attributes. An O_PATH descriptor does not
    /// allow that, but its name in `/proc/self/fd` does, and leads to nothing else.
    fn set_special(&self, file: &OwnedFd, kind: FileKind, attributes: &Attributes) -> Result<()> {
        if self.privileged {
            let (uid, gid) = owner(attributes);
            chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        let path = own_path(file);
        self.set_xattrs(attributes, |name, value| {
            setxattr(&path, name, value, XattrFlags::empty())
        })?;
        if kind != FileKind::Symlink {
            chmod(&path, self.mode(attributes, None))?;
        }
        Ok(utimensat(CWD, &path, &times(attributes), AtFlags::empty())?)
    }

    /// Gives an open file or directory its attributes; the time last, as nothing follows.
    pub(super) fn set_attributes(
        &self,
        file: BorrowedFd<'_>,
        attributes: &Attributes,
    ) -> Result<()> {
        let made = Stat::of(file)?;
        if self.privileged && (made.uid, made.gid) != (attributes.uid, attributes.gid) {
            let (uid, gid) = owner(attributes);
            fchown(file, uid, gid)?;
        }
        self.set_xattrs(attributes, |name, value| {
            fsetxattr(file, name, value, XattrFlags::empty())
        })?;
        fchmod(file, self.mode(attributes, Some(&made)))?;
        Ok(futimens(file, &times(attributes))?)
    }

    /// Sets the attributes of all directories, those below before those above.
    /// `directories` are in the order of the walk, the top first.
    pub(super) fn complete(
        &self,
        directories: &[MadeDirectory],
    ) -> std::result::Result<(), ArchiveError> {
        let complete = |made: &MadeDirectory| {
            let directory = self.open_directory(made.path.as_bytes())?;
            // Somebody may have exchanged two of our directories: the mode of one must not open the
            // other.
            if Stat::of(&directory)?.id != made.id {
                return Err(WriteError::Replaced);
            }
            self.set_attributes(directory.as_fd(), &made.attributes)
        };
        for made in directories.iter().rev() {
            complete(made).map_err(self.failed("set attributes of", &made.path))?;
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
        set: impl Fn(&[u8], &[u8]) -> std::result::Result<(), Errno>,
    ) -> Result<()> {
        for (name, value) in &attributes.xattrs {
            match set(name, value) {
                Ok(()) => {}
                // What this caller or this file system cannot hold is counted, not fatal: data
                // and modes are worth having without it.
                Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {
                    self.xattrs_dropped.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A name that was just made is no longer there, or leads elsewhere.
fn gone(error: Errno) -> WriteError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => WriteError::Replaced,
        error => WriteError::System(error),
    }
}

/// Makes a directory that nobody else can enter, and opens it.
fn make_directory(parent: &OwnedFd, name: &CStr, made: Made<'_>) -> Result<OwnedFd> {
    mkdirat(parent, name, Mode::RWXU)?;
    made(name);
    let directory = openat(parent, name, OPEN_DIRECTORY, Mode::empty()).map_err(gone)?;
    let found = Stat::of(&directory)?;
    if !is_ours(parent, &found)? {
        return Err(WriteError::Replaced);
    }
    if found.mode & 0o077 != 0 {
        // Either the file system has no modes, or somebody put an older directory of the caller in
        // place of the new one. Then others could enter it and see what is written below.
        match fchmod(&directory, Mode::RWXU) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(directory)
}

/// Whether a file found in `parent` can be one that this process has made there: it must have the
/// owner that the file system gives to our files, which on some file systems is not us.
fn is_ours(parent: &OwnedFd, found: &Stat) -> Result<bool> {
    if found.uid == geteuid().as_raw() {
        return Ok(true);
    }
    let name = format!(".cairn-{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let probe = openat(parent, &name, flags, Mode::RUSR)?;
    unlinkat(parent, &name, AtFlags::empty())?;
    Ok(Stat::of(&probe)?.uid == found.uid)
}

/// Removes all that is in an open directory. What is mounted in it, on another device, stays.
fn remove_below(directory: &OwnedFd, device: u64) -> Result<()> {
    if fstat(directory)?.st_dev != device {
        return Err(Errno::XDEV.into());
    }
    fchmod(directory, Mode::RWXU)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        names.push(entry?.file_name().to_owned());
    }
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                remove_below(&openat(directory, name, OPEN_DIRECTORY, Mode::empty())?, device)?;
                unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            removed => removed?,
        }
    }
    Ok(())
}

/// The temporary name of what will be called `name` once it is complete.
pub(super) fn beside(name: &CStr) -> CString {
    let end = format!(".partial-{}", std::process::id());
    let kept = name.to_bytes().len().min(NAME_BYTES_MAX - end.len());
    let mut draft = name.to_bytes()[..kept].to_vec();
    draft.extend_from_slice(end.as_bytes());
    // Neither part has a NUL.
    CString::new(draft).unwrap_or_default()
}

/// Makes a name of an open file.
fn link(file: impl AsFd, place: &TargetName) -> std::result::Result<(), Errno> {
    linkat(CWD, own_path(file), &place.parent, &place.name, AtFlags::SYMLINK_FOLLOW)
}

/// A name in an open directory.
#[derive(Debug, Clone)]
pub(super) struct TargetName {
    pub(super) parent: Arc<OwnedFd>,
    pub(super) name: CString,
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

fn times(attributes: &Attributes) -> Timestamps {
    let mtime =
        Timespec { tv_sec: attributes.mtime.seconds, tv_nsec: attributes.mtime.nanoseconds.into() };
    // The access time is not kept, so it gets the time of the last modification.
    Timestamps { last_access: mtime, last_modification: mtime }
}
