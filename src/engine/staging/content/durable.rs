//! Bringing content into files, so that it survives a crash of the daemon or of the machine.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::{DIRTY_AGE_MAX, Data, FileContent, PrivateFile};
use crate::model::hash::BlobHash;
use crate::store::error::StoreError;

/// A file to flush.
#[derive(Debug)]
pub enum FileToSync {
    /// It is being written.
    Private(Arc<PrivateFile>),
    /// It is sealed.
    Blob(Arc<File>, BlobHash),
}

impl FileContent {
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
    pub fn file_to_sync(&self) -> Result<Option<FileToSync>, StoreError> {
        let data = self.state.lock().data.clone();
        match data {
            Data::Empty | Data::Buffer(_) => Ok(None),
            Data::Private { file, .. } => Ok(Some(FileToSync::Private(file))),
            Data::Blob(hash) => Ok(Some(FileToSync::Blob(self.store.pool.open(&hash)?, hash))),
        }
    }

    /// Whether a buffer has been dirty for longer than [`DIRTY_AGE_MAX`].
    pub fn is_overdue(&self, now: Instant) -> bool {
        let since = self.state.lock().dirty_since;
        since.is_some_and(|since| now.duration_since(since) >= DIRTY_AGE_MAX)
    }
}
