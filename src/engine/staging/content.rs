//! The content of one staged file: where its bytes are, and what the journal may say of them.
//!
//! # States
//!
//! ```text
//!            write              seal (hash, link or rename into the pool)
//!   Empty ─────────▶ Buffer ─────────────────────────────▶ Blob
//!     ▲                │ too large, dirty too long, fsync    │
//!     │ truncate to 0  ▼                                     │ first modification:
//!     └───────────── Private ◀───────── large ───────────────┤ private copy
//!                                       small: Buffer ◀──────┘
//! ```
//!
//! `saved` is what the catalog may name: content that is in a file of the store (H4). It lags
//! behind `data` while a buffer is dirty; the journal always writes `saved`, so after a crash a
//! file has its old or its new content, never neither.
//!
//! This module knows nothing of names or directories. Lock order: the namespace lock may be held
//! when a content's lock is taken, never the other way round.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::area::AreaShared;
use crate::engine::pins::{BlobPin, Pins};
use crate::model::hash::BlobHash;
use crate::model::id::NodeId;
use crate::model::time::Timestamp;
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::store::pool::Pool;
use crate::store::staging_dir::StagingDir;
use crate::store::sys;

/// Files up to this size are held in memory while they are written and reach the disk once, as a
/// blob. Above it a write costs more than the extra file would.
pub const BUFFER_BYTES_MAX: u64 = 1 << 20;

/// Bound on all buffers together. A file that would exceed it is written to its private file.
pub const BUFFERED_BYTES_MAX: u64 = 256 << 20;

/// A buffer older than this is written out: a crash costs at most this much unsynced data.
pub const DIRTY_AGE_MAX: Duration = Duration::from_secs(1);

/// What reading and writing content needs of the store.
#[derive(Debug)]
pub struct ContentStore {
    /// Sealed content.
    pub pool: Arc<Pool>,
    /// Content being written.
    pub private_files: Arc<StagingDir>,
    /// Pins of blobs that no row names yet.
    pub pins: Arc<Pins>,
    /// Bytes in all buffers.
    pub buffered_bytes: AtomicU64,
    /// Source of ids for nodes and private files; never repeats, also not after a restart.
    pub next_id: AtomicU64,
    /// Private files that a content left. The metadata thread removes each once no row names it
    /// and it is not what the content would be saved as.
    pub obsolete: Mutex<Vec<(Arc<FileContent>, PrivateId)>>,
}

impl ContentStore {
    /// A fresh id.
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub enum Data {
    /// Length 0.
    Empty,
    /// In memory. Shared with a sealer while it hashes; a write then copies it first.
    Buffer(Arc<Vec<u8>>),
    /// In the file `staging/AREA/ID`.
    Private {
        /// Its name.
        id: PrivateId,
        /// Open for reading and writing.
        file: Arc<File>,
    },
    /// In the pool.
    Blob(BlobHash),
}

/// What the catalog may say of the content: it is on disk.
#[derive(Debug)]
struct Saved {
    data: NodeData,
    size: u64,
    /// Modification time that belongs to this content; used while `data` is newer.
    mtime: Timestamp,
    generation: u64,
    /// Keeps the blob until a row names it.
    pin: Option<BlobPin>,
}

/// What is protected by the content's lock.
#[derive(Debug)]
pub struct FileState {
    data: Data,
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    generation: u64,
    writers: u32,
    /// Counted in the area's `unsealed`.
    unsealed: bool,
    /// No name and no handle is left: nothing must be sealed or saved any more.
    abandoned: bool,
    dirty_since: Option<Instant>,
    saved: Saved,
}

/// What the journal writes of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedContent {
    /// Where the content is.
    pub data: NodeData,
    /// Its length in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
}

/// What `stat` needs of a file's content.
#[derive(Debug, Clone, Copy)]
pub struct ContentAttr {
    /// Length in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
}

/// What a closed file needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterClose {
    /// Nothing: no writer closed, others are open, or nothing changed.
    Nothing,
    /// The journal has something new to say.
    Journal,
    /// To be sealed.
    Seal,
}

/// The content of one staged file.
#[derive(Debug)]
pub struct FileContent {
    /// The file it belongs to.
    pub node: NodeId,
    /// The area it belongs to.
    pub area: Arc<AreaShared>,
    store: Arc<ContentStore>,
    state: Mutex<FileState>,
    noted: AtomicBool,
}

