//! The store as the metadata thread changes it: its one writer.
//!
//! A change is a transaction ([`StoreWriter::write`]), then what readers see of it
//! ([`StoreWriter::show`]), then what the kernel is to forget ([`StoreWriter::notify`]). What a change
//! makes necessary elsewhere (a collection, a flush) it leaves behind as [`Effects`]: the thread sees to
//! it as soon as it has applied its input.
//!
//! Must not know journal, collector and commits: they are given the writer and use it.

mod effects;
mod private_files;
mod room;
#[cfg(test)]
pub(super) mod testing;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::durability::{Durability, DurabilityJob};
use super::error::Result;
use super::event::{Event, Observer};
use super::known::Known;
use super::pins::Pins;
use super::poison::Poison;
use super::reaper::Reaper;
use super::registry::{Registry, Repository};
use super::staging::Staging;
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::policy::PolicyState;
use crate::store::Store;
use crate::store::catalog::{Reader, RepositoryRow, Tx};
use crate::store::error::StoreError;
use crate::store::unlinked_file::UnlinkedFile;
use crossbeam_channel::Sender;
pub(super) use effects::Effects;

/// Rows written between two looks at the length of the WAL: at one page of 4 KiB for each, some
/// ten megabytes.
const CHECKPOINT_ROWS: usize = 4000;

/// What a writer starts with.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) reader: Reader,
    pub(super) reaper: Reaper,
    pub(super) registry: Arc<Registry>,
    pub(super) staging: Arc<Staging>,
    pub(super) pins: Arc<Pins>,
    pub(super) observer: Arc<dyn Observer>,
    /// The line to the durability thread.
    pub(super) durability_jobs: Sender<DurabilityJob>,
    /// Ids from here on are given out by this process.
    pub(super) first_id: u64,
}

/// The store, and what readers are shown of it.
pub(super) struct StoreWriter {
    store: Store,
    /// Reads the catalog as the last commit left it.
    reader: Reader,
    /// Closes removed files.
    reaper: Reaper,
    registry: Arc<Registry>,
    /// Commits that readers do not see yet.
    known: Known,
    staging: Arc<Staging>,
    pins: Arc<Pins>,
    observer: Arc<dyn Observer>,
    durability: Durability,
    effects: Effects,
    /// Ids from here on were given out by this process.
    first_id: u64,
    rows_since_checkpoint: usize,
}

impl StoreWriter {
    /// Of an open store.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { store, reader, reaper, registry, staging, .. } = parts;
        let poison = Arc::clone(&staging.poison);
        Self {
            durability: Durability::new(parts.durability_jobs, parts.first_id, poison),
            store,
            reader,
            reaper,
            registry,
            known: Known::default(),
            staging,
            pins: parts.pins,
            observer: parts.observer,
            effects: Effects::default(),
            first_id: parts.first_id,
            rows_since_checkpoint: 0,
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The catalog as the last commit left it.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(super) fn staging(&self) -> &Arc<Staging> {
        &self.staging
    }

    pub(super) fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    pub(super) fn poison(&self) -> &Poison {
        &self.staging.poison
    }

    pub(super) fn durability(&self) -> &Durability {
        &self.durability
    }

    /// Who is told what the mounts are to forget.
    pub(super) fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    /// Ids from here on were given out by this process.
    pub(super) fn first_id(&self) -> u64 {
        self.first_id
    }

    /// What the changes so far have made necessary elsewhere.
    pub(super) fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    /// A transaction that does not check for poison and room: to read, or for a caller that has checked.
    pub(super) fn begin(&mut self) -> std::result::Result<Tx<'_>, StoreError> {
        self.store.catalog.begin()
    }

