//! The sync thread: everything that waits for the disk.
//!
//! The metadata thread never syncs (H6). It writes to the WAL and hands the promise to this
//! thread, which flushes content first, then the WAL, then answers: so a row that survives a power
//! loss names content that survived too. Requests that arrive while a flush runs share the next.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::error::{EngineError, Result};
use super::pins::BlobPin;
use super::request::Request;
use super::staging::content::FileContent;
use super::staging::{Blocked, Staging};
use super::to_disk::ToDisk;
use crate::store::catalog::Checkpointer;
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::panics;
use crate::store::pool::Pool;

/// Jobs that may wait; who asks for more durability than the disk gives waits in line.
pub(super) const SYNC_QUEUE_MAX: usize = 1024;

/// Commits of at most this many new blobs sync them one by one; above it one `syncfs` of the
/// whole file system is cheaper, although it also writes what strangers made dirty (H18).
pub(super) const SYNC_ONE_BY_ONE_MAX: usize = 64;

/// A WAL longer than this is copied into the catalog after the next flush.
const WAL_BYTES_MAX: u64 = 16 << 20;

/// A WAL file longer than this is cut.
const WAL_FILE_BYTES_MAX: u64 = 48 << 20;

type Told = Box<dyn FnOnce(Result<()>) + Send>;

/// What runs when a promise is kept or broken. One that is lost counts as broken: somebody waits.
pub struct Then(Option<Told>);

impl Then {
    /// Runs `told` once.
    pub fn new(told: impl FnOnce(Result<()>) + Send + 'static) -> Self {
        Self(Some(Box::new(told)))
    }

    /// The promise was kept, or why it was not.
    pub(super) fn tell(mut self, result: Result<()>) {
        if let Some(told) = self.0.take() {
            told(result);
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(Err(EngineError::Poisoned));
        }
    }
}

/// Content to bring to disk.
pub(super) enum Scope {
    /// None: only rows.
    Rows,
    /// These blobs; they are held, since some may be nobody's and the collector's next.
    Blobs(Vec<BlobPin>),
    /// Everything on the store's file system.
    Everything,
}

/// One job.
pub(super) enum SyncJob {
    /// Content, then the WAL as it is now, then `then`.
    Catalog { scope: Scope, then: Then },
    /// A file, with whatever the journal says of it and of the names above it.
    File { content: Arc<FileContent>, then: Then },
    /// The journal as it is now, and the WAL.
    Journal { then: Then },
    /// The content of a file that was synced before and has changed since. The journal may say so
    /// afterwards.
    Settle { content: Arc<FileContent> },
    /// Nothing but a look at the length of the WAL: much was written since the last one.
    Checkpoint,
}

pub(super) struct SyncThread {
    pub(super) layout: Layout,
    pub(super) pool: Arc<Pool>,
    pub(super) staging: Arc<Staging>,
    pub(super) checkpointer: Checkpointer,
    pub(super) requests: Sender<Request>,
    pub(super) jobs: Receiver<SyncJob>,
}

impl SyncThread {
    /// Runs until all senders are gone.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut jobs = vec![first];
            jobs.extend(self.jobs.try_iter().take(SYNC_QUEUE_MAX));
            // Nobody knows what reached the disk when this fails half-way.
            if panics::contain("the sync thread", || self.serve(jobs)).is_err() {
                self.staging.set_blocked(Blocked::Poisoned);
            }
            let checkpointed = panics::contain("a checkpoint", || self.checkpoint());
            if let Ok(Err(error)) = checkpointed {
                log::warn!("cannot checkpoint the catalog: {error}");
            }
        }
        if let Err(error) = self.checkpointer.truncate() {
            log::warn!("cannot checkpoint the catalog: {error}");
        }
    }

    fn serve(&self, jobs: Vec<SyncJob>) {
        let mut kept = Vec::new();
        let mut journal = false;
        let mut unsettled = Vec::new();
        panics::point("sync");
        for job in jobs {
            let (result, then) = match job {
                SyncJob::Catalog { scope, then } => (self.sync_scope(&scope), then),
                SyncJob::File { content, then } => {
                    journal = true;
                    (self.sync_content(&content), then)
                }
                SyncJob::Journal { then } => {
                    journal = true;
                    (Ok(()), then)
                }
                SyncJob::Settle { content } => {
                    unsettled.push(content);
                    continue;
                }
                SyncJob::Checkpoint => continue,
            };
            match result {
                Ok(()) => kept.push(then),
                Err(error) => then.tell(Err(error)),
            }
        }
        if let Err(error) = self.to_disk().settle(&unsettled) {
            log::error!("changed files keep the content that was synced: {error}");
        }
        if kept.is_empty() {
            return;
        }
        let flushed = if journal { self.flush_journal() } else { Ok(()) };
        let synced = flushed.and_then(|()| {
            durable::sync_file(&self.layout.wal()).map_err(|error| self.poison(error))
        });
        for then in kept {
            then.tell(match &synced {
                Ok(()) => Ok(()),
                Err(_) => Err(EngineError::Poisoned),
            });
        }
    }

    fn flush_journal(&self) -> Result<()> {
        let (send, receive) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |result| drop(send.send(result)));
        self.requests.send(Request::Flush { reply }).map_err(|_| EngineError::Stopping)?;
        receive.recv().map_err(|_| EngineError::Stopping)?
    }

    fn sync_content(&self, content: &Arc<FileContent>) -> Result<()> {
        self.to_disk().content(content)
    }

    fn to_disk(&self) -> ToDisk<'_> {
        ToDisk { layout: &self.layout, pool: &self.pool, staging: &self.staging }
    }

    fn sync_scope(&self, scope: &Scope) -> Result<()> {
        match scope {
            Scope::Rows => Ok(()),
            Scope::Everything => self.to_disk().everything(),
            Scope::Blobs(pins) => {
                pins.iter().map(BlobPin::hash).try_for_each(|hash| self.to_disk().blob(hash))
            }
        }
    }

    fn poison(&self, error: StoreError) -> EngineError {
        self.to_disk().poison(error)
    }

    /// Copies the WAL into the catalog. While rows keep coming, a passive copy never catches up
    /// and the file only grows; then the rest is copied with the writer held off, which is short
    /// because the passive copy came just before.
    fn checkpoint(&mut self) -> std::result::Result<(), StoreError> {
        if self.checkpointer.wal_bytes()? > WAL_BYTES_MAX {
            self.checkpointer.passive()?;
        }
        let file_bytes = std::fs::metadata(self.layout.wal()).map_or(0, |wal| wal.len());
        if file_bytes > WAL_FILE_BYTES_MAX {
            self.checkpointer.truncate()?;
        }
        Ok(())
    }
}
