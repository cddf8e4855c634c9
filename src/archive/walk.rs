//! Walks a directory with the caller's credentials, in an order that depends on names alone.
//!
//! Every step is relative to an open directory and follows no symbolic link, so nothing that
//! happens in the tree meanwhile can lead the walk out of it. Order: a directory before what it
//! holds, siblings by the bytes of their names. The walk opens directories only; files are opened
//! by the readers. What cannot be read is yielded as a problem and the walk goes on.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::error::{ArchiveError, Problem};
use super::path::ArchivePath;
use super::stat::{FileId, Stat};
use crate::model::kind::FileKind;
use crate::model::name::EntryName;
use crate::store::caller_path::{self, Device, OWN_MOUNT, device_at};

/// One entry found, not read yet.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) path: ArchivePath,
    pub(super) stat: Stat,
    pub(super) handle: EntryHandle,
}

/// How to reach a [`Walked`] entry.
#[derive(Debug)]
pub(super) enum EntryHandle {
    /// A directory, open for reading.
    Directory(Arc<OwnedFd>),
    /// Anything else, by its name in an open directory.
    Name { parent: Arc<OwnedFd>, name: CString },
    /// One more name of a file that was yielded before.
    Hardlink(ArchivePath),
}

/// The walk, as an iterator.
pub(super) struct Walker {
    top: Option<Walked>,
    stack: Vec<Level>,
    /// First path of each file with several names.
    first_names: HashMap<FileId, ArchivePath>,
    refused: Vec<Refused>,
    /// Filesystems of which nothing is looked at.
    avoided: Vec<Device>,
}

/// A directory that an import does not take, wherever it meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Which one.
    pub id: FileId,
    /// Why, in words that follow its path.
    pub reason: &'static str,
}

impl Refused {
    /// The directory of the store itself: its pool would grow during the walk.
    pub fn store(id: FileId) -> Self {
        Self { id, reason: "this directory is cairn's own store, which cannot import itself" }
    }

    /// The directory at which the whole store is mounted. Importing it would copy every version into the
    /// next one.
    pub fn mount(id: FileId) -> Self {
        let reason = "this directory shows the store itself, which cannot import itself: name one \
                      version or one staging area in it";
        Self { id, reason }
    }
}

