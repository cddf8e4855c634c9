//! Finding names in an area: in memory, or in the base tree that a directory stands on.

use super::Engine;
use super::staging::state::Child;
use crate::model::id::NodeId;
use crate::model::tree::Content;
use crate::model::tree_format;
use crate::store::error::StoreError;

/// Why a name cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The parent is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The parent is not in memory: its area is gone, or it was forgotten.
    #[error("gone")]
    Gone,
    /// The base tree cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// What is at a name, taken into memory from the base where necessary.
    ///
    /// # Errors
    /// When the parent is no directory, or its base cannot be read.
    pub fn resolve(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, ResolveError> {
        let child = {
            let state = self.staging.read();
            match state.child(parent, name) {
                Some(child) => child,
                None if state.node(parent).is_some() => return Err(ResolveError::NotDirectory),
                None => return Err(ResolveError::Gone),
            }
        };
        let tree = match child {
            Child::Node(node) => return Ok(Some(node)),
            Child::Absent => return Ok(None),
            Child::InBase(tree) => tree,
        };
        let Some(entry) = tree_format::lookup(&*self.trees, &tree, name)? else {
            return Ok(None);
        };
        let store = &self.staging.store;
        Ok(self.staging.change(|state, _| state.materialise(store, parent, &entry)))
    }

    /// Brings all names of a hardlink group of the base into memory, so that a change of the file
    /// is a change of all of them. Directories without such groups are not looked into.
    ///
    /// # Errors
    /// When the base cannot be read.
    pub fn complete_links(&self, id: NodeId) -> Result<(), ResolveError> {
        let (group, root, tree) = {
            let state = self.staging.read();
            let Some(node) = state.node(id) else {
                return Err(ResolveError::Gone);
            };
            let Some(group) = node.base_group else {
                return Ok(());
            };
            let Some(area) = state.areas.get(&node.area.id) else {
                return Ok(());
            };
            let base = area.base.as_ref().and_then(|base| base.root.as_ref());
            let Some(base) = base else { return Ok(()) };
            (group, area.root, base.tree)
        };
        let mut queue = vec![(root, tree)];
        while let Some((directory, tree)) = queue.pop() {
            for entry in tree_format::entries(&*self.trees, &tree, 0) {
                let entry = entry?;
                let below = match &entry.content {
                    Content::Directory { tree, summary } => summary.has_links.then_some(*tree),
                    _ => None,
                };
                let member = entry.link_group.is_some_and(|link| link.id == group.id);
                if !member && below.is_none() {
                    continue;
                }
                let Some(child) = self.resolve(directory, entry.name.as_bytes())? else {
                    continue;
                };
                if let Some(tree) = below.filter(|_| self.stands_on_base(child)) {
                    queue.push((child, tree));
                }
            }
        }
        self.staging.change(|state, _| {
            if let Some(node) = state.node_mut(id) {
                node.base_group = None;
            }
        });
        Ok(())
    }

    fn stands_on_base(&self, id: NodeId) -> bool {
        let state = self.staging.read();
        state.node(id).and_then(|node| node.directory()).is_some_and(|d| d.base.is_some())
    }
}
