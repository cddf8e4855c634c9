//! The third stage: what the store lacks is fetched, several files at a time, and is what was declared or a failure.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::difference::Step;
use super::gathered::Gathered;
use super::partial::{Turn, Waiter};
use super::pipeline::send;
use super::query::Item;
use super::{BaseFile, Destination, Origin, SyncError, Tally, add, check_stop};
use crate::metrics::COUNTERS;
use crate::model::digest::Sha256Hasher;
use crate::model::hash::BlobHash;
use crate::model::manifest::DeclaredFile;
use crate::model::tree::FILE_BYTES_MAX;
use crate::net::{Body, Fetch, Fetched, NetErrorKind};

/// Content of up to so many bytes is kept in memory on its way into the store.
const SMALL_BYTES: usize = 256 << 10;

/// Bytes read at a time of what an earlier try left.
const CHUNK_BYTES: usize = 1 << 20;

/// Content that is what was declared.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) bytes: Bytes,
    pub(super) length: u64,
    pub(super) blob: BlobHash,
    /// Nobody else fetches it until the store has it.
    pub(super) turn: Turn<'a>,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Bytes {
    Memory(Vec<u8>),
    File(File),
}

/// What else the fetches of a sync need.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) origin: &'a Origin<'a>,
    pub(super) destination: &'a dyn Destination,
    /// Contents that came already.
    pub(super) gathered: Option<&'a Gathered>,
    pub(super) tally: &'a Tally,
    pub(super) stop: &'a AtomicBool,
    /// Failures of the network since something came.
    pub(super) failures: &'a AtomicU32,
}

/// So many failures in a row, none of which may be of a file alone, and the remote is taken for gone.
const FAILURES_MAX: u32 = 16;

/// Hands what is to be fetched to as many threads as the remote allows. Everything else goes on at once, so that what is in
/// the way of a file is removed before the file comes.
pub(super) fn fetch<'a>(
    context: Context<'a>,
    items: &Receiver<Item<'a>>,
    next: &Sender<Item<'a>>,
) -> Result<(), SyncError> {
    thread::scope(|scope| {
        let (sender, wanted) = bounded(0);
        let mut threads = Vec::new();
        for number in 0..context.origin.connections {
            let (wanted, next) = (wanted.clone(), next.clone());
            let thread = thread::Builder::new().name(format!("sync-fetch-{number}")).spawn_scoped(
                scope,
                move || {
                    let end = work(context, &wanted, &next);
                    if end.is_err() {
                        context.stop.store(true, Ordering::Relaxed);
                    }
                    end
                },
            );
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => {
                    return Err(SyncError::Io { action: "start a thread", error });
                }
                // A machine with few threads left has fewer fetches.
                Err(_) => break,
            }
        }
        drop(wanted);
        let handed = items.iter().try_for_each(|item| match item {
            Item::Step(Step::Put { file, base }) => {
                sender.send((file, base)).map_err(|_| SyncError::Ended)
            }
            other => send(next, other),
        });
        drop(sender);
        let ends = threads.into_iter().map(|thread| match thread.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let end: Result<Vec<()>, SyncError> = ends.collect();
        end.map(drop).and(handed)
    })
}

fn work<'a>(
    context: Context<'a>,
    wanted: &Receiver<(DeclaredFile, Option<BaseFile>)>,
    next: &Sender<Item<'a>>,
) -> Result<(), SyncError> {
    for (file, base) in wanted {
        check_stop(context.stop)?;
        let partial_files = context.destination.partial_files();
        let waiter = Waiter {
            from: context.origin.url.as_str(),
            patience: context.origin.patience,
            stop: context.stop,
        };
        let Some(turn) = partial_files.turn(file.sha256, waiter) else {
            return Err(SyncError::Stopped);
        };
        // Whoever had the turn before has noted what it is.
        if let Some(blob) = context.destination.blob_of(&file.sha256)?
            && let [Some(length)] = context.destination.hold(vec![blob])?[..]
            && file.size_bytes.is_none_or(|size| size == length)
        {
            send(next, Item::Known { file, base, content: Some((blob, length)) })?;
            continue;
        }
        let item = match one(context, &file, turn)? {
            Ok(content) => {
                add(&context.tally.fetched, 1);
                COUNTERS.fetched_files.add(1);
                context.failures.store(0, Ordering::Relaxed);
                Item::Fetched { file, base, content }
            }
            Err(Refusal { reason, disagrees }) => {
                COUNTERS.fetch_failures.add(1);
                Item::Failed { file, reason, disagrees }
            }
        };
        send(next, item)?;
    }
    Ok(())
}

/// Why a file cannot be had.
struct Refusal {
    reason: String,
    /// The remote has something else than it declares: it may have changed since.
    disagrees: bool,
}

