//! What is asked over the control socket, and how a request fails.
//!
//! All types are plain values with a JSON form; names are validated while they are decoded, so
//! whoever holds a [`Request`] needs no further check of them. This module does no I/O and knows
//! neither sockets nor the engine. Changing a field's meaning needs a new [`PROTOCOL`] number;
//! adding an optional field or a request does not.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, BaseName, RepoName, TagName};

use super::backup::BackupRequest;
use super::commit::CommitRequest;
use super::diff::DiffEntry;
use super::du::VersionUsage;
use super::export::ExportRequest;
use super::find::{FindRequest, FoundPath};
use super::fsck::{FsckFinding, FsckRequest};
use super::gc::GcRequest;
use super::import::ImportRequest;
use super::jobs::{JobInfo, JobsRequest};
use super::log::{LogEntry, LogRequest};
use super::names::NamesOf;
use super::policy::Decision;
use super::prefetch::PrefetchRequest;
use super::reclaim::ReclaimRequest;
use super::remote::RemoteRequest;
use super::reply::Reply;
use super::settings::Setting;
use super::sync::{SyncEvent, SyncRequest};
use super::transfer::TransferRequest;
use super::upkeep::UpkeepRequest;
use crate::model::sync::SyncProgress;
use crate::model::transfer::TransferProgress;

pub use super::error::{
    ControlError, DETAIL_PATHS_MAX, DETAIL_VERSIONS_MAX, ErrorDetail, ErrorKind, UnreadableFile,
};

/// Number of this protocol, sent in [`Hello`]. A command and a daemon with different numbers
/// understand nothing of each other but [`Hello`], [`ControlError`], and what ends a daemon so that
/// the new one can be started: [`Request::Save`], [`Request::Shutdown`] and [`Reply::Done`]. Those
/// keep their form for ever.
///
/// 2: one name for each thing in all replies (`docs/json.md`).
pub const PROTOCOL: u32 = 2;

/// The first message on every connection, sent by the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the daemon.
    pub protocol: u32,
    /// Process id of the daemon.
    pub pid: u32,
    /// Version of the daemon's cairn.
    pub version: String,
}

/// What the daemon sends: first `Hello`, then for each request any number of `Progress` and
/// exactly one `Reply` or `Error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerMessage {
    /// Greets the client.
    Hello(Hello),
    /// The request goes on.
    Progress(Progress),
    /// The request succeeded.
    Reply(Box<Reply>),
    /// The request failed.
    Error(ControlError),
}

