//! Sync: a job that makes a version of what a remote declares.

mod error;
mod local;
mod store;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender, bounded};

use self::error::sync_error;
use self::local::{Local, SeenArchive};
use self::store::Store;
use super::errors::{control_error, store_error};
use super::import::{Finish, RunningImport};
use super::jobs::{Job, JobReply, JobRequest, Work};
use super::remote_notes::warnings;
use super::remotes::check_policy;
use super::{Answer, StoreService};
use crate::archive::path::ArchivePath;
use crate::control::commit::CommitReply;
use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind, Progress, check_text};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::sync::{SyncChange, SyncEvent, SyncReply, SyncRequest};
use crate::engine::commit::Asker;
use crate::engine::pins::SourcesHold;
use crate::engine::request::{RemoteNote, Request};
use crate::model::import::ImportOptions;
use crate::model::manifest::DeclaredPath;
use crate::model::name::BaseName;
use crate::model::remote::{RemoteKind, RemoteSettings};
use crate::model::sync::{SyncCounts, SyncStage};
use crate::model::time::Timestamp;
use crate::net::Client;
use crate::sync::{Options, Origin, Outcome, Plan, Seen, SyncError, Watch, run};

/// How often a sync is made again since somebody else published meanwhile.
const TRIES: u32 = 5;

/// Steps of a dry run that nobody has taken yet.
const PLANNED_MAX: usize = 10_000;

/// How often a dry run whose steps nobody takes looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// Where a sync gets its content.
enum Source {
    /// From a server.
    Server(Box<Server>),
    /// From this machine.
    Local(Local),
}

/// A remote that is asked over the network.
struct Server {
    client: Client,
    settings: RemoteSettings,
    subpath: Option<DeclaredPath>,
}

impl StoreService {
    pub(super) fn sync(
        &self,
        caller: Caller,
        request: SyncRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let source = self.source(&request)?;
        let is_detached = request.detach;
        let (sender, planned) = if request.dry_run {
            let (sender, planned) = bounded(PLANNED_MAX);
            (Some(sender), Some(planned))
        } else {
            (None, None)
        };
        let work: Work = Box::new(move |service, job| {
            service.run_sync(job, &source, sender.as_ref()).map(JobReply::Sync)
        });
        let job = self.jobs.begin(caller, JobRequest::Sync(request), work)?;
        if is_detached {
            return Ok(Reply::Jobs(vec![job.info()]));
        }
        self.attend(&job, planned.as_ref(), progress)
    }

    /// Checks what can be checked at once.
    fn source(&self, request: &SyncRequest) -> Result<Source, ControlError> {
        self.check_job(request.detach)?;
        if request.detach && request.dry_run {
            let message = "a dry run has nothing to go on with: --detach is not for it";
            return Err(ControlError::new(ErrorKind::Usage, message));
        }
        check_text("message", &request.message)?;
        check_text("author", request.author.as_deref().unwrap_or_default())?;
        let mut settings = self.known_remote(&request.remote)?.settings;
        settings.rate_bytes_per_second =
            request.rate_bytes_per_second.or(settings.rate_bytes_per_second);
        settings.policy = request.policy.unwrap_or(settings.policy);
        check_policy(&settings)?;
        let subpath = (!request.subpath.as_bytes().is_empty())
            .then(|| DeclaredPath::new(request.subpath.as_bytes()))
            .transpose()
            .map_err(|error| ControlError::new(ErrorKind::Usage, error.to_string()))?;
        if settings.kind == RemoteKind::Bucket {
            let remote = &request.remote;
            let message = format!("{remote} is a bucket, which holds whole repositories");
            return Err(ControlError::new(ErrorKind::Usage, message).with_hint(
                "a sync needs a remote that declares files: see `cairn remote --help`",
            ));
        }
        if settings.kind.is_local() {
            return local_source(request, &settings, subpath.as_ref());
        }
        let client = Client::new(&settings)
            .map_err(|error| sync_error(error.into(), &request.remote, Vec::new()))?;
        Ok(Source::Server(Box::new(Server { client, settings, subpath })))
    }

