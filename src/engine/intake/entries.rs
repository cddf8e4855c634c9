//! Putting entries into the import's area.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Import;
use super::content::StoredContent;
use crate::engine::error::{EngineError, Result};
use crate::engine::resolve::ResolveError;
use crate::engine::staging::charge;
use crate::engine::staging::content::FileContent;
use crate::engine::staging::node::{Body, Directory, Node};
use crate::engine::staging::state::{NewNode, State};
use crate::model::content_name::{ContentName, same_content};
use crate::model::id::{NodeId, RepoId};
use crate::model::import::{ImportContent, ImportEntry};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::Attributes;
use crate::model::tree_format::check_attributes;

/// Permission bits of a directory that has no entry of its own, only paths through it.
const IMPLIED_MODE: u16 = 0o755;

impl Import {
    pub(super) fn put_entry(&self, entry: &ImportEntry, blob: StoredContent) -> Result<()> {
        let names = entry.path.components().map_err(|error| usage(error.to_string()))?;
        let attributes =
            entry.attributes.to_attributes().ok_or_else(|| usage("bad mode or time"))?;
        check_attributes(&attributes).map_err(|error| usage(error.to_string()))?;
        let root = NodeId(self.area.0);
        if self.root_unknown.swap(false, Ordering::Relaxed) {
            self.engine.staging.change(|state, _| restore_time(state, root, attributes.mtime));
        }
        let Some((name, parents)) = names.split_last() else {
            return match entry.content {
                ImportContent::Directory => self.set_attributes(root, attributes),
                _ => Err(usage("the root is a directory")),
            };
        };
        let mut parent = root;
        for name in parents {
            parent = self.descend(parent, name, attributes.mtime)?;
        }
        let existing = self.lookup(parent, name)?;
        match &entry.content {
            ImportContent::Hardlink { to } => {
                let to = to.components().map_err(|error| usage(error.to_string()))?;
                if to.len() > names.len() && to.starts_with(&names) {
                    return Err(usage("a link to a file below itself"));
                }
                self.put_link((parent, name), existing, &to)
            }
            ImportContent::Directory => match existing.filter(|id| self.is_directory(*id)) {
                Some(id) => self.set_attributes(id, attributes),
                None => {
                    let body = Body::Directory(Directory::new(None));
                    self.replace((parent, name), existing, body, attributes)
                }
            },
            ImportContent::Tree { tree } => {
                self.put_tree((parent, name), existing, tree, attributes)
            }
            content => {
                if let Some(id) = existing.filter(|id| self.equals(*id, content, blob)) {
                    return self.set_attributes(id, attributes);
                }
                if let Some(id) = existing
                    && self.takes_name(id, blob)?
                {
                    return self.set_attributes(id, attributes);
                }
                let body = self.body(content, blob, attributes.mtime)?;
                self.replace((parent, name), existing, body, attributes)
            }
        }
    }

    /// Gives the content of a file the name that was declared for it, if it is the same content: nothing is used for
    /// that, so no quota is charged.
    fn takes_name(&self, id: NodeId, name: StoredContent) -> Result<bool> {
        let Some(declared @ ContentName::Sha256(_)) = name else { return Ok(false) };
        let file = {
            let state = self.engine.staging.read();
            let node = state.node(id).filter(|node| node.nlink() == 1);
            node.and_then(|node| node.content().cloned())
        };
        let Some(file) = file else { return Ok(false) };
        let Ok(before @ Some(_)) = file.blob() else { return Ok(false) };
        let names = self.engine.trees.blob_names();
        if !same_content(before, name, |digest| names.blob_of(digest))? {
            return Ok(false);
        }
        file.take_name(declared);
        self.engine.staging.change(|state, dirty| state.mark_changed(dirty, id));
        Ok(true)
    }

    pub(super) fn lookup(&self, parent: NodeId, name: &EntryName) -> Result<Option<NodeId>> {
        self.engine.resolve(parent, name.as_bytes()).map_err(resolve_error)
    }

    pub(super) fn is_directory(&self, id: NodeId) -> bool {
        self.engine.staging.read().node(id).is_some_and(Node::is_directory)
    }

    /// A directory on the way to an entry. Where it is missing it is made with the time of that
    /// entry, so that the same import makes the same tree.
    fn descend(&self, parent: NodeId, name: &EntryName, mtime: Timestamp) -> Result<NodeId> {
        if let Some(id) = self.lookup(parent, name)? {
            return if self.is_directory(id) { Ok(id) } else { Err(usage("below a file")) };
        }
        let attributes = Attributes {
            mode: IMPLIED_MODE,
            uid: self.owner.uid,
            gid: self.owner.gid,
            mtime,
            xattrs: Default::default(),
        };
        let body = Body::Directory(Directory::new(None));
        self.replace((parent, name), None, body, attributes)?;
        self.lookup(parent, name)?.ok_or_else(gone)
    }

    /// Whether a node has this kind and content already (V2).
    fn equals(&self, id: NodeId, content: &ImportContent, blob: StoredContent) -> bool {
        let state = self.engine.staging.read();
        let Some(node) = state.node(id) else {
            return false;
        };
        match (&node.body, content) {
            (Body::File(file), ImportContent::File { .. }) => {
                // Another name of it would change along.
                node.nlink() == 1 && file.blob() == Ok(blob)
            }
            (Body::Symlink(one), ImportContent::Symlink { target }) => **one == *target.as_bytes(),
            (Body::Fifo, ImportContent::Fifo) | (Body::Socket, ImportContent::Socket) => true,
            (Body::CharDevice(one), ImportContent::CharDevice { rdev })
            | (Body::BlockDevice(one), ImportContent::BlockDevice { rdev }) => one == rdev,
            _ => false,
        }
    }

