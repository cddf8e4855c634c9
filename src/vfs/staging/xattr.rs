//! Extended attributes. `user.cairn.*` is answered and never listed (H19): listed, it would be
//! copied to wherever files go, and make every file differ.

use std::sync::Arc;

use super::place::Place;
use super::stray;
use super::{Denied, Done, StagingFs, check_open, engine_error, log_store};
use crate::engine::request::{AreaNotes, Request};
use crate::engine::staging::node::Node;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, Ino, NodeId};
use crate::model::on_stale::OnStale;
use crate::model::time::Timestamp;
use crate::model::tree_format::{XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX};
use crate::vfs::error::FsError;

const OWN_PREFIX: &[u8] = b"user.cairn.";

/// Namespaces that are stored. `system.posix_acl_*` is not: the kernel would not enforce it here,
/// and an ACL that is kept but not enforced is worse than none (H23).
const STORED_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Which states of the attribute are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetXattrMode {
    /// Any.
    Any,
    /// It must not exist.
    Create,
    /// It must exist.
    Replace,
}

impl StagingFs {
    /// Value of an attribute.
    ///
    /// # Errors
    /// `NoData` when there is none.
    pub(crate) fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let id = match Place::of(ino) {
            Some(Place::Node(id)) => id,
            Some(Place::Areas(repo)) if name == b"user.cairn.error" && self.strays.any(repo) => {
                let reason = stray::reason(self.repository(repo)?.name.as_str());
                return Ok(reason.into_bytes());
            }
            Some(_) | None => return Err(FsError::NoData),
        };
        if let Some(own) = name.strip_prefix(OWN_PREFIX) {
            return self.own_xattr(id, own);
        }
        check_namespace(name)?;
        let state = self.engine.staging.read();
        let node = state.node(id).ok_or(FsError::Stale)?;
        match node.xattrs.get(name) {
            Some(value) => Ok(value.to_vec()),
            // ENOTSUP makes `ls -l` ask once per mount, not once per file.
            None if name == b"security.selinux" => Err(FsError::NotSupported),
            None => Err(FsError::NoData),
        }
    }

    fn own_xattr(&self, id: NodeId, name: &[u8]) -> Result<Vec<u8>, FsError> {
        let state = self.engine.staging.read();
        let node = state.node(id).ok_or(FsError::Stale)?;
        if name == b"hash" {
            let content = node.content().ok_or(FsError::NoData)?;
            let name = content.blob().map_err(|()| FsError::NoData)?;
            let names = self.engine.trees.blob_names();
            let hash = match name {
                Some(name) => names.resolve(&name).map_err(|_| FsError::NoData)?,
                None => BlobHash::of(b""),
            };
            return Ok(hash.to_string().into_bytes());
        }
        if name == b"sha256" {
            let content = node.content().ok_or(FsError::NoData)?;
            let digest = match content.blob().map_err(|()| FsError::NoData)? {
                Some(name) => self.engine.trees.blob_names().sha256_of(&name).map_err(log_store)?,
                None => Some(Sha256::of(b"")),
            };
            return Ok(digest.ok_or(FsError::NoData)?.to_string().into_bytes());
        }
        let area = state.areas.get(&AreaId(id.0)).ok_or(FsError::NoData)?;
        let text = match name {
            b"message" => area.message.clone(),
            b"author" => area.author.clone(),
            b"on-stale" => area.on_stale.text().to_owned(),
            b"error" => area.error.clone(),
            b"base" => match area.base.as_ref().and_then(|base| base.number) {
                Some(number) => number.to_string(),
                None => return Err(FsError::NoData),
            },
            _ => return Err(FsError::NoData),
        };
        if text.is_empty() { Err(FsError::NoData) } else { Ok(text.into_bytes()) }
    }

    /// Names of all attributes, each ended by NUL.
    ///
    /// # Errors
    /// When the inode is gone.
    pub(crate) fn listxattr(&self, ino: Ino, superuser: bool) -> Result<Vec<u8>, FsError> {
        let Some(Place::Node(id)) = Place::of(ino) else {
            return Ok(Vec::new());
        };
        let state = self.engine.staging.read();
        let node = state.node(id).ok_or(FsError::Stale)?;
        let mut list = Vec::new();
        for name in node.xattrs.keys() {
            if superuser || !name.starts_with(b"trusted.") {
                list.extend_from_slice(name);
                list.push(0);
            }
        }
        Ok(list)
    }

    /// Sets an attribute; on an area, also what its commit will use.
    pub(crate) fn setxattr(
        self: &Arc<Self>,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: SetXattrMode,
        done: Done<()>,
    ) {
        let Some(Place::Node(id)) = Place::of(ino) else {
            return done(Err(FsError::NotPermitted));
        };
        if let Some(own) = name.strip_prefix(OWN_PREFIX) {
            return self.set_note(id, own, value, done);
        }
        let (name, value) = (name.to_vec(), value.to_vec());
        self.run(done, move |fs| {
            fs.check_growable()?;
            check_namespace(&name)?;
            if value.len() > XATTR_VALUE_BYTES_MAX {
                return Err(FsError::TooBig.into());
            }
            fs.change_xattrs(id, |node| {
                let exists = node.xattrs.contains_key(&*name);
                match mode {
                    SetXattrMode::Create if exists => return Err(FsError::Exists),
                    SetXattrMode::Replace if !exists => return Err(FsError::NoData),
                    SetXattrMode::Any | SetXattrMode::Create | SetXattrMode::Replace => {}
                }
                let others: usize = node
                    .xattrs
                    .iter()
                    .filter(|(other, _)| ***other != *name)
                    .map(|(name, value)| name.len() + value.len())
                    .sum();
                if others + name.len() + value.len() > XATTRS_BYTES_MAX / 2 {
                    return Err(FsError::NoSpace);
                }
                node.xattrs.insert(name.clone().into(), value.clone().into());
                Ok(())
            })
        });
    }

    /// Removes an attribute.
    pub(crate) fn removexattr(self: &Arc<Self>, ino: Ino, name: &[u8], done: Done<()>) {
        let Some(Place::Node(id)) = Place::of(ino) else {
            return done(Err(FsError::NotPermitted));
        };
        if let Some(own) = name.strip_prefix(OWN_PREFIX) {
            return self.set_note(id, own, b"", done);
        }
        let name = name.to_vec();
        self.run(done, move |fs| {
            fs.check_writable()?;
            check_namespace(&name)?;
            fs.change_xattrs(id, |node| node.xattrs.remove(&*name).map(drop).ok_or(FsError::NoData))
        });
    }

    fn change_xattrs(
        &self,
        id: NodeId,
        change: impl FnOnce(&mut Node) -> Result<(), FsError>,
    ) -> Result<(), Denied> {
        self.complete_links(id)?;
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            check_open(state, id)?;
            let node = state.node_mut(id).ok_or(FsError::Stale)?;
            change(node)?;
            node.touch(now);
            state.mark_changed(dirty, id);
            Ok(())
        })
    }

    /// Message, author and treatment of a stale base for the coming commit.
    fn set_note(&self, id: NodeId, name: &[u8], value: &[u8], done: Done<()>) {
        let area = AreaId(id.0);
        if !self.engine.staging.read().areas.contains_key(&area) {
            return done(Err(FsError::NotPermitted));
        }
        let Ok(text) = String::from_utf8(value.to_vec()) else {
            return done(Err(FsError::Invalid));
        };
        let mut notes = AreaNotes::default();
        match name {
            b"message" => notes.message = Some(text),
            b"author" => notes.author = Some(text),
            b"on-stale" => match OnStale::from_text(&text) {
                Some(on_stale) => notes.on_stale = Some(on_stale),
                None => return done(Err(FsError::Invalid)),
            },
            _ => return done(Err(FsError::NotPermitted)),
        }
        self.submit(done, |reply| Request::NoteArea { area, notes, reply });
    }

    /// Hands a request to the engine and its answer to `done`.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        done: Done<T>,
        make: impl FnOnce(crate::engine::request::Reply<T>) -> Request,
    ) {
        let reply = Box::new(move |result: crate::engine::error::Result<T>| {
            done(result.map_err(engine_error));
        });
        if self.engine.submit(make(reply)).is_err() {
            log::debug!("a request came after the engine had stopped");
        }
    }
}

fn check_namespace(name: &[u8]) -> Result<(), FsError> {
    match STORED_PREFIXES.iter().find(|prefix| name.starts_with(prefix)) {
        Some(prefix) if name.len() == prefix.len() => Err(FsError::Invalid),
        Some(_) => Ok(()),
        None => Err(FsError::NotSupported),
    }
}
