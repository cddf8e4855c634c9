//! The store as a sync sees it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::super::StoreService;
use super::super::errors::control_error;
use super::super::import::RunningImport;
use crate::control::protocol::ControlError;
use crate::engine::Engine;
use crate::engine::intake::Batch;
use crate::engine::request::{RemoteNote, Request};
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::model::import::ImportEntry;
use crate::model::name::RemoteName;
use crate::model::raw::RawPath;
use crate::model::time::Timestamp;
use crate::model::tree::Root;
use crate::store::catalog::{Reader, SourceRow};
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;
use crate::sync::{Destination, PartialFiles, Source, SyncError};

/// Bytes of a blob that are hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// The store as a sync sees it.
pub(super) struct Store<'a> {
    engine: &'a Arc<Engine>,
    running: &'a RunningImport,
    remote: &'a RemoteName,
    partial_files: &'a PartialFiles,
    reader: Mutex<Reader>,
    base: Option<Root>,
    number: Option<u64>,
    now: Timestamp,
    stop: &'a AtomicBool,
}

impl<'a> Store<'a> {
    pub(super) fn new(
        service: &'a StoreService,
        running: &'a RunningImport,
        remote: &'a RemoteName,
        stop: &'a AtomicBool,
    ) -> Result<Self, ControlError> {
        let area = running.intake().area();
        let state = service.engine.staging.read();
        let base = state.areas.get(&area).and_then(|area| area.base.as_ref());
        let number = base.and_then(|base| base.number).map(|number| number.0);
        let base = base.and_then(|base| base.root.clone());
        drop(state);
        Ok(Self {
            engine: &service.engine,
            running,
            remote,
            partial_files: &service.partial_files,
            reader: Mutex::new(service.engine.open_reader().map_err(control_error)?),
            base,
            number,
            now: Timestamp::now(),
            stop,
        })
    }

    /// The number of the version that the sync begins on.
    pub(super) fn number(&self) -> Option<u64> {
        self.number
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

    fn digest_of(&self, blob: &BlobHash) -> Result<Option<Sha256>, SyncError> {
        let known = self.reader.lock().digest_of(blob)?;
        if known.is_some() {
            return Ok(known);
        }
        let content = match self.engine.pool.open(blob) {
            Err(
                StoreError::AbsentContent(_)
                | StoreError::DamagedBlob(_)
                | StoreError::MissingBlob(_),
            ) => return Ok(None),
            opened => opened?,
        };
        let (own, sha256) = hash(&content, self.stop)?;
        if own != *blob {
            self.engine.report_damage(*blob);
            return Ok(None);
        }
        self.note(vec![(sha256, *blob)])?;
        Ok(Some(sha256))
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

    fn content(&self, sha256: &Sha256) -> Result<Option<Arc<File>>, SyncError> {
        let Some(blob) = self.blob_of(sha256)? else { return Ok(None) };
        match self.hold(vec![blob])?[..] {
            [Some(_)] => Ok(Some(self.engine.pool.open(&blob)?)),
            _ => Ok(None),
        }
    }

    fn note_sources(&self, sources: Vec<Source>) -> Result<(), SyncError> {
        let row = |(sha256, locator, size)| {
            (sha256, SourceRow { remote: self.remote.clone(), locator, size })
        };
        let note = RemoteNote::Sources(sources.into_iter().map(row).collect());
        self.engine.call(|reply| Request::NoteRemote { note, reply }).map_err(store)
    }

    fn lacks_content(&self) -> Result<bool, SyncError> {
        let reader = self.reader.lock();
        Ok(reader.absent_count()? > 0 || !reader.damaged_blobs()?.is_empty())
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

/// Both digests of a content, of which the first tells whether the bytes are what they should be.
fn hash(content: &File, stop: &AtomicBool) -> Result<(BlobHash, Sha256), SyncError> {
    let (mut own, mut hasher) = (blake3::Hasher::new(), Sha256Hasher::default());
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let read = content.read_at(&mut chunk, done);
        let read = read.map_err(|error| SyncError::Io { action: "read a blob", error })?;
        if read == 0 {
            return Ok((own.finalize().into(), hasher.finish()));
        }
        own.update(&chunk[..read]);
        hasher.update(&chunk[..read]);
        done += read as u64;
    }
    Err(SyncError::Stopped)
}
