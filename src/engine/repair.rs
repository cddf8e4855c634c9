//! Checking and repairing a store while an engine runs on it: the part on the metadata thread, where
//! nothing can come between a look and a change.

use std::sync::atomic::Ordering;

use super::blobs::Blobs;
use super::commit::Commits;
use super::error::{EngineError, Result};
use super::event::Event;
use super::fsck::{Job, Leftover, Step, Suspicion, id_limit_after, is_gone};
use super::journal::Journal;
use super::now::Now;
use super::reply::Reply;
use super::writer::StoreWriter;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::store::pool::Incoming;

/// The parts of the metadata thread that a check looks at and a repair changes.
pub(super) struct Repairs<'a> {
    pub(super) writer: &'a mut StoreWriter,
    pub(super) blobs: &'a mut Blobs,
    pub(super) commits: &'a Commits,
    pub(super) journal: &'a mut Journal,
}

impl Repairs<'_> {
    /// Does one slice of work.
    pub(super) fn serve(&mut self, job: Job, reply: Reply<bool>, now: Now) {
        match job {
            Job::Confirm(suspicion) => reply(self.confirm(&suspicion)),
            Job::Note(key, value) => {
                reply(self.writer.write(|tx| tx.set_meta(key, &value)).map(|()| true))
            }
            Job::Unshare(hash, copy) => reply(self.unshare(&hash, copy)),
            Job::Mark(damage) => self.blobs.note_damage(self.writer, &damage, reply, now),
            Job::Repair(step) => match self.repair(&step, now) {
                Ok((done, events)) => self.writer.notify_apart(events, move || reply(Ok(done))),
                Err(error) => reply(Err(error)),
            },
        }
    }

    fn unshare(&self, hash: &BlobHash, copy: Incoming) -> Result<bool> {
        let wanted = self.writer.reader().blob(hash)?.is_some_and(|row| row.is_stored());
        let pool = &self.writer.store().pool;
        if !wanted || pool.look_at(hash)?.is_none_or(|file| file.names < 2) {
            return Ok(false);
        }
        pool.adopt(&self.writer.store().lock, copy, hash)?;
        Ok(true)
    }

    fn confirm(&self, suspicion: &Suspicion) -> Result<bool> {
        Ok(match suspicion {
            Suspicion::Blob(hash, size) => {
                self.writer.reader().blob(hash)?.is_some_and(|row| !row.is_absent())
                    && self.writer.store().pool.size_on_disk(hash)? != Some(*size)
            }
            Suspicion::ExtraBlob(hash) => {
                let held = self.writer.watch_blob(hash) || self.blobs.is_pending(hash);
                !held
                    && self.writer.reader().blob(hash)?.is_none()
                    && self.writer.store().pool.size_on_disk(hash)?.is_some()
            }
            // A file that this process made may get its row only later.
            Suspicion::Private(_, file) if file.0 >= self.writer.first_id() => false,
            // This one will go by itself, once the deletion of its row is on disk (H2).
            Suspicion::Private(area, file)
                if self.writer.durability().is_obsolete(*area, *file) =>
            {
                false
            }
            Suspicion::Private(area, file) => {
                self.writer.staging().read().areas.contains_key(area)
                    && !self
                        .writer
                        .store()
                        .catalog
                        .snapshots()
                        .latest()?
                        .names_private(*area, *file)?
                    && self.writer.store().layout.private(*area, *file).exists()
            }
            Suspicion::AreaDirectory(area) => {
                area.0 < self.writer.first_id() && !self.is_area(*area)?
            }
            Suspicion::Area(area) => !self.writer.staging().read().areas.contains_key(area),
        })
    }

    fn is_area(&self, area: AreaId) -> Result<bool> {
        Ok(self.writer.staging().read().areas.contains_key(&area)
            || self.writer.reader().areas()?.iter().any(|row| row.id == area))
    }

    fn repair(&mut self, step: &Step, now: Now) -> Result<(bool, Vec<Event>)> {
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
                let state = self.writer.staging().read();
                if state.areas.get(area).is_some_and(|found| found.loaded) {
                    return Err(EngineError::AreaInUse(*area));
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
        match self.writer.write(|tx| step.rows(tx, now.time)) {
            Ok(true) => {}
            Ok(false) => return Ok((false, Vec::new())),
            // It was collected meanwhile, so nothing names it any more.
            Err(EngineError::Store(error)) if is_gone(&error) => return Ok((false, Vec::new())),
            Err(error) => return Err(error),
        }
        step.files(self.writer.store())?;
        Ok((true, self.follow(step)))
    }

    fn has_version(&self, repo: RepoId, number: VersionNumber) -> bool {
        self.writer
            .repository(repo)
            .is_ok_and(|repository| repository.versions.contains_key(&number))
    }

    /// Changes what is in memory as the step has changed the catalog.
    fn follow(&mut self, step: &Step) -> Vec<Event> {
        match step {
            Step::DeleteTag(repo, tag, _) => {
                self.writer.show(*repo, |repository| {
                    repository.tags.remove(tag);
                });
                vec![Event::TagChanged(*repo, TagName::clone(tag))]
            }
            // The kernel may have kept wrong pages of it, or an error.
            Step::UnmarkBlob(hash) | Step::InsertBlob { hash, .. } => {
                vec![Event::BlobsChanged(self.writer.names_of([*hash]))]
            }
            Step::RaiseNumber(repo, newest) => {
                self.writer.show(*repo, |repository| {
                    let next = VersionNumber(newest.0 + 1);
                    repository.next_number = repository.next_number.max(next);
                });
                Vec::new()
            }
            Step::Charge(repo, number, charge) => {
                self.writer.show(*repo, |repository| {
                    let known = repository.versions.charge(*number);
                    if known.is_some_and(|known| known.base == charge.base) {
                        repository.versions.set_charge(*number, *charge);
                    }
                });
                Vec::new()
            }
            Step::AcceptNames(area) => {
                self.writer.staging().change(|state, _| state.accept_names(*area));
                Vec::new()
            }
            Step::RaiseIds(highest) => {
                self.writer.staging().store.next_id.fetch_max(highest + 1, Ordering::Relaxed);
                self.journal.raise_id_limit(id_limit_after(*highest));
                Vec::new()
            }
            Step::Remove(Leftover::Area(_) | Leftover::AreaRows(_)) => {
                self.writer.effects().purge();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}
