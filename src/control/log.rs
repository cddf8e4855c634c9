//! The versions of a repository, or those in which one path changed, with the size of each change.

use serde::{Deserialize, Serialize};

use crate::model::change_size::ChangeSize;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;
use crate::model::raw::RawPath;

use super::diff::DiffKind;
use super::versions::VersionInfo;

/// Which versions are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// The repository.
    pub repository: RepoName,
    /// Only the versions in which this path changed; empty for all.
    #[serde(default)]
    pub path: RawPath,
    /// How many versions at most; `None` for all.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// One version, and what it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The version.
    pub version: VersionInfo,
    /// The version that it is compared with: the one before it that there is; `None` for the first.
    pub since: Option<VersionNumber>,
    /// How the path changed; `None` where none was asked for.
    pub change: Option<DiffKind>,
    /// How much changed, of the whole version or at and below the path.
    #[serde(flatten)]
    pub size: ChangeSize,
}

/// The most entries in one [`Progress::Log`](super::protocol::Progress::Log): each may have a long
/// message.
pub const LOG_ENTRIES_MAX: usize = 100;
