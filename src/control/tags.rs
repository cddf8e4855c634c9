//! A tag, as it is listed and when it was set.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{RepoName, TagName};

use super::utc::Created;

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its name.
    #[serde(rename = "tag")]
    pub name: TagName,
    /// What it points at.
    pub number: VersionNumber,
    /// Whether it keeps the version from being deleted.
    pub protects: bool,
    /// When it was made or last moved.
    #[serde(flatten)]
    pub created: Created,
}
