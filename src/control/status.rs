//! The store at a glance, and what about it needs attention.

use serde::{Deserialize, Serialize};

use super::areas::AreaInfo;
use super::edge::EdgeInfo;
use super::fsck::ScrubInfo;
use super::gc::RunInfo;
use super::quota::QuotaInfo;
use super::utc::NextRun;

/// The store at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReply {
    /// Path of the store.
    pub store: String,
    /// Format number of the store.
    pub format: u32,
    /// Version of the cairn that answers.
    #[serde(rename = "cairn_version")]
    pub version: String,
    /// Process id of the daemon; `None` when the command opened the store itself.
    pub daemon_pid: Option<u32>,
    /// Where the daemon has mounted the store.
    pub mount: Option<String>,
    /// Whether that mount has no staging.
    pub read_only: bool,
    /// What a guard would do if the daemon ended now; `None` when there is no guard.
    #[serde(default)]
    pub guard: Option<GuardKind>,
    /// Number of repositories.
    #[serde(rename = "repository_count")]
    pub repositories: u64,
    /// Number of versions.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Number of distinct file contents.
    #[serde(rename = "blob_count")]
    pub blobs: u64,
    /// Sum of their sizes.
    pub blobs_bytes: u64,
    /// Number of distinct directory pages.
    #[serde(rename = "tree_count")]
    pub trees: u64,
    /// Free space of the filesystem that holds the store.
    pub free_bytes: u64,
    /// Open staging areas.
    pub areas: Vec<AreaInfo>,
    /// Deletions whose clean-up has not ended.
    #[serde(rename = "unfinished_deletion_count")]
    pub doomed: u64,
    /// Why the store refuses changes until it is restarted; `None` when it is healthy.
    pub poisoned: Option<String>,
    /// The last collection run of this daemon.
    #[serde(default)]
    pub last_run: Option<RunInfo>,
    /// When the next periodic run is due; absent when there is none, or it is not known yet.
    #[serde(default, flatten)]
    pub next_run: Option<NextRun>,
    /// Unreferenced content that the next run frees, in bytes.
    #[serde(default)]
    pub reclaimable_bytes: u64,
    /// Unreferenced content that is still protected, in bytes.
    #[serde(default)]
    pub protected_bytes: u64,
    /// Deleted versions that can still be brought back.
    #[serde(default)]
    #[serde(rename = "deleted_version_count")]
    pub deleted_versions: u64,
    /// Downloads that are not whole: those under way, and what earlier syncs left.
    #[serde(default)]
    #[serde(rename = "partial_file_count")]
    pub partial_files: u64,
    /// What they use on the disk, in bytes.
    #[serde(default)]
    pub partial_bytes: u64,
    /// Contents that versions name and the store does not have: they are fetched when they are read.
    #[serde(default)]
    #[serde(rename = "absent_content_count")]
    pub absent: u64,
    /// Contents that are being fetched, or wait for that: somebody reads them, or a prefetch wants them.
    #[serde(default)]
    #[serde(rename = "fetching_content_count")]
    pub fetching: u64,
    /// Reads that wait for these.
    #[serde(default)]
    #[serde(rename = "waiting_read_count")]
    pub waiting_reads: u64,
    /// Contents that could not be had a short time ago.
    #[serde(default)]
    #[serde(rename = "failed_content_count")]
    pub failed_fetches: u64,
    /// Bytes of content of `streamed` remotes that are kept; absent while nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_bytes: Option<u64>,
    /// How many of them may be kept; 0: as many as the disk has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_size_bytes: Option<u64>,
    /// What it follows; `None` of a store that is no edge.
    #[serde(default)]
    pub edge: Option<EdgeInfo>,
    /// Repositories that use more than nine tenths of their quota.
    #[serde(default)]
    pub quotas: Vec<QuotaInfo>,
    /// What needs attention, the worst first.
    pub problems: Vec<Problem>,
    /// How far the scrub is, and how the last one ended.
    #[serde(default)]
    pub scrub: ScrubInfo,
}

/// What a guard does when its daemon ends without having unmounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardKind {
    /// It takes dead mounts away. It cannot end a connection that hangs.
    Detaches,
    /// It ends the connections, so that nobody waits, and takes the mounts away.
    Ends,
}

/// Something about a store that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about.
    pub kind: ProblemKind,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence that says what to do about it as well.
    pub message: String,
}

impl Problem {
    /// Makes one, as bad as its kind.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, severity: kind.severity(), message: message.into() }
    }
}

/// How bad a [`Problem`] is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is refused or lost yet.
    Warning,
    /// Changes are refused, content cannot be read, or nobody is served.
    Critical,
}

/// What a [`Problem`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A write or flush failed: nothing changes until the daemon is started again.
    Poisoned,
    /// The disk is full: nothing may grow.
    Full,
    /// Content is damaged.
    Damage,
    /// Files of staging areas could not be brought into the store.
    FailedSeals,
    /// A mount is left whose daemon has ended.
    DeadMount,
    /// The disk is nearly full.
    LowSpace,
    /// Something comes near a limit of the store.
    Limit,
    /// A repository comes near its quota.
    Quota,
    /// A policy cannot be read, so nothing expires.
    Policy,
    /// The last collection run left something out.
    FailedRun,
    /// The program that the daemon runs was replaced or removed.
    ReplacedBinary,
    /// An edge cannot have what is new in its bucket.
    EdgeBehind,
    /// The bucket of an edge, or a log in it, is not what it was: it is not followed any more.
    EdgeAlarm,
}

impl ProblemKind {
    /// How bad a problem of this kind is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Poisoned
            | Self::Full
            | Self::Damage
            | Self::FailedSeals
            | Self::DeadMount
            | Self::EdgeAlarm => Severity::Critical,
            Self::LowSpace
            | Self::Limit
            | Self::Quota
            | Self::Policy
            | Self::FailedRun
            | Self::ReplacedBinary
            | Self::EdgeBehind => Severity::Warning,
        }
    }
}