impl FileContent {
    /// An empty new file.
    pub fn new(
        store: &Arc<ContentStore>,
        area: &Arc<AreaShared>,
        node: NodeId,
        now: Timestamp,
    ) -> Self {
        Self::with(store, area, node, Data::Empty, NodeData::Empty, 0, now, now)
    }

    /// A file whose content is a blob that something else keeps (its base tree, or its row).
    pub fn sealed(
        store: &Arc<ContentStore>,
        area: &Arc<AreaShared>,
        node: NodeId,
        blob: Option<BlobHash>,
        size: u64,
        mtime: Timestamp,
        ctime: Timestamp,
    ) -> Self {
        let (data, saved) = match blob {
            None => (Data::Empty, NodeData::Empty),
            Some(hash) => (Data::Blob(hash), NodeData::Blob(hash)),
        };
        Self::with(store, area, node, data, saved, size, mtime, ctime)
    }

    /// A file recovered from its private file; it is unsealed.
    pub fn private(
        store: &Arc<ContentStore>,
        area: &Arc<AreaShared>,
        node: NodeId,
        (id, file): (PrivateId, File),
        size: u64,
        mtime: Timestamp,
        ctime: Timestamp,
    ) -> Self {
        let data = Data::Private { id, file: Arc::new(file) };
        let content =
            Self::with(store, area, node, data, NodeData::Private(id), size, mtime, ctime);
        content.state.lock().unsealed = true;
        area.add_unsealed();
        content
    }

    #[allow(clippy::too_many_arguments, reason = "private constructor; the public ones name them")]
    fn with(
        store: &Arc<ContentStore>,
        area: &Arc<AreaShared>,
        node: NodeId,
        data: Data,
        saved: NodeData,
        size: u64,
        mtime: Timestamp,
        ctime: Timestamp,
    ) -> Self {
        let saved = Saved { data: saved, size, mtime, generation: 0, pin: None };
        Self {
            node,
            area: Arc::clone(area),
            store: Arc::clone(store),
            state: Mutex::new(FileState {
                data,
                size,
                mtime,
                ctime,
                generation: 0,
                writers: 0,
                unsealed: false,
                abandoned: false,
                dirty_since: None,
                saved,
            }),
            noted: AtomicBool::new(false),
        }
    }

    /// Whether this is the first modification that the caller hears of: it must then mark the
    /// node as changed in the namespace.
    pub fn note_modification(&self) -> bool {
        !self.noted.swap(true, Ordering::SeqCst)
    }

    /// Whether the newest content is not on disk yet.
    pub fn is_dirty(&self) -> bool {
        self.state.lock().dirty_since.is_some()
    }

    /// Whether the newest content is in memory only.
    pub fn is_buffered(&self) -> bool {
        matches!(self.state.lock().data, Data::Buffer(_))
    }

    /// Where a private file of this content is.
    pub(crate) fn private_path(&self, id: PrivateId) -> PathBuf {
        self.store.private_files.path(self.area.id, id)
    }

    /// Size and times.
    pub fn attr(&self) -> ContentAttr {
        let state = self.state.lock();
        ContentAttr { size: state.size, mtime: state.mtime, ctime: state.ctime }
    }

    /// The blob, when the newest content is sealed. `Ok(None)` when the file is empty.
    ///
    /// # Errors
    /// `Err(())` while it is not sealed.
    #[allow(clippy::result_unit_err, reason = "there is one reason, and callers only branch on it")]
    pub fn blob(&self) -> Result<Option<BlobHash>, ()> {
        match &self.state.lock().data {
            Data::Empty => Ok(None),
            Data::Blob(hash) => Ok(Some(*hash)),
            Data::Buffer(_) | Data::Private { .. } => Err(()),
        }
    }

    /// Sets times explicitly.
    pub fn set_times(&self, mtime: Option<Timestamp>, ctime: Timestamp) {
        let mut state = self.state.lock();
        if let Some(mtime) = mtime {
            state.mtime = mtime;
        }
        state.ctime = ctime;
    }

    /// Counts a handle that was opened for writing.
    pub fn open_writer(&self) {
        self.state.lock().writers += 1;
        self.area.add_writer();
    }

