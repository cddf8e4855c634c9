//! What a check can find, as values.

mod words;

use std::fmt;
use std::path::PathBuf;

use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::quota::Usage;
use crate::model::text::count;
use crate::store::catalog::{BadRow, Missized, Totals};
use crate::store::layout::PrivateId;

/// What is wrong with a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobDamage {
    /// Its file is gone.
    Missing,
    /// Its file has another length, in bytes.
    Size(u64),
    /// Its file has the right length and another content.
    Altered,
    /// The disk cannot read its file.
    Unreadable(String),
    /// It is marked damaged from earlier; a full check looks again.
    Marked,
    /// Trees or areas name it, and it has no row.
    NoRow {
        /// This many names there are.
        refs: i64,
        /// Its file is there and right: with a row, nothing is lost.
        sound: bool,
    },
}

impl fmt::Display for BlobDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("its file is missing"),
            Self::Size(bytes) => write!(f, "its file has {}", count(*bytes, "byte")),
            Self::Altered => f.write_str("its content was altered"),
            Self::Unreadable(why) => write!(f, "its file cannot be read: {why}"),
            Self::Marked => f.write_str("it is marked damaged"),
            Self::NoRow { refs, sound: false } => {
                write!(f, "it has {} and no row", count(*refs, "name"))
            }
            Self::NoRow { refs, sound: true } => {
                write!(f, "it has {} and no row; its file is right", count(*refs, "name"))
            }
        }
    }
}

/// What is wrong with a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeDamage {
    /// Something names it, and it has no row. This many names are counted.
    NoRow(i64),
    /// Its bytes are gone.
    NoPage,
    /// Its bytes are not the ones that its hash names.
    Altered,
    /// Its bytes are right and no page of this release.
    Invalid(String),
    /// A repair has made it blank: it waits for its content to be stored again.
    Blank,
}

impl fmt::Display for TreeDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRow(refs) => write!(f, "it has no row and {}", count(*refs, "name")),
            Self::NoPage => f.write_str("its page is missing"),
            Self::Altered => f.write_str("its page was altered"),
            Self::Invalid(why) => write!(f, "its page is unreadable: {why}"),
            Self::Blank => f.write_str("its page was lost earlier"),
        }
    }
}

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The version (`web/7`) or area (`staging/web/b42`) that it is in.
    pub place: String,
    /// Relative to the top of that, `/`-separated; empty for the top itself.
    pub path: Vec<u8>,
}

/// What a damage makes unreadable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Some of it, at most [`LISTED_MAX`].
    pub listed: Vec<Loss>,
    /// How many more there are.
    pub more: u64,
    /// Whether that is all; a search that grew too long was ended.
    pub complete: bool,
}

/// The most paths listed per finding.
pub const LISTED_MAX: usize = 50;

impl Losses {
    pub(super) fn add(&mut self, place: &str, path: &[u8]) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(Loss { place: place.to_owned(), path: path.to_owned() });
        } else {
            self.more += 1;
        }
    }
}

