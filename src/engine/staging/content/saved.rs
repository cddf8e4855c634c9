//! What the journal may say of a file: the newest content that is in a file of the store, and, once
//! it was synced, the newest that is on disk.

use std::sync::Arc;

use super::{Data, FileContent, FileState};
use crate::engine::pins::NamePin;
use crate::model::time::Timestamp;
use crate::store::catalog::NodeData;

/// What the catalog may say of the content: it is on disk.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) data: NodeData,
    pub(super) size: u64,
    /// Modification time that belongs to this content; used while `data` is newer.
    pub(super) mtime: Timestamp,
    pub(super) generation: u64,
    /// Keeps the blob until a row names it.
    pub(super) pin: Option<NamePin>,
}

/// Newer content that the journal must not name yet.
#[derive(Debug)]
pub(super) struct Withheld {
    /// Keeps the blob, if it is one.
    pub(super) pin: Option<NamePin>,
}

impl FileContent {
    /// Records that the current content is on disk. Of a blob that was recorded, with its pin, when it
    /// was made.
    pub(super) fn save_current(self: &Arc<Self>, state: &mut FileState) {
        let data = match &state.data {
            Data::Empty => NodeData::Empty,
            Data::Private { id, .. } => NodeData::Private(*id),
            Data::Blob(_) | Data::Buffer(_) => return,
        };
        self.mark_saved(state, data, None);
    }

    pub(super) fn mark_saved(
        self: &Arc<Self>,
        state: &mut FileState,
        data: NodeData,
        pin: Option<NamePin>,
    ) {
        // Who truncates a file to nothing wants nothing kept.
        let replaces = data != state.saved.data
            && !matches!(data, NodeData::Empty)
            && !matches!(state.saved.data, NodeData::Empty);
        if state.synced && replaces {
            if state.withheld.replace(Withheld { pin }).is_none() {
                self.store.unsettled.lock().push(Arc::clone(self));
            }
            state.dirty_since = None;
            return;
        }
        state.synced &= data == state.saved.data;
        // Overtaken, if there was something.
        state.withheld = None;
        self.replace_saved(state, data, pin);
    }

    pub(super) fn replace_saved(
        self: &Arc<Self>,
        state: &mut FileState,
        data: NodeData,
        pin: Option<NamePin>,
    ) {
        if let NodeData::Private(old) = &state.saved.data
            && !state.data.is_private(*old)
        {
            self.store.obsolete.lock().push((Arc::clone(self), *old));
        }
        state.saved =
            Saved { data, size: state.size, mtime: state.mtime, generation: state.generation, pin };
        state.dirty_since = None;
    }
}
