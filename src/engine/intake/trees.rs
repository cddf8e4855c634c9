//! Directories that are put as a whole, because the store has their tree already: their entries are not
//! sent.
//!
//! The tree is pinned until the commit is over; its rows keep what is below it. The tree's last-used time is
//! now, and what it holds takes that over when the tree is taken apart (G5).
//!
//! Invariants: the tree has no hardlinks, because a file in it could have names outside of it, which the area
//! would have to find; and at the path there is nothing, or that same tree.

use super::Import;
use super::entries::{resolve_error, usage};
use crate::engine::error::Result;
use crate::engine::pins::TreePin;
use crate::engine::resolve::ResolveError;
use crate::engine::staging::node::{Body, Directory, Node, Slot};
use crate::model::hash::TreeHash;
use crate::model::id::NodeId;
use crate::model::import::WantedTree;
use crate::model::name::EntryName;
use crate::model::tree::Attributes;
use crate::model::tree_format::TreeSource;

impl Import {
    /// Whether a directory can be put whole; its tree is held then.
    pub(super) fn hold_tree(&self, wanted: &WantedTree, pin: TreePin) -> Result<bool> {
        let page = self.engine.trees.page(&wanted.tree)?;
        if page.summary().has_links || !self.has_room(wanted)? {
            return Ok(false);
        }
        self.held_trees.lock().insert(wanted.tree, pin);
        Ok(true)
    }

    /// Whether nothing is at a path, or the wanted tree as it is.
    fn has_room(&self, wanted: &WantedTree) -> Result<bool> {
        let names = wanted.path.components().map_err(|error| usage(error.to_string()))?;
        let mut node = NodeId(self.area.0);
        for name in &names {
            match self.engine.resolve(node, name.as_bytes()) {
                Ok(Some(found)) => node = found,
                Ok(None) => return Ok(true),
                Err(ResolveError::NotDirectory) => return Ok(false),
                Err(error) => return Err(resolve_error(error)),
            }
        }
        Ok(!names.is_empty() && self.is_untouched(node, &wanted.tree))
    }

    /// Whether a directory is a tree of its base, and nothing in it was changed. Looking something up
    /// leaves it in memory as it was.
    fn is_untouched(&self, id: NodeId, tree: &TreeHash) -> bool {
        let state = self.engine.staging.read();
        let is_unchanged = |slot: &Slot| match slot {
            Slot::Node(id) => state.node(*id).is_some_and(|node| !node.changed),
            Slot::Whiteout => false,
        };
        let directory = state.node(id).and_then(Node::directory);
        directory.is_some_and(|found| {
            found.base == Some(*tree) && found.slots.values().all(is_unchanged)
        })
    }

    pub(super) fn put_tree(
        &self,
        place: (NodeId, &EntryName),
        existing: Option<NodeId>,
        tree: &TreeHash,
        attributes: Attributes,
    ) -> Result<()> {
        if !self.held_trees.lock().contains_key(tree) {
            return Err(usage(format!("directory {tree} was not found for this import")));
        }
        match existing {
            None => {
                let body = Body::Directory(Directory::new(Some(*tree)));
                self.replace(place, None, body, attributes)
            }
            Some(id) if self.is_untouched(id, tree) => self.set_attributes(id, attributes),
            Some(_) => Err(usage("a whole directory in the place of something else")),
        }
    }
}
