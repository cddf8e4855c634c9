//! The store as a pull writes into it.
//!
//! Of content that is to come when it is read, rows of absent blobs are written before the pages that name them.
//!
//! All that is stored is pinned until this is dropped, which is after the version was published or given up.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bucket::index::{Location, Place};
use crate::bucket::pull::{Depth, Destination, Placed};
use crate::bucket::transfer::TransferError;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::pins::{BlobPin, SourcesHold, TreePin};
use crate::engine::request::{IncomingBlob, RemoteNote, Request, Reuse, TreesFor};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::name::RemoteName;
use crate::model::tree_format::{TreePage, TreeSource};
use crate::store::catalog::{BucketPlace, PlacesOf, Reader, SourceRow};
use crate::store::error::StoreError;
use crate::store::pool::{Incoming, NamedFile};

/// Small contents, and bytes of them, that are taken into the pool at a time.
const BATCH_MAX: usize = 256;
const BATCH_BYTES: u64 = 16 << 20;

/// How long a batch waits for more, so that little of what was fetched is lost with it (H30).
const BATCH_TIME: Duration = Duration::from_millis(500);

/// Zeros of this length are left out of a file.
const HOLE_BYTES: usize = 64 << 10;

/// The store as a pull writes into it.
pub(super) struct Store<'a> {
    engine: &'a Engine,
    /// What is pulled from.
    remote: RemoteName,
    depth: Depth,
    reader: Mutex<Reader>,
    /// Content is absent or damaged somewhere, so that a tree does not tell whether all that it names is stored.
    lacks_content: bool,
    /// Other buckets have content that is here, of which is to be noted where this one has it.
    has_others: bool,
    blobs: Mutex<Vec<BlobPin>>,
    trees: Mutex<Vec<TreePin>>,
    batch: Mutex<Batch>,
    /// Where content can be had is noted before the version is there that needs it.
    _noted: SourcesHold,
}

#[derive(Default)]
struct Batch {
    blobs: Vec<IncomingBlob>,
    bytes: u64,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Batch {
    fn add(&mut self, blob: IncomingBlob, now: Instant) {
        self.bytes += blob.size;
        self.blobs.push(blob);
        self.since.get_or_insert(now);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.blobs.len() >= BATCH_MAX
            || self.bytes >= BATCH_BYTES
            || self.since.is_some_and(|since| now.duration_since(since) >= BATCH_TIME)
    }
}

impl<'a> Store<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        remote: &RemoteName,
        depth: Depth,
    ) -> Result<Self, EngineError> {
        let reader = engine.open_reader()?;
        let is_absent = depth == Depth::Whole && reader.absent_count()? > 0;
        let lacks_content = is_absent || !reader.damaged_blobs()?.is_empty();
        let has_others = reader.any_places_beside(remote)?;
        Ok(Self {
            engine,
            remote: remote.clone(),
            depth,
            reader: Mutex::new(reader),
            lacks_content,
            has_others,
            blobs: Mutex::default(),
            trees: Mutex::default(),
            batch: Mutex::default(),
            _noted: SourcesHold::new(&engine.pins),
        })
    }

    fn adopt(&self, blobs: Vec<IncomingBlob>) -> Result<(), TransferError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let pins = self.engine.call(|reply| Request::AdoptBlobs { blobs, reply });
        let pins = pins.map_err(TransferError::local)?;
        if self.lacks_content {
            let note = RemoteNote::Stored(pins.iter().map(|pin| *pin.hash()).collect());
            let noted = self.engine.call(|reply| Request::NoteRemote { note, reply });
            noted.map_err(TransferError::local)?;
        }
        self.blobs.lock().extend(pins);
        Ok(())
    }
}

