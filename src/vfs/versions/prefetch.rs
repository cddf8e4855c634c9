//! What is done ahead for the small files that a listing names, before they are asked for.
//!
//! Whoever lists a directory with attributes often reads its files next, one by one. Each costs a
//! round trip to the daemon, and perhaps a wait for the disk. Threads of its own open them and hand their
//! content to the kernel, once the kernel knows them from the listing (`FUSE_NOTIFY_STORE`), so that no READ
//! comes; or, where content cannot be handed over, have the disk read it. This never delays a reply: what does
//! not fit into the queue is dropped.
//!
//! What is handed over:
//!
//! - Only stored content that trees name by its BLAKE3. It counts as used at that moment, since no READ will tell of its
//!   use. For content with a declared name a query would have to find out whether it is stored, so that is left to its READ.
//! - Only while a guard watches ([`KernelPages::takes_content`]). A thread that hands over waits, and no signal
//!   ends that, for a page that somebody is reading: a daemon that is killed just then would hang the
//!   mount, were there nobody to end the connection (R8).
//! - Nothing that is damaged: a mark that is made meanwhile is seen afterwards, and the kernel forgets what
//!   it got. A mark that is made later forgets it by itself (H5).
//!
//! Not everyone reads what they list (`find` does not), so this work is limited by a credit. Each file that is
//! prepared costs one; each READ that reaches the daemon earns some; at the start there is a little. A file that was
//! handed over is read from the kernel's cache, so the daemon sees no READ of it and would earn nothing. Therefore one
//! file of [`PROBE_EVERY`], a probe, is not handed over. If the program reads the probe, it probably read the
//! others too, and the probe earns for them.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::Advice;

use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::id::Ino;

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

/// One file of so many is a probe: it is not handed over, so that the daemon sees its READ. The inode number decides, which
/// is as good as chance, since numbers are spread evenly.
const PROBE_EVERY: u64 = 16;

/// What reading a probe earns: its own share, and one for each of the files that were handed over around it.
const CREDIT_PER_PROBE: i64 = 20;

/// The kernel's cache of the pages of files.
pub(crate) trait KernelPages: Send + Sync {
    /// Whether content may be handed over now.
    fn takes_content(&self) -> bool;

    /// Hands over the content of an inode. Waits for its pages, and no signal ends that. Says whether the
    /// kernel knows the inode.
    ///
    /// # Errors
    /// The kernel's refusal; the mount is gone.
    fn hand_over(&self, ino: Ino, content: &[u8]) -> io::Result<bool>;

    /// Has it forget the content of an inode.
    fn forget(&self, ino: Ino);
}

/// A small file that the kernel did not know before.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    ino: Ino,
    name: ContentName,
    size: usize,
}

/// The files of one listing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    files: Vec<Listed>,
    credit: i64,
}

impl Batch {
    /// Adds a file with content, if it is small and there is credit for it.
    pub(super) fn add(&mut self, ino: Ino, name: ContentName, size: u64) {
        if let Ok(bytes) = usize::try_from(size)
            && size <= FILE_BYTES_MAX
            && self.credit > 0
        {
            self.credit -= 1;
            self.files.push(Listed { ino, name, size: bytes });
        }
    }
}

/// The queue and its threads, which end when it is dropped.
pub(super) struct Prefetch {
    queue: Option<Sender<Vec<Listed>>>,
    threads: Vec<JoinHandle<()>>,
    credit: AtomicI64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    kernel: OnceLock<Arc<dyn KernelPages>>,
}