    /// Takes a writing handle back.
    pub fn close_writer(self: &Arc<Self>) -> AfterClose {
        let mut state = self.state.lock();
        assert!(state.writers > 0, "a writer was closed twice");
        state.writers -= 1;
        let after = self.after_change(&mut state);
        drop(state);
        self.area.remove_writer();
        after
    }

    /// What a change without an open handle (`truncate(2)`) needs next.
    pub fn after_detached_change(self: &Arc<Self>) -> AfterClose {
        self.after_change(&mut self.state.lock())
    }

    fn after_change(self: &Arc<Self>, state: &mut FileState) -> AfterClose {
        if state.writers > 0 || !state.unsealed || state.abandoned {
            return AfterClose::Nothing;
        }
        if matches!(state.data, Data::Empty) {
            self.save_current(state);
            self.mark_sealed(state);
            return AfterClose::Journal;
        }
        AfterClose::Seal
    }

    /// Whether the journal or the content still needs a private file.
    pub(crate) fn needs_private(&self, id: PrivateId) -> bool {
        let state = self.state.lock();
        state.data.is_private(id)
            || matches!(&state.saved.data, NodeData::Private(saved) if *saved == id)
    }

    /// Whether any handle is open for writing.
    pub fn has_writers(&self) -> bool {
        self.state.lock().writers > 0
    }

    /// What the journal may write of this file.
    pub fn saved(&self) -> SavedContent {
        let state = self.state.lock();
        let current = state.saved.generation == state.generation;
        SavedContent {
            data: state.saved.data.clone(),
            size: state.saved.size,
            mtime: if current { state.mtime } else { state.saved.mtime },
            ctime: state.ctime,
        }
    }

    /// A row now names `data`: if that is still what is saved, the row keeps the blob and the pin
    /// can go.
    pub(crate) fn journalled(&self, data: &NodeData) {
        let mut state = self.state.lock();
        if state.saved.data == *data {
            state.saved.pin = None;
        }
    }

