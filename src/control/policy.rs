//! The policy of a repository, and what retention decides by it.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, RepoName};
use crate::model::policy::Policy;

/// What retention does with one version or staging area, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The repository.
    pub repository: RepoName,
    /// The version; absent for an area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<VersionNumber>,
    /// The staging area; absent for a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<AreaName>,
    /// Whether it stays.
    pub keep: bool,
    /// Why, in words.
    pub reason: String,
}

/// A repository's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReply {
    /// The repository.
    pub repository: RepoName,
    /// Its policy; `None` when there is none, or none that can be read.
    pub policy: Option<Policy>,
    /// Why the policy that the store has cannot be read; nothing is deleted then.
    #[serde(default)]
    #[serde(rename = "failure")]
    pub unreadable: Option<String>,
    /// What it would do now, newest versions first. They travel as
    /// [`Progress::Decisions`](super::protocol::Progress::Decisions); the command puts them here.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}
