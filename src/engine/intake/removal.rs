//! Making room for an entry of another kind: what is below a replaced directory goes first.
//!
//! A file below the directory may have names elsewhere. So each name below it is removed by itself. If the
//! directory were only unlinked, its names would still be counted.

use super::Import;
use super::entries::{resolve_error, restore_time};
use crate::engine::error::{EngineError, Result};
use crate::engine::staging::node::{Node, Slot};
use crate::model::id::NodeId;
use crate::model::name::EntryName;
use crate::model::raw::RawPath;
use crate::model::time::Timestamp;
use crate::model::tree::Content;
use crate::model::tree_format::{self, TreeSource};

impl Import {
    /// Makes a node ready to lose its name: all names of a file are in memory, and a directory is
    /// empty but for entries of its base that are named nowhere else.
    pub(super) fn prepare_removal(&self, id: NodeId) -> Result<()> {
        self.engine.complete_links(id).map_err(resolve_error)?;
        let mut queue = vec![id];
        let mut emptied: Vec<(NodeId, EntryName)> = Vec::new();
        while let Some(directory) = queue.pop() {
            self.bring_links(directory)?;
            for (name, child, is_directory) in self.children(directory) {
                if is_directory {
                    queue.push(child);
                    emptied.push((directory, name));
                } else {
                    self.engine.complete_links(child).map_err(resolve_error)?;
                    self.take_name(directory, &name);
                }
            }
        }
        // A directory was found before those below it.
        for (parent, name) in emptied.iter().rev() {
            self.take_name(*parent, name);
        }
        Ok(())
    }

    /// Removes a path with all that is below it; nothing when it is not there.
    pub(super) fn remove(&self, path: &RawPath) -> Result<()> {
        let names = path.components().map_err(|error| EngineError::Invalid(error.to_string()))?;
        let Some((name, parents)) = names.split_last() else {
            return Err(EngineError::Invalid("the root stays".to_owned()));
        };
        let mut parent = NodeId(self.area.0);
        for name in parents {
            match self.lookup(parent, name)? {
                Some(id) if self.is_directory(id) => parent = id,
                Some(_) | None => return Ok(()),
            }
        }
        let Some(id) = self.lookup(parent, name)? else { return Ok(()) };
        self.prepare_removal(id)?;
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            let before = state.node(parent).map(|node| node.mtime);
            state.unlink(dirty, parent, name, now);
            if let Some(before) = before {
                restore_time(state, parent, before);
            }
        });
        Ok(())
    }

    /// Brings entries of a directory's base into memory where they, or files below them, are
    /// hardlinks.
    fn bring_links(&self, directory: NodeId) -> Result<()> {
        let base = {
            let state = self.engine.staging.read();
            state.node(directory).and_then(Node::directory).and_then(|found| found.base)
        };
        let Some(tree) = base else { return Ok(()) };
        let trees = &*self.engine.trees;
        if !trees.page(&tree)?.summary().has_links {
            return Ok(());
        }
        for entry in tree_format::entries(trees, &tree, 0) {
            let entry = entry?;
            let has_links = match &entry.content {
                Content::Directory { summary, .. } => summary.has_links,
                _ => entry.link_group.is_some(),
            };
            if has_links {
                self.engine.resolve(directory, entry.name.as_bytes()).map_err(resolve_error)?;
            }
        }
        Ok(())
    }

    /// What a directory has in memory: name, node, and whether that is a directory.
    fn children(&self, directory: NodeId) -> Vec<(EntryName, NodeId, bool)> {
        let state = self.engine.staging.read();
        let Some(found) = state.node(directory).and_then(Node::directory) else {
            return Vec::new();
        };
        let nodes = found.slots.iter().filter_map(|(name, slot)| match slot {
            Slot::Node(id) => Some((name.clone(), *id, state.node(*id)?.is_directory())),
            Slot::Whiteout => None,
        });
        nodes.collect()
    }

    fn take_name(&self, parent: NodeId, name: &EntryName) {
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| state.unlink(dirty, parent, name, now));
    }
}
