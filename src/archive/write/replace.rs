//! A directory that is written beside the name that it, or one file in it, is to have in the end.
//!
//! So that name never leads to half of anything: it gets what is whole in one step, and what had it before
//! goes afterwards (H24: names are used once, and by descriptor).

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, Mode, RenameFlags, fstat, fsync, openat, renameat, renameat_with, statat, syncfs,
    unlinkat,
};
use rustix::io::Errno;

use super::{Destination, Made, New, OPEN_DIRECTORY, Result, WriteError, remove_below};
use crate::archive::error::ArchiveError;
use crate::store::caller_path;

/// What may happen to that which has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Stays,
    /// It is replaced, a directory with all that is in it.
    Replaced,
}

impl<'a> Destination<'a> {
    /// Makes a directory beside `path`, under a temporary name.
    pub(in crate::archive) fn beside(
        path: &Path,
        existing: Existing,
        made: Made<'a>,
    ) -> std::result::Result<Self, ArchiveError> {
        let (parent, name) =
            caller_path::open_parent(path).map_err(ArchiveError::io("make", path))?;
        if existing == Existing::Stays && is_there(&parent, &name) {
            return Err(exists(path));
        }
        let draft = super::beside(&name);
        let top =
            super::make_directory(&parent, &draft, made).map_err(ArchiveError::io("make", path))?;
        Ok(Self::over(path, top, made, Some(New { parent, draft, name })))
    }

    /// Gives the name to what was written: to the directory itself, or to `only` in it. All of it is on
    /// disk then. If this fails, nothing had the name but what had it before.
    pub(in crate::archive) fn put(
        &self,
        only: Option<&CStr>,
        existing: Existing,
    ) -> std::result::Result<(), ArchiveError> {
        let Some(New { parent, draft, name }) = &self.new else { return Ok(()) };
        syncfs(&*self.top).map_err(ArchiveError::io("write", &self.path))?;
        let from = match only {
            Some(only) => (&*self.top, only),
            None => (parent, draft.as_c_str()),
        };
        let to = (parent, name.as_c_str());
        let put = match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if existing == Existing::Replaced => exchange(from, to),
            // The file system does not know the flag: look whether the name is free. Another process
            // can take it in between.
            Err(Errno::INVAL | Errno::NOSYS) if !is_there(parent, name) => {
                renameat(from.0, from.1, to.0, to.1)
            }
            Err(Errno::INVAL | Errno::NOSYS) if existing == Existing::Replaced => {
                exchange(from, to)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::EXIST) => return Err(exists(&self.path)),
            renamed => renamed,
        };
        put.map_err(ArchiveError::io("make", &self.path))
    }

    /// Removes what is left under the temporary name once [`Destination::put`] has succeeded: what was
    /// replaced. Brings the names to disk.
    pub(in crate::archive) fn clear(
        &self,
        only: Option<&CStr>,
    ) -> std::result::Result<(), ArchiveError> {
        let Some(New { parent, draft, .. }) = &self.new else { return Ok(()) };
        match only {
            Some(_) => self.give_up(),
            None => {
                if let Err(error) = remove(parent, draft) {
                    self.left(draft, &error);
                }
            }
        }
        fsync(parent).map_err(ArchiveError::io("write the directory of", &self.path))
    }
}

fn is_there(parent: &OwnedFd, name: &CStr) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn exists(path: &Path) -> ArchiveError {
    ArchiveError::Destination {
        path: path.to_owned(),
        reason: "there is something already; --force replaces it, and a slash at the end says that it goes into that directory".to_owned(),
    }
}

/// Lets two names change places. Where the file system cannot do that, a file still takes the place of
/// another one in one step.
fn exchange(from: (&OwnedFd, &CStr), to: (&OwnedFd, &CStr)) -> std::result::Result<(), Errno> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => renameat(from.0, from.1, to.0, to.1),
        exchanged => exchanged,
    }
}

/// Removes whatever has a name, if anything has it.
fn remove(parent: &OwnedFd, name: &CStr) -> Result<()> {
    match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(unlinkat(parent, name, AtFlags::empty())?),
        Err(error) => Err(WriteError::System(error)),
        Ok(directory) => {
            remove_below(&directory, fstat(&directory)?.st_dev)?;
            Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn names(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into()).collect()
    }

    /// Writes a directory with one file in it, and puts it, or the file, at `path`.
    fn put(path: &Path, only: bool, existing: Existing) -> std::result::Result<(), ArchiveError> {
        let destination = Destination::beside(path, existing, &|_| {})?;
        let draft = names(path.parent().unwrap()).into_iter();
        let draft: Vec<_> =
            draft.filter(|name| name.to_string_lossy().contains(".partial-")).collect();
        fs::write(path.parent().unwrap().join(&draft[0]).join("file"), "new").unwrap();
        let only = only.then_some(c"file");
        let put = destination.put(only, existing);
        match put {
            Ok(()) => destination.clear(only),
            Err(error) => {
                destination.give_up();
                Err(error)
            }
        }
    }

    fn take_away(path: &Path) {
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            rustix::fs::unlink(path).unwrap();
        }
    }

    #[test]
    fn o4_a_name_is_free_or_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        let outside = home.path().join("outside");
        fs::write(&outside, "kept").unwrap();
        let make: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "old").unwrap(),
            &|| symlink(&outside, &path).unwrap(),
            &|| fs::create_dir_all(path.join("deep/er")).unwrap(),
            &|| fs::create_dir(&path).unwrap(),
        ];
        for (kind, make) in make.iter().enumerate() {
            for only in [true, false] {
                make();
                let refused = put(&path, only, Existing::Stays).unwrap_err();
                assert!(refused.to_string().contains("--force"), "{refused}");
                put(&path, only, Existing::Replaced).unwrap();
                let file = if only { path.clone() } else { path.join("file") };
                assert_eq!(fs::read(&file).unwrap(), b"new", "{kind} {only}");
                assert_eq!(names(home.path()).len(), 2, "{kind} {only}: {:?}", names(home.path()));
                take_away(&path);
                put(&path, only, Existing::Stays).unwrap();
                take_away(&path);
            }
        }
        assert_eq!(fs::read(&outside).unwrap(), b"kept", "the link was replaced, not followed");
    }
}