    /// Reads at most `buffer.len()` bytes at `offset`; less only at the end of the file.
    ///
    /// # Errors
    /// When the store cannot read, or a blob is shorter than recorded.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let (data, size) = {
            let state = self.state.lock();
            (state.data.clone(), state.size)
        };
        let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(available);
        let buffer = &mut buffer[..length];
        match data {
            Data::Empty => buffer.fill(0),
            Data::Buffer(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let have = length.min(bytes.len() - start);
                buffer[..have].copy_from_slice(&bytes[start..start + have]);
                buffer[have..].fill(0);
            }
            Data::Private { id, file } => {
                let path = self.store.private_files.path(self.area.id, id);
                let read = read_at(&file, buffer, offset).map_err(|source| StoreError::Io {
                    action: "read",
                    path,
                    source,
                })?;
                // A concurrent truncate may have shortened it; the rest reads as it then was.
                return Ok(read);
            }
            Data::Blob(hash) => {
                let file = self.store.pool.open(&hash)?;
                let read = read_at(&file, buffer, offset).map_err(|source| StoreError::Io {
                    action: "read the blob",
                    path: hash.to_string().into(),
                    source,
                })?;
                if read < length {
                    return Err(StoreError::DamagedBlob(hash));
                }
            }
        }
        Ok(length)
    }

    /// Writes `bytes` at `offset`, extending the file as needed.
    ///
    /// # Errors
    /// When the store cannot hold them; the old content is untouched then.
    pub fn write(
        self: &Arc<Self>,
        offset: u64,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let end = offset.saturating_add(bytes.len() as u64);
        let size = end.max(state.size);
        self.make_writable(&mut state, size, false)?;
        let state = &mut *state;
        match &mut state.data {
            Data::Buffer(buffer) => {
                let before = buffer.len();
                let buffer = Arc::make_mut(buffer);
                // A buffer is bounded by BUFFER_BYTES_MAX, so both fit.
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                if start == buffer.len() {
                    buffer.extend_from_slice(bytes);
                } else {
                    if buffer.len() < start + bytes.len() {
                        buffer.resize(start + bytes.len(), 0);
                    }
                    buffer[start..start + bytes.len()].copy_from_slice(bytes);
                }
                let grown = (buffer.len() - before) as u64;
                self.store.buffered_bytes.fetch_add(grown, Ordering::Relaxed);
            }
            Data::Private { id, file } => {
                file.write_all_at(bytes, offset).map_err(|source| StoreError::Io {
                    action: "write",
                    path: self.store.private_files.path(self.area.id, *id),
                    source,
                })?;
            }
            Data::Empty | Data::Blob(_) => {
                assert!(bytes.is_empty(), "made writable above");
            }
        }
        state.size = state.size.max(end);
        self.modified(state, now);
        Ok(())
    }

    /// Sets the length.
    ///
    /// # Errors
    /// When the store cannot hold it; the old content is untouched then.
    pub fn truncate(self: &Arc<Self>, size: u64, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if size == 0 {
            self.replace_data(&mut state, Data::Empty);
        } else if size != state.size {
            self.make_writable(&mut state, size, true)?;
            match &mut state.data {
                Data::Buffer(buffer) => {
                    let before = buffer.len() as u64;
                    let buffer = Arc::make_mut(buffer);
                    buffer.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
                    self.rebalance(before, size);
                }
                Data::Private { id, file } => {
                    file.set_len(size).map_err(|source| StoreError::Io {
                        action: "truncate",
                        path: self.store.private_files.path(self.area.id, *id),
                        source,
                    })?;
                }
                Data::Empty | Data::Blob(_) => unreachable!("made writable above"),
            }
        }
        state.size = size;
        self.modified(&mut state, now);
        Ok(())
    }

    /// Allocates, punches or zeroes a range, with the mode bits of `fallocate(2)`.
    ///
    /// # Errors
    /// When the store cannot, including `EOPNOTSUPP` for a mode it does not know.
    pub fn fallocate(
        self: &Arc<Self>,
        mode: i32,
        offset: u64,
        length: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        // Ranges are the file system's business: the private file does exactly what it can do.
        self.make_private(&mut state)?;
        if let Data::Private { id, file } = &state.data {
            sys::fallocate(file, mode, offset, length).map_err(|source| StoreError::Io {
                action: "fallocate",
                path: self.store.private_files.path(self.area.id, *id),
                source,
            })?;
            // Some modes extend the file, some shorten it.
            let path = self.store.private_files.path(self.area.id, *id);
            let metadata = file.metadata();
            state.size = metadata
                .map_err(|source| StoreError::Io { action: "look at", path, source })?
                .len();
        }
        self.modified(&mut state, now);
        Ok(())
    }

    /// Finds data or a hole as `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE` does.
    /// `Ok(None)` is `ENXIO`.
    ///
    /// # Errors
    /// When the store cannot look.
    pub fn seek(&self, offset: u64, hole: bool) -> Result<Option<u64>, StoreError> {
        let (data, size) = {
            let state = self.state.lock();
            (state.data.clone(), state.size)
        };
        if offset >= size {
            return Ok(None);
        }
        let file = match data {
            Data::Empty | Data::Buffer(_) => return Ok(Some(if hole { size } else { offset })),
            Data::Private { file, .. } => file,
            Data::Blob(hash) => self.store.pool.open(&hash)?,
        };
        sys::seek_hole_data(&file, offset, hole).map_err(|source| StoreError::Io {
            action: "seek in",
            path: self.node.to_string().into(),
            source,
        })
    }

    /// Replaces the whole content by that of `source`, sharing its blob. `false` when the source
    /// is not sealed or this file is not empty: the bytes must be copied then.
    pub fn share(self: &Arc<Self>, source: &FileContent, now: Timestamp) -> bool {
        let (hash, size, pin) = {
            let state = source.state.lock();
            match &state.data {
                Data::Blob(hash) => (*hash, state.size, BlobPin::new(&self.store.pins, *hash)),
                Data::Empty | Data::Buffer(_) | Data::Private { .. } => return false,
            }
        };
        let mut state = self.state.lock();
        if !matches!(state.data, Data::Empty) {
            return false;
        }
        self.modified(&mut state, now);
        state.data = Data::Blob(hash);
        state.size = size;
        self.mark_saved(&mut state, NodeData::Blob(hash), Some(pin));
        self.mark_sealed(&mut state);
        true
    }

    /// Writes a dirty buffer to the private file, so that the content survives a crash of the
    /// daemon. Returns whether the journal has something new to say.
    ///
    /// # Errors
    /// When the store cannot hold it; the buffer stays.
    pub fn spill(self: &Arc<Self>) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        if state.abandoned || state.saved.generation == state.generation {
            return Ok(false);
        }
        match &state.data {
            Data::Buffer(_) => self.make_private(&mut state)?,
            Data::Empty | Data::Private { .. } | Data::Blob(_) => {}
        }
        self.save_current(&mut state);
        Ok(true)
    }

    /// The file whose `fdatasync` makes the content durable; after [`FileContent::spill`].
    ///
    /// # Errors
    /// When the blob cannot be opened.
    pub fn file_to_sync(&self) -> Result<Option<(Arc<File>, Option<BlobHash>)>, StoreError> {
        let data = self.state.lock().data.clone();
        match data {
            Data::Empty | Data::Buffer(_) => Ok(None),
            Data::Private { file, .. } => Ok(Some((file, None))),
            Data::Blob(hash) => Ok(Some((self.store.pool.open(&hash)?, Some(hash)))),
        }
    }

    /// Whether a buffer has been dirty for longer than [`DIRTY_AGE_MAX`].
    pub fn is_overdue(&self, now: Instant) -> bool {
        let since = self.state.lock().dirty_since;
        since.is_some_and(|since| now.duration_since(since) >= DIRTY_AGE_MAX)
    }

    /// No name and no handle is left: lets go of everything the content holds.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.abandoned, true) {
            return;
        }
        self.replace_data(&mut state, Data::Empty);
        state.size = 0;
        state.generation += 1;
        self.mark_saved(&mut state, NodeData::Empty, None);
        self.mark_sealed(&mut state);
    }

    fn forget_buffer(&self, data: &Data) {
        if let Data::Buffer(buffer) = data {
            self.store.buffered_bytes.fetch_sub(buffer.len() as u64, Ordering::Relaxed);
        }
    }

    fn rebalance(&self, before: u64, after: u64) {
        if after >= before {
            self.store.buffered_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.store.buffered_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Makes `data` a buffer or a private file that can grow to `size` bytes. `cut` says that
    /// nothing at or beyond `size` is needed.
    fn make_writable(
        self: &Arc<Self>,
        state: &mut FileState,
        size: u64,
        cut: bool,
    ) -> Result<(), StoreError> {
        let room = self.store.buffered_bytes.load(Ordering::Relaxed) < BUFFERED_BYTES_MAX;
        let small = size <= BUFFER_BYTES_MAX && room;
        match &state.data {
            Data::Private { .. } => Ok(()),
            Data::Buffer(_) if size <= BUFFER_BYTES_MAX => Ok(()),
            Data::Empty if size == 0 => Ok(()),
            Data::Empty if small => {
                state.data = Data::Buffer(Arc::new(Vec::new()));
                Ok(())
            }
            Data::Blob(hash) if small => {
                let keep = if cut { size.min(state.size) } else { state.size };
                let file = self.store.pool.open(hash)?;
                let mut bytes = vec![0; usize::try_from(keep).unwrap_or(usize::MAX)];
                let read = read_at(&file, &mut bytes, 0).map_err(|source| StoreError::Io {
                    action: "read the blob",
                    path: hash.to_string().into(),
                    source,
                })?;
                if read < bytes.len() {
                    return Err(StoreError::DamagedBlob(*hash));
                }
                self.store.buffered_bytes.fetch_add(keep, Ordering::Relaxed);
                state.data = Data::Buffer(Arc::new(bytes));
                Ok(())
            }
            Data::Empty | Data::Buffer(_) | Data::Blob(_) => self.make_private(state),
        }
    }

    /// Moves the content to a private file of its own.
    fn make_private(self: &Arc<Self>, state: &mut FileState) -> Result<(), StoreError> {
        if matches!(state.data, Data::Private { .. }) {
            return Ok(());
        }
        let id = PrivateId(self.store.new_id());
        let file = self.store.private_files.create(self.area.id, id)?;
        let filled = match &state.data {
            Data::Empty | Data::Private { .. } => Ok(()),
            Data::Buffer(buffer) => file.write_all_at(buffer, 0),
            Data::Blob(hash) => {
                let blob = self.store.pool.open(hash)?;
                sys::copy_range(&blob, &file, state.size)
            }
        };
        if let Err(source) = filled {
            let path = self.store.private_files.path(self.area.id, id);
            // Best effort: what stays is swept with the area.
            if let Err(error) = file.set_len(0) {
                log::warn!("cannot empty {}: {error}", path.display());
            }
            return Err(StoreError::Io { action: "write", path, source });
        }
        self.replace_data(state, Data::Private { id, file: Arc::new(file) });
        Ok(())
    }

    fn replace_data(self: &Arc<Self>, state: &mut FileState, data: Data) {
        let old = std::mem::replace(&mut state.data, data);
        self.forget_buffer(&old);
        if let Data::Private { id, .. } = old {
            self.store.obsolete.lock().push((Arc::clone(self), id));
        }
    }

    /// Notes a modification: the content is newer than what is saved, and unsealed.
    fn modified(self: &Arc<Self>, state: &mut FileState, now: Timestamp) {
        if state.saved.generation == state.generation {
            state.saved.mtime = state.mtime;
        }
        state.generation += 1;
        state.mtime = now;
        state.ctime = now;
        if matches!(state.data, Data::Private { .. }) {
            // Written in place: what is saved is the file itself.
            self.save_current(state);
        } else if state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
        }
        if !state.unsealed && !state.abandoned {
            state.unsealed = true;
            self.area.add_unsealed();
        }
        self.area.seal_failure_over(self.node);
    }

    /// Records that the current content is on disk.
    fn save_current(self: &Arc<Self>, state: &mut FileState) {
        let data = match &state.data {
            Data::Empty => NodeData::Empty,
            Data::Private { id, .. } => NodeData::Private(*id),
            Data::Blob(hash) => NodeData::Blob(*hash),
            Data::Buffer(_) => return,
        };
        let pin = match (&state.data, state.saved.pin.take()) {
            (Data::Blob(_), pin) => pin,
            (Data::Empty | Data::Private { .. } | Data::Buffer(_), _) => None,
        };
        self.mark_saved(state, data, pin);
    }

    fn mark_saved(self: &Arc<Self>, state: &mut FileState, data: NodeData, pin: Option<BlobPin>) {
        if let NodeData::Private(old) = &state.saved.data
            && !state.data.is_private(*old)
        {
            self.store.obsolete.lock().push((Arc::clone(self), *old));
        }
        state.saved =
            Saved { data, size: state.size, mtime: state.mtime, generation: state.generation, pin };
        state.dirty_since = None;
    }

    fn mark_sealed(&self, state: &mut FileState) {
        if std::mem::replace(&mut state.unsealed, false) {
            self.area.remove_unsealed();
        }
        self.area.seal_failure_over(self.node);
    }
}

