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
//! file has its old or its new content, never neither. Once content was synced, it stays `saved` until
//! newer content is on disk as well. That is `withheld` until then, and the durability thread brings it to
//! disk (it "settles" it). So a power loss, too, leaves what was synced or something newer.
//!
//! This module knows nothing of names or directories. Lock order: the namespace lock may be held
//! when a content's lock is taken, never the other way round.

mod ahead;
mod charge;
mod durable;
mod private_file;
mod saved;
mod seal;
mod seal_delay;
mod store;
#[cfg(test)]
pub(in crate::engine) mod testing;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use ahead::Hashing;
pub use ahead::PrefixNumber;
pub use durable::FileToSync;
use private_file::OpenFileSlot;
pub use private_file::{PrivateFile, Slots};
use saved::{Saved, Withheld};
pub(crate) use seal::{SealInput, SealOutcome};
pub use store::ContentStore;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::area::AreaShared;
use crate::model::content_name::ContentName;
use crate::model::id::NodeId;
use crate::model::time::Timestamp;
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;

/// Files up to this size are held in memory while they are written, and are written to disk once, as a blob.
/// For larger files the memory would cost more than a private file does.
pub const BUFFER_BYTES_MAX: u64 = 1 << 20;

/// Bound on all buffers together. A file that would exceed it is written to its private file.
pub const BUFFERED_BYTES_MAX: u64 = 256 << 20;

