//! What requests are answered with. The same values are what `--json` prints, field by field.
//!
//! Each name means one thing and has one type over all of them: the rules are in `docs/json.md`, and
//! a test holds every command to them. Fields may be added; to rename one is to change
//! [`PROTOCOL`](super::protocol::PROTOCOL), and breaks the scripts that read it.

use serde::{Deserialize, Serialize};

use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, RepoName, TagName};

use super::fsck::{FsckReply, ScrubInfo};
use super::transfer::{ImportId, RawPath};
use super::upkeep::{
    Decision, DeletedInfo, DuReply, PolicyReply, QuotaInfo, RunInfo, WaitReply, WhyReply,
};
use super::utc::{Created, Expires, NextRun, Until};

/// The successful end of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, and there is nothing to tell.
    Done,
    /// Answers `Status`.
    Status(StatusReply),
    /// Answers `CreateRepository`.
    Repository(RepositoryInfo),
    /// Answers `Repositories`.
    Repositories(Vec<RepositoryInfo>),
    /// Answers `Versions`.
    Versions(Vec<VersionInfo>),
    /// Answers `Show`.
    Version(VersionInfo),
    /// Answers `Diff`, after the differences themselves.
    Diff(DiffReply),
    /// Answers `Areas`.
    Areas(Vec<AreaInfo>),
    /// Answers `Names`.
    Names(Vec<String>),
    /// Answers `Stage`.
    Area(AreaInfo),
    /// Answers `Commit` and the finish of an import.
    Commit(CommitReply),
    /// Answers `Tags`.
    Tags(Vec<TagInfo>),
    /// Answers `SetTag`.
    Tag(TagInfo),
    /// Answers `Delete`.
    Deleted(DeleteReply),
    /// Answers `Gc`.
    Gc(GcReply),
    /// Answers `Fsck`.
    Fsck(FsckReply),
    /// Answers the catalog of a backup, which is the attachment's file.
    Catalog,
    /// Answers `Flag` and `Undelete`: the versions concerned, ascending.
    Numbers(Vec<VersionNumber>),
    /// Answers `Deleted`.
    DeletedVersions(Vec<DeletedInfo>),
    /// Answers `Policy`, after the decisions themselves.
    Policy(PolicyReply),
    /// Answers `Quota` and `SetQuota`.
    Quota(QuotaInfo),
    /// Answers `Du`, after the versions themselves.
    Du(DuReply),
    /// Answers `Why`.
    Why(WhyReply),
    /// Answers `Wait`.
    Waited(WaitReply),
    /// Answers the begin of an import.
    ImportBegun(ImportId),
    /// Answers which hashes are known, one flag per hash asked, in the order asked.
    Known(Vec<bool>),
    /// Answers the root of an export. The attachment's payload is
    /// [`encode_root`](crate::model::tree_format::encode_root).
    Root(VersionInfo),
    /// Answers `Pages`: the length in bytes of each page asked, in the order asked; the pages
    /// themselves follow each other in the attachment's payload.
    Pages(Vec<u32>),
    /// Answers `Open`: the attachment's files are the blobs asked, in the order asked.
    Opened,
}

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
    /// Repositories that use more than nine tenths of their quota.
    #[serde(default)]
    pub quotas: Vec<QuotaInfo>,
    /// What needs attention, the worst first.
    pub problems: Vec<Problem>,
    /// How far the scrub is, and how the last one ended.
    #[serde(default)]
    pub scrub: ScrubInfo,
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

/// How bad a [`Problem`] is. The worse one is the greater one.
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
}

impl ProblemKind {
    /// How bad a problem of this kind is.
    pub fn severity(self) -> Severity {
        match self {
            Self::Poisoned | Self::Full | Self::Damage | Self::FailedSeals | Self::DeadMount => {
                Severity::Critical
            }
            Self::LowSpace
            | Self::Limit
            | Self::Quota
            | Self::Policy
            | Self::FailedRun
            | Self::ReplacedBinary => Severity::Warning,
        }
    }
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// Its name.
    #[serde(rename = "repository")]
    pub name: RepoName,
    /// Permission bits of its directory; four octal digits in JSON.
    #[serde(with = "octal")]
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of versions.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// The newest version.
    pub latest: Option<VersionNumber>,
    /// Number of open staging areas.
    #[serde(rename = "area_count")]
    pub areas: u64,
    /// Number of tags, `latest` not counted.
    #[serde(rename = "tag_count")]
    pub tags: u64,
    /// When it was created.
    #[serde(flatten)]
    pub created: Created,
}

