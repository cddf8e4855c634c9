//! What a daemon reads itself, for a sync: a directory, or the file of an archive.
//!
//! It reads with its own rights, so only root and the user it runs as may have it do so
//! ([`rights`](crate::control::rights)). Its path is walked component by component, and all else goes by descriptor
//! (H24). Nothing of it may be in a mount of the daemon itself, and such a mount is not even looked at: a thread that
//! waits for an answer of its own process cannot be killed (R8).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, openat};

use super::error::{ArchiveError, Problem, Problems};
use super::import::{self, Noted, Reading};
use super::observer::{ImportTotals, Observer};
use super::path::ArchivePath;
use super::stat_cache::{FileState, StatCacheOptions};
pub(crate) use super::tar_rules::Part;
use super::walk::{EntryHandle, Refused, Walked, Walker};
use super::{EntrySink, tar_import};
use crate::model::kind::FileKind;
pub(crate) use crate::store::caller_path::Device;
use crate::store::caller_path::{OWN_MOUNT, device_at, open_outside, reopen};

/// What is not read, wherever it is met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Boundary {
    /// Directories.
    pub(crate) refused: Vec<Refused>,
    /// Filesystems.
    pub(crate) avoided: Vec<Device>,
}

/// A directory, open.
#[derive(Debug)]
pub(crate) struct OpenDirectory {
    top: OwnedFd,
    path: PathBuf,
    boundary: Boundary,
}

/// How a directory is read.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    /// What is known of its files already.
    pub(crate) stat_cache: StatCacheOptions,
    /// What cannot be read is told to the observer and left out.
    pub(crate) keep_going: bool,
    /// Has the reading end, with an error.
    pub(crate) stop: &'a AtomicBool,
}

/// What a look at a directory found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Entries that are not directories.
    pub(crate) files: u64,
    /// What cannot be read.
    pub(crate) problems: Problems,
}

impl OpenDirectory {
    /// Opens the directory at `path`, or what is `below` it there; from `path` on no symbolic link is followed.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub(crate) fn open(
        path: &Path,
        below: Option<&ArchivePath>,
        boundary: Boundary,
    ) -> Result<Self, ArchiveError> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = open_outside(path, &boundary.avoided).map_err(failed(path))?;
        let mut top = openat(&found, c".", directory, Mode::empty())
            .map_err(|error| failed(path)(error.into()))?;
        let mut path = path.to_owned();
        for name in below.iter().flat_map(|below| below.components()) {
            path.push(OsStr::from_bytes(name));
            let opened = device_at(&top, name).map_err(io::Error::from).and_then(|device| {
                if boundary.avoided.contains(&device) {
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, OWN_MOUNT));
                }
                Ok(openat(&top, name, directory, Mode::empty())?)
            });
            top = opened.map_err(failed(&path))?;
        }
        Ok(Self { top, path, boundary })
    }

    fn walk(&self) -> Result<Walker, ArchiveError> {
        let Boundary { refused, avoided } = self.boundary.clone();
        let top = openat(&self.top, c".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(ArchiveError::io("open the directory", &self.path))?;
        Ok(Walker::over(top, &self.path, refused)?.avoiding(avoided))
    }

    /// Puts all that is in it. What is to be remembered of it is kept by the caller.
    ///
    /// # Errors
    /// What failed; also what cannot be read, unless it is to keep going.
    pub(crate) fn read(
        &self,
        choices: Choices<'_>,
        sink: &mut dyn EntrySink,
        observer: &mut dyn Observer,
    ) -> Result<(ImportTotals, Option<Noted>), ArchiveError> {
        let Choices { stat_cache, keep_going, stop } = choices;
        let stat_cache = Some(stat_cache);
        let reading = Reading { stat_cache, keep_going, stop, between: &|_| {} };
        import::read_directory(self.walk()?, reading, sink, observer)
    }

    /// Looks at all that is in it, and reads none of the files.
    ///
    /// # Errors
    /// The directory itself cannot be read, or the look was stopped.
    pub(crate) fn look(&self, is_stopped: &dyn Fn() -> bool) -> Result<Found, ArchiveError> {
        let mut found = Found::default();
        for walked in self.walk()? {
            if is_stopped() {
                return Err(ArchiveError::Stopped);
            }
            match walked.and_then(check_readable) {
                Ok(is_directory) => found.files += u64::from(!is_directory),
                Err(problem) => found.problems.push(problem),
            }
        }
        Ok(found)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    ArchiveError::io("open the directory", path)
}

/// Checks that an entry can be read; says whether it is a directory.
fn check_readable(walked: Walked) -> Result<bool, Problem> {
    let Walked { path, stat, handle } = walked;
    if let (EntryHandle::Name { parent, name }, FileKind::File) = (&handle, stat.kind) {
        let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
        if let Err(error) = accessat(parent, name, Access::READ_OK, flags) {
            let reason = format!("cannot read: {}", io::Error::from(error));
            return Err(Problem { path, reason });
        }
    }
    Ok(matches!(handle, EntryHandle::Directory(_)))
}

/// The file of an archive, open.
#[derive(Debug)]
pub(crate) struct OpenArchive {
    file: File,
    path: PathBuf,
}

impl OpenArchive {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// It cannot be opened, or is something else.
    pub(crate) fn open(path: &Path, boundary: &Boundary) -> Result<Self, ArchiveError> {
        let failed = || ArchiveError::io::<io::Error>("open", path);
        let found = File::from(open_outside(path, &boundary.avoided).map_err(failed())?);
        // Looked at before it is opened for reading: a named pipe would wait for somebody who writes.
        if !found.metadata().map_err(failed())?.is_file() {
            let reason = "this is no regular file, and so no archive".to_owned();
            return Err(ArchiveError::Destination { path: path.to_owned(), reason });
        }
        let file = reopen(&found).map_err(failed())?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How it is now.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn state(&self) -> Result<FileState, ArchiveError> {
        FileState::of(&self.file).map_err(ArchiveError::io("stat", &self.path))
    }

    /// Puts what it holds.
    ///
    /// # Errors
    /// What failed, with the member that is to blame.
    pub(crate) fn read(
        &self,
        part: Part<'_>,
        stop: &AtomicBool,
        sink: &mut dyn EntrySink,
        observer: &mut dyn Observer,
    ) -> Result<ImportTotals, ArchiveError> {
        let is_stopped = || stop.load(Ordering::Relaxed);
        tar_import::read_archive(self.input(&is_stopped), part, sink, observer)
    }

    /// Reads it to its end and keeps nothing: says how many members it has that are no directories, and how it is
    /// compressed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn look(
        &self,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(u64, Option<&'static str>), ArchiveError> {
        tar_import::count(self.input(is_stopped))
    }

    fn input<'a>(&'a self, is_stopped: &'a dyn Fn() -> bool) -> impl Read + 'a {
        BufReader::with_capacity(INPUT_BYTES, Stoppable { file: &self.file, is_stopped })
    }
}

/// Bytes of an archive that are read at a time.
const INPUT_BYTES: usize = 256 * 1024;

/// An archive whose reading ends when somebody says so.
struct Stoppable<'a> {
    file: &'a File,
    is_stopped: &'a dyn Fn() -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_stopped)() {
            return Err(io::Error::other("it was stopped"));
        }
        self.file.read(buffer)
    }
}
