//! Jobs: work that goes on in the daemon, whoever waits for it.

use serde::{Deserialize, Serialize};

use super::error::ControlError;
use super::utc::{Began, Ended};
use crate::model::id::{JobId, VersionNumber};
use crate::model::name::{RemoteName, RepoName};
use crate::model::raw::RawPath;
use crate::model::sync::SyncProgress;
use crate::model::transfer::TransferProgress;

/// Something about jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobsRequest {
    /// Those that run, and the last ones that ended, oldest first. Replies [`Reply::Jobs`](super::reply::Reply::Jobs).
    List,
    /// Waits for the end of one. Sends [`Progress::Job`](super::protocol::Progress::Job) first and then what the
    /// request that began it would send; replies or fails as that would.
    Follow {
        /// Which.
        job: JobId,
        /// Fails after so long; `None` waits for as long as it takes.
        #[serde(default)]
        seconds: Option<u64>,
    },
    /// Has one end without a result, and waits for that. Replies [`Reply::Jobs`](super::reply::Reply::Jobs) with that
    /// one, which may have come to its end before.
    Cancel {
        /// Which.
        job: JobId,
    },
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// It makes a version of what a remote declares.
    Sync,
    /// It has versions go to a bucket.
    Push,
    /// It has versions come from a bucket.
    Pull,
}

/// Whether a job goes on, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It goes on.
    Running,
    /// It did what was asked for.
    Done,
    /// It failed.
    Failed,
    /// Somebody ended it: a user, the end of the command that it belongs to, or a stop of the daemon.
    Cancelled,
}

impl JobState {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its number.
    pub job: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Whether it goes on.
    pub state: JobState,
    /// Into which repository.
    pub repository: RepoName,
    /// From which remote.
    pub remote: RemoteName,
    /// What of the remote; empty for all.
    pub path: RawPath,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// It goes on when the command that began it ends.
    pub detached: bool,
    /// Who began it.
    pub user: String,
    /// The process that began it; 0 when the daemon cannot see that.
    pub pid: u32,
    /// When it began.
    #[serde(flatten)]
    pub began: Began,
    /// When it ended; absent while it goes on.
    #[serde(default, flatten)]
    pub ended: Option<Ended>,
    /// How far it has come, if it is a sync.
    #[serde(default, flatten)]
    pub progress: Option<SyncProgress>,
    /// How far it has come, if it is a push or a pull.
    #[serde(default, flatten)]
    pub transfer: Option<TransferProgress>,
    /// The version that it made, or the last one that it published elsewhere.
    pub number: Option<VersionNumber>,
    /// Why it failed; hidden from those who could not have begun it.
    pub error: Option<ControlError>,
}