/// A version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its number.
    pub number: VersionNumber,
    /// Names its whole content.
    pub hash: TreeHash,
    /// The name given at commit.
    pub name: Option<TagName>,
    /// Tags that point at it, its own name included.
    pub tags: Vec<TagName>,
    /// The version its area started from.
    pub base: Option<VersionNumber>,
    /// Who committed it.
    pub author: String,
    /// Free text given at commit.
    pub message: String,
    /// Has a retention class of its own.
    pub released: bool,
    /// Is never deleted.
    pub locked: bool,
    /// Number of names that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Number of directories below the root.
    #[serde(rename = "directory_count")]
    pub directories: u64,
    /// Sum of the sizes of its files.
    pub size_bytes: u64,
    /// When it was committed.
    #[serde(flatten)]
    pub created: Created,
}

/// A staging area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaInfo {
    /// Its repository.
    pub repository: RepoName,
    /// Its directory's name, with the base.
    #[serde(rename = "area")]
    pub name: AreaName,
    /// Where it is mounted; `None` without a mount.
    #[serde(rename = "directory")]
    pub path: Option<String>,
    /// The version it started from.
    pub base: Option<VersionNumber>,
    /// Whether newer versions than the base exist.
    pub stale: bool,
    /// Number of files open for writing.
    #[serde(rename = "open_file_count")]
    pub open_files: u64,
    /// When it was opened.
    #[serde(flatten)]
    pub created: Created,
    /// When its repository's policy discards it, unless it changes before; absent without one.
    #[serde(default, flatten)]
    pub expires: Option<Expires>,
    /// Why it was not published when that was tried last; absent where it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "failure")]
    pub error: Option<String>,
}

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

/// What a path went through between two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiffKind {
    /// Only in the second version.
    #[serde(rename = "A")]
    Added,
    /// Only in the first version.
    #[serde(rename = "D")]
    Removed,
    /// In both, with different content or attributes.
    #[serde(rename = "M")]
    Modified,
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// `A`, `D` or `M`.
    pub change: DiffKind,
    /// Relative to the root of the versions.
    pub path: RawPath,
    /// Whether it is a directory (in the second version, if it is there).
    #[serde(rename = "is_directory")]
    pub directory: bool,
    /// Whether only attributes differ, not content. `false` unless `change` is `M`.
    pub attributes_only: bool,
}

/// Totals of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffReply {
    /// Paths only in the second version.
    #[serde(rename = "added_count")]
    pub added: u64,
    /// Paths only in the first version.
    #[serde(rename = "removed_count")]
    pub removed: u64,
    /// Paths in both that differ.
    #[serde(rename = "modified_count")]
    pub modified: u64,
}

/// Result of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitReply {
    /// Whether a new version was made; `false` when its tree equals the newest version's.
    pub changed: bool,
    /// The new version, or the newest one when there was no change.
    pub version: VersionInfo,
    /// The tag that now points at it.
    pub tag: Option<TagName>,
    /// Entries that were reported but not published (an import that keeps going).
    #[serde(default)]
    pub skipped: Vec<RawPath>,
}

/// Result of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// The versions deleted, ascending.
    pub deleted: Vec<VersionNumber>,
}

/// Result of a garbage collection, or what a dry run foresees of one.
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
    /// Files removed that no row knew: leftovers of a crash. A dry run does not look for them.
    #[serde(default)]
    #[serde(rename = "leftover_count")]
    pub leftovers: u64,
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

/// Permission bits as people write them.
mod octal {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &u16, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        u16::from_str_radix(&text, 8).map_err(D::Error::custom)
    }
}