impl Destination for Store<'_> {
    type Large = LargeFile;

    fn hold_trees(&self, trees: &[TreeHash]) -> Result<Vec<bool>, TransferError> {
        if self.lacks_content || self.has_others || trees.is_empty() {
            return Ok(vec![false; trees.len()]);
        }
        let trees = trees.to_vec();
        let trees_for = match self.depth {
            Depth::Names => TreesFor::Names,
            Depth::Whole => TreesFor::Content,
        };
        let pins = self.engine.call(|reply| Request::ReuseTrees { trees, trees_for, reply });
        let pins = pins.map_err(TransferError::local)?;
        let held = pins.iter().map(Option::is_some).collect();
        self.trees.lock().extend(pins.into_iter().flatten());
        Ok(held)
    }

    fn page(&self, hash: &TreeHash) -> Result<Option<Arc<TreePage>>, TransferError> {
        match self.engine.trees.page(hash) {
            Ok(page) => Ok(Some(page)),
            Err(StoreError::MissingTree(_)) => Ok(None),
            Err(error) => Err(TransferError::local(error)),
        }
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, TransferError> {
        self.reader.lock().blob_of(digest).map_err(TransferError::local)
    }

    fn hold(&self, blobs: Vec<BlobHash>) -> Result<Vec<Option<u64>>, TransferError> {
        let found =
            self.engine.call(|reply| Request::ReuseBlobs { hashes: blobs, is_own: false, reply });
        let mut pins = self.blobs.lock();
        let lengths = found.map_err(TransferError::local)?.into_iter().map(|found| match found {
            Reuse::Whole(pin, bytes) => {
                pins.push(pin);
                Some(bytes)
            }
            Reuse::Broken | Reuse::Nothing => None,
        });
        Ok(lengths.collect())
    }

    fn large(&self) -> Result<LargeFile, TransferError> {
        let (named, file) = self.engine.pool.incoming_file().map_err(TransferError::local)?;
        Ok(LargeFile { named, file, length: 0 })
    }

    fn keep_large(
        &self,
        name: &BlobHash,
        bytes: u64,
        file: LargeFile,
    ) -> Result<(), TransferError> {
        let LargeFile { named, file, .. } = file;
        // A hole at the end is a part of it, too.
        file.set_len(bytes).map_err(TransferError::local)?;
        let pin = BlobPin::new(&self.engine.pins, *name);
        self.adopt(vec![IncomingBlob {
            file: Incoming::Named(named),
            pin,
            size: bytes,
            is_own: false,
        }])
    }

    fn keep(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError> {
        let pin = BlobPin::new(&self.engine.pins, *name);
        let file = self.engine.pool.write_incoming(content, name).map_err(TransferError::local)?;
        let size = content.len() as u64;
        let full = {
            let (mut batch, now) = (self.batch.lock(), Instant::now());
            batch.add(IncomingBlob { file, pin, size, is_own: false }, now);
            batch.is_due(now).then(|| std::mem::take(&mut *batch))
        };
        full.map_or(Ok(()), |batch| self.adopt(batch.blobs))
    }

    fn settle(&self) -> Result<(), TransferError> {
        let batch = std::mem::take(&mut *self.batch.lock());
        self.adopt(batch.blobs)
    }

    fn note_places(&self, places: &[Placed], of: PlacesOf) -> Result<(), TransferError> {
        let (mut own, mut declared) = (Vec::new(), Vec::new());
        for placed in places {
            let place = bucket_place(placed);
            match placed.name {
                ContentName::Blake3(blob) => {
                    if of == PlacesOf::Absent {
                        self.blobs.lock().push(BlobPin::new(&self.engine.pins, blob));
                    }
                    own.push((place, placed.bytes));
                }
                ContentName::Sha256(digest) => {
                    let (remote, locator) = (self.remote.clone(), place.to_locator());
                    declared.push((digest, SourceRow { remote, locator, size: placed.bytes }));
                }
            }
        }
        if !own.is_empty() {
            let noted = self.engine.note_in_bucket(self.remote.clone(), own, of);
            noted.map_err(TransferError::local)?;
        }
        if declared.is_empty() {
            return Ok(());
        }
        let note = RemoteNote::Sources(declared);
        let noted = self.engine.call(|reply| Request::NoteRemote { note, reply });
        noted.map_err(TransferError::local)
    }

    fn note_digests(&self, digests: Vec<(Sha256, BlobHash)>) -> Result<(), TransferError> {
        let note = RemoteNote::Digests(digests);
        let noted = self.engine.call(|reply| Request::NoteRemote { note, reply });
        noted.map_err(TransferError::local)
    }

    fn keep_pages(&self, pages: Vec<(TreeHash, Vec<u8>)>) -> Result<(), TransferError> {
        let pins = self.engine.call(|reply| Request::KeepPages { pages, reply });
        self.trees.lock().extend(pins.map_err(TransferError::local)?);
        Ok(())
    }
}

/// A place as the catalog keeps it.
pub(super) fn bucket_place(placed: &Placed) -> BucketPlace {
    let Location { key, object_bytes, place } = placed.location;
    let entry = match place {
        Place::Entry { offset, stored_bytes, .. } => Some((offset.into(), stored_bytes.into())),
        Place::Own { .. } => None,
    };
    BucketPlace { blob: placed.blob, key: key.to_bytes().into(), object_bytes, entry }
}

/// A large content on its way into the pool; gone when it is dropped.
pub(super) struct LargeFile {
    named: NamedFile,
    file: File,
    length: u64,
}

impl Write for LargeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.chunks(HOLE_BYTES) {
            if part.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(part, self.length)?;
            }
            self.length += part.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
