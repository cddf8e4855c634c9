//! Bringing content to disk: for the durability thread, and for the stop, when nobody waits any more.
//!
//! A failed sync poisons the store: it may have dropped dirty pages, so nothing written since can
//! be trusted to reach the disk (R4).

use std::sync::Arc;

use super::SYNC_ONE_BY_ONE_MAX;
use crate::engine::error::{EngineError, Result};
use crate::engine::staging::Staging;
use crate::engine::staging::content::{FileContent, FileToSync};
use crate::model::hash::BlobHash;
use crate::store::catalog::NodeData;
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::Pool;

/// How often a content may change while it is being synced.
pub(in crate::engine) const TRIES_MAX: u32 = 100;

/// Files that could not be settled, and why the first of them could not.
#[derive(Debug)]
pub(in crate::engine) struct Unsettled {
    pub(in crate::engine) contents: Vec<Arc<FileContent>>,
    pub(in crate::engine) error: EngineError,
}

/// What syncing needs.
#[derive(Clone, Copy)]
pub(in crate::engine) struct ToDisk<'a> {
    pub(in crate::engine) layout: &'a Layout,
    pub(in crate::engine) pool: &'a Pool,
    pub(in crate::engine) staging: &'a Staging,
}

impl ToDisk<'_> {
    /// Everything on the store's file system.
    pub(in crate::engine) fn everything(self) -> Result<()> {
        durable::syncfs(self.layout.root()).map_err(|error| self.poison(error))
    }

    /// A blob and its name.
    pub(in crate::engine) fn blob(self, hash: &BlobHash) -> Result<()> {
        let file = match self.pool.open(hash) {
            // Its content is lost already, and whoever uses it was told. A sync would not change that.
            Err(StoreError::DamagedBlob(_)) => return Ok(()),
            // It is absent: a bucket has the bytes, so there is no file here that a sync could flush.
            Err(StoreError::AbsentContent(_)) => return Ok(()),
            opened => opened?,
        };
        durable::fdatasync(&file, &self.layout.blob(hash)).map_err(|error| self.poison(error))?;
        self.pool.sync_fan_out(hash).map_err(|error| self.poison(error))
    }

    /// The WAL, and with it all rows written so far.
    pub(in crate::engine) fn rows(self) -> Result<()> {
        durable::sync_file(&self.layout.wal()).map_err(|error| self.poison(error))
    }

    /// What a file holds now. From here on the journal names only content that is on disk too.
    pub(in crate::engine) fn content(self, content: &Arc<FileContent>) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let file = self.spilled(content)?;
            if let Some(file) = &file {
                let directory = self.layout.area(content.area.id);
                match &file.data {
                    NodeData::Blob(name) => match self.staging.store.names.resolve(name) {
                        // It was reclaimed since its file was opened.
                        Err(StoreError::AbsentContent(_)) => Ok(()),
                        blob => {
                            let blob = blob?;
                            durable::fdatasync(file.file(), &self.layout.blob(&blob))
                                .and_then(|()| self.pool.sync_fan_out(&blob))
                        }
                    },
                    _ => durable::fdatasync(file.file(), &directory)
                        .and_then(|()| durable::sync_dir(&directory)),
                }
                .map_err(|error| self.poison(error))?;
            }
            if self.settled(content, file.as_ref()) {
                return Ok(());
            }
        }
        Err(EngineError::ChangesTooFast)
    }

    /// What these files hold now, or something newer. One that cannot be saved keeps none of the
    /// others from it.
    pub(in crate::engine) fn settle(
        self,
        contents: Vec<Arc<FileContent>>,
    ) -> std::result::Result<(), Unsettled> {
        let mut unsettled = None;
        let mut failed = |content, error| {
            let unsettled =
                unsettled.get_or_insert_with(|| Unsettled { contents: Vec::new(), error });
            unsettled.contents.push(content);
        };
        let mut spilled = Vec::new();
        if contents.len() <= SYNC_ONE_BY_ONE_MAX {
            spilled.extend(contents.into_iter().map(|content| (content, None)));
        } else {
            for content in contents {
                match self.spilled(&content) {
                    Ok(file) => spilled.push((content, Some(file))),
                    Err(error) => failed(content, error),
                }
            }
            // A failure poisons the store: nothing is to be settled any more.
            self.everything().map_err(|error| Unsettled { contents: Vec::new(), error })?;
        }
        for (content, file) in spilled {
            let is_settled = file.is_some_and(|file| self.settled(&content, file.as_ref()));
            if !is_settled && let Err(error) = self.content(&content) {
                failed(content, error);
            }
        }
        unsettled.map_or(Ok(()), Err)
    }

    fn spilled(self, content: &Arc<FileContent>) -> Result<Option<FileToSync>> {
        if content.spill()? {
            self.staging.mark_dirty(content.node);
        }
        Ok(content.file_to_sync()?)
    }

    fn settled(self, content: &Arc<FileContent>, file: Option<&FileToSync>) -> bool {
        let settled = content.settle(file.map(|file| &file.data));
        self.staging.mark_dirty(content.node);
        settled
    }

    /// Refuses all changes from now on. But if the process could not open more files, no sync was tried, and
    /// nothing is lost: it can be tried later.
    pub(in crate::engine) fn poison(self, error: StoreError) -> EngineError {
        if error.lacks_descriptors() {
            return EngineError::Store(error);
        }
        self.staging.poison.set(&format!("a sync failed: {error}"));
        EngineError::Store(error)
    }
}
