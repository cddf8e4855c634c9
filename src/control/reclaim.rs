//! Dropping stored content that a remote can give back.

use serde::{Deserialize, Serialize};

use crate::model::name::RepoName;

/// What to reclaim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimRequest {
    /// Only what these repositories have and no other one; empty for all.
    pub repositories: Vec<RepoName>,
    /// So many bytes of it stay, those that were used last.
    pub keep_bytes: u64,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
}

/// What was reclaimed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReclaimReply {
    /// Nothing was done.
    pub dry_run: bool,
    /// Contents that are absent now, or would be.
    #[serde(rename = "reclaimed_content_count")]
    pub contents: u64,
    /// Their bytes.
    #[serde(rename = "reclaimed_bytes")]
    pub bytes: u64,
    /// What stays of the content that remotes declare, by the reason.
    pub left: Vec<LeftContent>,
}

/// Content that stays for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftContent {
    /// Why.
    pub reason: LeftReason,
    /// How much of it there is.
    #[serde(rename = "content_count")]
    pub contents: u64,
    /// Its bytes.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
}

/// Why content stays that a remote declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftReason {
    /// It was used last, and so much was to be kept.
    Kept,
    /// Somebody has it open, or the kernel has.
    Open,
    /// Something came to need it meanwhile.
    Needed,
    /// No remote is known to have it.
    NoSource,
    /// Files that came from elsewhere have it as well.
    OtherName,
    /// A file of a staging area has it.
    Area,
    /// It is damaged: reading it fetches it anew.
    Damaged,
}

impl LeftReason {
    /// As users read it, after "because".
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Kept => "--keep allows it",
            Self::Open => "somebody has it open",
            Self::Needed => "something came to need it meanwhile",
            Self::NoSource => "no remote is known to have it",
            Self::OtherName => "files that did not come from a remote have it as well",
            Self::Area => "a staging area has it",
            Self::Damaged => "it is damaged: reading it fetches it anew",
        }
    }
}