/// A request to the store.
///
/// A version is named by its number, a tag or `latest` ([`BaseName`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Sizes, areas, mount points and health of the store. Replies [`Reply::Status`].
    Status,
    /// Makes an empty repository owned by the caller. Replies [`Reply::Repository`].
    CreateRepository {
        /// Its name.
        name: RepoName,
        /// Permission bits of its directory; `None` for 0755.
        mode: Option<u16>,
    },
    /// Deletes a repository without versions and areas. Replies [`Reply::Done`].
    DeleteRepository {
        /// Its name.
        name: RepoName,
    },
    /// Lists repositories by name. Replies [`Reply::Repositories`].
    Repositories,
    /// Lists versions, oldest first, at most [`VERSIONS_MAX`]. Replies [`Reply::Versions`].
    Versions {
        /// The repository.
        repository: RepoName,
        /// Only those with a greater number: how a longer list goes on.
        #[serde(default)]
        after: Option<VersionNumber>,
    },
    /// Describes one version. Replies [`Reply::Version`].
    Show {
        /// The repository.
        repository: RepoName,
        /// The version.
        version: BaseName,
    },
    /// Compares two versions, path by path, equal subtrees skipped. Sends the differences as
    /// [`Progress::Changes`] and replies [`Reply::Diff`].
    Diff {
        /// Repository of the first version.
        repository: RepoName,
        /// The first version.
        first: BaseName,
        /// Repository of the second version.
        other_repository: RepoName,
        /// The second version.
        second: BaseName,
    },
    /// Lists the versions of a repository, the newest first, each with the size of what it changed. With a path it lists
    /// only those versions in which that path changed. Sends [`Progress::Log`] and replies [`Reply::Done`].
    Log(LogRequest),
    /// Looks for paths in all versions. Sends [`Progress::Found`] and replies [`Reply::Done`].
    Find(FindRequest),
    /// What the daemon has counted since it began, and what goes on. Replies [`Reply::Metrics`].
    Metrics,
    /// Lists open staging areas. Replies [`Reply::Areas`].
    Areas {
        /// Only of this repository.
        repository: Option<RepoName>,
    },
    /// Lists names for the completion of a command line: those that begin with `prefix`, at most
    /// [`NAMES_MAX`](super::names::NAMES_MAX). Replies [`Reply::Names`].
    Names {
        /// Which.
        of: NamesOf,
        /// How they begin.
        prefix: String,
    },
    /// Opens a staging area. Replies [`Reply::Area`].
    Stage {
        /// The repository.
        repository: RepoName,
        /// The area's label, without `@`.
        name: AreaName,
        /// The version it starts from; empty without.
        from: Option<BaseName>,
    },
    /// Publishes a staging area as the next version. Replies [`Reply::Commit`].
    Commit(CommitRequest),
    /// Throws a staging area away. Replies [`Reply::Done`].
    Discard {
        /// The repository.
        repository: RepoName,
        /// Its name with the base, or its label where no other area has the same.
        area: AreaName,
    },
    /// Lists tags by name. Replies [`Reply::Tags`].
    Tags {
        /// The repository.
        repository: RepoName,
    },
    /// Makes or moves a tag that protects its version. Replies [`Reply::Tag`].
    SetTag {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: TagName,
        /// What it shall point at.
        version: BaseName,
    },
    /// Deletes a tag. Replies [`Reply::Done`].
    DeleteTag {
        /// The repository.
        repository: RepoName,
        /// The tag.
        tag: TagName,
    },
    /// Deletes versions: all of them, or none when one is refused. Replies [`Reply::Deleted`].
    Delete {
        /// The repository.
        repository: RepoName,
        /// The versions.
        versions: Vec<BaseName>,
        /// Also what is released, newest or tagged; never what is locked.
        force: bool,
    },
    /// Collects garbage; a dry run sends [`Progress::Decisions`] before. Replies [`Reply::Gc`].
    Gc(GcRequest),
    /// Checks the store. See [`FsckRequest`].
    Fsck(FsckRequest),
    /// What a backup of the whole store needs. See [`BackupRequest`].
    Backup(BackupRequest),
    /// Retention, quotas, use of space. See [`UpkeepRequest`].
    Upkeep(UpkeepRequest),
    /// Waits for a version with a number above `after`, for at most [`WAIT_SECONDS_MAX`]: whoever
    /// wants to wait longer asks again. Replies [`Reply::Waited`].
    Wait {
        /// The repository.
        repository: RepoName,
        /// Only later versions; `None` for the newest one that there is.
        #[serde(default)]
        after: Option<VersionNumber>,
        /// How long to wait at most.
        seconds: u64,
    },
    /// Imports a tree. See [`ImportRequest`].
    Import(ImportRequest),
    /// Reads a version without a mount. See [`ExportRequest`].
    Export(ExportRequest),
    /// Fetches the absent content of a version, until the caller goes away. Sends [`Progress::Step`] and
    /// [`Progress::Failures`]; replies [`Reply::Prefetch`].
    Prefetch(PrefetchRequest),
    /// Drops stored content that a remote can give back. Replies [`Reply::Reclaim`].
    Reclaim(ReclaimRequest),
    /// Something about remotes.
    Remote(RemoteRequest),
    /// Makes a version of what a remote declares. Sends [`Progress::Job`], [`Progress::Sync`] and
    /// [`Progress::SyncEvents`]; replies [`Reply::Sync`], or [`Reply::Jobs`] at once if it is to go on by itself.
    Sync(SyncRequest),
    /// Has versions go to a bucket, or come from one. Sends [`Progress::Job`] and [`Progress::Transfer`]; replies
    /// [`Reply::Transfer`], or [`Reply::Jobs`] at once if it is to go on by itself.
    Transfer(TransferRequest),
    /// Something about jobs.
    Jobs(JobsRequest),
    /// Has an edge ask its bucket for news now. Replies [`Reply::Edge`].
    Refresh {
        /// Only once all of them are here, or cannot be had.
        wait: bool,
    },
    /// Brings everything that is in memory only into the store. Fails, naming the files, when that
    /// cannot be done, unless `give_up` says that a stop may lose them.
    Save {
        /// A stop need not wait for room either.
        give_up: bool,
    },
    /// Changes settings of the daemon, all or none; with `check` it only says whether it would.
    /// Replies [`Reply::Done`].
    Remount {
        /// What they shall be; those that are left out stay.
        settings: Vec<Setting>,
        /// Changes nothing.
        check: bool,
    },
    /// Stops the daemon and unmounts. Replies [`Reply::Done`] before it begins.
    Shutdown,
}

