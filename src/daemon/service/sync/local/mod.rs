//! Syncs from a directory or an archive of this machine: nothing is declared, so all of it is read, as `cairn import`
//! reads it, but by the daemon.
//!
//! It is read with the daemon's rights. So only root and the user the daemon runs as may add, change or sync such a
//! remote: [`rights`](crate::control::rights) lets nobody else ask for it.

mod base;
mod error;
mod removals;
mod sink;

use std::fs::File;
use std::path::{Path, PathBuf};

use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};

use self::base::Newest;
use self::removals::Order;
use self::sink::Sink;
use super::error::sync_error;
use super::{SeenState, StoreService, Synced};
use crate::archive::local::{Boundary, Choices, OpenArchive, OpenDirectory, Part};
use crate::archive::observer::ImportTotals;
use crate::archive::path::ArchivePath;
use crate::archive::stat_cache::{FileState, StatCacheOptions};
use crate::archive::{ArchiveError, FileId, Refused};
use crate::control::protocol::ControlError;
use crate::control::sync::SyncEvent;
use crate::daemon::service::errors::{control_error, store_error};
use crate::daemon::service::import::RunningImport;
use crate::daemon::service::jobs::Job;
use crate::fuse::mount::MountTable;
use crate::model::remote::{RemoteKind, RemoteSettings, RemoteTest};
use crate::model::sync::{SyncCounts, SyncStage};
use crate::model::text::count;
use crate::model::time::Timestamp;
use crate::sync::SyncError;

/// Unreadable entries that a test of a remote names.
const UNREADABLE_SHOWN: usize = 5;

/// A directory or an archive to read.
#[derive(Debug, Clone)]
pub(super) struct Local {
    path: PathBuf,
    is_archive: bool,
    /// Only what is below that, as if it was the top.
    below: Option<ArchivePath>,
}

/// An archive as it was read, by which the next sync knows that it need not read it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SeenArchive {
    archive: FileState,
    /// What was asked for.
    asked: String,
    /// The version that has what it held.
    version: u64,
}

impl SeenArchive {
    /// It made that version.
    pub(super) fn of_version(self, version: u64) -> Self {
        Self { version, ..self }
    }
}

impl Local {
    /// What a remote of these settings is on this machine; `None` where it is elsewhere.
    pub(super) fn of(settings: &RemoteSettings, below: Option<ArchivePath>) -> Option<Self> {
        let is_archive = settings.kind == RemoteKind::Archive;
        let path = settings.url.local_path().filter(|_| settings.kind.is_local())?;
        Some(Self { path, is_archive, below })
    }
}

impl StoreService {
    /// Puts into the area of `running` what is to be the next version; with `planned` it only says what that would be.
    pub(super) fn sync_local(
        &self,
        job: &Job,
        local: &Local,
        running: &RunningImport,
        planned: Option<&Sender<SyncEvent>>,
    ) -> Result<Synced, ControlError> {
        let request = job.sync();
        job.tally.reset();
        let read_error = |error| {
            let failed = (job.failed_files(), job.tally.counts().failed);
            error::read_error(error, &local.path, request, failed)
        };
        let newest = Newest::of(&self.engine, running.intake().area());
        let order = if local.is_archive { Order::Any } else { Order::Sorted };
        let sink = Sink::new((job, running), &newest, order, planned);
        let (mut sink, mut looker) = sink.map_err(local_error(job))?;
        let read = match local.is_archive {
            true => self.read_archive(job, local, &newest, &mut sink, &mut looker),
            false => self.read_directory(job, local, &mut sink, &mut looker),
        };
        let (totals, seen) = match read.map_err(read_error)? {
            Read::Unchanged => return Ok(unchanged()),
            Read::Changed => return Err(error::changed(&local.path, &request.remote)),
            Read::All(totals, seen) => (totals, seen),
        };
        if totals.files == 0 && totals.directories <= 1 {
            let below = local.below.as_ref().map(ToString::to_string);
            return Err(error::nothing(&local.path, below.as_deref()));
        }
        let differs = sink.finish().map_err(local_error(job))?;
        let (counts, there) = (job.tally.counts(), newest.files());
        let warnings = warnings(&totals);
        if planned.is_some() {
            let unchanged_remote = false;
            return Ok(Synced::Nothing {
                counts,
                would_change: differs,
                unchanged_remote,
                warnings,
            });
        }
        if !request.removal_limit.allows(counts.removed, there) {
            let too_many = SyncError::TooManyRemoved { removed: counts.removed, there };
            return Err(sync_error(too_many, &request.remote, Vec::new()));
        }
        Ok(Synced::Publish { counts, seen, warnings })
    }