impl Data {
    fn is_private(&self, wanted: PrivateId) -> bool {
        matches!(self, Self::Private { id, .. } if *id == wanted)
    }
}

/// What a sealer works on.
#[derive(Debug)]
pub struct SealInput {
    /// The bytes.
    pub data: Data,
    /// Their length.
    pub size: u64,
    /// The state they belong to.
    pub generation: u64,
}

/// How sealing one file ended.
#[derive(Debug, PartialEq, Eq)]
pub enum SealOutcome {
    /// The content is now the blob.
    Sealed,
    /// It changed meanwhile, or is open for writing: the next close seals it.
    Overtaken,
}

impl FileContent {
    /// What to hash; `None` when there is nothing to seal (sealed, open for writing, deleted).
    pub(crate) fn seal_input(&self) -> Option<SealInput> {
        let state = self.state.lock();
        if state.writers > 0 || state.abandoned || !state.unsealed {
            return None;
        }
        Some(SealInput { data: state.data.clone(), size: state.size, generation: state.generation })
    }

    /// Whether the content is still in the state that a sealer took.
    pub(crate) fn is_at(&self, generation: u64) -> bool {
        let state = self.state.lock();
        state.generation == generation && state.writers == 0
    }

    /// Makes the content the blob `hash`, unless it changed since `generation`. `link` puts the
    /// blob into the pool and runs while nobody can change the file. Metadata thread only.
    pub(crate) fn seal(
        self: &Arc<Self>,
        generation: u64,
        hash: BlobHash,
        link: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<SealOutcome, StoreError> {
        let mut state = self.state.lock();
        if state.generation != generation || state.writers > 0 || state.abandoned {
            return Ok(SealOutcome::Overtaken);
        }
        link()?;
        let pin = BlobPin::new(&self.store.pins, hash);
        self.replace_data(&mut state, Data::Blob(hash));
        self.mark_saved(&mut state, NodeData::Blob(hash), Some(pin));
        self.mark_sealed(&mut state);
        Ok(SealOutcome::Sealed)
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
