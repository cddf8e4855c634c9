//! What a directory holds: the values behind the canonical encoding in [`super::tree_format`].

use std::collections::BTreeMap;

use super::content_name::ContentName;
use super::hash::TreeHash;
use super::name::EntryName;
use super::time::Timestamp;

/// The longest regular file, in bytes: what ext4 with 4 KiB blocks can hold (H9). A hole is hashed
/// like any other content, so one of 8 EiB would keep a processor busy for years.
pub const FILE_BYTES_MAX: u64 = 16 << 40;

/// Extended attributes by full name (`user.…`, `trusted.…`, `security.…`), in byte order.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What `stat` and `getxattr` show of a file beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with set-user-id, set-group-id and sticky (`0o7777`), no file type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// Extended attributes; usually empty.
    pub xattrs: Xattrs,
}

/// Totals over a subtree, kept in the encoding so that they cost nothing to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Number of entries that are not directories, in this directory and below. A hardlink group
    /// counts once per name.
    pub files: u64,
    /// Sum of the sizes of regular files (once per name), in bytes.
    pub bytes: u64,
    /// Number of directories below this one (itself not counted).
    pub directories: u64,
    /// Whether any entry here or below is in a hardlink group.
    pub has_links: bool,
}

/// The directory within which the id of a hardlink group is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkScope {
    /// The lowest directory that has all names of the group at or below it, said from the
    /// directory of this entry: 0 is that directory, 1 the one above it.
    Above(u32),
    /// The whole version. Releases up to 0.1.0 wrote this, and their ids can collide: see
    /// [`super::links`].
    Version,
}

/// Membership of a file in a set of hardlinks. [`super::links`] says how groups are named, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkGroup {
    /// The same for all names of the group, and different for each group of its scope.
    pub id: u128,
    /// Number of names in the group: `st_nlink`, at least 2.
    pub nlink: u32,
    /// Where the id counts.
    pub scope: LinkScope,
}

/// What an entry is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A regular file. `blob` is `None` exactly when `size` is 0.
    File {
        /// Length in bytes.
        size: u64,
        /// The content; `None` when empty.
        blob: Option<ContentName>,
    },
    /// A directory.
    Directory {
        /// Root page of its tree.
        tree: TreeHash,
        /// Totals over its subtree.
        summary: Summary,
    },
    /// A symbolic link.
    Symlink {
        /// Its target: any bytes but NUL, 1 to 4095 of them.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A unix domain socket.
    Socket,
    /// A character device with its device number.
    CharDevice {
        /// `st_rdev` as the kernel's 32-bit encoding.
        rdev: u32,
    },
    /// A block device with its device number.
    BlockDevice {
        /// `st_rdev` as the kernel's 32-bit encoding.
        rdev: u32,
    },
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: EntryName,
    /// Mode, owner, time, extended attributes.
    pub attributes: Attributes,
    /// The hardlink group; never on directories.
    pub link_group: Option<LinkGroup>,
    /// Kind and content.
    pub content: Content,
}

/// The top of a version or of an area's base: the root directory's own attributes and its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Attributes of the root directory.
    pub attributes: Attributes,
    /// Its tree.
    pub tree: TreeHash,
    /// Totals over the whole tree.
    pub summary: Summary,
}