    fn read_directory(
        &self,
        job: &Job,
        local: &Local,
        sink: &mut Sink<'_>,
        looker: &mut sink::Looker<'_>,
    ) -> Result<Read, ArchiveError> {
        let top = OpenDirectory::open(&local.path, local.below.as_ref(), self.boundary()?)?;
        job.tally.enter(SyncStage::Fetch);
        let stat_cache = StatCacheOptions {
            directory: self.engine.layout.stat_cache(),
            read_all: false,
            now: Timestamp::now(),
        };
        let keep_going = job.sync().keep_going;
        let choices = Choices { stat_cache, keep_going, stop: &job.stop };
        let (totals, noted) = top.read(choices, sink, looker)?;
        let (files, unread) = (count(totals.files, "file"), totals.unread_files);
        log::info!("job {}: {files} in {}, {unread} not read", job.id(), local.path.display());
        if let Some(noted) = noted {
            noted.save();
        }
        Ok(Read::All(totals, None))
    }

    fn read_archive(
        &self,
        job: &Job,
        local: &Local,
        newest: &Newest<'_>,
        sink: &mut Sink<'_>,
        looker: &mut sink::Looker<'_>,
    ) -> Result<Read, ArchiveError> {
        let archive = OpenArchive::open(&local.path, &self.boundary()?)?;
        let (now, before) = (Timestamp::now(), archive.state()?);
        let how = if job.sync().mirror { "mirror" } else { "additive" };
        let below = local.below.as_ref().map_or_else(String::new, ToString::to_string);
        let asked = format!("{how} {below}");
        if self.has_seen(job, newest, &before, &asked).map_err(ArchiveError::Store)? {
            return Ok(Read::Unchanged);
        }
        job.tally.enter(SyncStage::Fetch);
        let spool = self.engine.layout.incoming();
        let part = Part { below: local.below.as_ref(), spool: &spool };
        let read = archive.read(part, &job.stop, sink, looker);
        if archive.state()? != before {
            // Whatever was found wrong with it.
            return Ok(Read::Changed);
        }
        let believed = before.can_be_believed(archive.file(), now);
        let seen = believed.then_some(SeenArchive { archive: before, asked, version: 0 });
        Ok(Read::All(read?, seen.map(SeenState::Archive)))
    }

    /// Whether the newest version is what the same file made at the last sync.
    fn has_seen(
        &self,
        job: &Job,
        newest: &Newest<'_>,
        now: &FileState,
        asked: &str,
    ) -> Result<bool, ControlError> {
        let request = job.sync();
        // A tag is given by publishing.
        if request.tag.is_some() {
            return Ok(false);
        }
        let Some(repository) = self.engine.registry.by_name(request.repository.as_str()) else {
            return Ok(false);
        };
        let reader = self.engine.open_reader().map_err(control_error)?;
        let state = reader.sync_state(repository.id, &request.remote).map_err(store_error)?;
        let seen: Option<SeenArchive> = state.and_then(|state| serde_json::from_str(&state).ok());
        let is_same = seen.is_some_and(|seen| {
            seen.archive == *now && seen.asked == asked && Some(seen.version) == newest.number()
        });
        // What the store lacks comes again with the archive.
        Ok(is_same && reader.damaged_blobs().map_err(store_error)?.is_empty())
    }

