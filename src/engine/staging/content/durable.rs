//! Bringing content into files, so that it survives a crash of the daemon or of the machine.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::{DIRTY_AGE_MAX, Data, FileContent, PrivateFile};
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;

/// A file to flush.
#[derive(Debug)]
pub struct FileToSync {
    file: OpenFile,
    /// What it is: a blob or a private file.
    pub data: NodeData,
}

#[derive(Debug)]
enum OpenFile {
    Private(Arc<PrivateFile>),
    Blob(Arc<File>),
}

impl FileToSync {
    /// The file.
    pub fn file(&self) -> &File {
        match &self.file {
            OpenFile::Private(file) => file,
            OpenFile::Blob(file) => file,
        }
    }
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
            Data::Empty | Data::Private { .. } => {}
            // Withheld.
            Data::Blob(_) => return Ok(false),
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
        Ok(match data {
            Data::Empty | Data::Buffer(_) => None,
            Data::Private { id, file } => {
                Some(FileToSync { file: OpenFile::Private(file), data: NodeData::Private(id) })
            }
            Data::Blob(name) => {
                let blob = self.store.names.resolve(&name);
                match blob.and_then(|blob| self.store.pool.open(&blob)) {
                    // There is nothing of it on any disk here.
                    Err(StoreError::AbsentContent(_)) => None,
                    file => {
                        let data = NodeData::Blob(name);
                        Some(FileToSync { file: OpenFile::Blob(file?), data })
                    }
                }
            }
        })
    }

    /// `synced` has been brought to disk (`None`: there was nothing to bring). Returns whether
    /// that is what the journal says from now on; otherwise the content has changed meanwhile.
    pub fn settle(self: &Arc<Self>, synced: Option<&NodeData>) -> bool {
        let mut state = self.state.lock();
        let Some(synced) = synced else {
            return !matches!(state.data, Data::Buffer(_)) || state.abandoned;
        };
        let is_current = match (&state.data, synced) {
            (Data::Private { id, .. }, NodeData::Private(synced)) => id == synced,
            (Data::Blob(name), NodeData::Blob(synced)) => name == synced,
            _ => false,
        };
        if state.abandoned {
            return true;
        }
        if is_current {
            let pin = state.withheld.take().and_then(|withheld| withheld.pin);
            if state.saved.data != *synced {
                self.replace_saved(&mut state, synced.clone(), pin);
            }
        } else if state.saved.data != *synced {
            return false;
        }
        state.synced = true;
        true
    }

    /// A row from an earlier run names what is saved: it may have been synced then.
    pub(crate) fn assume_synced(&self) {
        self.state.lock().synced = true;
    }

    /// Whether a buffer has been dirty for longer than [`DIRTY_AGE_MAX`].
    pub fn is_overdue(&self, now: Instant) -> bool {
        let since = self.state.lock().dirty_since;
        since.is_some_and(|since| now.duration_since(since) >= DIRTY_AGE_MAX)
    }
}
