//! What is asked of the metadata thread, and how it answers.
//!
//! Every request carries its answer as a callback, which runs on the metadata thread or, where
//! durability or kernel notifications come first, on the thread that provides those. Callbacks
//! must not block.

use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::after::{After, TaskId};
use super::blobs::Page;
use super::commit::{BuildReport, CommitOptions, CommitOutcome, ForRename};
use super::durability::Metadata;
use super::error::{EngineError, Result};
use super::fsck::Job;
use super::gc::{Leftover, RunKind, RunReport, WorkerReport};
use super::pins::{BlobPin, BlobsHold, TreePin};
use super::unsaved::Remaining;
use super::workers::Tell;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::{AreaName, RemoteName, RepoName, TagName};
use crate::model::policy::{Policy, RuleChanges};
use crate::model::quota::{Charge, Quota, Usage};
use crate::model::time::Timestamp;
use crate::model::tree::Root;
use crate::store::catalog::ReclaimableRow;
use crate::store::pool::{Damage, Pool};

pub use super::areas::{AreaNotes, Owner, OwnerChange};
pub use super::blobs::{IncomingBlob, MadeAbsent, Reuse, TreesFor};
pub use super::remotes::RemoteNote;
pub use super::reply::Reply;
pub use super::versions::FlagChange;