    /// The work of the job.
    fn run_sync(
        &self,
        job: &Arc<Job>,
        source: &Source,
        planned: Option<&Sender<SyncEvent>>,
    ) -> Result<SyncReply, ControlError> {
        let request = job.sync();
        if let Err(error) = self.partial_files.remove_old(Timestamp::now()) {
            log::warn!("old downloads stay: {error}");
        }
        for _ in 0..TRIES {
            let attempt = self.attempt(job, source, planned);
            let is_stale = attempt.as_ref().is_err_and(|error| {
                matches!(error.detail.as_deref(), Some(ErrorDetail::StaleBase { .. }))
            });
            // Somebody published meanwhile: what is declared is compared with that version, and little is
            // left to fetch. A merge could lose what that version took away.
            if !is_stale {
                return attempt;
            }
            job.forget_failures();
        }
        let message = format!("others publish into {} all the time", request.repository);
        Err(ControlError::new(ErrorKind::Busy, message).with_hint("try again"))
    }

    fn attempt(
        &self,
        job: &Arc<Job>,
        source: &Source,
        planned: Option<&Sender<SyncEvent>>,
    ) -> Result<SyncReply, ControlError> {
        let request = job.sync();
        let options = ImportOptions {
            repository: request.repository.clone(),
            create: true,
            mirror: request.mirror,
            message: request.message.clone(),
            author: request.author.clone(),
            tag: request.tag.clone(),
        };
        // Where content can be had is noted before the version is there that needs it.
        let _noted =
            matches!(source, Source::Server(_)).then(|| SourcesHold::new(&self.engine.pins));
        let mut import = OpenImport {
            service: self,
            running: self.begin_on(job.caller, options, Some(&BaseName::Latest))?,
            is_published: false,
        };
        let synced = match source {
            Source::Server(server) => {
                let Server { client, settings, subpath } = &**server;
                let origin = Origin::new(client, settings, subpath.as_ref());
                self.sync_into(job, &origin, &import.running, planned)?
            }
            Source::Local(local) => self.sync_local(job, local, &import.running, planned)?,
        };
        match synced {
            Synced::Publish { counts, seen, warnings } => {
                job.tally.enter(SyncStage::Publish);
                let waiting = Arc::clone(job);
                let finish = Finish {
                    user: job.user.clone(),
                    asker: Asker::new(move || waiting.is_cancelled()),
                    allow_empty: false,
                    on_stale: None,
                };
                let commit = self.finish_import(&import.running, finish)?;
                import.is_published = true;
                // What could not be had is asked for again.
                if let Some(seen) = seen.filter(|_| counts.failed == 0) {
                    self.note_seen(request, &import.running, seen, &commit);
                }
                Ok(SyncReply {
                    changed: commit.changed,
                    version: Some(commit.version),
                    tag: commit.tag,
                    unchanged_remote: false,
                    warnings,
                    counts,
                })
            }
            Synced::Nothing { counts, would_change, unchanged_remote, warnings } => {
                let repository = self.repository(&request.repository)?;
                let newest = repository.latest();
                let newest = newest.map(|version| super::describe::version(&repository, version));
                let changed = would_change;
                let version = newest;
                Ok(SyncReply { changed, version, tag: None, unchanged_remote, warnings, counts })
            }
        }
    }

