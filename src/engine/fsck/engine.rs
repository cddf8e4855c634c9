//! Checking and repairing a store while an engine runs on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::finding::{Finding, Leftover};
use super::repair::{Step, id_limit_after, is_gone};
use super::{Options, Report, Sink, Stopped, Suspicion};
use crate::engine::Engine;
use crate::engine::durability::ToDisk;
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::request::{Reply, Request};
use crate::engine::thread::MetadataThread;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::pool::{Damage, Incoming};

/// What a check or repair asks of the metadata thread. Each is one slice of work.
#[derive(Debug)]
pub enum Job {
    /// Whether a suspicion holds.
    Confirm(Suspicion),
    /// Marks blobs that are still damaged: whether that was written. Answered once the kernel has
    /// forgotten their content.
    Mark(Vec<Damage>),
    /// One step of a repair: whether anything was to be done.
    Repair(Step),
    /// Gives a blob this file, which is a copy of its own, where that still has other names.
    Unshare(BlobHash, Incoming),
    /// Writes a note of the catalog: how far a scrub has come.
    Note(&'static str, String),
}

impl Engine {
    /// Checks the store, on the calling thread, while others go on. `go_on` is asked often, and
    /// may pause the check; `false` ends it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn check(
        &self,
        options: Options,
        found: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(&'static str, u64, u64),
        go_on: &mut dyn FnMut() -> bool,
    ) -> std::result::Result<Report, Stopped> {
        let mut sink = Beside { engine: self, found, progress, go_on };
        super::check(&self.subject, options, &mut sink)
    }

    /// Does one step of a repair. Returns whether anything was to be done.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn repair(&self, step: Step) -> Result<bool> {
        if matches!(step, Step::Remove(Leftover::Private(..))) {
            // That its row is gone must be on disk before the file is: a power loss would bring the
            // row back (H2).
            ToDisk { layout: &self.layout, pool: &self.pool, staging: &self.staging }.rows()?;
        }
        if let Step::Unshare(hash, size) = step {
            // Copied here: nobody waits for the metadata thread meanwhile.
            let copy = self.pool.copy_apart(&hash, size)?;
            let job = Job::Unshare(hash, copy);
            let done = self.call(|reply| Request::Fsck { job, reply })?;
            self.pool.sync_fan_out(&hash)?;
            return Ok(done);
        }
        self.call(|reply| Request::Fsck { job: Job::Repair(step), reply })
    }
}

impl Engine {
    /// Marks those of the blobs that are still damaged, and has the kernel forget their content.
    /// Returns whether all marks are written; readers are refused in any case.
    ///
    /// # Errors
    /// The engine has stopped.
    pub(in crate::engine) fn mark_damaged(&self, damage: Vec<Damage>) -> Result<bool> {
        self.call(|reply| Request::Fsck { job: Job::Mark(damage), reply })
    }
}

struct Beside<'a> {
    engine: &'a Engine,
    found: &'a mut dyn FnMut(Finding),
    progress: &'a mut dyn FnMut(&'static str, u64, u64),
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Sink for Beside<'_> {
    fn found(&mut self, finding: Finding) {
        (self.found)(finding);
    }

    fn progress(&mut self, step: &'static str, done: u64, total: u64) {
        (self.progress)(step, done, total);
    }

    fn confirm(&mut self, suspicion: Suspicion) -> std::result::Result<bool, Stopped> {
        let job = Job::Confirm(suspicion);
        self.engine.call(|reply| Request::Fsck { job, reply }).map_err(|error| match error {
            EngineError::Store(error) => error.into(),
            _ => Stopped::Cancelled,
        })
    }

    fn mark(&mut self, damage: Vec<Damage>) -> std::result::Result<bool, Stopped> {
        self.engine.mark_damaged(damage).map_err(|error| match error {
            EngineError::Store(error) => error.into(),
            _ => Stopped::Cancelled,
        })
    }

    fn is_cancelled(&mut self) -> bool {
        !(self.go_on)()
    }
}

impl MetadataThread {
    pub(in crate::engine) fn fsck(&mut self, job: Job, reply: Reply<bool>) {
        match job {
            Job::Confirm(suspicion) => reply(self.confirm(&suspicion)),
            Job::Note(key, value) => {
                reply(self.write(|tx| tx.set_meta(key, &value)).map(|()| true))
            }
            Job::Unshare(hash, copy) => reply(self.unshare(&hash, copy)),
            Job::Mark(damage) => self.note_damage(&damage, reply),
            Job::Repair(step) => match self.repair(&step) {
                Ok((done, events)) => self.notify_apart(events, move || reply(Ok(done))),
                Err(error) => reply(Err(error)),
            },
        }
    }

    fn unshare(&self, hash: &BlobHash, copy: Incoming) -> Result<bool> {
        let wanted = self.reader.blob(hash)?.is_some_and(|row| !row.damaged);
        let pool = &self.store.pool;
        if !wanted || pool.look_at(hash)?.is_none_or(|file| file.names < 2) {
            return Ok(false);
        }
        pool.adopt(&self.store.lock, copy, hash)?;
        Ok(true)
    }

