//! Making a version of what a remote declares.

use serde::{Deserialize, Serialize};

use super::versions::VersionInfo;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::name::{RemoteName, RepoName, TagName};
use crate::model::raw::RawPath;
use crate::model::sync::{RemovalLimit, SyncCounts};

/// What to sync, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Where to; made when it does not exist.
    pub repository: RepoName,
    /// Where from.
    pub remote: RemoteName,
    /// Only what lies below, and as if that was the root; empty for all.
    pub subpath: RawPath,
    /// The version has what is declared and nothing else; otherwise that on top of the newest one.
    pub mirror: bool,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
    /// Publishes what could be had.
    pub keep_going: bool,
    /// How many files may vanish.
    pub removal_limit: RemovalLimit,
    /// The most bytes per second, instead of what the remote's settings say.
    pub rate_bytes_per_second: Option<u64>,
    /// When content is fetched, instead of what the remote's settings say.
    #[serde(default)]
    pub policy: Option<FetchPolicy>,
    /// Text to keep with the version.
    pub message: String,
    /// Who asks for it; `None` for the caller's user name.
    pub author: Option<String>,
    /// Name of the version.
    pub tag: Option<TagName>,
    /// It goes on by itself, and is answered once it has begun.
    #[serde(default)]
    pub detach: bool,
}

/// One thing that a sync tells of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncEvent {
    /// Which.
    pub path: RawPath,
    /// What about it.
    pub change: SyncChange,
    /// Why it could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a sync does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncChange {
    /// It is new.
    Added,
    /// It gets another content.
    Changed,
    /// It goes, with what is below it.
    Removed,
    /// It could not be had.
    Failed,
}

/// How a sync ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReply {
    /// Whether there is a new version; with a dry run, whether there would be one.
    pub changed: bool,
    /// The new version, or the newest one; null when there is none.
    pub version: Option<VersionInfo>,
    /// The tag that now points at it.
    pub tag: Option<TagName>,
    /// The remote declares what it declared the last time, so nothing else was looked at: the counts are all 0.
    pub unchanged_remote: bool,
    /// What should be better about the remote.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What was done.
    #[serde(flatten)]
    pub counts: SyncCounts,
}
