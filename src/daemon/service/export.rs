//! Export: pages and open files of a version, for a command that writes them with its own
//! credentials.

use std::fs::File;

use super::errors::{control_error, store_error};
use super::{StoreService, describe};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller};
use crate::control::transfer::{ExportRequest, HASHES_MAX, OPEN_MAX};
use crate::engine::error::EngineError;
use crate::engine::pins::BlobPin;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree_format::{TreeSource, encode_root};
use crate::store::error::StoreError;

impl StoreService {
    pub(super) fn export(
        &self,
        caller: Caller,
        request: ExportRequest,
    ) -> Result<(Reply, Attachment), ControlError> {
        match request {
            ExportRequest::Root { repository, version } => {
                let (repository, version) = self.version(&repository, &version)?;
                let payload = encode_root(&version.root);
                let reply = Reply::Root(describe::version(&repository, &version));
                Ok((reply, Attachment::of_payload(payload)))
            }
            ExportRequest::Pages { hashes } => self.pages(&hashes),
            ExportRequest::Open { hashes } => self.open(caller, &hashes),
        }
    }

    fn pages(&self, hashes: &[TreeHash]) -> Result<(Reply, Attachment), ControlError> {
        check_count(hashes.len(), HASHES_MAX)?;
        let mut payload = Vec::new();
        let mut lengths = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let page = self.engine.trees.page(hash).map_err(store_error)?;
            payload.extend_from_slice(page.bytes());
            lengths.push(u32::try_from(page.bytes().len()).unwrap_or(u32::MAX));
        }
        Ok((Reply::Pages(lengths), Attachment::of_payload(payload)))
    }

    fn open(
        &self,
        caller: Caller,
        hashes: &[BlobHash],
    ) -> Result<(Reply, Attachment), ControlError> {
        check_count(hashes.len(), OPEN_MAX)?;
        let mut files = Vec::with_capacity(hashes.len());
        let mut pins = Vec::with_capacity(hashes.len());
        for hash in hashes {
            // Pinned until the connection ends, as the protocol promises.
            pins.push(BlobPin::new(&self.engine.pins, *hash));
            // Opened anew, for reading only: a shared description would share its offset.
            let path = self.engine.layout.blob(hash);
            let file = File::open(&path).map_err(|source| {
                let error = StoreError::Io { action: "open the blob", path, source };
                control_error(EngineError::Store(error))
            })?;
            files.push(file);
        }
        self.exports.lock().entry(caller.connection).or_default().append(&mut pins);
        Ok((Reply::Opened, Attachment::of_files(files)))
    }
}

fn check_count(count: usize, most: usize) -> Result<(), ControlError> {
    if count <= most {
        return Ok(());
    }
    let message = format!("{count} hashes in one request, at most {most} are answered");
    Err(ControlError::new(ErrorKind::Usage, message))
}