/// One request.
#[allow(missing_docs, reason = "the fields say what the variant's text says")]
pub enum Request {
    /// Makes an empty repository. One that is `provisional` is taken away at the next start unless it
    /// has become something until then.
    CreateRepository {
        name: RepoName,
        owner: Owner,
        provisional: bool,
        now: Timestamp,
        reply: Reply<RepoId>,
    },
    /// Changes owner or mode of a repository.
    ChangeRepository { repo: RepoId, change: OwnerChange, now: Timestamp, reply: Reply<()> },
    /// Deletes an empty repository.
    DeleteRepository { repo: RepoId, now: Timestamp, reply: Reply<()> },
    /// Brings a deleted repository back with each version whose content is still there. Replies with
    /// the numbers of these versions.
    UndeleteRepository { name: RepoName, now: Timestamp, reply: Reply<Vec<VersionNumber>> },
    /// Opens a staging area; its name says the base.
    OpenArea {
        repo: RepoId,
        name: AreaName,
        owner: Owner,
        journalled: bool,
        now: Timestamp,
        reply: Reply<AreaId>,
    },
    /// Sets what the coming commit uses.
    NoteArea { area: AreaId, notes: AreaNotes, reply: Reply<()> },
    /// Throws an area away.
    DiscardArea { area: AreaId, reply: Reply<()> },
    /// Prepares for a RENAME that publishes, so that it is short.
    ForRename(ForRename),
    /// Publishes an area.
    Commit { area: AreaId, options: CommitOptions, reply: Reply<CommitOutcome> },
    /// Makes or moves a tag. `fresh` refuses to move one.
    SetTag {
        repo: RepoId,
        tag: TagName,
        number: VersionNumber,
        fresh: bool,
        now: Timestamp,
        reply: Reply<()>,
    },
    /// Gives a tag another name, replacing what has it.
    RenameTag { repo: RepoId, from: TagName, to: TagName, now: Timestamp, reply: Reply<()> },
    /// Deletes a tag.
    DeleteTag { repo: RepoId, tag: TagName, now: Timestamp, reply: Reply<()> },
    /// Deletes versions: all or none.
    DeleteVersions {
        repo: RepoId,
        numbers: Vec<VersionNumber>,
        force: bool,
        now: Timestamp,
        reply: Reply<()>,
    },
    /// Brings deleted versions back, with their own names where those are free: all or none.
    UndeleteVersions { repo: RepoId, numbers: Vec<VersionNumber>, now: Timestamp, reply: Reply<()> },
    /// Releases or locks versions, or takes that back: all or none.
    FlagVersions { repo: RepoId, numbers: Vec<VersionNumber>, change: FlagChange, reply: Reply<()> },
    /// Sets or clears the retention policy.
    SetPolicy { repo: RepoId, policy: Option<Policy>, reply: Reply<()> },
    /// Changes rules of the policy.
    ChangePolicy { repo: RepoId, rules: RuleChanges, reply: Reply<()> },
    /// Sets the quota; what is used already stays.
    SetQuota { repo: RepoId, quota: Quota, reply: Reply<()> },
    /// Adds a remote or gives it other settings (`Some`), or removes it. What was seen of it is forgotten unless `keeps_seen`.
    PutRemote { name: RemoteName, settings: Option<String>, keeps_seen: bool, reply: Reply<()> },
    /// Keeps what a sync found out. Nobody waits for it to be on disk: it can be found out again.
    NoteRemote { note: RemoteNote, reply: Reply<()> },
    /// Answers when all changes made so far are in the catalog (not yet synced), except those that wait
    /// for content which cannot be saved. Waits for closed files to be sealed.
    Flush { reply: Reply<()> },
    /// Answers when all changes that need not wait for content are in the catalog (not yet synced), with
    /// those of these files and directories that do wait for content.
    FlushNodes { nodes: BTreeSet<NodeId>, reply: Reply<BTreeSet<NodeId>> },
    /// Brings everything that is in memory only into the store, and says what cannot be.
    Save { reply: Reply<Remaining> },
    /// Takes hashed files into the pool; the pins keep them until something names them.
    AdoptBlobs { blobs: Vec<IncomingBlob>, reply: Reply<Vec<BlobPin>> },
    /// Pins and touches the blobs that exist, and says how long they are. `is_own`: whoever asks has the content itself, and
    /// relies on this store to keep it.
    ReuseBlobs { hashes: Vec<BlobHash>, is_own: bool, reply: Reply<Vec<Reuse>> },
    /// Pins those of the trees that exist. While any blob is damaged, or is not as `trees_for` needs it, it pins none: only a
    /// look at each blob of a tree could tell whether the tree has it.
    ReuseTrees { trees: Vec<TreeHash>, trees_for: TreesFor, reply: Reply<Vec<Option<TreePin>>> },
    /// Writes pages of trees, children first, and pins each: nothing references them yet.
    KeepPages { pages: Vec<Page>, reply: Reply<Vec<TreePin>> },
    /// Asks for a collection run. It is answered when a run that began after the request ended.
    Collect { kind: RunKind, reply: Reply<RunReport> },
    /// Makes contents absent, a slice of them. Nobody waits for it to be on disk.
    MakeAbsent { contents: Vec<ReclaimableRow>, reply: Reply<MadeAbsent> },
    /// Removes the files of contents that are absent by what is on disk; replies whether the space of all files that were
    /// removed so far is free.
    RemoveAbsent { contents: Vec<ReclaimableRow>, reply: Reply<bool> },
    /// Has the kernel forget what it only caches of files with these contents.
    ForgetCached { names: Arc<BTreeSet<ContentName>>, reply: Reply<()> },
    /// Holds every blob for as long as the answer is kept.
    HoldBlobs { reply: Reply<BlobsHold> },
    /// From the accountant: what a version adds to `base`, or why that is unknown.
    Charged {
        repo: RepoId,
        number: VersionNumber,
        charge: std::result::Result<Charge, EngineError>,
    },
    /// From the accountant: all that was asked is computed.
    Accounted,
    /// From the sweeper: files that may be leftovers.
    Swept { leftovers: Vec<Leftover> },
    /// From the sweeper: the search is over.
    SweepEnded { result: std::result::Result<(), EngineError> },
    /// From a tree builder: the next pages of a commit, children first.
    CommitPages { task: TaskId, pages: Vec<Page> },
    /// From a tree builder: the trees are complete; with what the version adds to the newest one.
    CommitBuilt { task: TaskId, built: std::result::Result<(Root, Usage), EngineError> },
    /// From the durability thread: something is on disk, or cannot be brought there, so `after` happens.
    Durable { after: After, result: Result<()> },
    /// From the start: a blob that may not have reached the disk before a power loss was checked.
    BlobVerified { hash: BlobHash, intact: bool },
    /// From a check or a scrub: one slice of work.
    Fsck { job: Job, reply: Reply<bool> },
    /// A blob's file was found missing, too short or unreadable (H5).
    Damaged(Damage),
    /// Ends the thread after the journal is out.
    Stop { reply: Reply<()> },
}

