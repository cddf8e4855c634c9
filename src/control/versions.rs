//! A version, as it is listed and shown.

use serde::{Deserialize, Serialize};

use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::name::{RepoName, TagName};

use super::utc::Created;

/// A version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its number.
    pub number: VersionNumber,
    /// Names its whole content.
    pub hash: TreeHash,
    /// The name given at commit.
    pub name: Option<TagName>,
    /// Tags that point at it, its own name included.
    pub tags: Vec<TagName>,
    /// The version its area started from.
    pub base: Option<VersionNumber>,
    /// Who committed it.
    pub author: String,
    /// Free text given at commit.
    pub message: String,
    /// Has a retention class of its own.
    pub released: bool,
    /// Is never deleted.
    pub locked: bool,
    /// Number of names that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Number of directories below the root.
    #[serde(rename = "directory_count")]
    pub directories: u64,
    /// Sum of the sizes of its files.
    pub size_bytes: u64,
    /// When it was committed.
    #[serde(flatten)]
    pub created: Created,
}
