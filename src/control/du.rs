//! Where space goes.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};

/// What [`UpkeepRequest::Du`](super::upkeep::UpkeepRequest::Du) looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuTarget {
    /// The repository.
    pub repository: RepoName,
    /// One of its versions; all of them without.
    #[serde(default)]
    pub version: Option<BaseName>,
}

/// What one version uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionUsage {
    /// Its repository.
    pub repository: RepoName,
    /// Its number.
    pub number: VersionNumber,
    /// Whether it is deleted and can still be brought back.
    #[serde(rename = "is_deleted")]
    pub deleted: bool,
    /// Number of names that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Sum of the sizes of its files.
    pub apparent_bytes: u64,
    /// What deleting just this version frees.
    pub unique_bytes: u64,
    /// The other bytes: shared with other versions and areas, or by equal files of this version, or of content
    /// that is absent and takes no space.
    pub shared_bytes: u64,
}

/// What one repository uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryUsage {
    /// The repository.
    pub repository: RepoName,
    /// Number of its versions.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Sum of the sizes of the files of all of them.
    pub apparent_bytes: u64,
    /// What deleting all of them, the deleted ones included, frees.
    pub unique_bytes: u64,
    /// The other bytes: shared with other repositories and areas, or among the versions of this one, or of
    /// content that is absent and takes no space.
    pub shared_bytes: u64,
    /// What its staging areas changed, in bytes.
    pub areas_bytes: u64,
    /// What its staging areas changed, in files.
    #[serde(rename = "areas_file_count")]
    pub areas_files: u64,
    /// Deleted versions that can still be brought back.
    #[serde(rename = "deleted_version_count")]
    pub deleted_versions: u64,
    /// Sum of the sizes of their files.
    pub deleted_bytes: u64,
}

/// Where space goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DuReply {
    /// The repositories asked for as a whole, by name.
    pub repositories: Vec<RepositoryUsage>,
    /// The versions of what was asked for. They travel as
    /// [`Progress::Usages`](super::protocol::Progress::Usages); the command puts them here.
    #[serde(default)]
    pub versions: Vec<VersionUsage>,
    /// Size of all blobs of the store, each counted once.
    pub store_bytes: u64,
    /// What a run frees now.
    pub reclaimable_bytes: u64,
    /// What is unreferenced or deleted and still protected.
    pub protected_bytes: u64,
    /// What is unreferenced and held open by somebody.
    pub pinned_bytes: u64,
    /// Contents that versions and areas name, and that only remotes have: they take no space.
    #[serde(rename = "absent_content_count")]
    pub absent: u64,
    /// Their bytes.
    pub absent_bytes: u64,
}