fn one<'a>(
    context: Context<'a>,
    file: &DeclaredFile,
    turn: Turn<'a>,
) -> Result<Result<Content<'a>, Refusal>, SyncError> {
    let (origin, partial_files) = (context.origin, context.destination.partial_files());
    let path = match origin.subpath {
        Some(subpath) => [subpath.as_bytes(), b"/", file.path.as_bytes()].concat(),
        None => file.path.as_bytes().to_vec(),
    };
    let request = Fetch {
        url: origin.url.file(&path),
        size_bytes: file.size_bytes,
        max_bytes: FILE_BYTES_MAX,
        unless: None,
        needs_end: false,
        stop: context.stop,
        watcher: context.tally,
    };
    let keep = SyncError::io("keep what was fetched");
    let mut download = Download::begin(context, &turn).map_err(keep)?;
    check_stop(context.stop)?;
    if let Some(part) = context.gathered.and_then(|gathered| gathered.find(&file.sha256)) {
        download.take(part).map_err(SyncError::io("keep what was fetched"))?;
    }
    let mut is_new = download.length == 0;
    loop {
        // What an earlier try left may be all of it: to ask for the rest would be an error to the server.
        let is_whole = !is_new && download.sha256.clone().finish() == file.sha256;
        let is_too_long = file.size_bytes.is_some_and(|size| size <= download.length);
        let fetched = if is_whole || (is_too_long && !is_new) {
            None
        } else {
            match origin.client.fetch(&request, &mut download) {
                Err(error) if error.kind() == NetErrorKind::Stopped => {
                    return Err(SyncError::Stopped);
                }
                // The disk is full, or a setting is wrong: that is no matter of this one file.
                Err(error) if error.kind() == NetErrorKind::Local => {
                    // A disk that is full needs the space more than the next try needs these bytes.
                    partial_files.remove(&turn)?;
                    return Err(error.into());
                }
                Err(error) => {
                    if error.is_temporary() {
                        let failures = context.failures.fetch_add(1, Ordering::Relaxed) + 1;
                        if failures >= FAILURES_MAX {
                            return Err(SyncError::GaveUp(failures, error));
                        }
                    }
                    let disagrees =
                        matches!(error.kind(), NetErrorKind::Protocol | NetErrorKind::NotFound);
                    return Ok(Err(Refusal { reason: error.to_string(), disagrees }));
                }
                Ok(fetched) => Some(fetched),
            }
        };
        if download.sha256.clone().finish() == file.sha256 {
            let (bytes, length, blob) = download.end();
            return Ok(Ok(Content { bytes, length, blob, turn }));
        }
        download.restart().map_err(SyncError::io("begin a file anew"))?;
        if is_new {
            partial_files.remove(&turn)?;
            return Ok(Err(Refusal { reason: other_content(fetched), disagrees: true }));
        }
        // What an earlier try left was not the beginning of this: once more, from the start.
        is_new = true;
    }
}

fn other_content(fetched: Option<Fetched>) -> String {
    let is_page = matches!(fetched, Some(Fetched::Whole { content_type: Some(kind), .. }) if kind.starts_with("text/html"));
    let hint = if is_page { "; a web page came, which may tell of an error" } else { "" };
    format!("the content has another SHA-256 than the declared one{hint}")
}

/// A content on its way: in memory while it is small, then in a file that a later try can go on with.
struct Download<'a> {
    context: Context<'a>,
    turn: &'a Turn<'a>,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    sha256: Sha256Hasher,
    blob: blake3::Hasher,
}

impl<'a> Download<'a> {
    /// With what an earlier try left, if it left anything.
    fn begin(context: Context<'a>, turn: &'a Turn<'a>) -> io::Result<Self> {
        let mut download = Self {
            context,
            turn,
            memory: Vec::new(),
            file: None,
            length: 0,
            sha256: Sha256Hasher::default(),
            blob: blake3::Hasher::new(),
        };
        if context.destination.partial_files().is_there(turn) {
            let mut file = context.destination.partial_files().open(turn)?;
            let mut chunk = vec![0; CHUNK_BYTES];
            // Whoever is to stop finds that out before it asks for the rest.
            while !context.stop.load(Ordering::Relaxed) {
                let read = file.read(&mut chunk)?;
                if read == 0 {
                    break;
                }
                download.hash(&chunk[..read]);
            }
            download.file = Some(file);
        }
        Ok(download)
    }

    /// Takes all of a content that came already.
    fn take(&mut self, mut part: impl Read) -> io::Result<()> {
        self.restart()?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match part.read(&mut chunk)? {
                0 => return Ok(()),
                read => self.write(&chunk[..read])?,
            }
        }
    }

    fn hash(&mut self, data: &[u8]) {
        self.sha256.update(data);
        self.blob.update(data);
        self.length += data.len() as u64;
    }

    fn end(self) -> (Bytes, u64, BlobHash) {
        let bytes = match self.file {
            Some(file) => Bytes::File(file),
            None => Bytes::Memory(self.memory),
        };
        (bytes, self.length, self.blob.finalize().into())
    }
}

impl Body for Download<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + data.len() > SMALL_BYTES {
            let mut file = self.context.destination.partial_files().open(self.turn)?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(data)?,
            None => self.memory.extend_from_slice(data),
        }
        self.hash(data);
        self.turn.note(data.len());
        add(&self.context.tally.fetched_bytes, data.len() as u64);
        COUNTERS.fetched_bytes.add(data.len() as u64);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
        }
        self.memory.clear();
        (self.length, self.sha256, self.blob) = (0, Sha256Hasher::default(), blake3::Hasher::new());
        Ok(())
    }
}