    fn body(&self, content: &ImportContent, blob: StoredContent, mtime: Timestamp) -> Result<Body> {
        Ok(match content {
            ImportContent::File { size_bytes, .. } => {
                let staging = &self.engine.staging;
                let shared = staging.read().areas.get(&self.area).map(|a| Arc::clone(&a.shared));
                let shared = shared.ok_or_else(gone)?;
                let id = NodeId(staging.store.new_id());
                let size = if blob.is_some() { *size_bytes } else { 0 };
                let content =
                    FileContent::sealed(&staging.store, &shared, id, blob, size, mtime, mtime);
                Body::File(Arc::new(content))
            }
            ImportContent::Symlink { target } => Body::Symlink(target.as_bytes().into()),
            ImportContent::Fifo => Body::Fifo,
            ImportContent::Socket => Body::Socket,
            ImportContent::CharDevice { rdev } => Body::CharDevice(*rdev),
            ImportContent::BlockDevice { rdev } => Body::BlockDevice(*rdev),
            ImportContent::Directory
            | ImportContent::Tree { .. }
            | ImportContent::Hardlink { .. } => {
                return Err(usage("no such content"));
            }
        })
    }

    /// Puts a new node at a name, in place of whatever is there.
    pub(super) fn replace(
        &self,
        (parent, name): (NodeId, &EntryName),
        existing: Option<NodeId>,
        body: Body,
        attributes: Attributes,
    ) -> Result<()> {
        if let Some(id) = existing {
            self.prepare_removal(id)?;
        }
        let staging = &self.engine.staging;
        let id = match &body {
            Body::File(content) => content.node,
            _ => NodeId(staging.store.new_id()),
        };
        let (now, mtime) = (Timestamp::now(), attributes.mtime);
        staging.change(|state, dirty| {
            let Some(directory) = state.node(parent) else {
                return Err(gone());
            };
            let area = Arc::clone(&directory.area);
            let before = directory.mtime;
            if existing.is_some() {
                state.unlink(dirty, parent, name, now);
            }
            charge::reserve(&area, &body).map_err(|_| self.over_quota(area.repo))?;
            state.insert(id, area, NewNode { body, attributes, ctime: now }, false);
            state.set_charged(id);
            state.link(dirty, id, parent, name, now);
            restore_time(state, parent, before);
            if let Some(content) = state.node(id).and_then(Node::content) {
                content.set_times(Some(mtime), now);
            }
            Ok(())
        })
    }

    fn over_quota(&self, repo: RepoId) -> EngineError {
        let repository = self.engine.registry.by_id(repo);
        match repository {
            Some(repository) => EngineError::OverQuota(repository.name.clone()),
            None => EngineError::NoRepository(repo),
        }
    }

    fn put_link(
        &self,
        (parent, name): (NodeId, &EntryName),
        existing: Option<NodeId>,
        to: &[EntryName],
    ) -> Result<()> {
        let mut target = NodeId(self.area.0);
        for name in to {
            let found = self.lookup(target, name)?;
            target = found.ok_or_else(|| usage("a link to a file that is not there"))?;
        }
        if self.is_directory(target) {
            return Err(usage("a link to a directory"));
        }
        if existing == Some(target) {
            return Ok(());
        }
        self.engine.complete_links(target).map_err(resolve_error)?;
        if let Some(id) = existing {
            self.prepare_removal(id)?;
        }
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            let before = state.node(parent).map(|node| node.mtime).unwrap_or(now);
            if existing.is_some() {
                state.unlink(dirty, parent, name, now);
            }
            state.link(dirty, target, parent, name, now);
            restore_time(state, parent, before);
        });
        Ok(())
    }

    /// Sets attributes where they differ: an entry that is the same changes nothing.
    pub(super) fn set_attributes(&self, id: NodeId, attributes: Attributes) -> Result<()> {
        self.engine.complete_links(id).map_err(resolve_error)?;
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            let Some(node) = state.node_mut(id) else {
                return Err(gone());
            };
            let mtime = node.content().map_or(node.mtime, |content| content.attr().mtime);
            let same = node.mode == attributes.mode
                && node.uid == attributes.uid
                && node.gid == attributes.gid
                && mtime == attributes.mtime
                && node.xattrs == attributes.xattrs;
            if same {
                return Ok(());
            }
            node.mode = attributes.mode;
            node.uid = attributes.uid;
            node.gid = attributes.gid;
            node.mtime = attributes.mtime;
            if let Some(content) = node.content() {
                content.set_times(Some(attributes.mtime), now);
            }
            node.xattrs = attributes.xattrs;
            state.mark_changed(dirty, id);
            Ok(())
        })
    }
}

/// Sets the time of a directory back that a new name in it has changed: an import gives directories their
/// times itself.
pub(super) fn restore_time(state: &mut State, directory: NodeId, mtime: Timestamp) {
    if let Some(node) = state.node_mut(directory) {
        node.mtime = mtime;
    }
}

pub(super) fn usage(message: impl Into<String>) -> EngineError {
    EngineError::Invalid(message.into())
}

/// The area was discarded, and its nodes with it.
fn gone() -> EngineError {
    EngineError::ImportAreaGone
}

pub(super) fn resolve_error(error: ResolveError) -> EngineError {
    match error {
        ResolveError::NotDirectory => usage("below a file"),
        ResolveError::Gone => gone(),
        ResolveError::Store(error) => error.into(),
    }
}
