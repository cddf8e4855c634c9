//! After the stages: entries are put into the area in batches, which close by number, by bytes and by time (V4, H30).

use std::fs::File;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::difference::Step;
use super::download::Bytes;
use super::fetch::Content;
use super::partial::Turn;
use super::query::Item;
use super::{BaseFile, Destination, Failure, Origin, Source, SyncError, Tally, Watch, add};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::import::{FileSource, ImportContent, ImportEntry, RawAttributes};
use crate::model::manifest::DeclaredFile;
use crate::model::time::Timestamp;
use crate::model::tree::Attributes;

/// Entries of a batch.
const ENTRIES_MAX: usize = 500;

/// Bytes of small files in a batch.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Open files of a batch.
const FILES_MAX: usize = 16;

/// How long a batch waits for more, so that what was fetched is not lost with it (V7).
const BATCH_TIME: Duration = Duration::from_millis(500);

/// How often it is looked whether a batch is due while nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The bits by which a program runs as another user or group.
const SET_ID: u16 = 0o6000;

/// Permission bits of a file that is new.
const FILE_MODE: u16 = 0o644;

/// Puts what comes out of the other stages.
pub(super) struct Saver<'a> {
    pub(super) destination: &'a dyn Destination,
    /// Where what is declared can be had later, if that is to be noted.
    sources: Option<&'a Origin<'a>>,
    pub(super) tally: &'a Tally,
    /// Of files that are new or have another content: the same for all, so that equal syncs make equal trees.
    pub(super) mtime: Timestamp,
    failed: &'a (dyn Fn(Failure) + Sync),
    /// Files whose content was not what the remote declares.
    pub(super) disagreements: u64,
    /// What was removed since a declared file needs its place.
    displaced: Vec<Vec<u8>>,
    /// A file that could not be had, and whose place is empty now.
    pub(super) lost: Option<String>,
    batch: Batch<'a>,
}

#[derive(Default)]
struct Batch<'a> {
    /// Removed before the entries are put. A removal makes room for what comes after it, and never concerns what came
    /// before it: what is declared is not removed.
    removed: Vec<Vec<u8>>,
    entries: Vec<ImportEntry>,
    payload: Vec<u8>,
    files: Vec<File>,
    digests: Vec<(Sha256, BlobHash)>,
    /// Of what was fetched: who waits for one of them finds it in the store once this is put.
    turns: Vec<Turn<'a>>,
    /// Where contents can be had.
    sources: Vec<Source>,
}

impl<'a> Saver<'a> {
    pub(super) fn new(
        destination: &'a dyn Destination,
        watch: Watch<'a>,
        mtime: Timestamp,
        sources: Option<&'a Origin<'a>>,
    ) -> Self {
        Self {
            destination,
            sources,
            tally: watch.tally,
            mtime,
            failed: watch.failed,
            disagreements: 0,
            displaced: Vec::new(),
            lost: None,
            batch: Batch::default(),
        }
    }

