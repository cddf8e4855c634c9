//! Checking a store, as a request: what to look at, what was found, what was done about it.

use serde::{Deserialize, Serialize};

use super::utc::Ended;
use crate::model::raw::RawPath;

/// How to check a store. Findings come as [`super::protocol::Progress::Findings`], and the reply
/// is [`super::reply::Reply::Fsck`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FsckRequest {
    /// Hash every blob, instead of looking at lengths.
    pub full: bool,
    /// Repair what can be repaired.
    pub repair: bool,
    /// Rewrite wrong counts of references, and nothing else.
    pub rebuild_counts: bool,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsckOutcome {
    /// It is right now.
    Repaired,
    /// It was left as it is, and harms nothing: what a crash left behind.
    Leftover,
    /// It is still wrong.
    Left,
}

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPath {
    /// The version (`web/7`) or area (`staging/web/b42`).
    pub place: String,
    /// In it; empty for all of it.
    pub path: RawPath,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckFinding {
    /// Its class: `blob`, `tree`, `blob_count`, `leftover` and others.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// What became of it.
    pub outcome: FsckOutcome,
    /// What was done, or why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What cannot be read because of it, a bounded number of paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostPath>,
    /// How many more paths there are.
    #[serde(default)]
    #[serde(rename = "more_lost_count")]
    pub lost_more: u64,
    /// Whether there may be still more: the search was ended.
    #[serde(default)]
    pub lost_unknown: bool,
}

/// The most findings in one [`super::protocol::Progress::Findings`].
pub const FINDINGS_MAX: usize = 20;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FsckReply {
    /// Whether every blob was hashed.
    pub full: bool,
    /// Blobs looked at.
    #[serde(rename = "checked_blob_count")]
    pub blobs: u64,
    /// Bytes hashed.
    pub hashed_bytes: u64,
    /// Directory pages read.
    #[serde(rename = "checked_tree_count")]
    pub trees: u64,
    /// Findings that are right now.
    #[serde(rename = "repaired_count")]
    pub repaired: u64,
    /// Findings that are still wrong.
    #[serde(rename = "left_count")]
    pub left: u64,
    /// Leftovers that were left.
    #[serde(rename = "leftover_count")]
    pub leftovers: u64,
    /// Counts that seem too high. Whether they are cannot be told while there is other damage.
    #[serde(rename = "unverified_count")]
    pub unverified_counts: u64,
    /// The store changed too fast for its counts to be compared.
    pub counts_skipped: bool,
    /// How long it took.
    pub duration_ms: u64,
}

/// The slow check of all content that the daemon makes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubInfo {
    /// How much of the store the scrub under way has looked at, in thousandths.
    pub running_permille: Option<u64>,
    /// The last one that ended.
    pub last: Option<ScrubResult>,
    /// Blobs that are marked damaged now, whoever found them.
    #[serde(rename = "damaged_blob_count")]
    pub damaged: u64,
}

/// A scrub that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubResult {
    /// When.
    #[serde(flatten)]
    pub ended: Ended,
    /// Blobs that it hashed.
    #[serde(rename = "hashed_blob_count")]
    pub blobs: u64,
    /// Their bytes.
    pub hashed_bytes: u64,
    /// Those that were damaged.
    #[serde(rename = "damaged_blob_count")]
    pub damaged: u64,
}
