//! Read-ahead of the small files that a listing names, before they are asked for.
//!
//! Whoever lists a directory with attributes often reads its files next, one by one, and each would
//! wait for the disk. Threads of its own open them and ask for their pages meanwhile. This never
//! delays a reply: what does not fit into the queue is dropped.
//!
//! What is read ahead is in the page cache of the pool's files, and goes to the kernel with the
//! READ. Handing it over unasked (`FUSE_NOTIFY_STORE`) was faster, 1.11 instead of 1.44 of the
//! native time for tar of 5,000 cold files, but waits, and cannot be interrupted, for pages that
//! somebody is reading: a daemon that was killed just then never ended, and the mount hung (R8).
//!
//! Not everyone reads what they list (`find` does not), so read-ahead is paid for with credit:
//! there is some at the start, and each file that is read earns more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::Advice;

use crate::model::content_name::ContentName;
use crate::model::tree::{Content, Entry};

use super::Blobs;

/// Larger files are left to the kernel's own read-ahead.
const FILE_BYTES_MAX: u64 = 128 * 1024;

/// Listings waiting for the threads.
const QUEUE_BATCHES_MAX: usize = 256;

/// Threads that open files. While one waits for the disk to find a file, another can read.
const THREADS: usize = 2;

/// The credit at the start, in files, and the most that there may be afterwards.
const CREDIT_START: i64 = 256;
const CREDIT_MAX: i64 = 4096;

/// What reading one file earns.
const CREDIT_PER_READ: i64 = 4;

/// The files of one listing.
pub(super) struct Batch {
    names: Vec<ContentName>,
    credit: i64,
}

impl Batch {
    /// Adds a file's content, if it is small and there is credit for it.
    pub(super) fn add(&mut self, name: ContentName, entry: &Entry) {
        let is_small =
            matches!(&entry.content, Content::File { size, .. } if *size <= FILE_BYTES_MAX);
        if is_small && self.credit > 0 {
            self.credit -= 1;
            self.names.push(name);
        }
    }
}

/// The queue and its threads, which end when it is dropped.
pub(super) struct Prefetch {
    queue: Option<Sender<Vec<ContentName>>>,
    threads: Vec<JoinHandle<()>>,
    credit: AtomicI64,
    stopping: Arc<AtomicBool>,
}

impl Prefetch {
    /// Starts the threads. If they cannot be started, nothing is read ahead.
    pub(super) fn start<B: Blobs>(blobs: &Arc<B>) -> Self {
        let (queue, batches) = bounded::<Vec<ContentName>>(QUEUE_BATCHES_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let spawn = |index: usize| {
            let (blobs, batches) = (Arc::clone(blobs), batches.clone());
            let stopping = Arc::clone(&stopping);
            std::thread::Builder::new()
                .name(format!("prefetch-{index}"))
                .spawn(move || run(&*blobs, &batches, &stopping))
                .inspect_err(|error| log::warn!("no read-ahead thread: {error}"))
                .ok()
        };
        Self {
            threads: (0..THREADS).filter_map(spawn).collect(),
            queue: Some(queue),
            credit: AtomicI64::new(CREDIT_START),
            stopping,
        }
    }

    /// Begins to collect the files of a listing.
    pub(super) fn batch(&self) -> Batch {
        Batch { names: Vec::new(), credit: self.credit.load(Ordering::Relaxed) }
    }

    /// Queues the files of a listing, or drops them when the threads cannot keep up.
    pub(super) fn send(&self, batch: Batch) {
        if batch.names.is_empty() {
            return;
        }
        let spent = i64::try_from(batch.names.len()).unwrap_or(CREDIT_MAX);
        if let Some(queue) = &self.queue
            && queue.try_send(batch.names).is_ok()
        {
            self.credit.fetch_sub(spent, Ordering::Relaxed);
        }
    }

    /// Notes that somebody reads a file from its start.
    pub(super) fn note_read(&self) {
        if self.credit.load(Ordering::Relaxed) < CREDIT_MAX {
            self.credit.fetch_add(CREDIT_PER_READ, Ordering::Relaxed);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a read-ahead thread has panicked");
            }
        }
    }
}

fn run<B: Blobs>(blobs: &B, batches: &Receiver<Vec<ContentName>>, stopping: &AtomicBool) {
    for name in batches.iter().flatten() {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        // Whoever reads the file later reports what is wrong with it.
        let opened = blobs.resolve(&name).and_then(|blob| blobs.open(&blob));
        let advised = opened.map(|file| {
            rustix::fs::fadvise(&*file, 0, None, Advice::WillNeed)
                .inspect_err(|error| log::debug!("read-ahead of {name}: {error}"))
                .is_ok()
        });
        if let Err(error) = advised {
            log::debug!("read-ahead of {name}: {error}");
        }
    }
}
