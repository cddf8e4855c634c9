//! Having the absent content of a version fetched before somebody reads it.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};
use crate::model::raw::RawPath;

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchRequest {
    /// The repository.
    pub repository: RepoName,
    /// The version.
    pub version: BaseName,
    /// A file or a directory of it; empty for all of it.
    pub path: RawPath,
}

/// What was fetched. The files that could not be had went before, as
/// [`Progress::Failures`](super::protocol::Progress::Failures).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchReply {
    /// The repository.
    pub repository: RepoName,
    /// The version.
    pub number: VersionNumber,
    /// What of it; empty for all of it.
    pub path: RawPath,
    /// Regular files that were looked at: those that the caller may read.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Those whose content was there already.
    #[serde(rename = "present_file_count")]
    pub present: u64,
    /// Those whose content was fetched.
    #[serde(rename = "fetched_file_count")]
    pub fetched: u64,
    /// Their length in bytes.
    pub fetched_bytes: u64,
    /// Those whose content could not be had.
    #[serde(rename = "failed_file_count")]
    pub failed: u64,
}