impl Prefetch {
    /// Starts the threads. If they cannot be started, nothing is done ahead.
    pub(super) fn start<B: Blobs>(blobs: &Arc<B>) -> Self {
        let (queue, batches) = bounded::<Vec<Listed>>(QUEUE_BATCHES_MAX);
        let shared = Arc::new(Shared::default());
        let spawn = |index: usize| {
            let (blobs, batches) = (Arc::clone(blobs), batches.clone());
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("prefetch-{index}"))
                .spawn(move || Worker { blobs, shared, buffer: Vec::new() }.run(&batches))
                .inspect_err(|error| log::warn!("no read-ahead thread: {error}"))
                .ok()
        };
        Self {
            threads: (0..THREADS).filter_map(spawn).collect(),
            queue: Some(queue),
            credit: AtomicI64::new(CREDIT_START),
            shared,
        }
    }

    /// From now on content is handed to the kernel.
    pub(super) fn connect(&self, kernel: Arc<dyn KernelPages>) {
        if self.shared.kernel.set(kernel).is_err() {
            log::error!("the kernel's cache was known already");
        }
    }

    /// Begins to collect the files of a listing.
    pub(super) fn batch(&self) -> Batch {
        Batch { files: Vec::new(), credit: self.credit.load(Ordering::Relaxed) }
    }

    /// Queues the files of a listing that was answered, or drops them when the threads cannot keep up.
    pub(super) fn send(&self, batch: Batch) {
        if batch.files.is_empty() {
            return;
        }
        let spent = i64::try_from(batch.files.len()).unwrap_or(CREDIT_MAX);
        if let Some(queue) = &self.queue
            && queue.try_send(batch.files).is_ok()
        {
            self.credit.fetch_sub(spent, Ordering::Relaxed);
        }
    }

    /// Notes that somebody reads a file from its start.
    pub(super) fn note_read(&self, ino: Ino) {
        if self.credit.load(Ordering::Relaxed) < CREDIT_MAX {
            let earned = if is_probe(ino) { CREDIT_PER_PROBE } else { CREDIT_PER_READ };
            self.credit.fetch_add(earned, Ordering::Relaxed);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a read-ahead thread has panicked");
            }
        }
    }
}

fn is_probe(ino: Ino) -> bool {
    ino.0.is_multiple_of(PROBE_EVERY)
}

struct Worker<B> {
    blobs: Arc<B>,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
}

impl<B: Blobs> Worker<B> {
    fn run(mut self, batches: &Receiver<Vec<Listed>>) {
        for batch in batches {
            let mut early = Vec::new();
            for file in batch {
                if self.shared.stopping.load(Ordering::Relaxed) {
                    return;
                }
                if !self.ahead(&file) {
                    early.push(file);
                }
            }
            // The kernel was still reading the listing. What it does not know now either, it has forgotten.
            for file in early {
                self.ahead(&file);
            }
        }
    }

    /// Does what can be done for a file; false if the kernel does not know it.
    fn ahead(&mut self, file: &Listed) -> bool {
        let kernel = self.shared.kernel.get().filter(|kernel| kernel.takes_content());
        let done = match (kernel.cloned(), &file.name) {
            (Some(kernel), ContentName::Blake3(blob)) if !is_probe(file.ino) => {
                self.hand_over(&*kernel, file, blob)
            }
            _ => self.read_ahead(&file.name).map(|()| true),
        };
        // Whoever reads the file later reports what is wrong with it.
        done.unwrap_or_else(|error| {
            log::debug!("ahead of {}: {error}", file.name);
            true
        })
    }

    fn read_ahead(&self, name: &ContentName) -> Result<(), String> {
        let opened = self.blobs.resolve(name).and_then(|blob| self.blobs.open(&blob));
        let file = opened.map_err(|error| error.to_string())?;
        rustix::fs::fadvise(&*file, 0, None, Advice::WillNeed).map_err(|error| error.to_string())
    }

    fn hand_over(
        &mut self,
        kernel: &dyn KernelPages,
        file: &Listed,
        blob: &BlobHash,
    ) -> Result<bool, String> {
        let opened = self.blobs.open(blob).map_err(|error| error.to_string())?;
        self.buffer.resize(self.buffer.len().max(file.size), 0);
        let content = &mut self.buffer[..file.size];
        opened.read_exact_at(content, 0).map_err(|error| error.to_string())?;
        let is_known = kernel.hand_over(file.ino, content).map_err(|error| error.to_string())?;
        if let Err(error) = self.blobs.open(blob) {
            // It was marked meanwhile.
            kernel.forget(file.ino);
            return Err(error.to_string());
        }
        if is_known {
            self.blobs.note_use(&file.name, blob);
        }
        Ok(is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_paid_for_by_the_probes_that_are_read() {
        let numbers: Vec<Ino> = (0..1600).map(Ino).collect();
        let handed = numbers.iter().filter(|ino| !is_probe(**ino)).count();
        let probes = numbers.len() - handed;
        let earned = i64::try_from(probes).unwrap() * CREDIT_PER_PROBE;
        assert!(earned >= i64::try_from(numbers.len()).unwrap());
        assert!(earned < 2 * i64::try_from(numbers.len()).unwrap());
    }
}
