//! Versions as values: what the registry, the CLI and the retention policy look at.

use super::hash::TreeHash;
use super::id::VersionNumber;
use super::name::TagName;
use super::time::Timestamp;
use super::tree::Root;

/// An immutable, published version of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number within the repository.
    pub number: VersionNumber,
    /// The root directory.
    pub root: Root,
    /// Hash over root attributes and tree ([`crate::model::tree_format::root_hash`]): names the
    /// version's whole content.
    pub hash: TreeHash,
    /// When it was committed.
    pub created: Timestamp,
    /// The version its staging area started from.
    pub base: Option<VersionNumber>,
    /// The name given at commit. Does not protect the version (N6).
    pub name: Option<TagName>,
    /// Who committed it, as they said or as the uid was called.
    pub author: String,
    /// Free text given at commit.
    pub message: String,
    /// Released versions have a retention class of their own and are not deleted without force.
    pub released: bool,
    /// Locked versions are never deleted.
    pub locked: bool,
}
