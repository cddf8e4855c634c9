//! Durability: what has to be on disk before something may happen.
//!
//! The metadata thread never waits for the disk. It says what is to be on disk and what happens
//! [`Then`]; a thread of its own ([`thread`]) brings content to disk first, then the WAL. Private files
//! that no row names any more wait here as well ([`obsolete`]).
//!
//! Must not know what waits, nor why.

mod names;
mod obsolete;
mod thread;
mod to_disk;

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::engine::poison::Poison;
use crate::engine::staging::content::FileContent;
use crate::model::id::AreaId;
use crate::store::layout::PrivateId;
pub(in crate::engine) use obsolete::AreaFiles;
use obsolete::Obsolete;
pub use thread::Then;
pub(in crate::engine) use thread::{
    DurabilityJob, DurabilityThread, JOB_QUEUE_MAX, Jobs, Metadata, SYNC_ONE_BY_ONE_MAX, Scope,
    has_room,
};
pub(in crate::engine) use to_disk::ToDisk;

/// What is to be on disk.
pub(in crate::engine) enum Durable {
    /// Content of blobs; their rows are flushed with the last transaction of the commit.
    Content(Scope),
    /// All rows written so far.
    Rows,
    /// All rows written so far, copied from the WAL into the catalog, as far as readers and writers allow.
    Catalog,
}

/// The metadata thread's end of the line to the durability thread.
pub(in crate::engine) struct Durability {
    /// Without a bound: the durability thread waits for the metadata thread, when it has the journal
    /// written, so the metadata thread must not wait for the durability thread.
    jobs: Option<Sender<DurabilityJob>>,
    obsolete: Obsolete,
    poison: Arc<Poison>,
}

impl Durability {
    /// No file is obsolete yet. Private files from `first_id` on were made by this process.
    pub(in crate::engine) fn new(
        jobs: Sender<DurabilityJob>,
        first_id: u64,
        poison: Arc<Poison>,
    ) -> Self {
        Self { jobs: Some(jobs), obsolete: Obsolete::new(first_id), poison }
    }

    /// Runs `then` once this is on disk, or cannot be brought there.
    pub(in crate::engine) fn when(&self, what: Durable, then: Then) {
        self.submit(match what {
            Durable::Content(scope) => DurabilityJob::Content { scope, then },
            Durable::Rows => DurabilityJob::Rows { then },
            Durable::Catalog => DurabilityJob::CopyWal { then },
        });
    }

    /// Brings content to disk that was synced before and has changed since.
    pub(in crate::engine) fn settle(&self, contents: Vec<Arc<FileContent>>) {
        self.submit(DurabilityJob::Settle { contents });
    }

    /// Has the WAL copied into the catalog if it has become long.
    pub(in crate::engine) fn checkpoint(&self) {
        self.submit(DurabilityJob::Checkpoint);
    }

    /// Tells whether the collector is at work: while it is, it asks for copies of the WAL itself.
    pub(in crate::engine) fn set_collecting(&self, collecting: bool) {
        self.submit(DurabilityJob::Collecting(collecting));
    }

    /// Ends the durability thread after what was submitted so far.
    pub(in crate::engine) fn close(&mut self) {
        self.jobs = None;
    }

    fn submit(&self, job: DurabilityJob) {
        if let Some(jobs) = &self.jobs
            && jobs.send(job).is_err()
        {
            self.poison.set("the durability thread is gone");
        }
    }

    /// A row names the private file.
    pub(in crate::engine) fn named(&mut self, file: PrivateId) {
        self.obsolete.named(file);
    }

    /// A private file is not needed any more, and the rows written so far do not name it. Returns whether
    /// it may go at once; else it does after the next flush.
    #[must_use]
    pub(in crate::engine) fn may_remove_file(
        &mut self,
        area: AreaId,
        file: PrivateId,
        now: Instant,
    ) -> bool {
        self.obsolete.may_remove_file(area, file, now)
    }

    /// Whether the private files of an area without rows may go.
    pub(in crate::engine) fn may_remove_area(&mut self, area: AreaId, now: Instant) -> AreaFiles {
        self.obsolete.may_remove_area(area, now)
    }

    /// Whether the file is to go, but not yet.
    pub(in crate::engine) fn is_obsolete(&self, area: AreaId, file: PrivateId) -> bool {
        self.obsolete.has(area, file)
    }

    /// The area is gone.
    pub(in crate::engine) fn area_removed(&mut self, area: AreaId) {
        self.obsolete.area_removed(area);
    }

    /// Whether obsolete files have waited long enough for a flush of their own, or an area waits for one.
    /// If so, the caller asks for it, and says when it is over.
    pub(in crate::engine) fn wants_flush(&mut self, now: Instant) -> bool {
        self.obsolete.wants_flush(now)
    }

    /// The flush that obsolete files asked for is over: the files that may go.
    #[must_use]
    pub(in crate::engine) fn flushed(&mut self) -> Vec<(AreaId, PrivateId)> {
        self.obsolete.flushed()
    }

    /// The flush failed: where the store is not poisoned, another is wanted after a while.
    pub(in crate::engine) fn flush_failed(&mut self, now: Instant) {
        self.obsolete.flush_failed(now);
    }

    /// All rows written so far are on disk, and nothing more will be written: the files that may go.
    #[must_use]
    pub(in crate::engine) fn all_flushed(&mut self) -> Vec<(AreaId, PrivateId)> {
        self.obsolete.all_flushed()
    }
}
