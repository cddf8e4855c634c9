//! Sync: the store as a sync sees it, and the version that comes of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use super::errors::{control_error, store_error};
use super::import::RunningImport;
use super::{Answer, StoreService};
use crate::control::commit::CommitReply;
use crate::control::protocol::{
    CHANGES_MAX, ControlError, ErrorDetail, ErrorKind, Progress, check_text,
};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::sync::{SyncChange, SyncEvent, SyncReply, SyncRequest};
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::intake::Batch;

use crate::engine::request::{RemoteNote, Request};
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::model::import::{ImportEntry, ImportOptions};
use crate::model::manifest::DeclaredPath;
use crate::model::name::BaseName;
use crate::model::raw::RawPath;
use crate::model::sync::SyncCounts;
use crate::model::time::Timestamp;
use crate::model::tree::Root;
use crate::net::{Client, NetErrorKind};
use crate::store::catalog::Reader;
use crate::store::tree_cache::TreeCache;
use crate::sync::pipeline::send;
use crate::sync::{
    Destination, Options, Origin, Outcome, PartialFiles, Plan, Seen, SyncError, Told, run,
};

/// How often a sync is made again since somebody else published meanwhile.
const TRIES: u32 = 5;

/// What a sync says and nobody has taken yet.
const MESSAGES: usize = 10_000;

/// How often it is looked at whether anybody still waits for a sync.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Bytes of a blob that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

impl StoreService {
    pub(super) fn sync(
        &self,
        caller: Caller,
        request: SyncRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        if self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        check_text("message", &request.message)?;
        check_text("author", request.author.as_deref().unwrap_or_default())?;
        let mut settings = self.known_remote(&request.remote)?.settings;
        settings.rate_bytes_per_second =
            request.rate_bytes_per_second.or(settings.rate_bytes_per_second);
        let subpath = (!request.subpath.as_bytes().is_empty())
            .then(|| DeclaredPath::new(request.subpath.as_bytes()))
            .transpose()
            .map_err(|error| ControlError::new(ErrorKind::Usage, error.to_string()))?;
        let client = Client::new(&settings).map_err(|error| sync_error(error.into(), &request))?;
        let origin = Origin::new(&client, &settings, subpath.as_ref());
        if let Err(error) = self.partial_files.remove_old(Timestamp::now()) {
            log::warn!("old downloads stay: {error}");
        }
        let options = ImportOptions {
            repository: request.repository.clone(),
            create: true,
            mirror: request.mirror,
            message: request.message.clone(),
            author: request.author.clone(),
            tag: request.tag.clone(),
        };
        for _ in 0..TRIES {
            let attempt = self.attempt(caller, &request, &options, &origin, progress);
            let is_stale = attempt.as_ref().is_err_and(|error| {
                matches!(error.detail.as_deref(), Some(ErrorDetail::StaleBase { .. }))
            });
            // Somebody published meanwhile: what is declared is compared with that version, and little is
            // left to fetch. A merge could lose what that version took away.
            if !is_stale {
                return attempt.map(|reply| Reply::Sync(Box::new(reply)));
            }
        }
        let message = format!("others publish into {} all the time", request.repository);
        Err(ControlError::new(ErrorKind::Busy, message).with_hint("try again"))
    }

