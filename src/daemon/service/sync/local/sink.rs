//! Takes what is read of a directory or an archive: compares it with the newest version, and puts it into the area
//! that becomes the next one.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use super::super::tell;
use super::base::{Found, Kept, Newest};
use super::removals::{Gone, Has, Order, Removals};
use crate::archive::error::Problem;
use crate::archive::observer::{ImportTotals, Observer};
use crate::archive::path::ArchivePath;
use crate::archive::{ArchiveError, Batch, EntrySink, Taken};
use crate::control::sync::SyncEvent;
use crate::daemon::service::errors::{control_error, store_error};
use crate::daemon::service::import::RunningImport;
use crate::daemon::service::jobs::Job;
use crate::engine::error::EngineError;
use crate::engine::intake;
use crate::model::hash::BlobHash;
use crate::model::import::{FileSource, ImportContent, ImportEntry, WantedTree};
use crate::model::raw::RawPath;
use crate::model::tree::Content;
use crate::model::tree_format::TreeSource;
use crate::store::error::StoreError;
use crate::sync::{Plan, SyncError, add};

/// Where what is read goes.
pub(super) struct Sink<'a> {
    newest: &'a Newest<'a>,
    effects: Effects<'a>,
    /// Of a mirror.
    removals: Option<Removals<'a>>,
    kept: Rc<RefCell<Kept>>,
    /// What the newest version has where the source has a directory.
    displaced: HashSet<Box<[u8]>>,
    /// Contents that the store has taken, and whose entries are still to come.
    taken: HashSet<BlobHash>,
}

/// What a sync does, or would do.
struct Effects<'a> {
    job: &'a Job,
    running: &'a RunningImport,
    /// Hears of each step of a dry run, which does nothing.
    planned: Option<&'a Sender<SyncEvent>>,
    /// Something is not as it is in the newest version.
    differs: bool,
}

/// Looks on while it is read.
pub(super) struct Looker<'a> {
    job: &'a Job,
    kept: Rc<RefCell<Kept>>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        (job, running): (&'a Job, &'a RunningImport),
        newest: &'a Newest<'a>,
        order: Order,
        planned: Option<&'a Sender<SyncEvent>>,
    ) -> Result<(Self, Looker<'a>), SyncError> {
        let removals = match job.sync().mirror {
            true => Some(Removals::new(newest, order)?),
            false => None,
        };
        let kept = Rc::default();
        let looker = Looker { job, kept: Rc::clone(&kept) };
        let effects = Effects { job, running, planned, differs: false };
        let (displaced, taken) = (HashSet::new(), HashSet::new());
        Ok((Self { newest, effects, removals, kept, displaced, taken }, looker))
    }

    /// All was read: removes what the source has not. Says whether anything is not as in the newest version.
    pub(super) fn finish(mut self) -> Result<bool, SyncError> {
        let Self { removals, effects, kept, .. } = &mut self;
        if let Some(removals) = removals {
            removals.finish(&kept.borrow(), &mut |gone| effects.remove(gone))?;
        }
        Ok(self.effects.differs)
    }

    fn take(&mut self, entry: &ImportEntry) -> Result<(), SyncError> {
        let path = entry.path.as_bytes();
        let has = match entry.content {
            ImportContent::Directory => Has::Directory,
            _ => Has::Whole,
        };
        let Self { removals, effects, kept, .. } = self;
        if let Some(removals) = removals {
            removals.pass(path, has, &kept.borrow(), &mut |gone| effects.remove(gone))?;
        }
        if path.is_empty() {
            return self.take_root(entry);
        }
        let found = match self.newest.find(path)? {
            Found::Blocked(by) => {
                if self.displaced.insert(by.as_slice().into()) {
                    self.effects.remove(Gone { path: by, files: 1 })?;
                }
                Found::Nothing
            }
            found => found,
        };
        match &entry.content {
            ImportContent::Directory => self.take_directory(entry, found),
            ImportContent::Tree { tree } => {
                let files = self.newest.trees().page(tree)?.summary().files;
                self.take_tree(entry, found, files)
            }
            _ => self.take_file(entry, found),
        }
    }

    fn take_root(&mut self, entry: &ImportEntry) -> Result<(), SyncError> {
        match self.newest.root() {
            Some(root) if entry.attributes.to_attributes().as_ref() == Some(&root.attributes) => {
                Ok(())
            }
            Some(_) => self.effects.plan(Plan::Change(b".".to_vec())),
            None => {
                self.effects.differs = true;
                Ok(())
            }
        }
    }

    fn take_directory(&mut self, entry: &ImportEntry, found: Found) -> Result<(), SyncError> {
        let path = entry.path.as_bytes().to_vec();
        match found {
            Found::Entry(found) if matches!(found.content, Content::Directory { .. }) => {
                match entry.attributes.to_attributes().as_ref() == Some(&found.attributes) {
                    true => Ok(()),
                    false => self.effects.plan(Plan::Change(path)),
                }
            }
            Found::Entry(_) => {
                self.displaced.insert(path.as_slice().into());
                self.effects.displace(&path, 1)?;
                self.effects.plan(Plan::Add(path))
            }
            Found::Nothing | Found::Blocked(_) => self.effects.plan(Plan::Add(path)),
        }
    }

    /// A directory whose tree the store has. The intake takes it as a whole where nothing is, or just that tree.
    fn take_tree(
        &mut self,
        entry: &ImportEntry,
        found: Found,
        files: u64,
    ) -> Result<(), SyncError> {
        let tally = &self.effects.job.tally;
        add(&tally.declared, files);
        if let Found::Entry(_) = &found {
            add(&tally.unchanged, files);
        } else {
            add(&tally.added, files);
            add(&tally.reused, files);
        }
        self.take_directory(entry, found)
    }

    fn take_file(&mut self, entry: &ImportEntry, found: Found) -> Result<(), SyncError> {
        let tally = &self.effects.job.tally;
        let path = entry.path.as_bytes().to_vec();
        add(&tally.declared, 1);
        let plan = match found {
            Found::Entry(found) => match &found.content {
                Content::Directory { summary, .. } => {
                    self.effects.displace(&path, summary.files)?;
                    Plan::Add(path)
                }
                _ if self.newest.is_same(entry, &found)? => {
                    add(&tally.unchanged, 1);
                    return Ok(());
                }
                _ => Plan::Change(path),
            },
            Found::Nothing | Found::Blocked(_) => Plan::Add(path),
        };
        if let Plan::Add(_) = &plan {
            add(&tally.added, 1);
        } else {
            add(&tally.changed, 1);
        }
        match &entry.content {
            ImportContent::File { source: FileSource::Known(blob), size_bytes, .. }
                if self.taken.remove(blob) =>
            {
                add(&tally.fetched, 1);
                add(&tally.fetched_bytes, *size_bytes);
            }
            ImportContent::File { source: FileSource::Empty | FileSource::Known(_), .. } => {
                add(&tally.reused, 1);
            }
            ImportContent::File { .. } => add(&tally.fetched, 1),
            _ => {}
        }
        self.effects.plan(plan)
    }
}

