//! Having the absent content of a version fetched before somebody reads it.

use std::ops::Add;

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
    /// Only these files, each by its path in the version; what the version does not have as a file is passed over. Empty for
    /// all that `path` means.
    #[serde(default)]
    pub only: Vec<RawPath>,
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
    /// Those of a profile that the version does not have, or that the caller may not read.
    #[serde(default)]
    #[serde(rename = "missing_file_count")]
    pub missing: u64,
}

impl Add for PrefetchReply {
    type Output = Self;

    /// What two requests for files of one version did.
    fn add(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            present: self.present + other.present,
            fetched: self.fetched + other.fetched,
            fetched_bytes: self.fetched_bytes + other.fetched_bytes,
            failed: self.failed + other.failed,
            missing: self.missing + other.missing,
            ..self
        }
    }
}
