//! `readdir` and `readdirplus`.
//!
//! Offsets are stable cookies: 1 after `.`, 2 after `..`; then the position in an immutable
//! directory, or the id of a repository or number of a version, so that a listing which was begun
//! before something was deleted neither repeats nor skips the rest.

use std::fmt::Display;

use crate::engine::registry::Repository;
use crate::model::id::{Ino, RepoId, VersionNumber};
use crate::model::kind::FileKind;
use crate::model::tree::Entry;
use crate::model::tree_format::{self, TreeSource};
use crate::model::version::Version;
use crate::vfs::attr::Attr;
use crate::vfs::error::FsError;

use super::inode::DirectoryPlace;
use super::number::{Class, ROOT, repository_ino};
use super::prefetch::Batch;
use super::{Blobs, NewInode, VersionFs, class, repository_attr, version_inode};

/// Offset of the first entry after `.` and `..`.
const FIRST: u64 = 2;

/// Repositories taken from the registry at a time.
const REPOSITORIES_PER_LOOK: usize = 64;

/// One entry of a plain listing.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    /// Its inode number.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileKind,
    /// Offset at which the listing goes on after it.
    pub next: u64,
    /// Its name.
    pub name: &'a [u8],
}

/// One entry of a listing with attributes.
#[derive(Debug)]
pub(crate) struct ListedPlus<'a> {
    /// Its attributes. A lookup of it has been counted, unless it is `.` or `..`.
    pub attr: Attr,
    /// Offset at which the listing goes on after it.
    pub next: u64,
    /// Its name.
    pub name: &'a [u8],
}

/// What a row of a listing stands for.
enum Row<'a> {
    Dots(Attr),
    Repository(&'a Repository),
    Version(&'a Repository, &'a Version),
    Entry(&'a DirectoryPlace, &'a Entry),
}