impl Request {
    /// Refuses a request that would change the store, which was opened for reading; any other request
    /// comes back. A change that slips through is refused by
    /// [`StoreWriter::write`](super::writer::StoreWriter::write).
    pub(super) fn refuse_changes(self) -> Option<Self> {
        let refused = || EngineError::ReadOnly;
        match self {
            Self::CreateRepository { reply, .. } => reply(Err(refused())),
            Self::OpenArea { reply, .. } => reply(Err(refused())),
            Self::Commit { reply, .. } => reply(Err(refused())),
            Self::UndeleteRepository { reply, .. } => reply(Err(refused())),
            Self::ChangeRepository { reply, .. }
            | Self::DeleteRepository { reply, .. }
            | Self::NoteArea { reply, .. }
            | Self::DiscardArea { reply, .. }
            | Self::SetTag { reply, .. }
            | Self::RenameTag { reply, .. }
            | Self::DeleteTag { reply, .. }
            | Self::DeleteVersions { reply, .. }
            | Self::UndeleteVersions { reply, .. }
            | Self::FlagVersions { reply, .. }
            | Self::SetPolicy { reply, .. }
            | Self::ChangePolicy { reply, .. }
            | Self::SetQuota { reply, .. }
            | Self::PutRemote { reply, .. }
            | Self::NoteRemote { reply, .. } => reply(Err(refused())),
            Self::AdoptBlobs { reply, .. } => reply(Err(refused())),
            Self::ReuseBlobs { reply, .. } => reply(Err(refused())),
            Self::ReuseTrees { reply, .. } => reply(Err(refused())),
            Self::KeepPages { reply, .. } => reply(Err(refused())),
            Self::Collect { reply, .. } => reply(Err(refused())),
            Self::MakeAbsent { reply, .. } => reply(Err(refused())),
            Self::RemoveAbsent { reply, .. } => reply(Err(refused())),
            // Nothing can have changed, so there is nothing to write.
            Self::Flush { reply } => reply(Ok(())),
            Self::FlushNodes { reply, .. } => reply(Ok(BTreeSet::new())),
            // These change the store; to confirm a suspicion does not.
            Self::Fsck { job: Job::Repair(_) | Job::Unshare(..) | Job::Note(..), reply } => {
                reply(Err(refused()));
            }
            // A mark of damage keeps readers from the blob even where it cannot be written.
            other @ (Self::Fsck { job: Job::Confirm(_) | Job::Mark(_), .. }
            | Self::Save { .. }
            | Self::ForRename(_)
            | Self::HoldBlobs { .. }
            | Self::ForgetCached { .. }
            | Self::Charged { .. }
            | Self::Accounted
            | Self::Swept { .. }
            | Self::SweepEnded { .. }
            | Self::CommitPages { .. }
            | Self::CommitBuilt { .. }
            | Self::Durable { .. }
            | Self::BlobVerified { .. }
            | Self::Damaged { .. }
            | Self::Stop { .. }) => return Some(other),
        }
        None
    }
}

impl From<BuildReport> for Request {
    fn from(report: BuildReport) -> Self {
        match report {
            BuildReport::Pages(task, pages) => Self::CommitPages { task, pages },
            BuildReport::Built(task, built) => Self::CommitBuilt { task, built },
        }
    }
}

impl From<WorkerReport> for Request {
    fn from(report: WorkerReport) -> Self {
        match report {
            WorkerReport::Charged(repo, number, charge) => Self::Charged { repo, number, charge },
            WorkerReport::Accounted => Self::Accounted,
            WorkerReport::Swept(leftovers) => Self::Swept { leftovers },
            WorkerReport::SweepEnded(result) => Self::SweepEnded { result },
        }
    }
}

/// The means by which a worker thread tells the metadata thread one kind of thing.
pub(super) fn line<T: Into<Request>>(requests: &Sender<Request>) -> Tell<T> {
    let requests = requests.clone();
    Arc::new(move |told: T| requests.send(told.into()).map_err(|_| EngineError::Stopping))
}

impl Metadata for Sender<Request> {
    fn flush(&self) -> Result<()> {
        ask(self, |reply| Request::Flush { reply })
    }

    fn flush_nodes(&self, nodes: BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>> {
        ask(self, |reply| Request::FlushNodes { nodes, reply })
    }

    fn damaged(&self, damage: Damage) {
        if self.send(Request::Damaged(damage)).is_err() {
            log::debug!("the engine has stopped");
        }
    }
}

/// Hands over a request and waits for its answer: for the durability thread.
fn ask<T: Send + 'static>(
    requests: &Sender<Request>,
    make: impl FnOnce(Reply<T>) -> Request,
) -> Result<T> {
    let (send, receive) = crossbeam_channel::bounded(1);
    let reply = Box::new(move |result| drop(send.send(result)));
    requests.send(make(reply)).map_err(|_| EngineError::Stopping)?;
    receive.recv().map_err(|_| EngineError::Stopping)?
}

/// Has the pool tell the metadata thread of each blob that cannot be opened or read.
pub(super) fn have_damage_reported(pool: &Arc<Pool>, requests: &Sender<Request>) -> Arc<Pool> {
    let requests = requests.clone();
    pool.on_damage(Box::new(move |damage| report_damage(&requests, damage)));
    Arc::clone(pool)
}

/// Tells the metadata thread of a damaged blob, without waiting. If the queue is full it is not told: the
/// next reader of the blob reports it again.
pub(super) fn report_damage(requests: &Sender<Request>, damage: Damage) {
    let hash = damage.hash;
    if requests.try_send(Request::Damaged(damage)).is_err() {
        log::error!("blob {hash} is damaged (not recorded: the engine is busy)");
    }
}
