//! Upkeep as requests and replies: retention, quotas, deletions taken back, and where space goes.
//!
//! Plain values, like the rest of the protocol. What reads much of the store (`Du`, `Why`) runs on
//! the thread of the connection that asked.

use serde::{Deserialize, Serialize};

use crate::model::hash::BlobHash;
use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, BaseName, RepoName, TagName};
pub use crate::model::policy::Limit;
use crate::model::policy::{Policy, RuleChanges};
use crate::model::quota::{Quota, Usage};

use super::reply::VersionInfo;
use super::transfer::RawPath;
use super::utc::{Began, Deleted, Until};

/// One thing asked about retention, quotas or space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpkeepRequest {
    /// Releases or locks versions, or takes that back: all of them, or none when one does not
    /// exist. Replies [`Reply::Numbers`](super::reply::Reply::Numbers).
    Flag {
        /// The repository.
        repository: RepoName,
        /// The versions.
        versions: Vec<BaseName>,
        /// Which flag.
        flag: Flag,
        /// Sets it, or takes it back.
        set: bool,
    },
    /// Lists what can be brought back, by number, at most
    /// [`VERSIONS_MAX`](super::protocol::VERSIONS_MAX). Replies
    /// [`Reply::DeletedVersions`](super::reply::Reply::DeletedVersions).
    Deleted {
        /// The repository.
        repository: RepoName,
        /// Only those with a greater number: how a longer list goes on.
        #[serde(default)]
        after: Option<VersionNumber>,
    },
    /// Brings deleted versions back, by number or by their own name: all of them, or none.
    /// Replies [`Reply::Numbers`](super::reply::Reply::Numbers).
    Undelete {
        /// The repository.
        repository: RepoName,
        /// The versions.
        versions: Vec<BaseName>,
    },
    /// Brings a deleted repository back with every version of it that can be. Replies
    /// [`Reply::Numbers`](super::reply::Reply::Numbers) with those.
    UndeleteRepository {
        /// Its name.
        name: RepoName,
    },
    /// Shows the policy and what it would do now. Sends the decisions as
    /// [`Progress::Decisions`](super::protocol::Progress::Decisions) and replies
    /// [`Reply::Policy`](super::reply::Reply::Policy).
    Policy {
        /// The repository.
        repository: RepoName,
    },
    /// Sets the whole policy, or clears it. Replies [`Reply::Done`](super::reply::Reply::Done).
    SetPolicy {
        /// The repository.
        repository: RepoName,
        /// The policy; `None` for none.
        policy: Option<Policy>,
    },
    /// Changes rules of the policy; those that are not named stay. Replies
    /// [`Reply::Done`](super::reply::Reply::Done).
    ChangePolicy {
        /// The repository.
        repository: RepoName,
        /// What becomes of each rule.
        rules: RuleChanges,
    },
    /// Shows quota and usage. Replies [`Reply::Quota`](super::reply::Reply::Quota).
    Quota {
        /// The repository.
        repository: RepoName,
    },
    /// Changes the quota. Replies [`Reply::Quota`](super::reply::Reply::Quota).
    SetQuota {
        /// The repository.
        repository: RepoName,
        /// Of the bytes.
        bytes: Limit,
        /// Of the files.
        files: Limit,
    },
    /// Says what repositories and versions use. Sends the versions as
    /// [`Progress::Usages`](super::protocol::Progress::Usages) and replies
    /// [`Reply::Du`](super::reply::Reply::Du).
    Du {
        /// What to look at; all repositories when empty.
        targets: Vec<DuTarget>,
    },
    /// Says what keeps a blob. Replies [`Reply::Why`](super::reply::Reply::Why).
    Why(WhyTarget),
}

/// A flag of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// It has a retention class of its own and is deleted with force only.
    Released,
    /// It is never deleted.
    Locked,
}

/// What [`UpkeepRequest::Du`] looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuTarget {
    /// The repository.
    pub repository: RepoName,
    /// One of its versions; all of them without.
    #[serde(default)]
    pub version: Option<BaseName>,
}

/// What [`UpkeepRequest::Why`] asks about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyTarget {
    /// A blob.
    Hash(BlobHash),
    /// The content of a file of a version.
    File {
        /// The repository.
        repository: RepoName,
        /// The version.
        version: BaseName,
        /// The file, relative to the version's root.
        path: RawPath,
    },
}

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

/// A repository's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReply {
    /// The repository.
    pub repository: RepoName,
    /// Its policy; `None` when there is none, or none that can be read.
    pub policy: Option<Policy>,
    /// Why what the store has is no policy; nothing is deleted then.
    #[serde(default)]
    #[serde(rename = "failure")]
    pub unreadable: Option<String>,
    /// What it would do now, newest versions first. They travel as
    /// [`Progress::Decisions`](super::protocol::Progress::Decisions); the command puts them here.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

