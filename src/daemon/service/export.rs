//! Export: pages and open files of a version, for a command that writes them with its own
//! credentials.

use std::collections::BTreeMap;
use std::fs::File;

use super::errors::{control_error, store_error};
use super::{StoreService, describe};
use crate::control::export::{ExportRequest, OPEN_MAX};
use crate::control::protocol::{ControlError, ErrorKind, HASHES_MAX};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId};
use crate::engine::error::EngineError;
use crate::engine::pins::{BlobPin, NamePin};
use crate::engine::registry::Repository;
use crate::engine::request::Owner;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::BaseName;
use crate::model::tree_format::{TreeSource, encode_root};
use crate::store::error::StoreError;

/// What the exports of one connection hold until it ends.
#[derive(Default)]
pub(super) struct Export {
    /// One hidden area for each version that is exported: it starts from the version, and so keeps
    /// its trees and what they name.
    versions: BTreeMap<(RepoId, VersionNumber), AreaId>,
    /// Blobs that were handed out. They are held here as well, since a store that is read-only
    /// opens no area.
    pins: Vec<BlobPin>,
}

impl StoreService {
    pub(super) fn export(
        &self,
        caller: Caller,
        request: ExportRequest,
    ) -> Result<(Reply, Attachment), ControlError> {
        match request {
            ExportRequest::Root { repository, version } => {
                let (repository, version) = self.version(&repository, &version)?;
                self.keep(caller, &repository, version.number)?;
                let payload = encode_root(&version.root);
                let reply = Reply::Root(describe::version(&repository, &version));
                Ok((reply, Attachment::of_payload(payload)))
            }
            ExportRequest::Pages { hashes } => self.pages(&hashes),
            ExportRequest::Open { names, no_fetch } => self.open(caller, &names, no_fetch),
        }
    }

    /// Keeps a version readable until the connection ends, even when it is deleted meanwhile.
    pub(super) fn keep(
        &self,
        caller: Caller,
        repository: &Repository,
        number: VersionNumber,
    ) -> Result<(), ControlError> {
        let key = (repository.id, number);
        let kept = |exports: &BTreeMap<_, _>| exports.contains_key(&key);
        if self.exports.lock().get(&caller.connection).is_some_and(|held| kept(&held.versions)) {
            return Ok(());
        }
        let owner = Owner { mode: 0, uid: caller.uid, gid: caller.gid };
        let opened = self.hidden_area(repository, Some(&BaseName::Number(number)), owner);
        let area = match opened {
            Ok(area) => area,
            Err(error @ (EngineError::NoVersion(_) | EngineError::NoRepository(_))) => {
                return Err(control_error(error));
            }
            // Nothing is deleted while it is read.
            Err(EngineError::ReadOnly) => return Ok(()),
            // A store that takes no changes can still be exported (R3, R4) without an area: where
            // nothing changes, nothing is deleted.
            Err(error) => {
                log::warn!("version {number} of {} is exported unkept: {error}", repository.name);
                return Ok(());
            }
        };
        let mut exports = self.exports.lock();
        exports.entry(caller.connection).or_default().versions.insert(key, area);
        Ok(())
    }

    /// Lets go of what a connection that is gone was reading.
    pub(super) fn end_exports(&self, connection: ConnectionId) {
        let ended = self.exports.lock().remove(&connection);
        for area in ended.into_iter().flat_map(|export| export.versions.into_values()) {
            self.drop_hidden(area);
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
        names: &[ContentName],
        no_fetch: bool,
    ) -> Result<(Reply, Attachment), ControlError> {
        check_count(names.len(), OPEN_MAX)?;
        let mut files = Vec::with_capacity(names.len());
        let mut pins = Vec::with_capacity(names.len());
        for name in names {
            // Pinned before it is looked up, so that it is not reclaimed in between.
            let _looked_up = NamePin::new(&self.engine.pins, *name);
            let blob = match no_fetch {
                true => self.engine.trees.blob_names().resolve(name).map_err(absent_error)?,
                false => self.engine.blob_or_fetch(name).map_err(control_error)?,
            };
            self.engine.note_use(name, &blob);
            // Pinned until the connection ends, as the protocol promises.
            pins.push(BlobPin::new(&self.engine.pins, blob));
            files.push(self.open_sound(&blob)?);
        }
        let mut exports = self.exports.lock();
        exports.entry(caller.connection).or_default().pins.append(&mut pins);
        Ok((Reply::Opened, Attachment::of_files(files)))
    }

    /// Opens a blob, for reading only, that is as long as it was when it was stored.
    fn open_sound(&self, hash: &BlobHash) -> Result<File, ControlError> {
        let row = self.engine.query(|reader| reader.blob(hash)).map_err(control_error)?;
        let row = row.ok_or_else(|| store_error(StoreError::MissingBlob(*hash)))?;
        // Opened anew, since a duplicate of the descriptor would share its file offset.
        let path = self.engine.layout.blob(hash);
        let opened = File::open(&path)
            .and_then(|file| file.metadata().map(|found| (file, found.len())))
            .map_err(|source| {
                store_error(StoreError::Io { action: "open the blob", path, source })
            });
        let (file, size) = opened?;
        if size != row.size {
            self.engine.report_damage(*hash);
        }
        if self.engine.pool.is_damaged(hash) || size != row.size {
            return Err(store_error(StoreError::DamagedBlob(*hash)));
        }
        Ok(file)
    }
}

/// Content that is asked for with the wish that none be fetched.
fn absent_error(error: StoreError) -> ControlError {
    match error {
        StoreError::AbsentContent(name) => {
            let message = format!("the content {name} was not fetched yet");
            ControlError::new(ErrorKind::Failed, message)
                .with_hint("leave out --no-fetch to have it fetched from its remote")
        }
        error => store_error(error),
    }
}

fn check_count(count: usize, most: usize) -> Result<(), ControlError> {
    if count <= most {
        return Ok(());
    }
    let message = format!("{count} hashes in one request, at most {most} are answered");
    Err(ControlError::new(ErrorKind::Usage, message))
}
