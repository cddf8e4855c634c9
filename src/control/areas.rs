//! A staging area, as it is listed and when it was opened.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, RepoName};

use super::utc::{Created, Expires};

/// A staging area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its directory's name, with the base.
    #[serde(rename = "area")]
    pub name: AreaName,
    /// Where it is mounted; `None` without a mount.
    #[serde(rename = "directory")]
    pub path: Option<String>,
    /// The version it started from.
    pub base: Option<VersionNumber>,
    /// Whether newer versions than the base exist.
    pub stale: bool,
    /// Number of files open for writing.
    #[serde(rename = "open_file_count")]
    pub open_files: u64,
    /// When it was opened.
    #[serde(flatten)]
    pub created: Created,
    /// When the policy of its repository discards it unless it changes before; absent without such
    /// a policy.
    #[serde(default, flatten)]
    pub expires: Option<Expires>,
    /// Why it was not published when that was tried last; absent where it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "failure")]
    pub error: Option<String>,
}
