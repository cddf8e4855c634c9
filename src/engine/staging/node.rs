//! Files and directories of staging areas, as values in the namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::area::{AreaShared, Phase};
use super::charge::NodeCharge;
use super::content::FileContent;
use super::lost::Lost;
use crate::model::hash::TreeHash;
use crate::model::id::{NodeId, VersionNumber};
use crate::model::links::FileKey;
use crate::model::name::{AreaName, EntryName};
use crate::model::on_stale::OnStale;
use crate::model::time::Timestamp;
use crate::model::tree::{Root, Xattrs};
use crate::store::catalog::NodeData;

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A file or directory.
    Node(NodeId),
    /// Nothing: it hides an entry of the base tree.
    Whiteout,
}

/// A directory: an immutable base tree, and over it what was touched or changed.
///
/// A name that is in `slots` is answered from there; any other from `base`. Slots of unchanged
/// nodes are a cache and may be dropped when the kernel forgets them.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The tree that this directory started from.
    pub base: Option<TreeHash>,
    /// Names that were touched.
    pub slots: BTreeMap<EntryName, Slot>,
    /// How many of `slots` stand for directories.
    pub directories: u32,
}

impl Directory {
    /// An empty directory over `base`.
    pub fn new(base: Option<TreeHash>) -> Self {
        Self { base, slots: BTreeMap::new(), directories: 0 }
    }

    /// Number of links: its name, its `.`, and the `..` of each directory in it. Over a base it is 1, by which
    /// programs know that the directories in it are not counted: that would need the whole base.
    pub fn nlink(&self) -> u32 {
        if self.base.is_some() { 1 } else { self.directories.saturating_add(2) }
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Body {
    /// A regular file.
    File(Arc<FileContent>),
    /// A directory.
    Directory(Directory),
    /// A symbolic link with its target.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A unix domain socket.
    Socket,
    /// A character device.
    CharDevice(u32),
    /// A block device.
    BlockDevice(u32),
}

/// What tells a hardlink group of the base version from all others of an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The directory within which the group counts. It keeps its id when it moves.
    pub scope: NodeId,
    /// What the names have in common.
    pub file: FileKey,
}

/// A hardlink group of the base version of which not all names are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseGroup {
    /// Its key.
    pub key: GroupKey,
    /// Its id, by which its other names are found.
    pub id: u128,
    /// How many names it has.
    pub nlink: u32,
    /// Whether its names may be anywhere in the version, as earlier releases wrote it.
    pub of_version: bool,
    /// Whether nobody can tell which names belong together, so that each is a file of its own. All
    /// names that look like it are written anew, without a group, when one of them changes: of
    /// fewer names it could not be told any more.
    pub apart: bool,
}

/// One file or directory.
#[derive(Debug)]
pub struct Node {
    /// Its area.
    pub area: Arc<AreaShared>,
    /// Kind and content.
    pub body: Body,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time; of a regular file its content keeps it.
    pub mtime: Timestamp,
    /// Change time; of a regular file its content keeps it.
    pub ctime: Timestamp,
    /// Last access, as set explicitly; reads do not change it.
    pub atime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Where it is named: (directory, name). One for a directory, none for the root of an area
    /// and for what was deleted while open.
    pub names: Vec<(NodeId, EntryName)>,
    /// Hardlink group of the base version, while not all its names are in `names`.
    pub base_group: Option<BaseGroup>,
    /// Whether it (or, for a directory, anything below) differs from the entry of the base tree
    /// that it came from. Such a node has a row, and so has every directory above it.
    pub changed: bool,
    /// What it counts for, if it was made in the area and has no content of its own.
    pub charge: Option<NodeCharge>,
    /// What its row in the catalog names, if it has one.
    pub journalled: Option<NodeData>,
    /// Lookups that the kernel has not forgotten.
    pub lookups: AtomicU64,
    /// Open handles.
    pub opens: AtomicU32,
}

impl Node {
    /// Whether the kernel knows it, or a handle is open.
    pub(super) fn is_known(&self) -> bool {
        self.lookups.load(Ordering::SeqCst) > 0 || self.opens.load(Ordering::SeqCst) > 0
    }

    /// The directory part.
    pub fn directory(&self) -> Option<&Directory> {
        match &self.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => None,
            Body::CharDevice(_) | Body::BlockDevice(_) => None,
        }
    }

    /// The directory part, to change it.
    pub fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => None,
            Body::CharDevice(_) | Body::BlockDevice(_) => None,
        }
    }

    /// The content of a regular file.
    pub fn content(&self) -> Option<&Arc<FileContent>> {
        match &self.body {
            Body::File(content) => Some(content),
            Body::Directory(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => None,
            Body::CharDevice(_) | Body::BlockDevice(_) => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// Number of names; 1 of a directory.
    pub fn nlink(&self) -> u32 {
        match &self.base_group {
            Some(group) => group.nlink,
            None if self.is_directory() => 1,
            None => u32::try_from(self.names.len()).unwrap_or(u32::MAX),
        }
    }

    /// Sets the change time.
    pub fn touch(&mut self, now: Timestamp) {
        match &self.body {
            Body::File(content) => content.set_times(None, now),
            Body::Directory(_) | Body::Symlink(_) | Body::Fifo | Body::Socket => self.ctime = now,
            Body::CharDevice(_) | Body::BlockDevice(_) => self.ctime = now,
        }
    }
}

/// The version that an area started from.
#[derive(Debug, Clone)]
pub struct Base {
    /// Its number; `None` for `@latest` of a repository without versions.
    pub number: Option<VersionNumber>,
    /// Its root, where there is a version.
    pub root: Option<Root>,
}

/// A staging area.
#[derive(Debug)]
pub struct Area {
    /// Counters.
    pub shared: Arc<AreaShared>,
    /// Directory name in `staging/REPO`.
    pub name: AreaName,
    /// Its root directory.
    pub root: NodeId,
    /// What it started from, where its name says a base.
    pub base: Option<Base>,
    /// When it was opened.
    pub created: Timestamp,
    /// Message for the commit.
    pub message: String,
    /// Author for the commit; empty: the caller's user name.
    pub author: String,
    /// What a commit does when the base is stale.
    pub on_stale: OnStale,
    /// Why the last commit was refused, in words.
    pub error: String,
    /// Whether its rows have been read.
    pub loaded: bool,
    /// What damage of the catalog took from it. While there is any, it is not published.
    pub lost: Lost,
    /// Whether the area may be changed.
    pub phase: Phase,
    /// Nodes that stand for hardlink groups of the base version, while not all their names are in
    /// memory.
    pub groups: BTreeMap<GroupKey, NodeId>,
}
