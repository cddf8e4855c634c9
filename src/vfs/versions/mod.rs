//! The read-only filesystem of published versions, free of FUSE types.
//!
//! ```text
//! /                    repositories, in the order of their creation
//! /REPOSITORY          its versions by number, oldest first
//! /REPOSITORY/7/…      the tree of version 7
//! ```
//!
//! Operations keep the kernel's names. All are answered on the calling thread from the registry,
//! immutable trees and blob files; none waits for a writer, the metadata thread or a notification.
//!
//! Invariants:
//! - What an inode number stands for never changes while the kernel holds it, so names, attributes,
//!   pages and listings may be cached for ever. Only the root's and the repositories' listings
//!   change: [`invalidate`] says what to drop then.
//! - A blob is pinned while an inode of it is held. The version is checked *after* the pin was
//!   taken, so the collector, which works on unpublished versions, either sees the pin or the
//!   lookup fails (G16).
//!
//! This module must not know how blobs are stored, how versions come to be, or who mounts it.
//!
//! Lock order: inode table shard, then pins. The registry's lock is taken with neither held.

mod content;
mod directory;
mod inode;
mod inode_table;
pub(crate) mod invalidate;
mod new_inode;
mod number;
mod pool_blobs;
mod prefetch;
mod xattr;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::ambiguous::AmbiguousLinks;
use crate::engine::fetcher::OnFetched;
use crate::engine::pins::Pins;
use crate::engine::registry::{Registry, Repository};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::{Ino, RepoId};
use crate::model::name::{NAME_BYTES_MAX, parse_number};
use crate::model::time::Timestamp;
use crate::model::tree::Entry;
use crate::model::tree_format::{self, TreeSource};
use crate::model::version::Version;
use crate::sys::FsSpace;
use crate::vfs::attr::{Attr, SPARSE_BYTES_MIN};
use crate::vfs::error::FsError;
use crate::vfs::quota;

pub(crate) use content::Seek;
pub(crate) use number::{ROOT, repository_ino};
pub(crate) use pool_blobs::PoolBlobs;

use inode::{DirectoryInode, DirectoryPlace, FileInode};
use inode_table::Table;
use new_inode::NewInode;
pub(crate) use number::Numbering;
use number::{Class, Numbers, PathHash};
pub(crate) use prefetch::KernelPages;
use prefetch::Prefetch;

/// Permissions of the root directory.
const ROOT_MODE: u16 = 0o755;

/// Where file contents come from: the pool, or temporary files in tests.
pub(crate) trait Blobs: Send + Sync + 'static {
    /// What opening can fail with.
    type Error: Display;

    /// The blob of a content.
    ///
    /// # Errors
    /// When it is not stored, or that cannot be looked up.
    fn resolve(&self, name: &ContentName) -> Result<BlobHash, Self::Error>;

    /// The SHA-256 of a content, as far as it is known.
    fn sha256(&self, name: &ContentName) -> Option<Sha256>;

    /// A content is read, and has that blob.
    fn note_use(&self, name: &ContentName, blob: &BlobHash);

    /// Has a content fetched that is absent, or at least a part of it, and then calls back.
    fn fetch(&self, name: ContentName, part: Range<u64>, then: OnFetched);

    /// Fills the buffer with bytes of an absent content from `offset` on, if just these were fetched; says whether it did.
    fn read_part(&self, name: &ContentName, offset: u64, buffer: &mut [u8]) -> bool;

    /// The name by which a content can be fetched that is absent, or damaged, so that a remote may have it: by its name, and
    /// the error that resolving or opening it gave.
    fn absent(name: &ContentName, error: &Self::Error) -> Option<ContentName>;

    /// Opens a blob for positioned reads.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    fn open(&self, hash: &BlobHash) -> Result<Arc<File>, Self::Error>;

    /// 512-byte blocks that are allocated to a blob; `None` when unknown.
    fn allocated_blocks(&self, hash: &BlobHash) -> Option<u64>;

    /// Space of the filesystem that holds the blobs.
    ///
    /// # Errors
    /// When it cannot be determined.
    fn space(&self) -> Result<FsSpace, Self::Error>;

    /// Called with the reason why an open blob could not be read, so that it can be marked damaged
    /// (H5). Called on the thread that answers a read: must not block.
    fn read_failed(&self, hash: &BlobHash, file: &Arc<File>, error: &io::Error);
}