    fn attempt(
        &self,
        caller: Caller,
        request: &SyncRequest,
        options: &ImportOptions,
        origin: &Origin<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SyncReply, ControlError> {
        let id = self.begin_on(caller, options.clone(), Some(&BaseName::Latest))?;
        let running = self.running(caller, id)?;
        let synced = self.sync_into(caller, request, origin, &running, progress);
        let reply = synced.and_then(|synced| match synced {
            Synced::Publish(counts, seen) => {
                let commit = self.finish_import(caller, id, false, None)?;
                // What could not be had is asked for again.
                if counts.failed == 0 {
                    self.note_seen(request, &running, seen, &commit);
                }
                Ok(SyncReply {
                    changed: commit.changed,
                    version: Some(commit.version),
                    tag: commit.tag,
                    unchanged_remote: false,
                    counts,
                })
            }
            Synced::Nothing { counts, would_change, unchanged_remote } => {
                let repository = self.repository(&request.repository)?;
                let newest = repository.latest();
                let newest = newest.map(|version| super::describe::version(&repository, version));
                let changed = would_change;
                Ok(SyncReply { changed, version: newest, tag: None, unchanged_remote, counts })
            }
        });
        // Of an import that was published there is nothing left to abort.
        self.abort(id);
        reply
    }

    fn sync_into(
        &self,
        caller: Caller,
        request: &SyncRequest,
        origin: &Origin<'_>,
        running: &RunningImport,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Synced, ControlError> {
        let destination = Store::new(self, running)?;
        let newest = destination.number;
        let seen = self.seen(request, running)?.filter(|seen| Some(seen.version) == newest);
        // A tag is given by publishing.
        let seen = seen.filter(|_| request.tag.is_none());
        let options = Options {
            mirror: request.mirror,
            keep_going: request.keep_going,
            removal_limit: request.removal_limit,
        };
        let (stop, asker) = (AtomicBool::new(false), self.asker(caller));
        let (sender, messages) = bounded(MESSAGES);
        let outcome = std::thread::scope(|scope| {
            let work = || {
                let sender = sender;
                let mut tell = |told| tell(&sender, told);
                let mut plan = |plan| send(&sender, Message::Event(planned(plan)));
                let plan: Option<&mut dyn FnMut(Plan) -> Result<(), SyncError>> =
                    if request.dry_run { Some(&mut plan) } else { None };
                run(origin, options, seen.as_ref(), &destination, &stop, &mut tell, plan)
            };
            let worker = std::thread::Builder::new().name("sync".to_owned());
            let worker = worker
                .spawn_scoped(scope, work)
                .map_err(|error| SyncError::Io { action: "start a thread", error })?;
            // Whoever asked may be slow to hear it, or stopped: the sync goes on meanwhile.
            pass_on(&messages, progress, &mut || {
                if asker.is_gone() || self.stopping.load(Ordering::SeqCst) {
                    stop.store(true, Ordering::Relaxed);
                }
            });
            match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        match outcome.map_err(|error| sync_error(error, request))? {
            Outcome::Unchanged => Ok(Synced::Nothing {
                counts: SyncCounts::default(),
                would_change: false,
                unchanged_remote: true,
            }),
            Outcome::Ready { counts, .. } if request.dry_run => Ok(Synced::Nothing {
                counts,
                would_change: counts.added + counts.changed + counts.removed > 0,
                unchanged_remote: false,
            }),
            Outcome::Ready { counts, seen } => Ok(Synced::Publish(counts, seen)),
        }
    }

    fn seen(
        &self,
        request: &SyncRequest,
        running: &RunningImport,
    ) -> Result<Option<Seen>, ControlError> {
        let reader = self.engine.open_reader().map_err(control_error)?;
        let state =
            reader.sync_state(running.repository().id, &request.remote).map_err(store_error)?;
        // What cannot be read says nothing: everything is compared again.
        Ok(state.and_then(|state| serde_json::from_str(&state).ok()))
    }

    /// Keeps what was seen, so that the next sync can end after one request. Without that it would compare.
    fn note_seen(
        &self,
        request: &SyncRequest,
        running: &RunningImport,
        seen: Seen,
        commit: &CommitReply,
    ) {
        let seen = Seen { version: commit.version.number.0, ..seen };
        let noted =
            serde_json::to_string(&seen).map_err(|error| error.to_string()).and_then(|state| {
                let (repo, remote) = (running.repository().id, request.remote.clone());
                let note = RemoteNote::Seen { repo, remote, state };
                let noted = self.engine.call(|reply| Request::NoteRemote { note, reply });
                noted.map_err(|error| error.to_string())
            });
        if let Err(error) = noted {
            log::warn!("what {} declares is not kept in mind: {error}", request.remote);
        }
    }
}

/// What is left to do.
enum Synced {
    /// The area is to become a version.
    Publish(SyncCounts, Seen),
    /// There is nothing to publish.
    Nothing { counts: SyncCounts, would_change: bool, unchanged_remote: bool },
}

/// What a sync has to say.
enum Message {
    Counts(SyncCounts),
    Event(SyncEvent),
}

/// Tells what happened. Where nobody takes it, it is left out: the counts at the end have it all.
fn tell(sender: &Sender<Message>, told: Told) -> Result<(), SyncError> {
    let message = match told {
        Told::Counts(counts) => Message::Counts(counts),
        Told::Failure(failure) => Message::Event(SyncEvent {
            path: RawPath::from(failure.path.as_bytes()),
            change: SyncChange::Failed,
            reason: Some(failure.reason),
        }),
    };
    match sender.try_send(message) {
        Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
        Err(TrySendError::Disconnected(_)) => Err(SyncError::Ended),
    }
}

/// Hands on what a sync says until it has ended, and calls `look` from time to time.
fn pass_on(
    messages: &Receiver<Message>,
    progress: &mut dyn FnMut(Progress),
    look: &mut dyn FnMut(),
) {
    let mut events = Vec::new();
    loop {
        let message = messages.recv_timeout(WATCH_INTERVAL);
        let has_ended = matches!(message, Err(RecvTimeoutError::Disconnected));
        look();
        let is_event = match message {
            Ok(Message::Event(event)) => {
                events.push(event);
                true
            }
            Ok(Message::Counts(counts)) => {
                progress(Progress::Sync(counts));
                false
            }
            Err(_) => false,
        };
        if !events.is_empty() && (!is_event || events.len() >= CHANGES_MAX) {
            progress(Progress::SyncEvents(std::mem::take(&mut events)));
        }
        if has_ended {
            return;
        }
    }
}

fn planned(plan: Plan) -> SyncEvent {
    let (path, change) = match plan {
        Plan::Add(path) => (path, SyncChange::Added),
        Plan::Change(path) => (path, SyncChange::Changed),
        Plan::Remove(path) => (path, SyncChange::Removed),
    };
    SyncEvent { path: path.into(), change, reason: None }
}

fn sync_error(error: SyncError, request: &SyncRequest) -> ControlError {
    let message = error.to_string();
    let make = |kind| ControlError::new(kind, message.clone());
    let remote = &request.remote;
    match error {
        SyncError::Net(error) => match error.kind() {
            NetErrorKind::Stopped => make(ErrorKind::Busy),
            NetErrorKind::Temporary => {
                make(ErrorKind::Failed).with_hint("try again: what came is kept for a while")
            }
            NetErrorKind::NotFound | NetErrorKind::Refused | NetErrorKind::Protocol => {
                make(ErrorKind::Failed)
                    .with_hint(format!("`cairn remote test {remote}` says what works"))
            }
            NetErrorKind::Local => make(ErrorKind::Failed),
        },
        SyncError::Line { .. } | SyncError::Overlap { .. } | SyncError::Nothing(..) => {
            make(ErrorKind::Failed).with_hint(format!(
                "nothing was fetched; is {remote} of the right kind (`cairn remote show {remote}`)?"
            ))
        }
        SyncError::TooManyRemoved { .. } => make(ErrorKind::Failed).with_hint(
            "if that is meant, allow it: --max-delete 100%; --dry-run says what would go",
        ),
        SyncError::Failed(_) => make(ErrorKind::Failed)
            .with_hint("try again: what came is kept for a while; --keep-going publishes the rest"),
        SyncError::Changed(_) => make(ErrorKind::Busy)
            .with_hint("try again: what came is kept for a while")
            .with_detail(ErrorDetail::RemoteChanged { remote: remote.clone() }),
        SyncError::Stopped => {
            make(ErrorKind::Busy).with_hint("try again: what came is kept for a while")
        }
        SyncError::Lost(_) => make(ErrorKind::Failed)
            .with_hint("there is no new version: publishing would remove what is there"),
        SyncError::GaveUp(..) => {
            make(ErrorKind::Failed).with_hint("try again: what came is kept for a while")
        }
        SyncError::Io { .. } | SyncError::Store(_) | SyncError::Ended => make(ErrorKind::Failed),
    }
}

/// The store as a sync sees it.
struct Store<'a> {
    engine: &'a Arc<Engine>,
    running: &'a RunningImport,
    partial_files: &'a PartialFiles,
    reader: Mutex<Reader>,
    base: Option<Root>,
    number: Option<u64>,
    now: Timestamp,
}

impl<'a> Store<'a> {
    fn new(service: &'a StoreService, running: &'a RunningImport) -> Result<Self, ControlError> {
        let area = running.intake().area();
        let state = service.engine.staging.read();
        let base = state.areas.get(&area).and_then(|area| area.base.as_ref());
        let number = base.and_then(|base| base.number).map(|number| number.0);
        let base = base.and_then(|base| base.root.clone());
        drop(state);
        Ok(Self {
            engine: &service.engine,
            running,
            partial_files: &service.partial_files,
            reader: Mutex::new(service.engine.open_reader().map_err(control_error)?),
            base,
            number,
            now: Timestamp::now(),
        })
    }
}

fn store(error: impl std::error::Error + Send + Sync + 'static) -> SyncError {
    SyncError::Store(Box::new(error))
}

impl Destination for Store<'_> {
    fn base(&self) -> Option<&Root> {
        self.base.as_ref()
    }

    fn trees(&self) -> &TreeCache {
        &self.engine.trees
    }

    fn blob_of(&self, sha256: &Sha256) -> Result<Option<BlobHash>, SyncError> {
        Ok(self.reader.lock().blob_of(sha256)?)
    }

    fn digest_of(&self, blob: &BlobHash) -> Result<Sha256, SyncError> {
        let known = self.reader.lock().digest_of(blob)?;
        if let Some(known) = known {
            return Ok(known);
        }
        let content = self.engine.pool.open(blob)?;
        let sha256 =
            hash(&content).map_err(|error| SyncError::Io { action: "read a blob", error })?;
        self.note(vec![(sha256, *blob)])?;
        Ok(sha256)
    }

    fn hold(&self, blobs: Vec<BlobHash>) -> Result<Vec<Option<u64>>, SyncError> {
        let intake = self.running.intake();
        let known = intake.known(blobs.clone()).map_err(store)?;
        let lengths = blobs.iter().zip(known).map(|(blob, is_known)| {
            let held = is_known.then(|| intake.held_bytes(blob));
            held.flatten()
        });
        Ok(lengths.collect())
    }

    fn note(&self, digests: Vec<(Sha256, BlobHash)>) -> Result<(), SyncError> {
        self.engine
            .call(|reply| Request::NoteRemote { note: RemoteNote::Digests(digests), reply })
            .map_err(store)
    }

    fn put(
        &self,
        entries: Vec<ImportEntry>,
        payload: Vec<u8>,
        files: Vec<File>,
    ) -> Result<(), SyncError> {
        self.running.intake().put(Batch { entries, payload, files }).map_err(store)
    }

    fn settle(&self) -> Result<(), SyncError> {
        self.running.intake().settle().map_err(store)
    }

    fn remove(&self, path: &[u8]) -> Result<(), SyncError> {
        self.running.intake().remove(&RawPath::from(path)).map_err(store)
    }

    fn temporary(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.engine.layout.incoming())
    }

    fn partial_files(&self) -> &PartialFiles {
        self.partial_files
    }

    fn owner(&self) -> (u32, u32) {
        let owner = self.running.owner();
        (owner.uid, owner.gid)
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

fn hash(content: &File) -> io::Result<Sha256> {
    let mut hasher = Sha256Hasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let read = content.read_at(&mut chunk, done)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&chunk[..read]);
        done += read as u64;
    }
}