/// A buffer older than this is written out: a crash costs at most this much unsynced data.
pub const DIRTY_AGE_MAX: Duration = Duration::from_secs(1);

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
        file: Arc<PrivateFile>,
    },
    /// In the pool, under the blob of this name.
    Blob(ContentName),
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
    /// What is taken of the quota for it; `None` while the content is its base's.
    charged: Option<u64>,
    dirty_since: Option<Instant>,
    /// The private file is a copy of what was sealed.
    copied: bool,
    /// What was written in order.
    prefix: ahead::Prefix,
    saved: Saved,
    /// What is saved is on disk, and its row may be. So newer content must be on disk before a row names it.
    synced: bool,
    /// Newer content waits until it is on disk.
    withheld: Option<Withheld>,
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
    /// To be sealed after that time, unless it is changed again before, or is to be committed.
    SealAfter(Duration),
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
    /// What is hashed of a large file while it is written; taken before `state`.
    hashing: Mutex<Option<Box<Hashing>>>,
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
        blob: Option<ContentName>,
        size: u64,
        mtime: Timestamp,
        ctime: Timestamp,
    ) -> Self {
        let (data, saved) = match blob {
            None => (Data::Empty, NodeData::Empty),
            Some(name) => (Data::Blob(name), NodeData::Blob(name)),
        };
        Self::with(store, area, node, data, saved, size, mtime, ctime)
    }

    /// A file recovered from its private file; it is unsealed.
    ///
    /// # Errors
    /// None: it was there already.
    pub fn private(
        store: &Arc<ContentStore>,
        area: &Arc<AreaShared>,
        node: NodeId,
        (id, file): (PrivateId, File),
        size: u64,
        mtime: Timestamp,
        ctime: Timestamp,
    ) -> Result<Self, StoreError> {
        let file = OpenFileSlot::take(&store.slots, area, true)?.hold(file);
        let data = Data::Private { id, file };
        let content =
            Self::with(store, area, node, data, NodeData::Private(id), size, mtime, ctime);
        content.state.lock().unsealed = true;
        area.add_unsealed();
        Ok(content)
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
                charged: None,
                dirty_since: None,
                copied: false,
                prefix: ahead::Prefix::default(),
                saved,
                synced: false,
                withheld: None,
            }),
            hashing: Mutex::default(),
            noted: AtomicBool::new(false),
        }
    }

    /// Returns `true` once, at the first modification: the caller must then mark the node as changed in the
    /// namespace.
    pub fn note_modification(&self) -> bool {
        !self.noted.swap(true, Ordering::SeqCst)
    }

    /// Whether the newest content is not on disk yet.
    pub fn is_dirty(&self) -> bool {
        self.state.lock().dirty_since.is_some()
    }

    /// Whether something newer than what is saved waits to be on disk.
    pub(crate) fn is_withheld(&self) -> bool {
        self.state.lock().withheld.is_some()
    }

    /// Whether the journal can only name older content: the newest is in no file of the store, or it replaces
    /// synced content and is not on disk itself.
    pub fn is_unsaved(&self) -> bool {
        let state = self.state.lock();
        !state.abandoned && state.saved.generation != state.generation
    }

    /// The state of a closed file that is in memory and waits to be sealed.
    pub(in crate::engine) fn to_be_sealed(&self) -> Option<u64> {
        let state = self.state.lock();
        let waits = state.unsealed && state.writers == 0 && !state.abandoned;
        (waits && matches!(state.data, Data::Buffer(_))).then_some(state.generation)
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

    /// 512-byte blocks that are allocated to the file on disk; `None` when it is in memory or
    /// unknown.
    pub fn allocated_blocks(&self) -> Option<u64> {
        let data = self.state.lock().data.clone();
        match data {
            Data::Empty | Data::Buffer(_) => None,
            Data::Private { file, .. } => file.metadata().ok().map(|found| found.blocks()),
            Data::Blob(name) => {
                let blob = self.store.names.resolve(&name).ok()?;
                self.store.pool.allocated_blocks(&blob)
            }
        }
    }

    /// The name of the newest content, when it is sealed. `Ok(None)` when the file is empty.
    ///
    /// # Errors
    /// `Err(())` while it is not sealed.
    #[allow(clippy::result_unit_err, reason = "there is one reason, and callers only branch on it")]
    pub fn blob(&self) -> Result<Option<ContentName>, ()> {
        match &self.state.lock().data {
            Data::Empty => Ok(None),
            Data::Blob(name) => Ok(Some(*name)),
            Data::Buffer(_) | Data::Private { .. } => Err(()),
        }
    }

    /// Gives the content another name. It must be sealed, and the name must stand for the same bytes.
    pub(in crate::engine) fn take_name(self: &Arc<Self>, name: ContentName) {
        let mut state = self.state.lock();
        if matches!(state.data, Data::Blob(_)) {
            state.data = Data::Blob(name);
            self.mark_saved(&mut state, NodeData::Blob(name), None);
        }
    }

    /// Fails where the content is not in the store: who is going to change a part of it needs the rest.
    ///
    /// # Errors
    /// [`StoreError::AbsentContent`]; when that cannot be looked up.
    pub fn check_present(&self) -> Result<(), StoreError> {
        let name = match self.state.lock().data {
            Data::Blob(name) => name,
            Data::Empty | Data::Buffer(_) | Data::Private { .. } => return Ok(()),
        };
        self.store.names.resolve(&name).map(drop)
    }

    /// Sets times explicitly.
    pub fn set_times(&self, mtime: Option<Timestamp>, ctime: Timestamp) {
        let mut state = self.state.lock();
        if let Some(mtime) = mtime {
            state.mtime = mtime;
        }
        state.ctime = ctime;
    }

    /// Counts a handle that was opened for writing. Says whether it is the only one.
    pub fn open_writer(&self) -> bool {
        let mut state = self.state.lock();
        state.writers += 1;
        let only = state.writers == 1;
        drop(state);
        self.area.add_writer();
        only
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

    fn after_change(self: &Arc<Self>, state: &mut FileState) -> AfterClose {
        if state.writers > 0 || !state.unsealed || state.abandoned {
            return AfterClose::Nothing;
        }
        if matches!(state.data, Data::Empty) {
            self.save_current(state);
            self.mark_sealed(state);
            return AfterClose::Journal;
        }
        if state.copied {
            AfterClose::SealAfter(seal_delay::time(state.size))
        } else {
            AfterClose::Seal
        }
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

    /// No name and no handle is left: frees everything that the content holds.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.abandoned, true) {
            return;
        }
        self.release_locked(&mut state);
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

    fn replace_data(self: &Arc<Self>, state: &mut FileState, data: Data) {
        let old = std::mem::replace(&mut state.data, data);
        state.copied = false;
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