    /// Runs one transaction of its own, if the store accepts changes.
    pub(super) fn write<T>(
        &mut self,
        step: impl FnOnce(&Tx<'_>) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        self.check_writable()?;
        self.transact(step)
    }

    /// As [`StoreWriter::write`], whether changes are accepted or not.
    pub(super) fn transact<T>(
        &mut self,
        step: impl FnOnce(&Tx<'_>) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        // Room is made before the transaction, because a failed one is not tried again.
        if self.lacks_room() {
            self.make_room();
        }
        let tx = self.store.catalog.begin()?;
        let value = step(&tx)?;
        if let Err(error) = tx.commit() {
            if !error.is_full() {
                self.write_failed(&error);
            }
            return Err(error.into());
        }
        Ok(value)
    }

    /// Refuses all changes from now on (R4).
    pub(super) fn write_failed(&self, error: &StoreError) {
        self.poison().set(&format!("a write failed: {error}"));
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        self.poison().check()
    }

    /// Has the WAL looked at after every so many rows, so that it stays short without any fsync.
    pub(super) fn note_written(&mut self, rows: usize) {
        self.rows_since_checkpoint += rows;
        if self.rows_since_checkpoint >= CHECKPOINT_ROWS {
            self.rows_since_checkpoint = 0;
            self.durability.checkpoint();
        }
    }

    /// Makes the kernel forget what the events made stale, then runs `then`.
    pub(super) fn notify(&self, events: Vec<Event>, then: Box<dyn FnOnce() + Send>) {
        self.observer.notify(events, then);
    }

    /// As [`StoreWriter::notify`], from a thread of its own: for events that take the observer long.
    pub(super) fn notify_apart(&self, events: Vec<Event>, then: impl FnOnce() + Send + 'static) {
        let observer = Arc::clone(&self.observer);
        let tell = move || observer.notify(events, Box::new(then));
        if let Err(error) = std::thread::Builder::new().name("notify".to_owned()).spawn(tell) {
            log::warn!("the kernel cannot be asked to forget: {error}");
        }
    }

    /// All names of some blobs.
    pub(super) fn names_of(
        &self,
        blobs: impl IntoIterator<Item = BlobHash>,
    ) -> Arc<BTreeSet<ContentName>> {
        let mut names = BTreeSet::new();
        for blob in blobs {
            names.insert(blob.into());
            match self.reader.digest_of(&blob) {
                Ok(digest) => names.extend(digest.map(ContentName::from)),
                Err(error) => log::error!("whether blob {blob} has a declared name: {error}"),
            }
        }
        Arc::new(names)
    }

    /// Whether somebody holds a blob, under whichever name. If so, [`Pins::take_released`] will tell when the last
    /// pin is gone. A name that cannot be looked up counts as held.
    pub(super) fn watch_blob(&self, blob: &BlobHash) -> bool {
        if self.pins.watch(&ContentName::from(*blob)) {
            return true;
        }
        if !self.pins.any_declared() {
            return false;
        }
        match self.reader.digest_of(blob) {
            Ok(digest) => digest.is_some_and(|digest| self.pins.watch(&digest.into())),
            Err(error) => {
                log::error!("whether blob {blob} has a declared name: {error}");
                true
            }
        }
    }

    /// Has a removed file closed by the reaper: freeing its space takes the filesystem a while.
    pub(super) fn let_go(&self, file: UnlinkedFile) {
        self.reaper.take(file);
    }

    /// The queue of the thread that closes removed files.
    pub(super) fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    /// Ends the durability thread after what was asked of it so far.
    pub(super) fn close(&mut self) {
        self.durability.close();
    }
}

/// The row of a repository.
pub(super) fn repository_row(repository: &Repository) -> RepositoryRow {
    RepositoryRow {
        id: repository.id,
        name: repository.name.clone(),
        mode: repository.mode,
        uid: repository.uid,
        gid: repository.gid,
        created: repository.created,
        changed: repository.changed,
        next_number: repository.next_number,
        policy: match &repository.policy {
            PolicyState::None => None,
            PolicyState::Set(policy) => Some(policy.to_text()),
            PolicyState::Unreadable { text, .. } => Some(text.clone()),
        },
        quota: repository.account.quota(),
    }
}
