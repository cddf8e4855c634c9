//! The rows of the catalog as values.

use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::kind::FileKind;
use crate::model::name::{AreaName, RepoName};
use crate::model::on_stale::OnStale;
use crate::model::quota::{Charge, Quota};
use crate::model::time::Timestamp;
use crate::model::tree::{Root, Xattrs};
use crate::model::version::Version;
use crate::store::layout::PrivateId;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Its id; 0 in a row that is to be inserted.
    pub id: RepoId,
    /// Its name, unique.
    pub name: RepoName,
    /// Permission bits of its directory.
    pub mode: u16,
    /// Owner of its directory.
    pub uid: u32,
    /// Group of its directory.
    pub gid: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When a version or a tag came or went, or mode, owner or group changed last.
    pub changed: Timestamp,
    /// Number of the next version; only grows.
    pub next_number: VersionNumber,
    /// Its retention policy as [`Policy::to_text`](crate::model::policy::Policy::to_text) wrote it.
    pub policy: Option<String>,
    /// What it may use.
    pub quota: Quota,
}

/// A version with what the catalog keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// The version.
    pub version: Version,
    /// What it adds to the one before it; `None` when that was not computed yet.
    pub charge: Option<Charge>,
    /// When it was deleted, in seconds since 1970. Until it is removed for good it keeps the
    /// reference on its tree, and the deletion can be undone (H25).
    pub deleted: Option<i64>,
}

impl From<Version> for VersionRow {
    fn from(version: Version) -> Self {
        Self { version, charge: None, deleted: None }
    }
}

/// A tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagRow {
    /// The version it names.
    pub number: VersionNumber,
    /// Whether it protects that version: made as a tag, not by a commit (N6).
    pub protects: bool,
    /// When it was made or moved.
    pub created: Timestamp,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRow {
    /// Length in bytes.
    pub size: u64,
    /// Number of tree entries and staging nodes that name it; never negative.
    pub refs: i64,
    /// When it was made or last reused, in seconds since 1970 (G5).
    pub last_used: i64,
    /// What is known of its file.
    pub state: BlobState,
}

/// What is known of a blob's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// It is as it was stored.
    Stored {
        /// The sync epoch it was written in (H3); 0 once known to be on disk for good.
        epoch: u64,
    },
    /// It was found to be altered, or missing.
    Damaged,
    /// There is none: a bucket has the content, and it comes when somebody reads it.
    Absent,
}

/// What is known of a blob's file, as a check needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is as it was stored.
    Stored,
    /// It was found to be altered, or missing.
    Damaged,
    /// There is none, and a bucket has the content.
    Absent,
}

impl Presence {
    /// Reads the column `state`. A number that no release writes counts as damage, the careful reading.
    pub(super) fn of(state: i64) -> Self {
        match state {
            0 => Self::Stored,
            2 => Self::Absent,
            _ => Self::Damaged,
        }
    }
}

impl BlobRow {
    /// Whether the file was found to be altered, or missing.
    pub fn is_damaged(&self) -> bool {
        self.state == BlobState::Damaged
    }

    /// Whether a bucket has the content, and the store has not.
    pub fn is_absent(&self) -> bool {
        self.state == BlobState::Absent
    }

    /// Whether there is a file that is right, as far as is known.
    pub fn is_stored(&self) -> bool {
        match self.state {
            BlobState::Stored { .. } => true,
            BlobState::Damaged | BlobState::Absent => false,
        }
    }
}

/// A page of a tree, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRow {
    /// Number of pages, versions and areas that name it.
    pub refs: i64,
    /// When it was made or last reused, and what it holds with it, in seconds since 1970 (G5).
    pub last_used: i64,
}

/// A blob that nothing references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrphanBlob {
    /// Which.
    pub hash: BlobHash,
    /// Length in bytes.
    pub size: u64,
    /// When it was made or last reused, in seconds since 1970.
    pub last_used: i64,
}

/// Life of a staging area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AreaState {
    /// In use.
    Open,
    /// Published or discarded; its rows and files are being purged.
    Deleted,
}

/// A staging area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaRow {
    /// Its id, chosen by the caller.
    pub id: AreaId,
    /// Its repository.
    pub repo: RepoId,
    /// Its name, unique among the open areas of the repository.
    pub name: AreaName,
    /// In use or being purged.
    pub state: AreaState,
    /// The version it started from.
    pub base: Option<VersionNumber>,
    /// The root of that version; the area holds a reference of its own on the tree.
    pub base_root: Option<Root>,
    /// When it was opened.
    pub created: Timestamp,
    /// When something in it changed last, in seconds since 1970; may lag by minutes.
    pub changed: i64,
    /// Message for the coming commit.
    pub message: String,
    /// Author for the coming commit.
    pub author: String,
    /// What to do when the base is not the newest version any more.
    pub on_stale: OnStale,
}

/// Where a staging node's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeData {
    /// No content.
    Empty,
    /// Sealed: content by its name.
    Blob(ContentName),
    /// In a private file of the area.
    Private(PrivateId),
    /// A directory that overlays this tree of the base.
    BaseTree(TreeHash),
    /// Target of a symbolic link.
    Target(Box<[u8]>),
    /// Device number in the kernel's 32-bit encoding.
    Rdev(u32),
}

/// A file or directory of a staging area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id, chosen by the caller.
    pub id: NodeId,
    /// Its kind.
    pub kind: FileKind,
    /// Permission bits (`0o7777`).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Length in bytes.
    pub size: u64,
    /// Its content.
    pub data: NodeData,
    /// Whether it counts as what its area changed: it was made there, or its content is not its
    /// base's any more.
    pub charged: bool,
}

/// Something to be taken apart in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedDeletion {
    /// One reference on this tree is to be dropped.
    Tree(TreeHash),
    /// The rows and files of this area are to be purged.
    Area(AreaId),
}

/// Sums over the whole store. Absent blobs are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Number of blobs.
    pub blobs: u64,
    /// Sum of their sizes, in bytes.
    pub bytes: u64,
    /// Number of blobs that are marked damaged.
    pub damaged: u64,
    /// Number of tree pages.
    pub trees: u64,
}
