//! The fetch stage: fetches what the store lacks, several files at a time. A file that does not have the declared digest
//! has failed.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::difference::Step;
use super::download::{Bytes, Download, NotHad, SMALL_BYTES, Wanted};
use super::gathered::Gathered;
use super::partial::{Turn, Waiter};
use super::pipeline::send;
use super::query::Item;
use super::{BaseFile, Destination, Origin, SyncError, Tally, add, check_stop};
use crate::metrics::COUNTERS;
use crate::model::hash::BlobHash;
use crate::model::manifest::DeclaredFile;
use crate::net::{NetErrorKind, TRIES_MAX};

/// Content that is what was declared.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub(super) bytes: Bytes,
    pub(super) length: u64,
    pub(super) blob: BlobHash,
    /// Nobody else fetches it until the store has it.
    pub(super) turn: Turn<'a>,
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
        let Some(turn) = partial_files.turn(file.sha256.into(), waiter) else {
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
    let origin = context.origin;
    let wanted = Wanted {
        client: origin.client,
        url: origin.url.file(&origin.locator(&file.path)),
        sha256: file.sha256,
        size_bytes: file.size_bytes,
        memory_bytes_max: SMALL_BYTES,
        tries_max: TRIES_MAX,
        stop: context.stop,
        watcher: context.tally,
        came: &|bytes| add(&context.tally.fetched_bytes, bytes),
    };
    let refused = |reason: String, disagrees| Ok(Err(Refusal { reason, disagrees }));
    let mut part = context.gathered.and_then(|gathered| gathered.find(&file.sha256));
    let part = part.as_mut().map(|part| part as &mut dyn Read);
    match wanted.download(&turn, part) {
        Ok(Download { bytes, length, blob }) => Ok(Ok(Content { bytes, length, blob, turn })),
        Err(NotHad::Stopped) => Err(SyncError::Stopped),
        Err(NotHad::Local(error)) => Err(error.into()),
        Err(NotHad::Io(error)) => Err(SyncError::Io { action: "keep what was fetched", error }),
        Err(NotHad::Store(error)) => Err(error.into()),
        Err(NotHad::Net(error)) => {
            if error.is_temporary() {
                let failures = context.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= FAILURES_MAX {
                    return Err(SyncError::GaveUp(failures, error));
                }
            }
            let disagrees = matches!(error.kind(), NetErrorKind::Protocol | NetErrorKind::NotFound);
            refused(error.to_string(), disagrees)
        }
        Err(error @ NotHad::Other(_)) => refused(error.to_string(), true),
    }
}
