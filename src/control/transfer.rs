//! Pushes to a bucket and pulls from one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RemoteName, RepoName, TagName};
use crate::model::transfer::TransferCounts;

/// Which way versions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the bucket.
    Push,
    /// From the bucket.
    Pull,
}

impl Direction {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

/// A key that signs what is published in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// A private key, or the public one of a key that an agent has. The daemon reads it, with its own rights.
    pub file: PathBuf,
    /// The socket of the caller's agent.
    #[serde(default)]
    pub agent_socket: Option<PathBuf>,
}

/// What of a repository is to go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRequest {
    /// Which way.
    pub direction: Direction,
    /// The repository; a pull makes it when it does not exist.
    pub repository: RepoName,
    /// Only these versions and tags; empty for all.
    #[serde(default)]
    pub versions: Vec<BaseName>,
    /// Deletes them in the bucket instead.
    #[serde(default)]
    pub delete: bool,
    /// Signs what a push publishes, instead of the key that the remote's settings name.
    #[serde(default)]
    pub sign: Option<SigningKey>,
    /// The bucket.
    pub remote: RemoteName,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
    /// The most bytes per second, instead of what the remote's settings say.
    pub rate_bytes_per_second: Option<u64>,
    /// It goes on by itself, and is answered once it has begun.
    #[serde(default)]
    pub detach: bool,
}

/// How a push or a pull ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TransferReply {
    /// Whether anything changed; with a dry run, whether it would.
    pub changed: bool,
    /// The versions that were published, ascending; with a dry run, those that would be.
    pub numbers: Vec<VersionNumber>,
    /// The versions that were deleted in the bucket.
    pub deleted_numbers: Vec<VersionNumber>,
    /// The versions that were released or locked, or of which that was taken back.
    pub flagged_numbers: Vec<VersionNumber>,
    /// The tags that were made, moved or removed.
    pub changed_tags: Vec<TagName>,
    /// What was left as it is, and why.
    pub warnings: Vec<String>,
    /// What was done.
    #[serde(flatten)]
    pub counts: TransferCounts,
}
