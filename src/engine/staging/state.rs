//! The namespace of all staging areas: nodes, names, and the steps that change them.
//!
//! One value behind one lock ([`super::Staging`]). Methods here are the primitive steps; they keep
//! the invariants below and mark what the journal must write. They never do I/O: what is read from
//! a base tree is fetched by the caller beforehand and handed in.
//!
//! # Invariants
//! - A slot `Node(n)` at (d, name) exists exactly when `n.names` has (d, name).
//! - A changed node's directories are all changed, up to the root of the area.
//! - A node that is not changed equals the entry of the base tree at its name.
//! - `directories` of a directory counts the slots whose nodes are directories.
//! - Node ids are never reused while the process lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::area::AreaShared;
use super::content::{ContentStore, FileContent};
use super::dirty::Dirty;
use super::node::{Area, Body, Directory, Node, Slot};
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Content, Entry};

/// A table of nodes with fewer slots than this is never shrunk.
const SHRINK_SLOTS_MIN: usize = 1024;

/// Answer to "what is at this name".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// This node.
    Node(NodeId),
    /// Nothing.
    Absent,
    /// Unknown: whatever this base tree has at the name.
    InBase(TreeHash),
}

/// Attributes of a node being made.
#[derive(Debug, Clone)]
pub struct NewNode {
    /// Kind and content.
    pub body: Body,
    /// Mode, owner, time, extended attributes.
    pub attributes: Attributes,
    /// Change time.
    pub ctime: Timestamp,
}

/// All staging areas and their nodes.
#[derive(Debug, Default)]
pub struct State {
    /// Areas that are open or being committed.
    pub areas: BTreeMap<AreaId, Area>,
    /// Boxed, so that the empty slots of the table stay small: a quarter of a KiB each would be more
    /// than what the nodes need beside it.
    nodes: HashMap<NodeId, Box<Node>>,
    /// Areas that are published or discarded, of which nodes are still in memory.
    pub(super) left: BTreeSet<AreaId>,
}