/// Takes the next offset, the name and the row; true ends the listing.
type EachRow<'f> = &'f mut dyn FnMut(u64, &[u8], Row<'_>) -> bool;

impl<T, B> VersionFs<T, B>
where
    T: TreeSource,
    T::Error: Display,
    B: Blobs,
{
    /// Lists a directory from `offset` on until `emit` returns true: the reply is full and did not
    /// take the entry.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when the repository or version was deleted.
    pub(crate) fn readdir(
        &self,
        ino: Ino,
        offset: u64,
        emit: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<(), FsError> {
        self.list(ino, offset, &mut |next, name, row| {
            let (ino, kind) = match row {
                Row::Dots(attr) => (attr.ino, attr.kind),
                Row::Repository(repository) => (repository_ino(repository.id), FileKind::Directory),
                Row::Version(repository, version) => {
                    let inode = version_inode(repository.id, version);
                    (Ino(self.directories.number(&inode)), FileKind::Directory)
                }
                Row::Entry(place, entry) => match self.inode_of(place, ino, entry) {
                    NewInode::Directory(inode) => {
                        (Ino(self.directories.number(&inode)), FileKind::Directory)
                    }
                    NewInode::File(inode) => (Ino(self.files.number(&inode)), inode.kind()),
                },
            };
            emit(Listed { ino, kind, next, name })
        })?;
        Ok(())
    }

    /// Lists a directory with attributes from `offset` on until `emit` returns true: the reply is
    /// full and did not take the entry. Returns the small files that the kernel did not know.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when the repository or version was deleted. No lookup is counted then.
    pub(crate) fn readdirplus(
        &self,
        ino: Ino,
        offset: u64,
        emit: &mut dyn FnMut(ListedPlus<'_>) -> bool,
    ) -> Result<Batch, FsError> {
        let mut entered = Vec::new();
        let mut ahead = self.prefetch.batch();
        let listed = self.list(ino, offset, &mut |next, name, row| {
            let attr = match row {
                Row::Dots(attr) => return emit(ListedPlus { attr, next, name }),
                Row::Repository(repository) => repository_attr(repository),
                Row::Version(repository, version) => self.enter_version(repository.id, version),
                Row::Entry(place, entry) => {
                    let mut new = None;
                    let attr = self.enter(place, ino, entry, |blob| new = Some(blob));
                    if let Some(blob) = new {
                        ahead.add(attr.ino, blob, attr.size);
                    }
                    attr
                }
            };
            let full = emit(ListedPlus { attr, next, name });
            if full {
                self.forget(attr.ino, 1);
            } else {
                entered.push(attr.ino);
            }
            full
        });
        // Checked after the pins were taken; see the invariants.
        let result = match listed {
            Ok(Some(place)) if !self.is_published(&place) => Err(FsError::NotFound),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(ahead),
            Err(error) => {
                entered.iter().for_each(|ino| self.forget(*ino, 1));
                Err(error)
            }
        }
    }

    /// Begins what is done ahead of the reads of what [`VersionFs::readdirplus`] listed. Call it when the
    /// listing was answered: before that the kernel does not know the files.
    pub(crate) fn listed(&self, files: Batch) {
        self.prefetch.send(files);
    }

    /// Calls `each` for all rows from `offset` on. Returns the directory's place if it is inside
    /// a version.
    fn list(
        &self,
        ino: Ino,
        offset: u64,
        each: EachRow<'_>,
    ) -> Result<Option<DirectoryPlace>, FsError> {
        match class(ino)? {
            Class::Root => {
                if !self.list_dots(ino, ROOT, offset, each)? {
                    self.list_repositories(offset, each);
                }
                Ok(None)
            }
            Class::Repository(id) => {
                let repository = self.repository(id)?;
                if self.list_dots(ino, ROOT, offset, each)? {
                    return Ok(None);
                }
                let first = VersionNumber(first_id(offset));
                for (number, version) in repository.versions.range(first..) {
                    let row = Row::Version(&repository, version);
                    if each(after_id(number.0), number.to_string().as_bytes(), row) {
                        break;
                    }
                }
                Ok(None)
            }
            Class::Directory => {
                let place = self.place(ino)?;
                if !self.is_published(&place) {
                    return Err(FsError::NotFound);
                }
                let full = self.list_dots(ino, place.parent, offset, each)?;
                if !full {
                    self.list_entries(&place, offset, each)?;
                }
                Ok(Some(place))
            }
            Class::File => Err(FsError::NotDirectory),
        }
    }

    /// Lists `.` and `..`; true when the reply is full.
    fn list_dots(
        &self,
        ino: Ino,
        parent: Ino,
        offset: u64,
        each: EachRow<'_>,
    ) -> Result<bool, FsError> {
        if offset >= FIRST {
            return Ok(false);
        }
        let own = self.getattr(ino)?;
        if offset == 0 && each(1, b".", Row::Dots(own)) {
            return Ok(true);
        }
        // For `..` the kernel takes only number and kind.
        let above = Attr::of_directory(parent, own.mode, (own.uid, own.gid), own.mtime);
        Ok(each(FIRST, b"..", Row::Dots(above)))
    }

    /// Lists repositories, some at a time: there may be many, and a reply holds few.
    fn list_repositories(&self, offset: u64, each: EachRow<'_>) {
        let mut first = first_id(offset);
        loop {
            let repositories = self.registry.from_id(RepoId(first), REPOSITORIES_PER_LOOK);
            for repository in &repositories {
                let name = repository.name.as_str().as_bytes();
                if each(after_id(repository.id.0), name, Row::Repository(repository)) {
                    return;
                }
            }
            let Some(last) = repositories.last() else { return };
            first = last.id.0 + 1;
        }
    }

    fn list_entries(
        &self,
        place: &DirectoryPlace,
        offset: u64,
        each: EachRow<'_>,
    ) -> Result<(), FsError> {
        let from = offset.saturating_sub(FIRST);
        let entries = tree_format::entries(&*self.trees, &place.tree, from);
        for (next, entry) in (FIRST + from + 1..).zip(entries) {
            let entry = entry.map_err(|error| self.tree_error(place, &error))?;
            if each(next, entry.name.as_bytes(), Row::Entry(place, &entry)) {
                break;
            }
        }
        Ok(())
    }
}

/// The least id with which a listing goes on at `offset`.
fn first_id(offset: u64) -> u64 {
    offset.saturating_sub(FIRST)
}

/// The offset after what has this id.
fn after_id(id: u64) -> u64 {
    FIRST + 1 + id
}
