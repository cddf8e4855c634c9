//! How to publish a staging area, and what came of it.

use serde::{Deserialize, Serialize};

use crate::model::name::{AreaName, RepoName, TagName};

use super::versions::VersionInfo;
use crate::model::raw::RawPath;

/// How to publish a staging area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The repository.
    pub repository: RepoName,
    /// Its name with the base, or its label where no other area has the same.
    pub area: AreaName,
    /// The version's name; `None` for what the area's label asks for, which must be a valid tag and free, or
    /// the next number.
    pub tag: Option<TagName>,
    /// Gives the version no name; `tag` is `None` then.
    #[serde(default)]
    pub untagged: bool,
    /// Free text; `None` keeps what the area's `user.cairn.message` says.
    pub message: Option<String>,
    /// Who commits; `None` keeps what the area says, or the caller's user name.
    pub author: Option<String>,
    /// Waits for files open for writing instead of being refused.
    pub wait: bool,
    /// Publishes although versions came after the base.
    pub force: bool,
    /// Merges with the newest version, file by file.
    pub onto_latest: bool,
    /// Makes a version even when nothing changed.
    pub allow_empty: bool,
}

/// Result of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReply {
    /// Whether a new version was made; `false` when its tree equals the newest version's.
    pub changed: bool,
    /// The new version, or the newest one when there was no change.
    pub version: VersionInfo,
    /// The tag that now points at it.
    pub tag: Option<TagName>,
    /// Entries that were reported but not published (an import that keeps going).
    #[serde(default)]
    pub skipped: Vec<RawPath>,
}
