//! How to collect garbage, and what a run did.

use serde::{Deserialize, Serialize};

use super::policy::Decision;
use super::utc::{Began, Until};

/// How to collect garbage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// Also applies retention and recomputes quotas.
    pub full: bool,
    /// Says what would be done, changes nothing.
    pub dry_run: bool,
    /// Replies when the run has ended, not when it has been scheduled.
    pub wait: bool,
    /// Protection of unreferenced content for this run, instead of the configured one.
    pub protect_seconds: Option<u64>,
}

/// Result of a garbage collection, or of a dry run, which says what a collection would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcReply {
    /// `true` when the run has ended (or was only tried), `false` when it was only scheduled.
    pub finished: bool,
    /// Versions that retention deleted (or would, in a dry run).
    #[serde(rename = "expired_version_count")]
    pub versions: u64,
    /// Staging areas that retention discarded (or would).
    #[serde(default)]
    #[serde(rename = "expired_area_count")]
    pub areas: u64,
    /// Blobs freed (or that would be).
    #[serde(rename = "freed_blob_count")]
    pub blobs: u64,
    /// Space freed (or that would be).
    pub freed_bytes: u64,
    /// Directory pages freed (or that would be).
    #[serde(rename = "freed_tree_count")]
    pub trees: u64,
    /// Rows freed that said where content can be had which nothing needs any more. A dry run does not look for them.
    #[serde(default)]
    #[serde(rename = "freed_location_count")]
    pub locations: u64,
    /// Files removed that no row knew: leftovers of a crash. A dry run does not look for them.
    #[serde(default)]
    #[serde(rename = "leftover_count")]
    pub leftovers: u64,
    /// Downloads that are not whole and that nobody fetches, freed (or that would be).
    #[serde(default)]
    #[serde(rename = "freed_partial_file_count")]
    pub partial_files: u64,
    /// What they used on the disk, in bytes.
    #[serde(default)]
    pub freed_partial_bytes: u64,
    /// How long the run took.
    #[serde(default)]
    pub duration_ms: u64,
    /// Unreferenced blobs that are still protected.
    #[serde(default)]
    #[serde(rename = "protected_blob_count")]
    pub protected_blobs: u64,
    /// Their size, in bytes.
    pub protected_bytes: u64,
    /// When the first of the protected things loses its protection; absent when there are none.
    #[serde(default, flatten)]
    pub until: Option<Until>,
    /// Deleted versions that are kept, so that the deletion can be undone.
    #[serde(default)]
    #[serde(rename = "deleted_version_count")]
    pub deleted_versions: u64,
    /// Unreferenced blobs that stay because somebody holds them open.
    #[serde(default)]
    #[serde(rename = "pinned_blob_count")]
    pub pinned_blobs: u64,
    /// Their size, in bytes.
    #[serde(default)]
    pub pinned_bytes: u64,
    /// Things that failed and were left out; the log names them.
    #[serde(default)]
    #[serde(rename = "error_count")]
    pub errors: u64,
    /// The first of them, in words.
    #[serde(default)]
    pub failure: Option<String>,
    /// What kept retention from deciding: unreadable policies, one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Each decision of retention with its reason, in a dry run of a full run. They travel as
    /// [`Progress::Decisions`](super::protocol::Progress::Decisions); the command puts them here.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

/// A collection run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Whether it was a full run.
    pub full: bool,
    /// When it began.
    #[serde(flatten)]
    pub began: Began,
    /// How long it took.
    pub duration_ms: u64,
    /// Versions that policies deleted.
    #[serde(rename = "expired_version_count")]
    pub versions: u64,
    /// Staging areas that policies discarded.
    #[serde(rename = "expired_area_count")]
    pub areas: u64,
    /// Blobs freed.
    #[serde(rename = "freed_blob_count")]
    pub blobs: u64,
    /// Their size, in bytes.
    pub freed_bytes: u64,
    /// Unreferenced blobs that stay because somebody holds them open.
    #[serde(rename = "pinned_blob_count")]
    pub pinned_blobs: u64,
    /// Their size, in bytes.
    pub pinned_bytes: u64,
    /// Things that failed and were left out; the log names them.
    #[serde(rename = "error_count")]
    pub errors: u64,
}
