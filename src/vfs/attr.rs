//! What `stat` shows, free of any FUSE type.

use crate::model::id::Ino;
use crate::model::kind::FileKind;
use crate::model::time::Timestamp;
use crate::model::tree::{Content, Entry};

/// Attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Kind of file.
    pub kind: FileKind,
    /// Permission bits (`0o7777`).
    pub mode: u16,
    /// Number of names. 1 for a directory says that its directories are not counted; so it is in
    /// versions, where counting would read each directory for the lookup of its name.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file, in the kernel's 32-bit encoding.
    pub rdev: u32,
    /// Length in bytes.
    pub size: u64,
    /// Allocated 512-byte blocks.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
}

impl Attr {
    /// Attributes of a tree entry as a version shows them: `ctime` and `atime` are the `mtime`
    /// (H22), so that they depend on the content alone.
    pub(crate) fn of_entry(ino: Ino, entry: &Entry) -> Self {
        let (size, rdev) = match &entry.content {
            Content::File { size, .. } => (*size, 0),
            Content::Symlink { target } => (target.len() as u64, 0),
            Content::CharDevice { rdev } | Content::BlockDevice { rdev } => (0, *rdev),
            Content::Directory { .. } => (DIRECTORY_BYTES, 0),
            Content::Fifo | Content::Socket => (0, 0),
        };
        Self {
            ino,
            kind: FileKind::of(&entry.content),
            mode: entry.attributes.mode,
            nlink: entry.link_group.map_or(1, |group| group.nlink),
            uid: entry.attributes.uid,
            gid: entry.attributes.gid,
            rdev,
            size,
            blocks: blocks(size),
            atime: entry.attributes.mtime,
            mtime: entry.attributes.mtime,
            ctime: entry.attributes.mtime,
        }
    }

    /// Attributes of a directory whose subdirectories are not counted.
    pub(crate) fn of_directory(
        ino: Ino,
        mode: u16,
        (uid, gid): (u32, u32),
        time: Timestamp,
    ) -> Self {
        Self {
            ino,
            kind: FileKind::Directory,
            mode,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            size: DIRECTORY_BYTES,
            blocks: blocks(DIRECTORY_BYTES),
            atime: time,
            mtime: time,
            ctime: time,
        }
    }
}

/// The size that `stat` shows of every directory.
pub(crate) const DIRECTORY_BYTES: u64 = 4096;

/// Files from this size on are asked how much of them is allocated: by that, programs tell whether
/// a file is sparse. Below it a hole saves nothing worth a system call for each file listed.
pub(crate) const SPARSE_BYTES_MIN: u64 = 1 << 20;

/// 512-byte blocks that `size` bytes without holes occupy.
pub(crate) fn blocks(size: u64) -> u64 {
    size.div_ceil(512)
}
