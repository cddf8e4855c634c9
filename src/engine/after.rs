//! What may follow a promise of durability: the list of all that waits for the disk.
//!
//! Must not know how the promise is kept, nor what becomes of it.

use super::error::Result;
use super::event::Event;
use super::registry::Repository;
use super::reply::Reply;
use crate::model::id::RepoId;

/// Number of a commit among those of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TaskId(u64);

impl TaskId {
    /// The one after this.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens on the metadata thread once something is on disk, or cannot be brought there.
#[allow(missing_docs, reason = "the fields say what the variant's text says")]
pub enum After {
    /// The kernel hears of the events, then the caller of its change. Nothing of this needs the metadata
    /// thread, so it happens on the durability thread.
    Answer { events: Vec<Event>, reply: Reply<()> },
    /// A commit whose content is there publishes its version.
    CommitSynced { task: TaskId },
    /// Readers see what a commit published. `publish` gets what they are to see of the repository.
    Publish { repo: RepoId, task: TaskId, publish: Box<dyn FnOnce(Result<Repository>) + Send> },
    /// A RENAME that waits for the content up to that epoch goes on.
    Prepared { epoch: u64, reply: Reply<()> },
    /// The collector removes the blobs that it listed: the cause of so many unreferences is there (H2).
    RemoveOrphans { unreferences: u64 },
    /// Private files go that no row names any more.
    RemoveObsolete,
    /// Lets the collector continue: the WAL has been copied into the catalog.
    WalCopied,
}
