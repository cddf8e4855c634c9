//! What is asked over the control socket, and how a request fails.
//!
//! All types are plain values with a JSON form; names are validated while they are decoded, so
//! whoever holds a [`Request`] needs no further check of them. This module does no I/O and knows
//! neither sockets nor the engine. Changing a field's meaning needs a new [`PROTOCOL`] number;
//! adding an optional field or a request does not.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, BaseName, RemoteName, RepoName, TagName};

use super::backup::BackupRequest;
use super::commit::CommitRequest;
use super::diff::DiffEntry;
use super::du::VersionUsage;
use super::export::ExportRequest;
use super::fsck::{FsckFinding, FsckRequest};
use super::gc::GcRequest;
use super::import::ImportRequest;
use super::names::NamesOf;
use super::policy::Decision;
use super::remote::RemoteRequest;
use super::reply::Reply;
use super::settings::Setting;
use super::sync::{SyncEvent, SyncRequest};
use super::upkeep::UpkeepRequest;
use super::versions::VersionInfo;
use crate::model::raw::RawPath;
use crate::model::sync::SyncCounts;

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
    /// Something about remotes.
    Remote(RemoteRequest),
    /// Makes a version of what a remote declares. Sends [`Progress::Sync`] and [`Progress::SyncEvents`]; replies
    /// [`Reply::Sync`].
    Sync(SyncRequest),
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
    /// The next findings of a [`Request::Fsck`].
    Findings(Vec<FsckFinding>),
    /// The next decisions of retention, newest versions first, at most [`CHANGES_MAX`] at a time.
    Decisions(Vec<Decision>),
    /// What the next versions use, at most [`CHANGES_MAX`] at a time.
    Usages(Vec<VersionUsage>),
    /// How far a sync is.
    Sync(SyncCounts),
    /// What a sync tells of the next paths, at most [`CHANGES_MAX`] at a time.
    SyncEvents(Vec<SyncEvent>),
}

/// The most things in one [`Progress`] that carries some.
pub const CHANGES_MAX: usize = 1000;

/// Class of a failure. Each has one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Refused or failed, for a reason that the message tells.
    Failed,
    /// The request itself is wrong: arguments, names, protocol.
    Usage,
    /// A repository, version, tag, area or file does not exist.
    NotFound,
    /// Something is in use; trying again later may succeed.
    Busy,
    /// The base is not the newest version any more, or a merge conflicts.
    Conflict,
    /// The caller may not do that.
    Permission,
    /// The store cannot be used: locked, damaged, not a store, of a newer format.
    StoreUnusable,
}

impl ErrorKind {
    /// Every kind, in the order of exit codes.
    pub const ALL: [Self; 7] = [
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::Busy,
        Self::Conflict,
        Self::Permission,
        Self::StoreUnusable,
    ];

    /// Exit code of the command line; 0 is success.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Busy => 4,
            Self::Conflict => 5,
            Self::Permission => 6,
            Self::StoreUnusable => 7,
        }
    }
}

/// Facts behind a failure, for those who want more than the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorDetail {
    /// The area's base is not the newest version.
    StaleBase {
        /// What the area started from.
        base: Option<VersionNumber>,
        /// The versions that came after it, oldest first; the last [`DETAIL_VERSIONS_MAX`].
        between: Vec<VersionInfo>,
    },
    /// Files still open for writing, relative to the area's root; the first
    /// [`DETAIL_PATHS_MAX`].
    OpenFiles(Vec<RawPath>),
    /// Paths changed on both sides of a merge; the first [`DETAIL_PATHS_MAX`].
    Conflicts(Vec<RawPath>),
    /// Files of an import that could not be read, the first [`DETAIL_PATHS_MAX`] of `total`.
    #[serde(rename = "unreadable_files")]
    Unreadable {
        /// The files, relative to what is imported.
        files: Vec<UnreadableFile>,
        /// How many there are in all.
        #[serde(rename = "file_count")]
        total: u64,
    },
    /// What a remote declares changed while it was fetched.
    RemoteChanged {
        /// Which one.
        remote: RemoteName,
    },
    /// Another process owns the store.
    #[serde(rename = "locked_by")]
    Locked {
        /// Its process id, when it is known.
        pid: Option<u32>,
    },
}

/// One file of [`ErrorDetail::Unreadable`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFile {
    /// Which.
    pub path: RawPath,
    /// Why, in words.
    pub reason: String,
}

/// The most versions in an [`ErrorDetail`].
pub const DETAIL_VERSIONS_MAX: usize = 20;

/// The most paths in an [`ErrorDetail`].
pub const DETAIL_PATHS_MAX: usize = 100;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// Class of the failure; decides the exit code.
    pub kind: ErrorKind,
    /// One sentence that names the thing, without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Facts behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<ErrorDetail>>,
}

impl ControlError {
    /// Makes an error without hint and detail.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, detail: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the facts behind it.
    #[must_use]
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }
}
