//! What can be brought back.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{RepoName, TagName};

use super::utc::{Deleted, Until};

/// A deleted version that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its number.
    pub number: VersionNumber,
    /// The name given at commit.
    pub name: Option<TagName>,
    /// When it was deleted.
    #[serde(flatten)]
    pub deleted: Deleted,
    /// Until when it can be brought back at least.
    #[serde(flatten)]
    pub until: Until,
}
