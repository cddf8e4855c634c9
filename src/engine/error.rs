//! What a request to the engine can be refused with.

use std::sync::Arc;

use super::fetcher::NotFetched;
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::{AreaName, NameError, RemoteName, RepoName};
use crate::model::text::{self, count};
use crate::store::error::StoreError;

/// Why the engine refused a request. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A repository of that name exists.
    #[error("repository `{0}` exists already")]
    RepositoryExists(RepoName),
    /// A deleted repository cannot come back beside another one of its name.
    #[error(
        "the deleted repository `{0}` cannot be brought back: another of that name was made since"
    )]
    NameTaken(RepoName),
    /// The repository is gone.
    #[error("the repository was deleted meanwhile (id {0})")]
    NoRepository(RepoId),
    /// The repository still has versions or areas.
    #[error(
        "repository `{name}` still has {} and {}",
        count(*versions, "version"),
        count(*areas, "staging area")
    )]
    RepositoryNotEmpty {
        /// The repository.
        name: RepoName,
        /// Its versions.
        versions: usize,
        /// Its open areas.
        areas: usize,
    },
    /// An area of that name is open.
    #[error("staging area `{0}` exists already")]
    AreaExists(AreaName),
    /// There are as many areas as may be open.
    #[error("{areas} staging areas are open already; publish or discard some")]
    TooManyAreas {
        /// How many are open, in the repository or in the store.
        areas: usize,
    },
    /// The area is gone.
    #[error("the staging area was published or discarded meanwhile (id {0})")]
    NoArea(AreaId),
    /// No version, tag or base of that name.
    #[error("no version `{0}`")]
    NoVersion(String),
    /// Content that is not in the store could not be fetched.
    #[error("the content {name} could not be fetched: {reason}")]
    NotFetched {
        /// Which.
        name: ContentName,
        /// Why.
        reason: NotFetched,
    },
    /// A tag of that name exists.
    #[error("tag `{0}` exists already")]
    TagExists(String),
    /// No tag of that name.
    #[error("no tag `{0}`")]
    NoTag(String),
    /// An invalid name.
    #[error("`{name}` is not a valid name: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// The rule it breaks.
        reason: NameError,
    },
    /// The wanted version number is taken.
    #[error("version {0} exists already, or existed once")]
    NumberTaken(VersionNumber),
    /// What was to be a copy of a version elsewhere is not equal to it.
    #[error(
        "version {number} would have the root hash {found}, and the one that it is a copy of has {expected}"
    )]
    AnotherVersion {
        /// Its number.
        number: VersionNumber,
        /// The hash of what is there.
        found: TreeHash,
        /// The hash of the other one.
        expected: TreeHash,
    },
    /// The wanted version number is not the next one.
    #[error("version {wanted} cannot be made: the next number is {next}")]
    NumberNotNext {
        /// What was asked for.
        wanted: VersionNumber,
        /// What would be accepted.
        next: VersionNumber,
    },
    /// Files of the area are open for writing.
    #[error("files are still open for writing")]
    Busy {
        /// Their paths in the area (some of them).
        files: Vec<String>,
    },
    /// The area started from a version that is not the newest any more.
    #[error("the area started from version {base}, and versions {} came since", join(between))]
    StaleBase {
        /// What it started from (0: from nothing).
        base: VersionNumber,
        /// What was published since.
        between: Vec<VersionNumber>,
    },
    /// A three-way merge found conflicts.
    #[error("{} with the newest version", count(conflicts.len(), "conflict"))]
    Conflicts {
        /// Path and reason of each.
        conflicts: Vec<(String, String)>,
    },
    /// The version may not be deleted.
    #[error("version {number} is {reason}")]
    Protected {
        /// The version.
        number: VersionNumber,
        /// Why it is kept.
        reason: String,
        /// Whether `--force` deletes it nevertheless.
        force_helps: bool,
    },
    /// The version is not among the deleted ones that can be brought back.
    #[error("version `{0}` is not deleted, or its content is gone already")]
    NotDeleted(String),
    /// The policy of the repository cannot be read, so that no rule of it can be changed alone.
    #[error("the policy of repository `{0}` cannot be read, so no single rule can be changed")]
    UnreadablePolicy(RepoName),
    /// No such remote.
    #[error("no remote `{0}`")]
    NoRemote(RemoteName),
    /// The quota of the repository does not allow it.
    #[error("the quota of repository `{0}` does not allow it")]
    OverQuota(RepoName),
    /// Files could not be written into the pool.
    #[error("{} could not be sealed: {reason}", text::count(*count, "file"))]
    Unsealed {
        /// How many.
        count: usize,
        /// The reason of one of them.
        reason: String,
        /// Whether the store is full.
        full: bool,
    },
    /// A commit that nobody waits for any more.
    #[error("the command that asked for it has ended")]
    Abandoned,
    /// Not everything could be saved before the end.
    #[error("not everything was saved: {0}")]
    Unsaved(String),
    /// Files of the area are not in the pool yet, and the commit may not wait for them any longer.
    #[error("{}", not_sealed(*files))]
    NotSealed {
        /// How many; 0 where only blobs that an outage left unverified are still being checked.
        files: usize,
    },
    /// Files of the area have damaged content, so nobody could read them in the version.
    #[error("the content of {} is damaged: {}", count(files.len(), "file"), files.join(", "))]
    Damaged {
        /// Their paths in the area (some of them).
        files: Vec<String>,
    },
    /// Damage of the catalog took something from the area. If it were published as it is, nobody would
    /// notice what is missing.
    #[error("{0}")]
    Lost(String),
    /// The area is being committed by another request.
    #[error("the area is being committed already")]
    CommitRunning,
    /// No such import.
    #[error("no import {0} on this connection")]
    NoImport(u64),
    /// The area of an import was discarded while it ran.
    #[error("the staging area of this import is gone")]
    ImportAreaGone,
    /// An entry of an import could not be stored.
    #[error("{path}: {reason}")]
    Entry {
        /// Where it was to be.
        path: String,
        /// Why.
        #[source]
        reason: Box<EngineError>,
    },
    /// An earlier call of the import put something that could not be stored. Every later call of that
    /// import fails with this.
    #[error("{0}")]
    ImportFailed(#[source] Arc<EngineError>),
    /// The file that an import copies became shorter meanwhile.
    #[error("it became shorter while it was imported")]
    SourceShrank,
    /// An import has no thread to store with.
    #[error("cannot start a thread for the import: {0}")]
    ImportThread(#[source] std::io::Error),
    /// The thread of an import has ended.
    #[error("the import has ended; the daemon's log tells why")]
    ImportEnded,
    /// Bad content of a request.
    #[error("{0}")]
    Invalid(String),
    /// The area is in use, and its rows are to be repaired.
    #[error("the area is in use: end the daemon and repair then")]
    AreaInUse(AreaId),
    /// A file was changed again and again while it was synced.
    #[error("a file changes faster than it can be synced")]
    ChangesTooFast,
    /// A frozen area is not as it was frozen: a defect of ours.
    #[error("staging area {area} changed while it was committed: {what}")]
    Inconsistent {
        /// The area.
        area: AreaId,
        /// What is not as it was.
        what: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A failed fsync or database commit stopped all changes (R4).
    #[error("the store refuses changes after a failed write: restart the daemon")]
    Poisoned,
    /// The store was opened for reading.
    #[error("the store is served read-only, nothing is changed")]
    ReadOnly,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

impl EngineError {
    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Unsealed { full, .. } => *full,
            Self::Entry { reason, .. } => reason.is_full(),
            Self::ImportFailed(reason) => reason.is_full(),
            _ => false,
        }
    }
}

fn not_sealed(files: usize) -> String {
    match files {
        0 => "content is still being checked after an outage".to_owned(),
        _ => format!(
            "{} of the area {} still being hashed",
            count(files, "file"),
            text::is_or_are(files)
        ),
    }
}

fn join(numbers: &[VersionNumber]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What most engine calls return.
pub type Result<T> = std::result::Result<T, EngineError>;