impl State {
    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(Box::as_ref)
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id).map(Box::as_mut)
    }

    /// All nodes, in no order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(Box::as_ref)
    }

    /// Nodes of published and discarded areas whose content has one of these names.
    pub fn left_holders(&self, blobs: &BTreeSet<ContentName>) -> Vec<NodeId> {
        let mut left = self.holders(blobs);
        left.retain(|id| self.area_of(*id).is_none());
        left
    }

    /// Nodes whose content has one of these names.
    pub fn holders(&self, blobs: &BTreeSet<ContentName>) -> Vec<NodeId> {
        let holds = |node: &Node| {
            let blob = node.content().and_then(|content| content.blob().ok().flatten());
            blob.is_some_and(|blob| blobs.contains(&blob))
        };
        self.nodes.iter().filter(|(_, node)| holds(node)).map(|(id, _)| *id).collect()
    }

    /// Number of nodes in memory.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The area of a node, while it is open; `None` when it was published or discarded.
    pub fn area_of(&self, id: NodeId) -> Option<&Area> {
        self.areas.get(&self.nodes.get(&id)?.area.id)
    }

    /// What is at `name` in `parent`; `None` when `parent` is not a directory.
    pub fn child(&self, parent: NodeId, name: &[u8]) -> Option<Child> {
        let directory = self.nodes.get(&parent)?.directory()?;
        Some(match directory.slots.get(name) {
            Some(Slot::Node(node)) => Child::Node(*node),
            Some(Slot::Whiteout) => Child::Absent,
            None => directory.base.map_or(Child::Absent, Child::InBase),
        })
    }

    /// Puts a node into memory under a given id, without a name.
    pub fn insert(&mut self, id: NodeId, area: Arc<AreaShared>, new: NewNode, changed: bool) {
        let node = Node {
            area,
            body: new.body,
            mode: new.attributes.mode,
            uid: new.attributes.uid,
            gid: new.attributes.gid,
            mtime: new.attributes.mtime,
            ctime: new.ctime,
            atime: new.attributes.mtime,
            xattrs: new.attributes.xattrs,
            names: Vec::new(),
            base_group: None,
            changed,
            charge: None,
            journalled: None,
            lookups: AtomicU64::new(0),
            opens: AtomicU32::new(0),
        };
        let old = self.nodes.insert(id, Box::new(node));
        assert!(old.is_none(), "node id {id} was used twice");
    }

    /// Takes the entry of a base tree into memory as a node at its name. `entry` is what the base
    /// of `parent` has there; `apart` says that nobody can tell its hardlink group from another.
    /// Returns the node that is there (another may have been faster).
    pub fn materialise(
        &mut self,
        store: &Arc<ContentStore>,
        parent: NodeId,
        entry: &Entry,
        apart: bool,
    ) -> Option<NodeId> {
        match self.child(parent, entry.name.as_bytes())? {
            Child::Node(node) => return Some(node),
            Child::Absent => return None,
            Child::InBase(_) => {}
        }
        let area_id = self.nodes.get(&parent)?.area.id;
        let area = self.areas.get(&area_id)?;
        let group = self.base_group(parent, entry, apart);
        if let Some(group) = group.filter(|_| !apart)
            && let Some(node) = area.groups.get(&group.key).copied()
        {
            self.add_name(node, parent, &entry.name);
            self.complete_group(node);
            return Some(node);
        }
        let shared = Arc::clone(&area.shared);
        let mut id = self.base_id(parent, entry, apart)?;
        if self.nodes.contains_key(&id) {
            id = NodeId(store.new_id());
        }
        let body = match &entry.content {
            Content::File { size, blob } => {
                let mtime = entry.attributes.mtime;
                let content = FileContent::sealed(store, &shared, id, *blob, *size, mtime, mtime);
                Body::File(Arc::new(content))
            }
            Content::Directory { tree, .. } => Body::Directory(Directory::new(Some(*tree))),
            Content::Symlink { target } => Body::Symlink(target.clone()),
            Content::Fifo => Body::Fifo,
            Content::Socket => Body::Socket,
            Content::CharDevice { rdev } => Body::CharDevice(*rdev),
            Content::BlockDevice { rdev } => Body::BlockDevice(*rdev),
        };
        let ctime = entry.attributes.mtime;
        let new = NewNode { body, attributes: entry.attributes.clone(), ctime };
        self.insert(id, shared, new, false);
        self.add_name(id, parent, &entry.name);
        if let Some(group) = group {
            self.set_group(id, group);
        }
        Some(id)
    }

    pub(super) fn add_name(&mut self, id: NodeId, parent: NodeId, name: &EntryName) {
        let counted = u32::from(self.node(id).is_some_and(Node::is_directory));
        if let Some(directory) = self.node_mut(parent).and_then(Node::directory_mut) {
            directory.slots.insert(name.clone(), Slot::Node(id));
            directory.directories = directory.directories.saturating_add(counted);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            // Nearly every node has one name.
            if node.names.is_empty() {
                node.names.reserve_exact(1);
            }
            node.names.push((parent, name.clone()));
        }
    }

    /// Marks a node as different from its base, and so every directory above it.
    pub fn mark_changed(&mut self, dirty: &mut Dirty, id: NodeId) {
        let mut queue = vec![id];
        while let Some(id) = queue.pop() {
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            dirty.mark_node(id);
            if std::mem::replace(&mut node.changed, true) {
                continue;
            }
            for (parent, name) in &node.names {
                dirty.mark_name((*parent, name.clone()), &node.area, Some(id));
                queue.push(*parent);
            }
        }
    }

    /// Marks nodes as [`State::mark_changed`] does.
    pub fn mark_all_changed(&mut self, dirty: &mut Dirty, ids: Vec<NodeId>) {
        ids.into_iter().for_each(|id| self.mark_changed(dirty, id));
    }

    /// Gives `id` the name `name` in `parent`. The name must be free.
    pub fn link(
        &mut self,
        dirty: &mut Dirty,
        id: NodeId,
        parent: NodeId,
        name: &EntryName,
        now: Timestamp,
    ) {
        self.add_name(id, parent, name);
        if let Some(node) = self.nodes.get_mut(&id) {
            dirty.mark_name((parent, name.clone()), &node.area, Some(id));
            node.touch(now);
            let area = node.area.id;
            self.settle_name(area, parent, name);
        }
        self.mark_changed(dirty, id);
        self.directory_changed(dirty, parent, now);
    }

    /// Takes the name away from whatever has it. The node stays while it is open.
    pub fn unlink(&mut self, dirty: &mut Dirty, parent: NodeId, name: &EntryName, now: Timestamp) {
        if let Some(id) = self.detach(dirty, parent, name, now) {
            self.release_unnamed(id);
            self.drop_if_unused(dirty, id);
        }
    }

    /// Takes the name away from whatever has it, and returns that.
    pub fn detach(
        &mut self,
        dirty: &mut Dirty,
        parent: NodeId,
        name: &EntryName,
        now: Timestamp,
    ) -> Option<NodeId> {
        let parent_node = self.nodes.get_mut(&parent)?;
        let area = Arc::clone(&parent_node.area);
        let directory = parent_node.directory_mut()?;
        // Where the base may have the name it must be hidden; where there is no base, nothing.
        let slot = if directory.base.is_some() {
            directory.slots.insert(name.clone(), Slot::Whiteout)
        } else {
            directory.slots.remove(name)
        };
        let id = match slot {
            Some(Slot::Node(id)) => Some(id),
            Some(Slot::Whiteout) | None => None,
        };
        dirty.mark_name((parent, name.clone()), &area, id);
        self.directory_changed(dirty, parent, now);
        let id = id?;
        // Marked while it still has the name: its other names must be journalled, too.
        self.mark_changed(dirty, id);
        let node = self.nodes.get_mut(&id)?;
        node.names.retain(|(p, n)| !(*p == parent && n == name));
        node.touch(now);
        if node.is_directory()
            && let Some(directory) = self.node_mut(parent).and_then(Node::directory_mut)
        {
            directory.directories = directory.directories.saturating_sub(1);
        }
        Some(id)
    }

    /// Gives a node a new name in place of its old one.
    pub fn rename(
        &mut self,
        dirty: &mut Dirty,
        from: (NodeId, &EntryName),
        to: (NodeId, &EntryName),
        now: Timestamp,
    ) {
        let replaced = match self.child(to.0, to.1.as_bytes()) {
            Some(Child::Node(_)) => self.detach(dirty, to.0, to.1, now),
            Some(Child::Absent | Child::InBase(_)) | None => None,
        };
        if let Some(id) = self.detach(dirty, from.0, from.1, now) {
            self.link(dirty, id, to.0, to.1, now);
        }
        if let Some(id) = replaced {
            self.release_unnamed(id);
            self.drop_if_unused(dirty, id);
        }
    }

    /// Swaps two names.
    pub fn exchange(
        &mut self,
        dirty: &mut Dirty,
        first: (NodeId, &EntryName),
        second: (NodeId, &EntryName),
        now: Timestamp,
    ) {
        let one = self.detach(dirty, first.0, first.1, now);
        let other = self.detach(dirty, second.0, second.1, now);
        if let Some(id) = one {
            self.link(dirty, id, second.0, second.1, now);
        }
        if let Some(id) = other {
            self.link(dirty, id, first.0, first.1, now);
        }
    }

    /// Notes that the entries of a directory changed.
    pub fn directory_changed(&mut self, dirty: &mut Dirty, id: NodeId, now: Timestamp) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.mtime = now;
            node.ctime = now;
        }
        self.mark_changed(dirty, id);
    }

    /// Removes a node from memory when nothing refers to it any more, or when it is an unchanged
    /// copy of its base entry that the kernel has forgotten. Those of an area that is gone stay for as
    /// long as the kernel has its root, as it does while somebody works in it: what it has forgotten
    /// of the rest, by pruning for instance, is looked up here again (H13).
    pub fn drop_if_unused(&mut self, dirty: &mut Dirty, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let area = node.area.id;
        if self.areas.contains_key(&area) {
            return self.drop_unheld(dirty, id);
        }
        let root = NodeId(area.0);
        if self.nodes.get(&root).is_some_and(|root| root.is_known()) {
            return;
        }
        for id in self.below(id).into_iter().rev() {
            self.drop_unheld(dirty, id);
        }
    }

    /// The node and what is below it in memory, directories before what is in them.
    pub(super) fn below(&self, top: NodeId) -> Vec<NodeId> {
        let mut queue = vec![top];
        let mut order = Vec::new();
        while let Some(id) = queue.pop() {
            order.push(id);
            if let Some(directory) = self.node(id).and_then(Node::directory) {
                queue.extend(directory.slots.values().filter_map(|slot| match slot {
                    Slot::Node(node) => Some(*node),
                    Slot::Whiteout => None,
                }));
            }
        }
        order
    }

    fn drop_unheld(&mut self, dirty: &mut Dirty, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let Some(node) = self.nodes.get(&id) else {
                return;
            };
            let held = node.is_known()
                || node.directory().is_some_and(|directory| {
                    directory.slots.values().any(|slot| matches!(slot, Slot::Node(_)))
                });
            let area_open = self.areas.contains_key(&node.area.id);
            let is_root = node.area.id.0 == id.0;
            let is_alone = node.base_group.is_none_or(|group| group.apart) && node.names.len() == 1;
            let evictable = !node.changed && is_alone;
            if held || (area_open && (is_root || (!node.names.is_empty() && !evictable))) {
                return;
            }
            next = self.remove(dirty, id);
        }
    }

    /// Takes a node out of memory and returns its directory.
    pub(super) fn remove(&mut self, dirty: &mut Dirty, id: NodeId) -> Option<NodeId> {
        let node = self.nodes.remove(&id)?;
        let slots = self.nodes.capacity();
        if slots > SHRINK_SLOTS_MIN && self.nodes.len() < slots / 8 {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        // The root of an area goes last, and has its number.
        self.left.remove(&AreaId(id.0));
        let mut parent = None;
        for (directory, name) in &node.names {
            parent = Some(*directory);
            if let Some(directory) = self.node_mut(*directory).and_then(Node::directory_mut) {
                directory.slots.remove(name);
                let counted = u32::from(node.is_directory());
                directory.directories = directory.directories.saturating_sub(counted);
            }
        }
        if let Some(group) = node.base_group
            && let Some(area) = self.areas.get_mut(&node.area.id)
        {
            area.groups.remove(&group.key);
        }
        dirty.mark_removed(&node.area, id, node.journalled.clone());
        if node.is_directory() {
            self.settle_directory(dirty, &node.area, id);
        }
        if let Body::File(content) = &node.body {
            content.abandon();
        }
        parent
    }

    /// Removes an area. What the kernel still holds stays readable until it is forgotten (H13).
    pub fn remove_area(&mut self, dirty: &mut Dirty, id: AreaId) -> Option<Area> {
        let area = self.areas.remove(&id)?;
        self.drop_if_unused(dirty, area.root);
        self.left.extend(self.nodes.contains_key(&area.root).then_some(id));
        Some(area)
    }

    /// Path of a node from the root of its area, by its first name; empty for the root.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut current = id;
        while let Some((parent, name)) = self.nodes.get(&current).and_then(|n| n.names.first()) {
            parts.push(name.as_bytes());
            current = *parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Path of a name in a directory, from the root of the area.
    pub fn path_of_name(&self, parent: NodeId, name: &EntryName) -> Vec<u8> {
        let mut path = self.path(parent);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        path
    }

    /// Paths of all names of a node, smallest first.
    pub fn paths(&self, id: NodeId) -> Vec<Vec<u8>> {
        let Some(node) = self.nodes.get(&id) else {
            return Vec::new();
        };
        let mut paths: Vec<_> =
            node.names.iter().map(|(parent, name)| self.path_of_name(*parent, name)).collect();
        paths.sort();
        paths
    }

    /// Files of an area that are open for writing, by path.
    pub fn open_for_writing(&self, area: AreaId, limit: usize) -> Vec<Vec<u8>> {
        let mut ids: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.area.id == area)
            .filter(|(_, node)| node.content().is_some_and(|content| content.has_writers()))
            .map(|(id, _)| *id)
            .collect();
        ids.sort();
        ids.truncate(limit);
        ids.into_iter().map(|id| self.path(id)).collect()
    }
}

#[cfg(test)]
mod tests;