impl Effects<'_> {
    fn plan(&mut self, plan: Plan) -> Result<(), SyncError> {
        self.differs = true;
        match self.planned {
            Some(planned) => tell(self.job, planned, plan),
            None => Ok(()),
        }
    }

    /// Removes something for good.
    fn remove(&mut self, gone: Gone) -> Result<(), SyncError> {
        let Gone { path, files } = gone;
        add(&self.job.tally.removed, files);
        if self.planned.is_none() {
            let removed = self.running.intake().remove(&RawPath::from(path.as_slice()));
            removed.map_err(|error| SyncError::Store(Box::new(error)))?;
        }
        self.plan(Plan::Remove(path))
    }

    /// Notes that something goes in favour of what is put at its path, which removes it.
    fn displace(&mut self, path: &[u8], files: u64) -> Result<(), SyncError> {
        add(&self.job.tally.removed, files);
        self.plan(Plan::Remove(path.to_vec()))
    }

    fn check_stop(&self) -> Result<(), ArchiveError> {
        match self.job.stop.load(Ordering::Relaxed) {
            true => Err(ArchiveError::Stopped),
            false => Ok(()),
        }
    }

    /// How many bytes of new content a batch carries.
    fn note_fetched(&self, batch: &Batch) {
        let large = batch.entries.iter().map(|entry| match entry.content {
            ImportContent::File { size_bytes, source: FileSource::Attached { .. }, .. } => {
                size_bytes
            }
            _ => 0,
        });
        let small = u64::try_from(batch.payload.len()).unwrap_or(u64::MAX);
        add(&self.job.tally.fetched_bytes, small + large.sum::<u64>());
    }
}

impl EntrySink for Sink<'_> {
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError> {
        self.effects.check_stop()?;
        if self.effects.planned.is_some() {
            // Nothing is to be sent.
            return Ok(vec![true; hashes.len()]);
        }
        self.effects.running.intake().known(hashes.to_vec()).map_err(refused)
    }

    fn known_trees(&mut self, wanted: &[WantedTree]) -> Result<Vec<bool>, ArchiveError> {
        self.effects.check_stop()?;
        self.effects.running.intake().known_trees(wanted).map_err(refused)
    }

    fn take_content(&mut self, file: &File, size_bytes: u64) -> Result<Taken, ArchiveError> {
        self.effects.check_stop()?;
        let taken = self.effects.running.intake().store_file(file, size_bytes).map_err(refused)?;
        self.taken.extend(taken);
        Ok(taken.map_or(Taken::Short, Taken::Whole))
    }

    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError> {
        self.effects.check_stop()?;
        for entry in &batch.entries {
            self.take(entry).map_err(failed)?;
        }
        if self.effects.planned.is_some() {
            return Ok(());
        }
        self.effects.note_fetched(&batch);
        let Batch { entries, payload, files } = batch;
        let intake = self.effects.running.intake();
        // Whether large files held still is checked when this returns, so they must have been copied by then.
        let waits = !files.is_empty();
        let payload = payload.slices().concat();
        intake.put(intake::Batch { entries, payload, files }).map_err(refused)?;
        if waits { intake.settle().map_err(refused) } else { Ok(()) }
    }
}

impl Observer for Looker<'_> {
    fn progress(&mut self, _totals: &ImportTotals) {}

    fn reread(&mut self, _path: &ArchivePath) {}

    fn unreadable(&mut self, problem: &Problem) {
        if self.job.stop.load(Ordering::Relaxed) {
            // It was not even tried.
            return;
        }
        add(&self.job.tally.failed, 1);
        self.kept.borrow_mut().add(problem.path.as_bytes());
        let path = match problem.path.is_root() {
            true => RawPath::from(&b"."[..]),
            false => problem.path.to_raw(),
        };
        self.job.note_failed(path, problem.reason.clone());
    }
}

fn refused(error: EngineError) -> ArchiveError {
    ArchiveError::Store(control_error(error))
}

fn failed(error: SyncError) -> ArchiveError {
    match error {
        SyncError::Stopped => ArchiveError::Stopped,
        SyncError::Store(error) => match error.downcast::<StoreError>() {
            Ok(error) => ArchiveError::Store(store_error(*error)),
            Err(error) => ArchiveError::Store(super::error::plain(error.to_string())),
        },
        other => ArchiveError::Store(super::error::plain(other.to_string())),
    }
}
