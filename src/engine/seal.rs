//! Sealers: hash closed files, off the path of whoever wrote them.
//!
//! Sealing never decides anything: a sealer hashes and, for small files that seem new, writes the
//! bytes to `incoming/`; the metadata thread decides whether the content is known and makes the
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

use super::staging::content::{Data, FileContent};
use super::staging::{SealJob, Staging};
use super::stop_point::{StopPoint, StopPoints};
use crate::model::hash::BlobHash;
use crate::store::catalog::{Catalog, Reader};
use crate::store::error::StoreError;
use crate::store::panics;
use crate::store::pool::Pool;

/// Bytes hashed between two looks at whether the file changed meanwhile.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Large files that may wait for the large sealer; the small one then hashes them itself.
const LARGE_QUEUE_MAX: usize = 4096;

/// Results that may wait for the metadata thread.
pub(super) const RESULT_QUEUE_MAX: usize = 256;

/// Where the bytes of a hashed file are.
#[derive(Debug)]
pub(super) enum SealSource {
    /// In a new file in `incoming/`.
    Incoming(PathBuf),
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
}

/// What a sealer hands to the metadata thread.
#[derive(Debug)]
pub(super) struct SealResult {
    pub(super) content: Arc<FileContent>,
    pub(super) ticket: Option<u64>,
    /// `Ok(None)`: nothing to do any more.
    pub(super) result: Result<Option<Hashed>, StoreError>,
}

struct Sealer {
    pool: Arc<Pool>,
    staging: Arc<Staging>,
    reader: Reader,
    results: Sender<SealResult>,
    stop_points: Arc<StopPoints>,
}

/// How sealers are told what to do and tell what they did.
pub(super) struct Lines {
    pub(super) jobs: Receiver<SealJob>,
    /// They end when its other end is dropped.
    pub(super) stop: Receiver<()>,
    pub(super) results: Sender<SealResult>,
}

/// Starts the sealers. They end when the staging areas are dropped.
///
/// # Errors
/// When a thread or a connection to the catalog cannot be made.
pub(super) fn start(
    catalog: &Catalog,
    pool: &Arc<Pool>,
    staging: &Arc<Staging>,
    lines: Lines,
    stop_points: &Arc<StopPoints>,
) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let Lines { jobs, stop, results } = lines;
    let (large, large_jobs) = bounded(LARGE_QUEUE_MAX);
    let sealer = |name: &str| -> Result<Sealer, StoreError> {
        log::debug!("starting {name}");
        Ok(Sealer {
            pool: Arc::clone(pool),
            staging: Arc::clone(staging),
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
        loop {
            let job = crossbeam_channel::select! {
                recv(jobs) -> job => job,
                recv(stop) -> _ => return,
            };
            let Ok(job) = job else { return };
            let job = match large {
                Some(large) if !job.content.is_buffered() => match large.try_send(job) {
                    Ok(()) => continue,
                    Err(error) => error.into_inner(),
                },
                Some(_) | None => job,
            };
            // Whoever waits for this seal is answered: a commit tries it once more.
            let result = panics::contain("a seal", || self.seal(&job.content));
            let result = result.unwrap_or_else(|panicked| Err(panicked.into()));
            self.stop_points.pass(StopPoint::SealHashed);
            let result = SealResult { content: job.content, ticket: job.ticket, result };
            if let Err(unsent) = self.results.send(result) {
                self.staging.seal_done(unsent.into_inner().ticket);
                return;
            }
        }
    }

    fn seal(&self, content: &Arc<FileContent>) -> Result<Option<Hashed>, StoreError> {
        panics::point("seal");
        let Some(input) = content.seal_input() else {
            return Ok(None);
        };
        let (hash, source) = match input.data {
            Data::Buffer(buffer) => {
                let hash = BlobHash::of(&buffer);
                let source = if self.reader.blob(&hash)?.is_some() {
                    SealSource::Held(buffer)
                } else {
                    SealSource::Incoming(self.pool.write_incoming(&buffer)?)
                };
                (hash, source)
            }
            Data::Private { id, file } => {
                let path = content.private_path(id);
                let hashed = hash_file(&file, input.size, || content.is_at(input.generation));
                match hashed {
                    Ok(Some(hash)) => (hash, SealSource::Private(path)),
                    Ok(None) => return Ok(None),
                    Err(source) => {
                        return Err(StoreError::Io { action: "hash", path, source });
                    }
                }
            }
            Data::Empty | Data::Blob(_) => return Ok(None),
        };
        Ok(Some(Hashed { generation: input.generation, hash, size: input.size, source }))
    }
}

/// Hashes the first `size` bytes of a file; `None` when `wanted` says so in between.
pub(super) fn hash_file(
    file: &std::fs::File,
    size: u64,
    wanted: impl Fn() -> bool,
) -> io::Result<Option<BlobHash>> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut offset = 0;
    while offset < size {
        let want = usize::try_from(size - offset).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..want], offset)?;
        if read == 0 {
            // Shorter than recorded: it was truncated meanwhile.
            return Ok(None);
        }
        hasher.update(&chunk[..read]);
        offset += read as u64;
        if !wanted() {
            return Ok(None);
        }
    }
    Ok(Some(hasher.finalize().into()))
}