    pub(super) fn run(&mut self, items: &Receiver<Item<'a>>) -> Result<(), SyncError> {
        let mut due: Option<Instant> = None;
        loop {
            match items.recv_timeout(LOOK_INTERVAL) {
                Ok(item) => self.take(item)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if !self.batch.entries.is_empty() && *due.get_or_insert(now + BATCH_TIME) <= now
                || self.is_full()
            {
                self.flush()?;
                due = None;
            }
        }
        self.flush()
    }

    fn take(&mut self, item: Item<'a>) -> Result<(), SyncError> {
        match item {
            Item::Unchanged(file) => self.note_source(&file),
            Item::Absent { file, base } => {
                let size_bytes = file.size_bytes.unwrap_or(0);
                self.put(&file, base, false, FileSource::Absent, size_bytes);
            }
            Item::Step(Step::Remove { path, files, in_the_way }) => {
                if in_the_way {
                    self.displaced.push(path.clone());
                }
                self.batch.removed.push(path);
                add(&self.tally.removed, files);
            }
            Item::Step(Step::Put { file, .. }) => {
                let reason = "it was never fetched".to_owned();
                self.fail(file, reason, false);
            }
            Item::Failed { file, reason, disagrees } => self.fail(file, reason, disagrees),
            Item::Known { file, base, content } => {
                add(&self.tally.reused, 1);
                let (source, size_bytes) = match content {
                    Some((blob, size)) => (FileSource::Known(blob), size),
                    None => (FileSource::Empty, 0),
                };
                // Under another name only: then it is as old as it was.
                let is_same = matches!((&base, content), (Some(base), Some((blob, _)))
                    if base.blob == Some(ContentName::Blake3(blob)));
                self.put(&file, base, is_same, source, size_bytes);
            }
            Item::Fetched { file, base, content } => {
                let Content { bytes, length, blob, turn } = content;
                self.batch.digests.push((file.sha256, blob));
                self.batch.turns.push(turn);
                let source = self.source(bytes)?;
                // It was missing, and is the same.
                let is_same = base
                    .as_ref()
                    .is_some_and(|base| base.blob == file.content_name().map(ContentName::from));
                self.put(&file, base, is_same, source, length);
            }
        }
        Ok(())
    }

    fn source(&mut self, bytes: Bytes) -> Result<FileSource, SyncError> {
        let too_many = |error| SyncError::Store(Box::new(error));
        Ok(match bytes {
            Bytes::Memory(bytes) if bytes.is_empty() => FileSource::Empty,
            Bytes::Memory(bytes) => {
                let offset = u32::try_from(self.batch.payload.len()).map_err(too_many)?;
                let len = u32::try_from(bytes.len()).map_err(too_many)?;
                self.batch.payload.extend(bytes);
                FileSource::Inline { offset, len }
            }
            Bytes::File(file) => {
                let index = u32::try_from(self.batch.files.len()).map_err(too_many)?;
                self.batch.files.push(file);
                FileSource::Attached { index }
            }
        })
    }

    fn put(
        &mut self,
        file: &DeclaredFile,
        base: Option<BaseFile>,
        is_same: bool,
        source: FileSource,
        size_bytes: u64,
    ) {
        self.note_source(file);
        add(if base.is_some() { &self.tally.changed } else { &self.tally.added }, 1);
        let (uid, gid) = self.destination.owner();
        let attributes = match base {
            Some(base) if is_same => base.attributes,
            // Who was trusted with another user's rights was the old content.
            Some(base) => {
                let mode = base.attributes.mode & !SET_ID;
                Attributes { mode, mtime: self.mtime, ..base.attributes }
            }
            None => Attributes {
                mode: FILE_MODE,
                uid,
                gid,
                mtime: self.mtime,
                xattrs: Default::default(),
            },
        };
        self.batch.entries.push(ImportEntry {
            path: file.path.as_bytes().into(),
            attributes: RawAttributes::from(&attributes),
            content: ImportContent::File { size_bytes, source, declared: file.content_name() },
        });
    }

    /// Notes where a content can be had, if it is not fetched now, or may not be there once (L8).
    fn note_source(&mut self, file: &DeclaredFile) {
        if let (Some(origin), Some(sha256), Some(size)) =
            (self.sources, file.content_name(), file.size_bytes)
        {
            self.batch.sources.push((sha256, origin.locator(&file.path), size));
        }
    }

    fn fail(&mut self, file: DeclaredFile, reason: String, disagrees: bool) {
        add(&self.tally.failed, 1);
        self.disagreements += u64::from(disagrees);
        let path = file.path.as_bytes();
        if self.displaced.iter().any(|place| **place == *path || file.path.is_below(place)) {
            self.lost = Some(file.path.to_string());
        }
        (self.failed)(Failure { path: file.path, reason });
    }

    fn is_full(&self) -> bool {
        let Batch { removed, entries, payload, files, sources, .. } = &self.batch;
        entries.len() >= ENTRIES_MAX
            || sources.len() >= ENTRIES_MAX
            || removed.len() >= ENTRIES_MAX
            || payload.len() >= PAYLOAD_BYTES_MAX
            || files.len() >= FILES_MAX
    }

    fn flush(&mut self) -> Result<(), SyncError> {
        let Batch { removed, entries, payload, files, digests, turns, sources } =
            std::mem::take(&mut self.batch);
        if !sources.is_empty() {
            self.destination.note_sources(sources)?;
        }
        for path in removed {
            self.destination.remove(&path)?;
        }
        if !entries.is_empty() {
            self.destination.put(entries, payload, files)?;
        }
        if !digests.is_empty() {
            self.destination.settle()?;
            self.destination.note(digests)?;
        }
        for turn in turns {
            // What a kill before this leaves is stored once more.
            turn.remove()?;
        }
        Ok(())
    }
}