    fn sync_into(
        &self,
        job: &Job,
        origin: &Origin<'_>,
        running: &RunningImport,
        planned: Option<&Sender<SyncEvent>>,
    ) -> Result<Synced, ControlError> {
        let request = job.sync();
        let destination = Store::new(self, running, &request.remote, &job.stop)?;
        let newest = destination.number();
        let seen = self.seen(request, running)?.filter(|seen| Some(seen.version) == newest);
        // A tag is given by publishing.
        let seen = seen.filter(|_| request.tag.is_none());
        let options = Options {
            mirror: request.mirror,
            keep_going: request.keep_going,
            removal_limit: request.removal_limit,
        };
        let note = |failure| job.note_failure(failure);
        let watch = Watch { stop: &job.stop, tally: &job.tally, failed: &note };
        let mut hand_on;
        let plan: Option<&mut dyn FnMut(Plan) -> Result<(), SyncError>> = match planned {
            Some(planned) => {
                hand_on = |step| tell(job, planned, step);
                Some(&mut hand_on)
            }
            None => None,
        };
        let outcome = run(origin, options, seen.as_ref(), &destination, watch, plan);
        match outcome.map_err(|error| sync_error(error, &request.remote, job.failed_files()))? {
            Outcome::Unchanged => Ok(Synced::Nothing {
                counts: SyncCounts::default(),
                would_change: false,
                unchanged_remote: true,
                warnings: Vec::new(),
            }),
            Outcome::Ready { counts, notes, .. } if request.dry_run => Ok(Synced::Nothing {
                counts,
                would_change: counts.added + counts.changed + counts.removed > 0,
                unchanged_remote: false,
                warnings: warnings(notes),
            }),
            Outcome::Ready { counts, seen, notes } => {
                let seen = Some(SeenState::Remote(seen));
                Ok(Synced::Publish { counts, seen, warnings: warnings(notes) })
            }
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
        seen: SeenState,
        commit: &CommitReply,
    ) {
        let version = commit.version.number.0;
        let state = match seen {
            SeenState::Remote(seen) => serde_json::to_string(&Seen { version, ..seen }),
            SeenState::Archive(seen) => serde_json::to_string(&seen.of_version(version)),
        };
        let noted = state.map_err(|error| error.to_string()).and_then(|state| {
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

/// A directory or an archive as a source.
fn local_source(
    request: &SyncRequest,
    settings: &RemoteSettings,
    subpath: Option<&DeclaredPath>,
) -> Result<Source, ControlError> {
    let usage = |message: String| ControlError::new(ErrorKind::Usage, message);
    if request.rate_bytes_per_second.is_some() {
        let message = format!("{} is on this machine: --limit-rate is not for it", request.remote);
        return Err(usage(message));
    }
    let below = subpath.map(|path| ArchivePath::parse(path.as_bytes())).transpose();
    let below = below.map_err(|error| usage(error.to_string()))?;
    let local = Local::of(settings, below)
        .ok_or_else(|| usage(format!("remote {} has no path of this machine", request.remote)))?;
    Ok(Source::Local(local))
}

/// An import of a sync, which leaves nothing behind unless it was published.
struct OpenImport<'a> {
    service: &'a StoreService,
    running: RunningImport,
    is_published: bool,
}

impl Drop for OpenImport<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            self.service.end_import(&self.running);
        }
    }
}

/// What was seen of a remote, by which the next sync knows that nothing changed.
enum SeenState {
    Remote(Seen),
    Archive(SeenArchive),
}

/// What is left to do.
enum Synced {
    /// The area is to become a version.
    Publish { counts: SyncCounts, seen: Option<SeenState>, warnings: Vec<String> },
    /// There is nothing to publish.
    Nothing {
        counts: SyncCounts,
        would_change: bool,
        unchanged_remote: bool,
        warnings: Vec<String>,
    },
}

/// Tells a step of a dry run; waits until it is taken.
fn tell(job: &Job, planned: &Sender<SyncEvent>, plan: Plan) -> Result<(), SyncError> {
    let (path, change) = match plan {
        Plan::Add(path) => (path, SyncChange::Added),
        Plan::Change(path) => (path, SyncChange::Changed),
        Plan::Remove(path) => (path, SyncChange::Removed),
    };
    let mut event = SyncEvent { path: path.into(), change, reason: None };
    while !job.stop.load(Ordering::Relaxed) {
        match planned.send_timeout(event, STOP_INTERVAL) {
            Ok(()) => return Ok(()),
            Err(SendTimeoutError::Timeout(again)) => event = again,
            Err(SendTimeoutError::Disconnected(_)) => return Err(SyncError::Ended),
        }
    }
    Err(SyncError::Stopped)
}