    fn confirm(&self, suspicion: &Suspicion) -> Result<bool> {
        Ok(match suspicion {
            Suspicion::Blob(hash, size) => {
                self.reader.blob(hash)?.is_some()
                    && self.store.pool.size_on_disk(hash)? != Some(*size)
            }
            Suspicion::ExtraBlob(hash) => {
                let held = self.pins.is_pinned(hash) || self.journal.is_pending(hash);
                !held
                    && self.reader.blob(hash)?.is_none()
                    && self.store.pool.size_on_disk(hash)?.is_some()
            }
            // What this process made may be ahead of its row.
            Suspicion::Private(_, file) if file.0 >= self.first_id => false,
            // So goes what waits for the disk (H2), and what is in an area that is being purged.
            Suspicion::Private(area, file) if self.durability.is_obsolete(*area, *file) => false,
            Suspicion::Private(area, file) => {
                self.staging.read().areas.contains_key(area)
                    && !self.store.catalog.snapshots().latest()?.names_private(*area, *file)?
                    && self.store.layout.private(*area, *file).exists()
            }
            Suspicion::AreaDirectory(area) => area.0 < self.first_id && !self.is_area(*area)?,
            Suspicion::Area(area) => !self.staging.read().areas.contains_key(area),
        })
    }

    fn is_area(&self, area: AreaId) -> Result<bool> {
        Ok(self.staging.read().areas.contains_key(&area)
            || self.reader.areas()?.iter().any(|row| row.id == area))
    }

    fn repair(&mut self, step: &Step) -> Result<(bool, Vec<Event>)> {
        let needed = match step {
            Step::Remove(Leftover::Blob(hash)) => self.confirm(&Suspicion::ExtraBlob(*hash))?,
            Step::Remove(Leftover::Private(area, file)) => {
                self.confirm(&Suspicion::Private(*area, *file))?
            }
            Step::Remove(Leftover::AreaDirectory(area)) => {
                self.confirm(&Suspicion::AreaDirectory(*area))?
            }
            Step::Remove(Leftover::Area(area)) => self.confirm(&Suspicion::Area(*area))?,
            Step::DeleteTag(repo, _, number) => !self.has_version(*repo, *number),
            Step::NameNode(area, _) => {
                let state = self.staging.read();
                if state.areas.get(area).is_some_and(|area| area.loaded) {
                    let reason = "the area is in use: end the daemon and repair then";
                    return Err(EngineError::Invalid(reason.to_owned()));
                }
                true
            }
            // A commit under way has unreferenced trees of its own.
            Step::BlankTree { hash, .. } => !self.commits.has_pinned(hash),
            _ => true,
        };
        if !needed {
            return Ok((false, Vec::new()));
        }
        match self.write(|tx| step.rows(tx, Timestamp::now())) {
            Ok(true) => {}
            Ok(false) => return Ok((false, Vec::new())),
            // Collected since: nothing names it any more.
            Err(EngineError::Store(error)) if is_gone(&error) => return Ok((false, Vec::new())),
            Err(error) => return Err(error),
        }
        step.files(&self.store)?;
        Ok((true, self.follow(step)))
    }

    fn has_version(&self, repo: RepoId, number: VersionNumber) -> bool {
        self.repository(repo).is_ok_and(|repository| repository.versions.contains_key(&number))
    }

    /// Brings what is in memory after what is in the catalog.
    fn follow(&mut self, step: &Step) -> Vec<Event> {
        match step {
            Step::DeleteTag(repo, tag, _) => {
                self.show(*repo, |repository| {
                    repository.tags.remove(tag);
                });
                vec![Event::TagChanged(*repo, TagName::clone(tag))]
            }
            // What was read of them may be wrong, or an error may have been kept instead.
            Step::UnmarkBlob(hash) | Step::InsertBlob { hash, .. } => {
                vec![Event::BlobsChanged(Arc::new(BTreeSet::from([*hash])))]
            }
            Step::RaiseNumber(repo, newest) => {
                self.show(*repo, |repository| {
                    let next = VersionNumber(newest.0 + 1);
                    repository.next_number = repository.next_number.max(next);
                });
                Vec::new()
            }
            Step::Charge(repo, number, charge) => {
                self.show(*repo, |repository| {
                    let known = repository.versions.charge(*number);
                    if known.is_some_and(|known| known.base == charge.base) {
                        repository.versions.set_charge(*number, *charge);
                    }
                });
                Vec::new()
            }
            Step::AcceptNames(area) => {
                self.staging.change(|state, _| state.accept_names(*area));
                Vec::new()
            }
            Step::RaiseIds(highest) => {
                self.staging.store.next_id.fetch_max(highest + 1, Ordering::Relaxed);
                self.journal.raise_id_limit(id_limit_after(*highest));
                Vec::new()
            }
            Step::Remove(Leftover::Area(_) | Leftover::AreaRows(_)) => {
                self.gc.wake();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}
