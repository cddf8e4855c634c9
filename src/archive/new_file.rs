//! A file that appears under its name once it is whole, or not at all.
//!
//! Until then it has no name, so that nothing is left of it, however this process ends. Where the
//! file system cannot do that it has a name of its own beside the final one, which is removed when
//! it is given up; a killed process leaves it. Nothing is ever replaced.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, fsync, linkat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::error::ArchiveError;
use super::write::beside;
use crate::store::caller_path::{open_parent, own_path};

/// A file being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    parent: OwnedFd,
    name: CString,
    path: PathBuf,
    file: File,
    /// Its name for the time being, if it has one.
    draft: Option<CString>,
}

impl NewFile {
    /// Begins a file at `path`, where nothing may be yet.
    ///
    /// # Errors
    /// There is something, or the kernel's.
    pub(crate) fn create(path: &Path) -> Result<Self, ArchiveError> {
        Self::create_with(path, true)
    }

    fn create_with(path: &Path, nameless: bool) -> Result<Self, ArchiveError> {
        let (parent, name) = open_parent(path).map_err(ArchiveError::io("create", path))?;
        if statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Err(ArchiveError::io("create", path)(Errno::EXIST));
        }
        let mode = Mode::from_raw_mode(0o666);
        let write = OFlags::WRONLY | OFlags::CLOEXEC;
        let made = match nameless {
            true => openat(&parent, c".", write | OFlags::TMPFILE, mode),
            false => Err(Errno::OPNOTSUPP),
        };
        let (file, draft) = match made {
            Ok(file) => (file, None),
            // What file systems without files that have no name say.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let draft = beside(&name);
                let made = openat(&parent, &draft, write | OFlags::CREATE | OFlags::EXCL, mode);
                (made.map_err(ArchiveError::io("create", path))?, Some(draft))
            }
            Err(error) => return Err(ArchiveError::io("create", path)(error)),
        };
        Ok(Self { parent, name, path: path.to_owned(), file: file.into(), draft })
    }

    /// The file, to be written.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name; all of it is on disk then.
    ///
    /// # Errors
    /// There is something by now, or the kernel's; the file is gone then.
    pub(crate) fn finish(mut self) -> Result<(), ArchiveError> {
        fsync(&self.file).map_err(ArchiveError::io("write", &self.path))?;
        self.publish().map_err(ArchiveError::io("create", &self.path))?;
        self.draft = None;
        fsync(&self.parent).map_err(ArchiveError::io("write the directory of", &self.path))
    }

    fn publish(&self) -> Result<(), Errno> {
        let Self { parent, name, .. } = self;
        let Some(draft) = &self.draft else {
            return linkat(CWD, own_path(&self.file), parent, name, AtFlags::SYMLINK_FOLLOW);
        };
        match renameat_with(parent, draft, parent, name, RenameFlags::NOREPLACE) {
            // The file system has neither RENAME_NOREPLACE nor files without a name: look whether
            // the name is free. Another process can take it in between.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(Errno::EXIST),
                    Err(_) => renameat(parent, draft, parent, name),
                }
            }
            renamed => renamed,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft
            && let Err(error) = unlinkat(&self.parent, draft, AtFlags::empty())
        {
            log::debug!("cannot remove {}: {error}", draft.to_string_lossy());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn it_appears_when_it_is_whole_or_never() {
        let dir = tempfile::tempdir().unwrap();
        for nameless in [true, false] {
            let path = dir.path().join(format!("{nameless}.tar"));
            let given_up = NewFile::create_with(&path, nameless).unwrap();
            given_up.file().write_all(b"half").unwrap();
            assert!(!path.exists());
            assert_eq!(names(dir.path()).len(), usize::from(!nameless), "only where it must");
            drop(given_up);
            assert!(names(dir.path()).is_empty());
            let whole = NewFile::create_with(&path, nameless).unwrap();
            whole.file().write_all(b"whole").unwrap();
            whole.finish().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            rustix::fs::unlink(&path).unwrap();
        }
    }

    #[test]
    fn nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        for nameless in [true, false] {
            let late = NewFile::create_with(&path, nameless).unwrap();
            fs::write(&path, b"older").unwrap();
            NewFile::create_with(&path, nameless).unwrap_err();
            late.finish().unwrap_err();
            assert_eq!(fs::read(&path).unwrap(), b"older");
            assert_eq!(names(dir.path()), ["x.tar"]);
            rustix::fs::unlink(&path).unwrap();
        }
    }

    #[test]
    fn what_is_given_up_is_removed_where_it_was_begun() {
        // The directory on the way may lead elsewhere by then, to a file of the same name.
        let dir = tempfile::tempdir().unwrap();
        let (here, victim) = (dir.path().join("here"), dir.path().join("victim"));
        for directory in [&here, &victim] {
            fs::create_dir(directory).unwrap();
        }
        let begun = NewFile::create_with(&here.join("x.tar"), false).unwrap();
        let draft = names(&here).remove(0);
        fs::write(victim.join(&draft), b"kept").unwrap();
        rustix::fs::rename(&here, dir.path().join("aside")).unwrap();
        std::os::unix::fs::symlink(&victim, &here).unwrap();
        drop(begun);
        assert_eq!(names(&victim), [draft]);
        assert!(names(&dir.path().join("aside")).is_empty());
    }
}
