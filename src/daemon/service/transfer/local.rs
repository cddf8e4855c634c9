//! The store as a push reads it.

use std::fs::File;
use std::sync::Arc;

use crate::bucket::push::Local;
use crate::bucket::transfer::TransferError;
use crate::engine::Engine;
use crate::engine::pins::NamePin;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree_format::{TreePage, TreeSource};
use crate::store::error::StoreError;

/// The store as a push reads it. The version is kept by an area that starts from it, so nothing that it names goes.
pub(super) struct Store<'a> {
    engine: &'a Engine,
}

impl<'a> Store<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }
}

impl Local for Store<'_> {
    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, TransferError> {
        self.engine.trees.page(hash).map_err(TransferError::local)
    }

    fn blob(&self, name: &ContentName) -> Result<Option<BlobHash>, TransferError> {
        match self.engine.trees.blob_names().resolve(name) {
            Ok(blob) => Ok(Some(blob)),
            Err(StoreError::AbsentContent(_)) => Ok(None),
            Err(error) => Err(TransferError::local(error)),
        }
    }

    fn fetch(&self, name: &ContentName) -> Result<BlobHash, TransferError> {
        // Pinned before it is looked up, so that it is not reclaimed in between.
        let _pin = NamePin::new(&self.engine.pins, *name);
        self.engine.blob_or_fetch(name).map_err(TransferError::local)
    }

    fn open(&self, name: &ContentName, blob: &BlobHash) -> Result<Arc<File>, TransferError> {
        // A small cache lets content go again a moment after it was fetched; what is pinned stays.
        let _pins = [*name, (*blob).into()].map(|name| NamePin::new(&self.engine.pins, name));
        self.engine.blob_or_fetch(name).map_err(TransferError::local)?;
        self.engine.pool.open(blob).map_err(TransferError::local)
    }

    fn damaged(&self, blob: &BlobHash) -> TransferError {
        self.engine.report_damage(*blob);
        TransferError::local(StoreError::DamagedBlob(*blob))
    }
}