/// A file of the store that no row names: what a crash left. No damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// In the pool, under the name of a blob.
    Blob(BlobHash),
    /// In `incoming/`, of an earlier process; a path from the store's directory on.
    Incoming(PathBuf),
    /// A private file of an area that does not name it.
    Private(AreaId, PrivateId),
    /// The directory of an area that does not exist.
    AreaDirectory(AreaId),
    /// An area that is to be purged and is not queued: an import that a crash ended.
    Area(AreaId),
    /// Rows of an area that does not exist.
    AreaRows(AreaId),
    /// A page that belongs to no tree.
    Page(i64),
    /// A name that cairn does not give; a path from the store's directory on.
    Stranger(PathBuf),
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// SQLite finds a table damaged.
    Table {
        /// The table.
        table: &'static str,
        /// SQLite's words.
        problem: String,
    },
    /// A row breaks a rule.
    Row(BadRow),
    /// A blob's content is lost, or may be.
    Blob {
        /// The blob.
        hash: BlobHash,
        /// Its length, in bytes.
        size: u64,
        /// What is wrong.
        damage: BlobDamage,
        /// Whether its row says so, and so nobody is served its content.
        marked: bool,
        /// What cannot be read therefore.
        losses: Losses,
    },
    /// A blob is marked damaged, and its content is right.
    BlobSound(BlobHash),
    /// A directory is lost.
    Tree {
        /// The tree.
        hash: TreeHash,
        /// References counted on it.
        refs: i64,
        /// What is wrong.
        damage: TreeDamage,
        /// What cannot be read therefore.
        losses: Losses,
    },
    /// The references counted on a blob are not those that there are.
    BlobCount {
        /// The blob.
        hash: BlobHash,
        /// As its row says.
        recorded: i64,
        /// As a full walk says.
        counted: i64,
    },
    /// The references counted on a declared name are not those that there are.
    NameCount {
        /// The declared digest.
        sha256: Sha256,
        /// As its row says; 0 when it has none.
        recorded: i64,
        /// As a full walk says.
        counted: i64,
    },
    /// A declared name does not stand for the blob that has its digest.
    NameBlob {
        /// The declared digest.
        sha256: Sha256,
        /// The blob that is recorded, if one is.
        recorded: Option<BlobHash>,
        /// The one that has the digest, if it is in the store.
        found: Option<BlobHash>,
    },
    /// Content that files are said to have is not in the store, and no remote is known to have it.
    Absent {
        /// Its name.
        name: ContentName,
        /// How many files are said to have it.
        refs: i64,
    },
    /// The references counted on a tree are not those that there are.
    TreeCount {
        /// The tree.
        hash: TreeHash,
        /// As its row says.
        recorded: i64,
        /// As a full walk says.
        counted: i64,
    },
    /// The file of a blob can be written to.
    BlobMode {
        /// The blob.
        hash: BlobHash,
        /// The permissions of its file.
        mode: u32,
    },
    /// The file of a blob has names outside the store.
    BlobLinks {
        /// The blob.
        hash: BlobHash,
        /// Its length, in bytes.
        size: u64,
        /// How many.
        names: u64,
    },
    /// The sums over all blobs and trees are not those of their rows.
    Totals {
        /// As they are noted, if they are.
        recorded: Option<Totals>,
        /// As the rows say.
        counted: Totals,
    },
    /// What a version counts for in its repository's quota is not what it adds.
    Charge {
        /// The repository.
        repo: RepoId,
        /// The version's number.
        number: VersionNumber,
        /// The same, as people write it.
        version: String,
        /// The version that it is compared with; 0 stands for nothing.
        base: VersionNumber,
        /// As its row says.
        recorded: Usage,
        /// What it adds.
        counted: Usage,
    },
    /// A version's hash is not that of its root.
    Root {
        /// The version, as people write it.
        version: String,
    },
    /// Files of a version that are not one share the id of a hardlink group. Each is read as what
    /// its own entry says.
    Links {
        /// The version, as people write it.
        version: String,
        /// Some of their paths, at most [`LISTED_MAX`].
        paths: Vec<Vec<u8>>,
        /// How many more there are.
        more: u64,
    },
    /// A tag points at no version.
    Tag {
        /// Its repository.
        repo: RepoId,
        /// The same, as people write it.
        repository: String,
        /// The tag.
        tag: TagName,
        /// What it points at.
        number: VersionNumber,
    },
    /// The next version would get a number that was used.
    NextNumber {
        /// The repository.
        repo: RepoId,
        /// The same, as people write it.
        repository: String,
        /// What the next version would get.
        next: VersionNumber,
        /// The newest version.
        newest: VersionNumber,
    },
    /// A version, tag or area of a repository that does not exist.
    NoRepository {
        /// The repository.
        repo: RepoId,
        /// What names it.
        what: String,
    },
    /// A file of an area is lost.
    Private {
        /// The area.
        area: AreaId,
        /// The private file that held it.
        file: PrivateId,
        /// Its path.
        losses: Losses,
    },
    /// A file or directory of an area has names and no row.
    LostNode {
        /// The area.
        area: AreaId,
        /// The file or directory.
        node: NodeId,
        /// The area, as people write it.
        place: String,
        /// Its paths.
        losses: Losses,
    },
    /// A file or directory of an area has a row and no name.
    UnnamedNode {
        /// The area.
        area: AreaId,
        /// The file or directory.
        node: NodeId,
        /// The area, as people write it.
        place: String,
        /// What it is, in words.
        what: String,
    },
    /// An area has not as many names as were written. What a lost one named has another name, or it
    /// named nothing and hid what the base has there.
    LostNames {
        /// The area.
        area: AreaId,
        /// The same, as people write it.
        place: String,
        /// How many were written.
        recorded: u64,
        /// How many there are.
        counted: u64,
    },
    /// A file of an area is said to have another size than its content.
    NodeSize {
        /// The file, and its sizes.
        file: Missized,
        /// Its path, as people write it.
        path: String,
    },
    /// Ids are given out from this limit on, and higher ones are in use.
    IdLimit {
        /// As it is noted; 0 when it is not.
        recorded: u64,
        /// The highest id in use.
        highest: u64,
    },
    /// A leftover.
    Leftover(Leftover),
}

