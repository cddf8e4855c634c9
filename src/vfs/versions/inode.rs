//! What is kept of each inode that the kernel holds: no names, no paths, no tree pages.
//!
//! A file's inode stands on its own, so that it stays readable after its version is gone (G16). A
//! directory's names its tree, whose pages are fetched when it is read.

use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, HASH_BYTES, TreeHash};
use crate::model::id::{Ino, RepoId, VersionNumber};
use crate::model::kind::FileKind;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry, Xattrs};
use crate::vfs::attr::{Attr, blocks};

use super::inode_table::Inode;
use super::number::{Identity, PathHash};

/// What few files have.
#[derive(Debug, Default)]
struct Extra {
    xattrs: Xattrs,
    /// Target of a symlink.
    target: Box<[u8]>,
    /// Number of a device.
    rdev: u32,
}

/// Anything but a directory. The fields are flat, not an enum, to stay within the budget.
#[derive(Debug)]
pub(super) struct FileInode {
    identity: Identity,
    lookups: u64,
    size: u64,
    mtime: Timestamp,
    extra: Option<Box<Extra>>,
    /// Meaningful for a regular file that is not empty.
    blob: ContentName,
    uid: u32,
    gid: u32,
    nlink: u32,
    mode: u16,
    kind: FileKind,
}

impl FileInode {
    /// Makes the inode of a tree entry that is not a directory. `scope` is that of its hardlink
    /// group, if it is in one.
    pub(super) fn new(
        repository: RepoId,
        path: PathHash,
        scope: Option<PathHash>,
        entry: &Entry,
    ) -> Self {
        let identity = Identity::of_file(repository, path, scope, entry);
        let attr = Attr::of_entry(Ino(0), entry);
        let blob = match &entry.content {
            Content::File { blob, .. } => *blob,
            Content::Directory { .. }
            | Content::Symlink { .. }
            | Content::Fifo
            | Content::Socket
            | Content::CharDevice { .. }
            | Content::BlockDevice { .. } => None,
        };
        let target: Box<[u8]> = match &entry.content {
            Content::Symlink { target } => target.clone(),
            Content::File { .. }
            | Content::Directory { .. }
            | Content::Fifo
            | Content::Socket
            | Content::CharDevice { .. }
            | Content::BlockDevice { .. } => Box::default(),
        };
        let xattrs = &entry.attributes.xattrs;
        let has_extra = !xattrs.is_empty() || !target.is_empty() || attr.rdev != 0;
        Self {
            identity,
            lookups: 0,
            size: attr.size,
            mtime: attr.mtime,
            extra: has_extra
                .then(|| Box::new(Extra { xattrs: xattrs.clone(), target, rdev: attr.rdev })),
            blob: blob.unwrap_or(ContentName::Blake3(BlobHash::from_bytes([0; HASH_BYTES]))),
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink,
            mode: attr.mode,
            kind: attr.kind,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn kind(&self) -> FileKind {
        self.kind
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The content of a regular file; `None` when it is empty or no regular file.
    pub(super) fn blob(&self) -> Option<ContentName> {
        (self.kind == FileKind::File && self.size > 0).then_some(self.blob)
    }

    /// The target of a symlink.
    pub(super) fn target(&self) -> Option<&[u8]> {
        let extra = self.extra.as_ref()?;
        (self.kind == FileKind::Symlink).then_some(&*extra.target)
    }

    pub(super) fn xattrs(&self) -> Option<&Xattrs> {
        self.extra.as_ref().map(|extra| &extra.xattrs)
    }

    /// What `stat` shows.
    pub(super) fn attr(&self, ino: Ino) -> Attr {
        Attr {
            ino,
            kind: self.kind,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.extra.as_ref().map_or(0, |extra| extra.rdev),
            size: self.size,
            blocks: blocks(self.size),
            atime: self.mtime,
            mtime: self.mtime,
            ctime: self.mtime,
        }
    }
}

impl Inode for FileInode {
    fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
    fn lookups(&mut self) -> &mut u64 {
        &mut self.lookups
    }
}

/// Where a directory is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryPlace {
    pub(super) repository: RepoId,
    pub(super) version: VersionNumber,
    pub(super) path: PathHash,
    pub(super) tree: TreeHash,
    pub(super) parent: Ino,
}

impl DirectoryPlace {
    /// Whether this is the top of a version.
    pub(super) fn is_version(&self) -> bool {
        self.path == PathHash::ROOT
    }
}

/// A directory inside a version, its root included.
#[derive(Debug)]
pub(super) struct DirectoryInode {
    pub(super) place: DirectoryPlace,
    lookups: u64,
    mtime: Timestamp,
    xattrs: Option<Box<Xattrs>>,
    uid: u32,
    gid: u32,
    mode: u16,
}

impl DirectoryInode {
    pub(super) fn new(place: DirectoryPlace, attributes: &Attributes) -> Self {
        let xattrs = &attributes.xattrs;
        Self {
            place,
            lookups: 0,
            mtime: attributes.mtime,
            xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs.clone())),
            uid: attributes.uid,
            gid: attributes.gid,
            mode: attributes.mode,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        let place = &self.place;
        Identity::of_directory(place.repository, place.version, place.path)
    }

    pub(super) fn xattrs(&self) -> Option<&Xattrs> {
        self.xattrs.as_deref()
    }

    /// What `stat` shows.
    pub(super) fn attr(&self, ino: Ino) -> Attr {
        Attr::of_directory(ino, self.mode, (self.uid, self.gid), self.mtime)
    }
}

impl Inode for DirectoryInode {
    fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.place, &other.place);
        (a.repository, a.version, a.path) == (b.repository, b.version, b.path)
    }
    fn lookups(&mut self) -> &mut u64 {
        &mut self.lookups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_stay_within_their_budget() {
        /// Bytes of a file's inode, without its slot in the table (17 bytes, at a load of one half to
        /// seven eighths) and what few files have ([`Extra`]).
        const FILE_INODE_BYTES_MAX: usize = 104;

        assert!(size_of::<FileInode>() <= FILE_INODE_BYTES_MAX);
        assert!(size_of::<DirectoryInode>() <= FILE_INODE_BYTES_MAX + 40);
    }
}
