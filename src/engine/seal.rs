//! Sealers: hash closed files, off the path of whoever wrote them.
//!
//! A sealer hashes and, for small files that seem new, writes the bytes to a file on its way into the pool.
//! It decides nothing: the metadata thread looks whether the content is known, and makes the link. If the
//! collector removes the known blob in between, the result still has the bytes (G6).
//!
//! Small files are taken by one thread, many at once; large ones by others, by turns ([`large`]). So a
//! large file delays neither the small ones behind it nor other large ones (H9).

mod large;
mod read;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::staging::SealJob;
use super::staging::content::{Data, FileContent, Hashing};
use super::stop_point::{StopPoint, StopPoints};
use crate::model::hash::BlobHash;
use crate::store::catalog::{Catalog, Reader};
use crate::store::error::StoreError;
use crate::store::pool::{Incoming, Pool};
use crate::sys::panics;
use large::LargeLine;
pub(super) use read::hash_file;
#[cfg(test)]
pub(super) use read::hash_on;

/// Small files that are sealed together at most.
const BATCH_JOBS_MAX: usize = 64;

/// Batches that may wait for the metadata thread.
pub(super) const RESULT_QUEUE_MAX: usize = 4;

/// Where the bytes of a hashed file are.
#[derive(Debug)]
pub(super) enum SealSource {
    /// In a new file on its way into the pool.
    Incoming(Incoming),
    /// In memory: the pool seems to have them.
    Held(Arc<Vec<u8>>),
    /// In the file's private file.
    Private(PathBuf),
}

/// A hashed file.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) generation: u64,
    pub(super) hash: BlobHash,
    pub(super) size: u64,
    pub(super) source: SealSource,
    /// Where the hash of a large file came from.
    pub(super) hashing: Option<Box<Hashing>>,
}

/// What a sealer hands to the metadata thread.
#[derive(Debug)]
pub(super) struct SealResult {
    pub(super) content: Arc<FileContent>,
    /// `Ok(None)`: nothing to do any more.
    pub(super) result: Result<Option<Hashed>, StoreError>,
}

struct Sealer {
    pool: Arc<Pool>,
    reader: Reader,
    results: Sender<Vec<SealResult>>,
    stop_points: Arc<StopPoints>,
}

/// How sealers are told what to do and tell what they did.
pub(super) struct Lines {
    pub(super) jobs: Receiver<SealJob>,
    /// They end when its other end is dropped.
    pub(super) stop: Receiver<()>,
    pub(super) results: Sender<Vec<SealResult>>,
}

/// Starts the sealers. They end when the staging areas are dropped.
///
/// # Errors
/// When a thread or a connection to the catalog cannot be made.
pub(super) fn start(
    catalog: &Catalog,
    pool: &Arc<Pool>,
    lines: Lines,
    stop_points: &Arc<StopPoints>,
) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let Lines { jobs, stop, results } = lines;
    let sealer = |name: &str| -> Result<Sealer, StoreError> {
        log::debug!("starting {name}");
        Ok(Sealer {
            pool: Arc::clone(pool),
            reader: catalog.reader()?,
            results: results.clone(),
            stop_points: Arc::clone(stop_points),
        })
    };
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
            StoreError::Io { action: "start a thread", path: name.into(), source }
        })
    };
    let line = Arc::new(LargeLine::default());
    let mut threads = Vec::new();
    for _ in 0..large::threads() {
        let (sealer, line) = (sealer("seal-large")?, Arc::clone(&line));
        threads.push(spawn("seal-large", Box::new(move || sealer.run_large(&line)))?);
    }
    let small = sealer("seal")?;
    threads.push(spawn("seal", Box::new(move || small.run(&jobs, &stop, &line)))?);
    Ok(threads)
}

impl Sealer {
    /// Seals small files and passes large ones on, until there are no more or it is told to stop.
    fn run(&self, jobs: &Receiver<SealJob>, stop: &Receiver<()>, large: &LargeLine) {
        let _end = large.close_at_end();
        loop {
            let job = crossbeam_channel::select! {
                recv(jobs) -> job => job,
                recv(stop) -> _ => return,
            };
            let Ok(job) = job else { return };
            // All that waits is taken as one batch, for one look at the catalog and one wake-up of the thread.
            let waiting = std::iter::once(job).chain(jobs.try_iter().take(BATCH_JOBS_MAX - 1));
            let batch: Vec<SealJob> = waiting.filter_map(|job| pass_on(job, large)).collect();
            if batch.is_empty() {
                continue;
            }
            let results = self.seal(batch, large);
            self.stop_points.pass(StopPoint::SealHashed);
            if self.results.send(results).is_err() {
                return;
            }
        }
    }

    fn seal(&self, batch: Vec<SealJob>, large: &LargeLine) -> Vec<SealResult> {
        // Whoever waits for a seal is answered after a panic, too: a commit tries it once more.
        let contained = |job: &SealJob| {
            panics::contain("a seal", || hash(&job.content))
                .unwrap_or_else(|panicked| Input::Done(Err(panicked.into())))
        };
        let mut inputs = Vec::with_capacity(batch.len());
        let mut jobs = Vec::with_capacity(batch.len());
        for job in batch {
            match contained(&job) {
                Input::Large => large.add(job),
                input => {
                    inputs.push(input);
                    jobs.push(job);
                }
            }
        }
        let buffers = inputs.iter().filter_map(|input| match input {
            Input::Buffer { hash, .. } => Some(*hash),
            Input::Large | Input::Done(_) => None,
        });
        let mut known = match self.reader.blobs(buffers) {
            Ok(rows) => rows.into_iter(),
            Err(error) => {
                // Then they are stored again, and the metadata thread finds out.
                log::warn!("content may be stored twice: {error}");
                Vec::new().into_iter()
            }
        };
        let mut store = |input| match input {
            Input::Done(result) => result,
            Input::Large => Ok(None),
            Input::Buffer { generation, hash, size, bytes } => {
                let source = match known.next().flatten() {
                    Some(_) => SealSource::Held(bytes),
                    None => SealSource::Incoming(self.pool.write_incoming(&bytes, &hash)?),
                };
                Ok(Some(Hashed { generation, hash, size, source, hashing: None }))
            }
        };
        let results = jobs.into_iter().zip(inputs);
        results
            .map(|(SealJob { content }, input)| SealResult {
                content,
                result: panics::contain("a seal", || store(input))
                    .unwrap_or_else(|panicked| Err(panicked.into())),
            })
            .collect()
    }
}

/// Hands a large file to the sealers of large files; others come back.
fn pass_on(job: SealJob, large: &LargeLine) -> Option<SealJob> {
    if job.content.is_buffered() {
        return Some(job);
    }
    large.add(job);
    None
}

/// What was hashed.
enum Input {
    /// In a buffer: it is written only if the pool lacks the content.
    Buffer { generation: u64, hash: BlobHash, size: u64, bytes: Arc<Vec<u8>> },
    /// In a private file: it grew after it had been put on the queue of small files.
    Large,
    /// Already settled, one way or the other.
    Done(Result<Option<Hashed>, StoreError>),
}

fn hash(content: &Arc<FileContent>) -> Input {
    panics::point("seal");
    let Some(input) = content.seal_input() else {
        return Input::Done(Ok(None));
    };
    let (generation, size) = (input.generation, input.size);
    match input.data {
        Data::Buffer(bytes) => {
            Input::Buffer { generation, hash: BlobHash::of(&bytes), size, bytes }
        }
        Data::Private { .. } => Input::Large,
        Data::Empty | Data::Blob(_) => Input::Done(Ok(None)),
    }
}
