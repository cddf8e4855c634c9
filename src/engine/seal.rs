//! Sealers: hash closed files, off the path of whoever wrote them.
//!
//! Sealing never decides anything: a sealer hashes and, for small files that seem new, writes the
//! bytes to a file on its way into the pool; the metadata thread decides whether the content is known and makes the
//! link. If the collector wins in between, the result still has the bytes (G6).
//!
//! Small and large files have threads of their own, so that a large file never delays the many
//! small ones behind it (H9).

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::staging::SealJob;
use super::staging::content::{Data, FileContent, Hashing};
use super::stop_point::{StopPoint, StopPoints};
use crate::model::hash::BlobHash;
use crate::store::catalog::{Catalog, Reader};
use crate::store::error::StoreError;
use crate::store::panics;
use crate::store::pool::{Incoming, Pool};

/// Bytes hashed between two looks at whether the file changed meanwhile.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Large files that may wait for the large sealer; the small one then hashes them itself.
const LARGE_QUEUE_MAX: usize = 4096;

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
    let (large, large_jobs) = bounded(LARGE_QUEUE_MAX);
    let sealer = |name: &str| -> Result<Sealer, StoreError> {
        log::debug!("starting {name}");
        Ok(Sealer {
            pool: Arc::clone(pool),
            reader: catalog.reader()?,
            results: results.clone(),
            stop_points: Arc::clone(stop_points),
        })
    };
    let small_sealer = sealer("seal")?;
    let large_sealer = sealer("seal-large")?;
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| {
            StoreError::Io { action: "start a thread", path: name.into(), source }
        })
    };
    let small_thread =
        spawn("seal", Box::new(move || small_sealer.run(&jobs, &stop, Some(&large))))?;
    let large_thread = spawn(
        "seal-large",
        Box::new(move || large_sealer.run(&large_jobs, &crossbeam_channel::never(), None)),
    )?;
    Ok(vec![small_thread, large_thread])
}

impl Sealer {
    fn run(&self, jobs: &Receiver<SealJob>, stop: &Receiver<()>, large: Option<&Sender<SealJob>>) {
        // A large file is reported as soon as it is hashed.
        let more = if large.is_some() { BATCH_JOBS_MAX - 1 } else { 0 };
        loop {
            let job = crossbeam_channel::select! {
                recv(jobs) -> job => job,
                recv(stop) -> _ => return,
            };
            let Ok(job) = job else { return };
            // What waits already is one batch: one look at the catalog, one wake-up.
            let waiting = std::iter::once(job).chain(jobs.try_iter().take(more));
            let batch: Vec<SealJob> = waiting.filter_map(|job| pass_on(job, large)).collect();
            if batch.is_empty() {
                continue;
            }
            let results = self.seal(batch);
            self.stop_points.pass(StopPoint::SealHashed);
            if self.results.send(results).is_err() {
                return;
            }
        }
    }

    fn seal(&self, batch: Vec<SealJob>) -> Vec<SealResult> {
        // Whoever waits for a seal is answered after a panic, too: a commit tries it once more.
        let contained = |job: &SealJob| {
            panics::contain("a seal", || hash(&job.content))
                .unwrap_or_else(|panicked| Input::Done(Err(panicked.into())))
        };
        let inputs: Vec<Input> = batch.iter().map(contained).collect();
        let buffers = inputs.iter().filter_map(|input| match input {
            Input::Buffer { hash, .. } => Some(*hash),
            Input::Done(_) => None,
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
            Input::Buffer { generation, hash, size, bytes } => {
                let source = match known.next().flatten() {
                    Some(_) => SealSource::Held(bytes),
                    None => SealSource::Incoming(self.pool.write_incoming(&bytes, &hash)?),
                };
                Ok(Some(Hashed { generation, hash, size, source, hashing: None }))
            }
        };
        let results = batch.into_iter().zip(inputs);
        results
            .map(|(SealJob { content }, input)| SealResult {
                content,
                result: panics::contain("a seal", || store(input))
                    .unwrap_or_else(|panicked| Err(panicked.into())),
            })
            .collect()
    }
}

/// Hands a large file to the sealer of large files; a job that is not taken there comes back.
fn pass_on(job: SealJob, large: Option<&Sender<SealJob>>) -> Option<SealJob> {
    match large {
        Some(large) if !job.content.is_buffered() => {
            large.try_send(job).err().map(crossbeam_channel::TrySendError::into_inner)
        }
        Some(_) | None => Some(job),
    }
}

/// What was hashed.
enum Input {
    /// A buffer: it depends on what the pool has what becomes of it.
    Buffer { generation: u64, hash: BlobHash, size: u64, bytes: Arc<Vec<u8>> },
    /// Anything else is done with that.
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
        Data::Private { id, file } => {
            let path = content.private_path(id);
            let wanted = || content.is_at(generation);
            Input::Done(match hash_rest(input.hashing, &file, size, wanted) {
                Ok(hashed) => Ok(hashed.map(|hashing| Hashed {
                    generation,
                    hash: hashing.hash(),
                    size,
                    source: SealSource::Private(path),
                    hashing: Some(Box::new(hashing)),
                })),
                // It is not what it was: whoever changed it has it sealed.
                Err(_) if !content.is_at(generation) => Ok(None),
                Err(source) => Err(StoreError::Io { action: "hash", path, source }),
            })
        }
        Data::Empty | Data::Blob(_) => Input::Done(Ok(None)),
    }
}

/// Hashes the first `size` bytes of a file, which must have them; `None` when `wanted` says so in between.
pub(super) fn hash_file(
    file: &std::fs::File,
    size: u64,
    wanted: impl Fn() -> bool,
) -> io::Result<Option<BlobHash>> {
    Ok(hash_rest(Hashing::new(), file, size, wanted)?.map(|hashed| hashed.hash()))
}

/// As [`hash_file`], where some of the bytes have been hashed.
pub(super) fn hash_rest(
    mut hashing: Hashing,
    file: &std::fs::File,
    size: u64,
    wanted: impl Fn() -> bool,
) -> io::Result<Option<Hashing>> {
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    while hashing.length() < size {
        let left = size - hashing.length();
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..want], hashing.length())?;
        if read == 0 {
            // Shorter than recorded.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hashing.update(&chunk[..read]);
        if !wanted() {
            return Ok(None);
        }
    }
    Ok(Some(hashing))
}
