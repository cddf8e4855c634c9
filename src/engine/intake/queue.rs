//! The thread that stores what an import's command sends, in order, while the command goes on.
//!
//! While the metadata thread takes one batch into the pool, the next one is written. A failure is kept and
//! told in the answer to the next request; batches that came after it are not stored. A second thread
//! brings what is written to disk from time to time, so that the commit waits for little (H7).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::content::{Adopting, StoredContent};
use super::{Batch, Import, at};
use crate::engine::error::{EngineError, Result};
use crate::model::hash::BlobHash;
use crate::model::import::{FileSource, ImportContent, ImportEntry};

/// Batches that may wait; each has up to a frame's payload in memory.
const WAITING_MAX: usize = 1;

/// Bytes of small files after which what is written is brought to disk ahead of the commit.
const FLUSH_BYTES: usize = 32 << 20;

/// What is settled is about to be published. Where it has more entries than this part of the most, a checkpoint writes its
/// trees: a commit has the pages of all directories that changed in memory.
const SETTLED_PART: usize = 50;

enum Job {
    Put(Batch),
    /// Answered when everything before it is stored.
    Settle(Sender<()>),
}

/// The way into the store.
pub(super) struct ImportQueue {
    jobs: Mutex<Option<Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failed: Arc<Mutex<Option<Failure>>>,
}

/// What could not be stored, and why.
struct Failure {
    error: Arc<EngineError>,
    /// Later batches were dropped.
    dropped: bool,
}

/// A batch whose contents are being taken into the pool.
struct Waiting {
    entries: Vec<ImportEntry>,
    contents: Vec<StoredContent>,
    adopting: Adopting,
}

impl ImportQueue {
    pub(super) fn start(id: u64, import: &Arc<Import>) -> Result<Self> {
        let (jobs, queue) = bounded(WAITING_MAX);
        let (flush, flushes) = bounded::<()>(1);
        let failed = Arc::default();
        let (import, failure) = (Arc::clone(import), Arc::clone(&failed));
        let engine = Arc::clone(&import.engine);
        let mut worker =
            Worker { import, failed: failure, unflushed: 0, flush, named: Vec::new(), entries: 0 };
        let store = spawn(format!("import-{}", id), move || worker.run(&queue))?;
        // The worker ends with its queue, and with it this one.
        let ahead = move || flushes.iter().for_each(|()| engine.flush_ahead());
        let flush = spawn(format!("flush-{}", id), ahead)?;
        let threads = Mutex::new(vec![store, flush]);
        Ok(Self { jobs: Mutex::new(Some(jobs)), threads, failed })
    }

    /// Hands over a batch; waits while others wait already.
    pub(super) fn put(&self, batch: Batch) -> Result<()> {
        self.check()?;
        self.send(Job::Put(batch))
    }

    /// Waits until everything is stored.
    pub(super) fn settle(&self) -> Result<()> {
        let (send, settled) = bounded(1);
        self.send(Job::Settle(send))?;
        settled.recv().map_err(|_| ended())?;
        self.check()
    }

    /// Stores nothing more; waits for what is being stored.
    pub(super) fn end(&self) {
        drop(self.jobs.lock().take());
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of an import panicked");
            }
        }
    }

    fn send(&self, job: Job) -> Result<()> {
        let jobs = self.jobs.lock().clone().ok_or_else(ended)?;
        jobs.send(job).map_err(|_| ended())
    }

    /// The first failure, if it was not told yet. If later batches were dropped because of it, the import
    /// cannot be completed, and each later call is told.
    fn check(&self) -> Result<()> {
        let mut failed = self.failed.lock();
        let told = match &*failed {
            Some(Failure { error, dropped: true }) => Some(Arc::clone(error)),
            Some(Failure { dropped: false, .. }) | None => failed.take().map(|failed| failed.error),
        };
        told.map_or(Ok(()), |error| Err(EngineError::ImportFailed(error)))
    }
}

impl Drop for ImportQueue {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body).map_err(EngineError::ImportThread)
}

fn ended() -> EngineError {
    EngineError::ImportEnded
}

struct Worker {
    import: Arc<Import>,
    failed: Arc<Mutex<Option<Failure>>>,
    /// Bytes written since the last flush began.
    unflushed: usize,
    flush: Sender<()>,
    /// Entries that were put since the last checkpoint.
    entries: usize,
    /// The content that they name.
    named: Vec<BlobHash>,
}

impl Worker {
    fn run(&mut self, jobs: &Receiver<Job>) {
        let mut waiting = None;
        for job in jobs {
            let done = match job {
                Job::Put(batch) => self.put(batch, &mut waiting),
                Job::Settle(settled) => {
                    let done =
                        self.name(waiting.take()).and_then(|()| self.checkpoint(SETTLED_PART));
                    self.note(done);
                    if settled.send(()).is_err() {
                        log::debug!("nobody waits for an import to settle any more");
                    }
                    Ok(())
                }
            };
            self.note(done);
        }
        if let Some(Waiting { adopting, .. }) = waiting
            && let Err(error) = self.import.hold(adopting)
        {
            log::debug!("content of an import that ended: {error}");
        }
    }

    fn note(&self, done: Result<()>) {
        if let Err(error) = done {
            self.failed.lock().get_or_insert(Failure { error: Arc::new(error), dropped: false });
        }
    }

    /// Writes a batch, and puts the entries of the one before.
    fn put(&mut self, batch: Batch, waiting: &mut Option<Waiting>) -> Result<()> {
        if let Some(failed) = &mut *self.failed.lock() {
            failed.dropped |= !batch.entries.is_empty();
            return Ok(());
        }
        let written = self.import.write_contents(&batch);
        if let Err(error) = self.name(waiting.take()) {
            if let Ok(written) = written {
                self.import.discard(written.blobs);
            }
            let dropped = !batch.entries.is_empty();
            self.failed.lock().get_or_insert(Failure { error: Arc::new(error), dropped });
            return Ok(());
        }
        let written = written?;
        self.unflushed += batch.payload.len();
        if self.unflushed >= FLUSH_BYTES && self.flush.try_send(()).is_ok() {
            self.unflushed = 0;
        }
        let adopting = self.import.adopt(written.blobs)?;
        *waiting = Some(Waiting { entries: batch.entries, contents: written.contents, adopting });
        Ok(())
    }

    /// Puts the entries of a batch once their contents are in the pool.
    fn name(&mut self, waiting: Option<Waiting>) -> Result<()> {
        let Some(Waiting { entries, contents, adopting }) = waiting else {
            return Ok(());
        };
        self.named.extend(adopting.blobs());
        self.named.extend(entries.iter().filter_map(known));
        self.entries += entries.len();
        self.import.hold(adopting)?;
        {
            let _shared = self.import.shared.read();
            for (entry, content) in entries.iter().zip(contents) {
                self.import.put_entry(entry, content).map_err(|error| at(entry, error))?;
            }
        }
        self.checkpoint(1)
    }

    /// Makes a checkpoint if the entries since the last one are this part of the most that may be in memory.
    fn checkpoint(&mut self, part: usize) -> Result<()> {
        let most = self.import.engine.intake_entries_max.load(Ordering::Relaxed);
        if self.entries < (most / part).max(1) {
            return Ok(());
        }
        self.entries = 0;
        self.import.checkpoint(std::mem::take(&mut self.named))
    }
}

/// The content that an entry names and did not bring along.
fn known(entry: &ImportEntry) -> Option<BlobHash> {
    match &entry.content {
        ImportContent::File { source: FileSource::Known(blob), .. } => Some(*blob),
        _ => None,
    }
}
