//! Rows as far as a check needs them.

use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::{AreaName, RepoName};
use crate::model::quota::Charge;
use crate::model::tree::Root;
use crate::store::catalog::{AreaState, NodeData, Presence};

/// A row that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its table.
    pub table: &'static str,
    /// What identifies it there.
    pub key: String,
    /// The rule, in words.
    pub problem: String,
}

/// What a check needs of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFacts {
    /// Its id.
    pub id: RepoId,
    /// Its name.
    pub name: RepoName,
    /// Number of the next version.
    pub next_number: VersionNumber,
}

/// What a check needs of a version, deleted ones that can be brought back included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// Its repository.
    pub repo: RepoId,
    /// Its number.
    pub number: VersionNumber,
    /// The top of its tree.
    pub root: Root,
    /// The hash it is published under.
    pub hash: TreeHash,
    /// What it is said to add to another version, if that was computed.
    pub charge: Option<Charge>,
}

/// What a check needs of an area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AreaFacts {
    /// Its id.
    pub id: AreaId,
    /// Its repository.
    pub repo: RepoId,
    /// Its name.
    pub name: AreaName,
    /// In use or being purged.
    pub state: AreaState,
    /// The tree it started from.
    pub base: Option<TreeHash>,
}

/// What a check needs of a staging node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its area.
    pub area: AreaId,
    /// Its id.
    pub id: NodeId,
    /// Its length in bytes, where it is a blob.
    pub size: u64,
    /// Its content.
    pub data: NodeData,
}

/// A file of an area whose row says another size than its content has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missized {
    /// Its area.
    pub area: AreaId,
    /// Its id.
    pub node: NodeId,
    /// Its content; `None` of an empty file.
    pub blob: Option<BlobHash>,
    /// The size that its row says, in bytes.
    pub recorded: u64,
    /// The size that its content has, in bytes.
    pub size: u64,
}

/// What a check needs of a tree's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeFacts {
    /// Its hash.
    pub hash: TreeHash,
    /// References counted on it.
    pub refs: i64,
    /// Where its bytes are.
    pub page: i64,
}

/// What a check needs of a blob's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFacts {
    /// Its hash.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub size: u64,
    /// References counted on it.
    pub refs: i64,
    /// What is known of its file.
    pub presence: Presence,
}
