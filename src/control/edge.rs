//! What an edge follows, and how far it is.

use serde::{Deserialize, Serialize};

use super::utc::{Began, Contact};
use crate::model::name::{RemoteName, RepoName};

/// An edge: a store that shows what is in a bucket, and takes changes from there alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeInfo {
    /// The bucket, as a remote of the store.
    pub remote: RemoteName,
    /// Where it is.
    pub url: String,
    /// Its id; `None` until it was reached for the first time.
    pub bucket_id: Option<String>,
    /// The repositories that the edge follows. Empty for all.
    pub chosen: Vec<RepoName>,
    /// The interval at which the edge polls the bucket, in milliseconds.
    pub poll_ms: u64,
    /// When the bucket last answered. Absent until it has answered this daemon once.
    #[serde(default, flatten)]
    pub contact: Option<Contact>,
    /// Repositories that are followed.
    #[serde(rename = "followed_repository_count")]
    pub followed: u64,
    /// Versions of the bucket that are not here yet, as far as its logs were read.
    #[serde(rename = "missing_version_count")]
    pub missing: u64,
    /// What the edge could not do and tries again by itself.
    pub failures: Vec<EdgeTrouble>,
    /// Logs that the edge has stopped following, because they were rolled back, forked or cannot be read. The versions that
    /// came from them stay.
    pub alarms: Vec<EdgeTrouble>,
}

/// Something that is wrong with a bucket, or with the log of a repository in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeTrouble {
    /// The repository; `None` where it concerns the bucket.
    pub repository: Option<RepoName>,
    /// What is wrong.
    pub message: String,
    /// Since when.
    #[serde(flatten)]
    pub began: Began,
}