/// The most versions in one answer. With [`TEXT_BYTES_MAX`] it keeps answers below a frame's limit.
pub const VERSIONS_MAX: usize = 1000;

/// The most hashes in one request of an import or export.
pub const HASHES_MAX: usize = 10_000;

/// The longest that a [`Request::Wait`] holds a thread of the daemon, in seconds. A client that has
/// gone may hold it as long.
pub const WAIT_SECONDS_MAX: u64 = 5;

/// The longest message or author of a version, in bytes.
pub const TEXT_BYTES_MAX: usize = 8192;

/// Checks a version's message or author.
///
/// # Errors
/// It is longer than [`TEXT_BYTES_MAX`]; `what` names it in the message.
pub fn check_text(what: &str, text: &str) -> Result<(), ControlError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the {what} has {} bytes, at most {TEXT_BYTES_MAX} are kept", text.len());
    Err(ControlError::new(ErrorKind::Usage, message).with_hint("put long texts into a file"))
}

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A step of known or unknown length.
    Step {
        /// What is being done, in a few words: `sealing files`.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all, when known.
        total: Option<u64>,
        /// Whether the units are bytes (otherwise they are things).
        is_bytes: bool,
    },
    /// The next differences of a [`Request::Diff`], in path order, at most
    /// [`CHANGES_MAX`] at a time.
    Changes(Vec<DiffEntry>),
    /// The next versions of a [`Request::Log`], at most
    /// [`LOG_ENTRIES_MAX`](super::log::LOG_ENTRIES_MAX) at a time.
    Log(Vec<LogEntry>),
    /// The next paths of a [`Request::Find`], in path order, at most [`CHANGES_MAX`] at a time.
    Found(Vec<FoundPath>),
    /// The next findings of a [`Request::Fsck`].
    Findings(Vec<FsckFinding>),
    /// The next decisions of retention, newest versions first, at most [`CHANGES_MAX`] at a time.
    Decisions(Vec<Decision>),
    /// What the next versions use, at most [`CHANGES_MAX`] at a time.
    Usages(Vec<VersionUsage>),
    /// The next files whose content could not be had, at most [`CHANGES_MAX`] at a time.
    Failures(Vec<UnreadableFile>),
    /// The job that does what was asked for, before all else that it tells.
    Job(Box<JobInfo>),
    /// How far a sync is.
    Sync(SyncProgress),
    /// How far a push or a pull is.
    Transfer(TransferProgress),
    /// What a sync tells of the next paths, at most [`CHANGES_MAX`] at a time.
    SyncEvents(Vec<SyncEvent>),
}

/// The most things in one [`Progress`] that carries some.
pub const CHANGES_MAX: usize = 1000;
