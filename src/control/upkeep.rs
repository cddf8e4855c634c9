//! What is asked about retention, quotas, deletions taken back, and where space goes.
//!
//! What reads much of the store (`Du`, `Why`) runs on
//! the thread of the connection that asked.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};
use crate::model::policy::{Limit, Policy, RuleChanges};

use super::du::DuTarget;
use super::flag::Flag;
use super::why::WhyTarget;

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