/// What a [`VersionFs`] reads from.
#[derive(Debug)]
pub(crate) struct Sources<T, B> {
    /// Repositories and versions.
    pub registry: Arc<Registry>,
    /// Directories.
    pub trees: Arc<T>,
    /// File contents.
    pub blobs: Arc<B>,
    /// Blobs that the collector must leave alone.
    pub pins: Arc<Pins>,
}

/// Owner of the root directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootOwner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The filesystem; see the module's documentation.
pub(crate) struct VersionFs<T, B: Blobs> {
    registry: Arc<Registry>,
    trees: Arc<T>,
    blobs: Arc<B>,
    pins: Arc<Pins>,
    owner: RootOwner,
    root_changed: Mutex<Timestamp>,
    files: Table<FileInode>,
    directories: Table<DirectoryInode>,
    ambiguous: AmbiguousLinks,
    prefetch: Prefetch,
}

impl<T, B> VersionFs<T, B>
where
    T: TreeSource,
    T::Error: Display,
    B: Blobs,
{
    /// Makes the filesystem and starts its read-ahead threads. `now` becomes the root's mtime.
    pub(crate) fn new(
        sources: Sources<T, B>,
        owner: RootOwner,
        now: Timestamp,
        numbering: Numbering,
    ) -> Self {
        let prefetch = Prefetch::start(&sources.blobs);
        let files = Numbers::of_files(numbering);
        let directories = Numbers::of_directories(numbering);
        Self {
            registry: sources.registry,
            trees: sources.trees,
            blobs: sources.blobs,
            pins: sources.pins,
            owner,
            root_changed: Mutex::new(now),
            files: Table::new(move |inode: &FileInode| files.number(inode.identity())),
            directories: Table::new(move |inode: &DirectoryInode| {
                directories.number(inode.identity())
            }),
            ambiguous: AmbiguousLinks::default(),
            prefetch,
        }
    }

    /// From now on content of small files is handed to the kernel.
    pub(crate) fn connect(&self, kernel: Arc<dyn KernelPages>) {
        self.prefetch.connect(kernel);
    }

    /// Looks a name up and counts a lookup of what it finds. `None` says that the name is absent
    /// from an immutable directory, and so for ever.
    ///
    /// # Errors
    /// [`FsError::NotFound`] for what is absent now but may appear: repositories and versions.
    pub(crate) fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Option<Attr>, FsError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        match class(parent)? {
            Class::Root => self.lookup_repository(name).map(Some),
            Class::Repository(id) => self.lookup_version(id, name).map(Some),
            Class::Directory => self.lookup_entry(parent, name),
            Class::File => Err(FsError::NotDirectory),
        }
    }

    fn lookup_repository(&self, name: &[u8]) -> Result<Attr, FsError> {
        let name = std::str::from_utf8(name).map_err(|_| FsError::NotFound)?;
        let repository = self.registry.by_name(name).ok_or(FsError::NotFound)?;
        Ok(repository_attr(&repository))
    }

    fn lookup_version(&self, id: RepoId, name: &[u8]) -> Result<Attr, FsError> {
        let repository = self.repository(id)?;
        let version = std::str::from_utf8(name)
            .ok()
            .and_then(parse_number)
            .and_then(|number| repository.versions.get(&number))
            .ok_or(FsError::NotFound)?;
        Ok(self.enter_version(id, version))
    }

    fn lookup_entry(&self, parent: Ino, name: &[u8]) -> Result<Option<Attr>, FsError> {
        let place = self.place(parent)?;
        let found = tree_format::lookup(&*self.trees, &place.tree, name)
            .map_err(|error| self.tree_error(&place, &error))?;
        let attr = found.map(|entry| self.enter(&place, parent, &entry, |_| {}));
        if !self.is_published(&place) {
            if let Some(attr) = attr {
                self.forget(attr.ino, 1);
            }
            return Err(FsError::NotFound);
        }
        Ok(attr)
    }

    /// The inodes that the kernel holds of files whose content has one of these names. Looks at all.
    pub(crate) fn holders(&self, blobs: &BTreeSet<ContentName>) -> Vec<Ino> {
        let held = |inode: &FileInode| inode.blob().is_some_and(|blob| blobs.contains(&blob));
        self.files.numbers(held).into_iter().map(Ino).collect()
    }

    /// Takes back `count` lookups of an inode.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        match Class::of(ino) {
            // Repositories are not counted: all that is known of them follows from their number.
            Some(Class::Root | Class::Repository(_)) => {}
            Some(Class::Directory) => drop(self.directories.forget(ino.0, count)),
            Some(Class::File) => {
                if let Some(inode) = self.files.forget(ino.0, count) {
                    self.unpin(&inode);
                }
            }
            None => log::warn!("the kernel forgot inode {ino}, which cannot exist"),
        }
    }

    /// Attributes of an inode.
    ///
    /// # Errors
    /// [`FsError::NotFound`] for a repository that was deleted, [`FsError::Stale`] for an inode
    /// that the kernel does not hold.
    pub(crate) fn getattr(&self, ino: Ino) -> Result<Attr, FsError> {
        match class(ino)? {
            Class::Root => Ok(self.root_attr()),
            Class::Repository(id) => Ok(repository_attr(&*self.repository(id)?)),
            Class::Directory => {
                self.directories.with(ino.0, |inode| inode.attr(ino)).ok_or(FsError::Stale)
            }
            Class::File => {
                let (attr, blob) = self.file(ino, |inode| (inode.attr(ino), inode.blob()))?;
                Ok(self.with_blocks(attr, blob))
            }
        }
    }

    /// Target of a symlink.
    ///
    /// # Errors
    /// [`FsError::Invalid`] when it is none.
    pub(crate) fn readlink(&self, ino: Ino) -> Result<Box<[u8]>, FsError> {
        match class(ino)? {
            Class::File => {
                self.file(ino, |inode| inode.target().map(Box::from))?.ok_or(FsError::Invalid)
            }
            Class::Root | Class::Repository(_) | Class::Directory => Err(FsError::Invalid),
        }
    }

    /// Space of the filesystem that holds the blobs; in a repository, of its quota. (A file does
    /// not know its repository.)
    ///
    /// # Errors
    /// [`FsError::Io`] when it cannot be determined.
    pub(crate) fn statfs(&self, ino: Ino) -> Result<FsSpace, FsError> {
        let space = self.blobs.space().map_err(|error| {
            log::error!("statfs: {error}");
            FsError::Io
        })?;
        let repo = match class(ino)? {
            Class::Root | Class::File => None,
            Class::Repository(id) => Some(id),
            Class::Directory => self.place(ino).ok().map(|place| place.repository),
        };
        Ok(match repo.and_then(|repo| self.registry.by_id(repo)) {
            Some(repository) => quota::limited(space, &repository.account),
            None => space,
        })
    }

    /// Number of inodes that the kernel holds, repositories not counted.
    pub(crate) fn inode_count(&self) -> usize {
        self.files.len() + self.directories.len()
    }

    /// Notes that a repository was created or deleted, which changes the root's mtime: the kernel
    /// compares it when it reuses a listing. To be called before the root is invalidated.
    pub(crate) fn set_root_changed(&self, now: Timestamp) {
        *self.root_changed.lock() = now;
    }

    fn root_attr(&self) -> Attr {
        let changed = *self.root_changed.lock();
        Attr::of_directory(ROOT, ROOT_MODE, (self.owner.uid, self.owner.gid), changed)
    }

    fn repository(&self, id: RepoId) -> Result<Arc<Repository>, FsError> {
        self.registry.by_id(id).ok_or(FsError::NotFound)
    }

    fn place(&self, directory: Ino) -> Result<DirectoryPlace, FsError> {
        self.directories.with(directory.0, |inode| inode.place).ok_or(FsError::Stale)
    }

    fn file<R>(&self, ino: Ino, look: impl FnOnce(&FileInode) -> R) -> Result<R, FsError> {
        self.files.with(ino.0, look).ok_or(FsError::Stale)
    }

    /// Whether the version is still there. Asked after blobs were pinned; see the invariants.
    fn is_published(&self, place: &DirectoryPlace) -> bool {
        self.registry
            .by_id(place.repository)
            .is_some_and(|repository| repository.versions.contains_key(&place.version))
    }

    /// Counts a lookup of a version's root directory.
    fn enter_version(&self, id: RepoId, version: &Version) -> Attr {
        let inode = version_inode(id, version);
        let mut attr = inode.attr(Ino(0));
        attr.ino = Ino(self.directories.enter(inode, |_| {}));
        attr
    }

    /// Counts a lookup of an entry of the directory `parent`. `on_new_blob` is called when the
    /// kernel did not hold this file and it has content.
    fn enter(
        &self,
        place: &DirectoryPlace,
        parent: Ino,
        entry: &Entry,
        on_new_blob: impl FnOnce(ContentName),
    ) -> Attr {
        match self.inode_of(place, parent, entry) {
            NewInode::Directory(inode) => {
                let mut attr = inode.attr(Ino(0));
                attr.ino = Ino(self.directories.enter(inode, |_| {}));
                attr
            }
            NewInode::File(inode) => {
                let mut attr = self.with_blocks(inode.attr(Ino(0)), inode.blob());
                attr.ino = Ino(self.files.enter(inode, |inode| {
                    if let Some(blob) = inode.blob() {
                        self.pins.pin(&blob);
                        on_new_blob(blob);
                    }
                }));
                attr
            }
        }
    }

    /// What is allocated to a large file is asked of its blob.
    fn with_blocks(&self, mut attr: Attr, name: Option<ContentName>) -> Attr {
        let blob = || self.blobs.resolve(&name?).ok();
        if attr.size >= SPARSE_BYTES_MIN
            && let Some(allocated) = blob().and_then(|blob| self.blobs.allocated_blocks(&blob))
        {
            attr.blocks = allocated;
        }
        attr
    }

    /// Says why a directory could not be read: its version was deleted meanwhile, or the store is
    /// damaged, which is logged.
    fn tree_error(&self, place: &DirectoryPlace, error: &T::Error) -> FsError {
        if self.is_published(place) {
            log::error!("repository {}, version {}: {error}", place.repository, place.version);
            FsError::Io
        } else {
            FsError::NotFound
        }
    }
}

impl<T, B: Blobs> VersionFs<T, B> {
    fn unpin(&self, inode: &FileInode) {
        if let Some(blob) = inode.blob() {
            self.pins.unpin(&blob);
        }
    }
}

impl<T, B: Blobs> Drop for VersionFs<T, B> {
    /// The mount is gone, and with it what the kernel held.
    fn drop(&mut self) {
        self.files.drain(|inode| {
            if let Some(blob) = inode.blob() {
                self.pins.unpin(&blob);
            }
        });
    }
}

fn class(ino: Ino) -> Result<Class, FsError> {
    Class::of(ino).ok_or(FsError::Stale)
}

fn repository_attr(repository: &Repository) -> Attr {
    let ino = repository_ino(repository.id);
    let Repository { mode, uid, gid, changed, .. } = *repository;
    Attr::of_directory(ino, mode, (uid, gid), changed)
}

fn version_inode(id: RepoId, version: &Version) -> DirectoryInode {
    let place = DirectoryPlace {
        repository: id,
        version: version.number,
        path: PathHash::ROOT,
        tree: version.root.tree,
        parent: repository_ino(id),
    };
    DirectoryInode::new(place, &version.root.attributes)
}