/// A directory being walked.
struct Level {
    path: ArchivePath,
    directory: Arc<OwnedFd>,
    /// Names not yielded yet, last one first.
    names: Vec<CString>,
}

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Walker {
    /// Starts at `top`, which may itself be reached through symbolic links that root, the caller or
    /// the owner of what they lead to has made. A directory that is `refused` is a problem, not
    /// walked.
    pub(super) fn new(top: &Path, refused: Vec<Refused>) -> Result<Self, ArchiveError> {
        let open = caller_path::open_directory(top)
            .map_err(ArchiveError::io("open the directory", top))?;
        Self::over(open, top, refused)
    }

    /// Starts at an open directory, which messages call `top`.
    pub(super) fn over(
        open: OwnedFd,
        top: &Path,
        refused: Vec<Refused>,
    ) -> Result<Self, ArchiveError> {
        let stat = Stat::of(&open).map_err(ArchiveError::io("stat", top))?;
        if let Some(Refused { reason, .. }) = refused.iter().find(|refused| refused.id == stat.id) {
            return Err(ArchiveError::Destination {
                path: top.to_owned(),
                reason: (*reason).to_owned(),
            });
        }
        let handle = EntryHandle::Directory(Arc::new(open));
        Ok(Self {
            top: Some(Walked { path: ArchivePath::root(), stat, handle }),
            stack: Vec::new(),
            first_names: HashMap::new(),
            refused,
            avoided: Vec::new(),
        })
    }

    /// Does not look at anything on these filesystems: it is a problem where they are met.
    #[cfg(feature = "net")]
    pub(super) fn avoiding(self, avoided: Vec<Device>) -> Self {
        Self { avoided, ..self }
    }

    /// The directory at the top, open.
    pub(super) fn top(&self) -> Option<Arc<OwnedFd>> {
        match &self.top.as_ref()?.handle {
            EntryHandle::Directory(directory) => Some(Arc::clone(directory)),
            EntryHandle::Name { .. } | EntryHandle::Hardlink(_) => None,
        }
    }

    /// Reads the names of a directory that is about to be yielded.
    fn descend(&mut self, walked: &Walked) -> Result<(), Errno> {
        let EntryHandle::Directory(directory) = &walked.handle else {
            return Ok(());
        };
        // The descriptor was opened just now: it stands at the start, and nobody else moves it.
        let mut names = Vec::new();
        for entry in Dir::read_from(directory.as_fd())? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.push(Level {
            path: walked.path.clone(),
            directory: Arc::clone(directory),
            names,
        });
        Ok(())
    }

    /// Looks at one name of a directory.
    fn visit(
        &mut self,
        parent: Arc<OwnedFd>,
        path: ArchivePath,
        name: CString,
    ) -> Result<Walked, Problem> {
        if !self.avoided.is_empty()
            && device_at(&parent, name.to_bytes()).is_ok_and(|found| self.avoided.contains(&found))
        {
            return Err(Problem { path, reason: OWN_MOUNT.to_owned() });
        }
        let stat = match Stat::at(&parent, name.to_bytes()) {
            Ok(stat) => stat,
            Err(error) => return Err(problem(path, "stat", error)),
        };
        if stat.kind == FileKind::Directory {
            return self.visit_directory(&parent, path, &name);
        }
        if stat.nlink > 1 {
            if let Some(first) = self.first_names.get(&stat.id) {
                let handle = EntryHandle::Hardlink(first.clone());
                return Ok(Walked { path, stat, handle });
            }
            self.first_names.insert(stat.id, path.clone());
        }
        let handle = EntryHandle::Name { parent, name };
        Ok(Walked { path, stat, handle })
    }

    fn visit_directory(
        &mut self,
        parent: &OwnedFd,
        path: ArchivePath,
        name: &CString,
    ) -> Result<Walked, Problem> {
        let flags = OPEN_DIRECTORY | OFlags::NOFOLLOW;
        let opened = openat(parent, name, flags, Mode::empty())
            .and_then(|directory| Ok((Stat::of(&directory)?, directory)));
        let (stat, directory) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(problem(path, "open the directory", error)),
        };
        if let Some(refused) = self.refused.iter().find(|refused| refused.id == stat.id) {
            return Err(Problem { path, reason: refused.reason.to_owned() });
        }
        let walked = Walked { path, stat, handle: EntryHandle::Directory(Arc::new(directory)) };
        match self.descend(&walked) {
            Ok(()) => Ok(walked),
            Err(error) => Err(problem(walked.path, "read the directory", error)),
        }
    }
}

fn problem(path: ArchivePath, action: &str, error: Errno) -> Problem {
    let reason = format!("cannot {action}: {}", std::io::Error::from(error));
    Problem { path, reason }
}

impl Iterator for Walker {
    type Item = Result<Walked, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(top) = self.top.take() {
            return Some(match self.descend(&top) {
                Ok(()) => Ok(top),
                Err(error) => Err(problem(top.path, "read the directory", error)),
            });
        }
        loop {
            let level = self.stack.last_mut()?;
            let Some(name) = level.names.pop() else {
                self.stack.pop();
                continue;
            };
            let parent = Arc::clone(&level.directory);
            // The kernel yields valid names, but a broken file system may not.
            let path = match EntryName::new(name.to_bytes()) {
                Ok(name) => level.path.join(&name).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            return Some(match path {
                Ok(path) => self.visit(parent, path, name),
                Err(reason) => {
                    let path = level.path.clone();
                    let name = super::path::printable(name.to_bytes());
                    Err(Problem { path, reason: format!("entry `{name}`: {reason}") })
                }
            });
        }
    }
}