impl Finding {
    /// Whether it is what a crash leaves behind, which harms nothing.
    pub fn is_leftover(&self) -> bool {
        matches!(self, Self::Leftover(_))
    }

    /// Whether it is a wrong count of references.
    pub fn is_count(&self) -> bool {
        matches!(self, Self::BlobCount { .. } | Self::NameCount { .. } | Self::TreeCount { .. })
    }

    /// The class in one word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table { .. } => "table",
            Self::Row(_) => "row",
            Self::Blob { .. } => "blob",
            Self::BlobSound(_) => "blob_sound",
            Self::Tree { .. } => "tree",
            Self::BlobCount { .. } => "blob_count",
            Self::NameCount { .. } => "name_count",
            Self::NameBlob { .. } => "name_blob",
            Self::Absent { .. } => "absent",
            Self::TreeCount { .. } => "tree_count",
            Self::BlobMode { .. } => "blob_mode",
            Self::BlobLinks { .. } => "blob_links",
            Self::Totals { .. } => "totals",
            Self::Charge { .. } => "quota",
            Self::Root { .. } => "root",
            Self::Links { .. } => "links",
            Self::Tag { .. } => "tag",
            Self::NextNumber { .. } => "next_number",
            Self::NoRepository { .. } => "no_repository",
            Self::Private { .. } => "private_file",
            Self::LostNode { .. } => "lost_node",
            Self::UnnamedNode { .. } => "unnamed_node",
            Self::LostNames { .. } => "lost_names",
            Self::NodeSize { .. } => "node_size",
            Self::IdLimit { .. } => "id_limit",
            Self::Leftover(_) => "leftover",
        }
    }

    /// What cannot be read because of it.
    pub fn losses(&self) -> Option<&Losses> {
        match self {
            Self::Blob { losses, .. }
            | Self::Tree { losses, .. }
            | Self::Private { losses, .. }
            | Self::LostNode { losses, .. } => Some(losses),
            Self::Table { .. }
            | Self::Row(_)
            | Self::BlobSound(_)
            | Self::BlobCount { .. }
            | Self::NameCount { .. }
            | Self::NameBlob { .. }
            | Self::Absent { .. }
            | Self::TreeCount { .. }
            | Self::BlobMode { .. }
            | Self::BlobLinks { .. }
            | Self::Totals { .. }
            | Self::Charge { .. }
            | Self::UnnamedNode { .. }
            | Self::LostNames { .. }
            | Self::NodeSize { .. }
            | Self::IdLimit { .. }
            | Self::Root { .. }
            | Self::Links { .. }
            | Self::Tag { .. }
            | Self::NextNumber { .. }
            | Self::NoRepository { .. }
            | Self::Leftover(_) => None,
        }
    }
}
