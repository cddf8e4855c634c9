//! What may follow a promise of durability: the list of all that waits for the disk.
//!
//! This is only the list: `durability` keeps the promises, and the thread carries out what follows.

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
    /// The kernel is told of the events, then the caller gets its answer. Neither needs the metadata
    /// thread, so both happen on the durability thread.
    Answer { events: Vec<Event>, reply: Reply<()> },
    /// A commit publishes its version, now that the version's content is on disk.
    CommitSynced { task: TaskId },
    /// Readers see what a commit published. `publish` is given the repository as they are to see it.
    Publish { repo: RepoId, task: TaskId, publish: Box<dyn FnOnce(Result<Repository>) + Send> },
    /// A RENAME that waits for the content up to that epoch goes on.
    Prepared { epoch: u64, reply: Reply<()> },
    /// The collector removes the blobs that it listed. The first `unreferences` transitions to "nothing
    /// names it" are on disk, so a power loss cannot bring a reference back (H2).
    RemoveOrphans { unreferences: u64 },
    /// Private files are removed that no row names any more.
    RemoveObsolete,
    /// Lets the collector continue: the WAL has been copied into the catalog.
    WalCopied,
}