    /// What is not read: the store itself, and where it is mounted.
    pub(in crate::daemon::service) fn boundary(&self) -> Result<Boundary, ArchiveError> {
        let root = self.engine.layout.root();
        let store = File::open(root).map_err(ArchiveError::io("open", root))?;
        let id = FileId::of(&store).map_err(ArchiveError::io("stat", root))?;
        let refused = vec![Refused::store(id)];
        let Some(mount) = &self.facts.mount else {
            return Ok(Boundary { refused, avoided: Vec::new() });
        };
        let table = MountTable::read()
            .map_err(|error| ArchiveError::Store(error::plain(error.to_string())))?;
        let source = table.at(mount).map(|entry| &entry.source);
        let is_own = |target: &Path, of: &PathBuf| target.starts_with(mount) || Some(of) == source;
        let own = table.of_cairn().filter(|entry| is_own(&entry.target, &entry.source));
        Ok(Boundary { refused, avoided: own.map(|entry| entry.device).collect() })
    }

    /// Says whether a directory or an archive can be read, and what of a remote's abilities it has.
    pub(in crate::daemon::service) fn test_local(
        &self,
        settings: &RemoteSettings,
        is_stopped: &dyn Fn() -> bool,
    ) -> RemoteTest {
        let Some(local) = Local::of(settings, None) else { return RemoteTest::default() };
        let looked = if local.is_archive {
            self.look_at_archive(&local, is_stopped)
        } else {
            self.look_at_directory(&local, is_stopped)
        };
        looked.unwrap_or_else(|error| RemoteTest {
            failure: Some(match error {
                ArchiveError::Format(reason) => reason,
                ArchiveError::Entry { entry, reason } => format!("entry `{entry}`: {reason}"),
                ArchiveError::EntryPath { entry, rule } => format!("entry `{entry}`: {rule}"),
                other => other.to_string(),
            }),
            ..RemoteTest::default()
        })
    }

    fn look_at_directory(
        &self,
        local: &Local,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<RemoteTest, ArchiveError> {
        let top = OpenDirectory::open(&local.path, None, self.boundary()?)?;
        let found = top.look(is_stopped)?;
        let listed = found.problems.listed().iter().take(UNREADABLE_SHOWN);
        let mut notes: Vec<_> = listed.map(ToString::to_string).collect();
        notes.push(
            "it is read by the daemon; files that did not change are not read again".to_owned(),
        );
        let usable = found.problems.is_empty();
        let failure = (!usable).then(|| {
            "something in it cannot be read: a sync needs --keep-going, and leaves that out"
                .to_owned()
        });
        Ok(RemoteTest {
            usable,
            failure,
            declared: Some(found.files),
            notes,
            ..RemoteTest::default()
        })
    }

    fn look_at_archive(
        &self,
        local: &Local,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<RemoteTest, ArchiveError> {
        let archive = OpenArchive::open(&local.path, &self.boundary()?)?;
        let (files, compression) = archive.look(is_stopped)?;
        let form = compression.map_or_else(
            || "a tar archive, not compressed".to_owned(),
            |compression| format!("a tar archive, compressed with {compression}"),
        );
        let notes = vec![
            format!("it is {form}"),
            "it is read by the daemon, whole whenever it changed".to_owned(),
        ];
        Ok(RemoteTest { usable: true, declared: Some(files), notes, ..RemoteTest::default() })
    }
}

/// What came of reading.
enum Read {
    /// It is what made the newest version.
    Unchanged,
    /// It is another file now.
    Changed,
    /// All of it, and what to know the next time.
    All(ImportTotals, Option<SeenState>),
}

fn unchanged() -> Synced {
    Synced::Nothing {
        counts: SyncCounts::default(),
        would_change: false,
        unchanged_remote: true,
        warnings: Vec::new(),
    }
}

fn warnings(totals: &ImportTotals) -> Vec<String> {
    let mut warnings = Vec::new();
    if totals.reread_files > 0 {
        let files = count(totals.reread_files, "file");
        warnings.push(format!("{files} changed while they were read; they were read again"));
    }
    if totals.acls_dropped > 0 {
        warnings.push(format!("not kept: {}", count(totals.acls_dropped, "POSIX ACL")));
    }
    warnings
}

fn local_error(job: &Job) -> impl Fn(SyncError) -> ControlError + '_ {
    |error| sync_error(error, &job.sync().remote, Vec::new())
}