/// Quota and usage of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaInfo {
    /// The repository.
    pub repository: RepoName,
    /// `quota_bytes` and `quota_files`; null for no limit.
    #[serde(flatten)]
    pub quota: Quota,
    /// `used_bytes` and `used_files`: of versions and staging areas.
    #[serde(flatten)]
    pub usage: Usage,
    /// What of these the staging areas use, in bytes.
    pub areas_bytes: u64,
    /// What of these the staging areas use, in files.
    #[serde(rename = "areas_file_count")]
    pub areas_files: u64,
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

/// What one version uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionUsage {
    /// Its repository.
    pub repository: RepoName,
    /// Its number.
    pub number: VersionNumber,
    /// Whether it is deleted and can still be brought back.
    #[serde(rename = "is_deleted")]
    pub deleted: bool,
    /// Number of names that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Sum of the sizes of its files.
    pub apparent_bytes: u64,
    /// What deleting just this version frees.
    pub unique_bytes: u64,
    /// The rest: shared with other versions and areas, or equal files within it.
    pub shared_bytes: u64,
}

/// What one repository uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryUsage {
    /// The repository.
    pub repository: RepoName,
    /// Number of its versions.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Sum of the sizes of the files of all of them.
    pub apparent_bytes: u64,
    /// What deleting all of them, the deleted ones included, frees.
    pub unique_bytes: u64,
    /// The rest: shared with other repositories and areas, or among its own versions.
    pub shared_bytes: u64,
    /// What its staging areas changed, in bytes.
    pub areas_bytes: u64,
    /// What its staging areas changed, in files.
    #[serde(rename = "areas_file_count")]
    pub areas_files: u64,
    /// Deleted versions that can still be brought back.
    #[serde(rename = "deleted_version_count")]
    pub deleted_versions: u64,
    /// Sum of the sizes of their files.
    pub deleted_bytes: u64,
}

/// Where space goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DuReply {
    /// The repositories asked for as a whole, by name.
    pub repositories: Vec<RepositoryUsage>,
    /// The versions of what was asked for. They travel as
    /// [`Progress::Usages`](super::protocol::Progress::Usages); the command puts them here.
    #[serde(default)]
    pub versions: Vec<VersionUsage>,
    /// Size of all blobs of the store, each counted once.
    pub store_bytes: u64,
    /// What a run frees now.
    pub reclaimable_bytes: u64,
    /// What is unreferenced or deleted and still protected.
    pub protected_bytes: u64,
    /// What is unreferenced and held open by somebody.
    pub pinned_bytes: u64,
}

/// The most versions, areas and paths of each in a [`WhyReply`].
pub const HOLDERS_MAX: usize = 100;

/// The most paths of one version or area in a [`WhyReply`].
pub const HOLDER_PATHS_MAX: usize = 10;

/// What keeps a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// The blob.
    pub hash: BlobHash,
    /// Its length.
    pub size_bytes: u64,
    /// Number of references on it: names in distinct directory pages, and files of areas.
    #[serde(rename = "reference_count")]
    pub references: u64,
    /// Versions, staging areas and deletions that hold it; the first [`HOLDERS_MAX`].
    pub holders: Vec<Holder>,
    /// How many more hold it.
    #[serde(rename = "more_holder_count")]
    pub more_holders: u64,
    /// Whether somebody has it open, or is about to use it.
    pub open: bool,
    /// Until when it is protected although nothing references it; absent when something does.
    #[serde(default, flatten)]
    pub until: Option<Until>,
    /// Whether its file was found missing, too short or altered.
    pub damaged: bool,
    /// Whether nothing keeps it: it goes with the next run.
    pub free: bool,
}

/// One thing that holds a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is.
    #[serde(flatten)]
    pub what: HolderKind,
    /// Paths in it, the first [`HOLDER_PATHS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<RawPath>,
    /// How many more paths there are.
    #[serde(default)]
    #[serde(rename = "more_path_count")]
    pub more_paths: u64,
}

/// Kind of a [`Holder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum HolderKind {
    /// A version.
    Version {
        /// Its repository.
        repository: RepoName,
        /// Its number.
        number: VersionNumber,
    },
    /// A deleted version that can still be brought back.
    DeletedVersion {
        /// Its repository.
        repository: RepoName,
        /// Its number.
        number: VersionNumber,
        /// Until when at least.
        #[serde(flatten)]
        until: Until,
    },
    /// A file of a staging area.
    Area {
        /// Its repository.
        repository: RepoName,
        /// The area.
        area: AreaName,
    },
    /// The version that a staging area started from.
    Base {
        /// Its repository.
        repository: RepoName,
        /// The area.
        area: AreaName,
    },
    /// What was deleted or published and is being taken apart.
    Queue,
    /// Directory pages that no version names: of a commit under way, or about to be collected.
    Pages {
        /// How many references on the blob they have.
        #[serde(rename = "reference_count")]
        references: u64,
    },
}

/// What a [`Request::Wait`](super::protocol::Request::Wait) saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReply {
    /// What it waited for: a number above this one.
    pub after: VersionNumber,
    /// The first such version; `None` when there is none yet.
    pub version: Option<VersionInfo>,
}
