//! Hardlink groups of the base version, as far as an area has them in memory.
//!
//! A name that is looked up joins the node of its group. Before a file changes, all names of its group are
//! brought into memory ([`Engine::complete_links`]), so that each of them shows the change. Before a
//! directory moves, the same is done for groups that have names inside and outside of it
//! ([`Engine::prepare_move`]): each entry records how many levels above it the group's scope is, and the
//! move changes that number.
//!
//! Invariant: the names of a group that are not in memory are where the base has them, seen from the
//! group's scope, with no moved directory in between. So a scope is found by going up from an
//! entry, and the other names by going down from the scope. Groups of earlier releases have no scope
//! but the version; their names are searched below the whole area, wherever directories are now.

use std::collections::{BTreeMap, BTreeSet};

use super::handle::Engine;
use super::resolve::ResolveError;
use super::staging::area::Phase;
use super::staging::node::{BaseGroup, Node, Slot};
use super::staging::state::Child;
use crate::model::hash::TreeHash;
use crate::model::id::NodeId;
use crate::model::links::{self, linked_directory};
use crate::model::tree::{Entry, LinkGroup, LinkScope};
use crate::model::tree_format::{TreeSource, entries};

impl Engine {
    /// Whether the hardlink group of an entry of an area's base cannot be told from another one.
    pub(super) fn is_ambiguous(&self, parent: NodeId, entry: &Entry) -> Result<bool, ResolveError> {
        if !links::is_of_version(entry) {
            return Ok(false);
        }
        let base = {
            let state = self.staging.read();
            let area = state.area_of(parent);
            area.and_then(|area| Some(area.base.as_ref()?.root.as_ref()?.tree))
        };
        let Some(root) = base else { return Ok(false) };
        Ok(self.staging.ambiguous.of(&*self.trees, &root)?.has(entry))
    }

    /// The id that an entry of an area's base has, or will have, in memory.
    ///
    /// # Errors
    /// When the base cannot be read.
    pub fn base_id(&self, parent: NodeId, entry: &Entry) -> Result<NodeId, ResolveError> {
        let apart = self.is_ambiguous(parent, entry)?;
        self.staging.read().base_id(parent, entry, apart).ok_or(ResolveError::Gone)
    }

    /// Brings all names of a hardlink group of the base into memory, so that a change of the file
    /// is a change of all of them. Directories without such groups are not looked into.
    ///
    /// # Errors
    /// When the base cannot be read.
    pub fn complete_links(&self, id: NodeId) -> Result<(), ResolveError> {
        let group = {
            let state = self.staging.read();
            let node = state.node(id).ok_or(ResolveError::Gone)?;
            node.base_group
        };
        match group {
            Some(group) => self.complete_groups(&[(id, group)]),
            None => Ok(()),
        }
    }

    /// Brings into memory what has to be written anew when this file or directory gets another
    /// name: all names of the file, or of the groups that have names both in the directory and
    /// outside of it. Returns the nodes of those groups, which the rename has to mark as changed.
    ///
    /// # Errors
    /// When the base cannot be read.
    pub fn prepare_move(&self, id: NodeId) -> Result<Vec<NodeId>, ResolveError> {
        let is_directory = {
            let state = self.staging.read();
            let node = state.node(id).ok_or(ResolveError::Gone)?;
            node.is_directory()
        };
        if !is_directory {
            self.complete_links(id)?;
            return Ok(Vec::new());
        }
        if !self.base_has_links(id)? {
            return Ok(Vec::new());
        }
        let reaching = self.groups_reaching_out(id)?;
        let incomplete: Vec<(NodeId, BaseGroup)> = {
            let state = self.staging.read();
            let group = |id: &NodeId| Some((*id, state.node(*id)?.base_group?));
            reaching.iter().filter_map(group).collect()
        };
        self.complete_groups(&incomplete)?;
        Ok(reaching.into_iter().collect())
    }

    /// Whether an area started from a version with hardlinks. Hardlinks that were made in the area itself
    /// do not matter here: a commit writes all changed nodes anew.
    fn base_has_links(&self, id: NodeId) -> Result<bool, ResolveError> {
        let state = self.staging.read();
        let area = state.area_of(id).ok_or(ResolveError::Gone)?;
        let root = area.base.as_ref().and_then(|base| base.root.as_ref());
        Ok(root.is_some_and(|root| root.summary.has_links))
    }

    /// Finds the files below a directory that have names outside of it, by what the base says.
    fn groups_reaching_out(&self, top: NodeId) -> Result<BTreeSet<NodeId>, ResolveError> {
        let mut reaching = BTreeSet::new();
        let mut queue = vec![(top, 0)];
        while let Some((directory, depth)) = queue.pop() {
            for entry in self.linked_entries(directory)? {
                let name = entry.name.as_bytes();
                if let Some(group) = entry.link_group {
                    if reaches_out(group, depth) {
                        reaching.extend(self.resolve(directory, name)?);
                    }
                    continue;
                }
                let in_base = {
                    let state = self.staging.read();
                    matches!(state.child(directory, name), Some(Child::InBase(_)))
                };
                // Directories that are in memory are visited below, wherever the base has them.
                if let Some(tree) = linked_directory(&entry).filter(|_| in_base) {
                    for path in self.paths_reaching_out(&entry, tree, depth)? {
                        reaching.extend(self.resolve_path(directory, &path)?);
                    }
                }
            }
            queue.extend(self.directories_in(directory).into_iter().map(|id| (id, depth + 1)));
        }
        Ok(reaching)
    }

    /// The same for a directory that is as the base has it, without taking it into memory: paths,
    /// from the directory that has `entry` at `depth`.
    fn paths_reaching_out(
        &self,
        entry: &Entry,
        tree: TreeHash,
        depth: u32,
    ) -> Result<Vec<Vec<u8>>, ResolveError> {
        let mut paths = Vec::new();
        links::walk(&*self.trees, &tree, &mut |path, linked| {
            let slashes = path.iter().filter(|byte| **byte == b'/').count();
            let below = u32::try_from(slashes).unwrap_or(u32::MAX).saturating_add(1);
            if linked
                .link_group
                .is_some_and(|group| reaches_out(group, depth.saturating_add(below)))
            {
                paths.push([entry.name.as_bytes(), b"/", path].concat());
            }
        })?;
        Ok(paths)
    }

    fn resolve_path(&self, top: NodeId, path: &[u8]) -> Result<Option<NodeId>, ResolveError> {
        let mut found = top;
        for name in path.split(|byte| *byte == b'/') {
            match self.resolve(found, name)? {
                Some(child) => found = child,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// Brings all names of these groups into memory: one walk for all that have the same scope.
    fn complete_groups(&self, groups: &[(NodeId, BaseGroup)]) -> Result<(), ResolveError> {
        let mut scopes: BTreeMap<(NodeId, bool), BTreeSet<u128>> = BTreeMap::new();
        for (_, group) in groups {
            scopes.entry((group.key.scope, group.of_version)).or_default().insert(group.id);
        }
        let apart: BTreeSet<_> =
            groups.iter().filter(|(_, group)| group.apart).map(|(_, group)| group.key).collect();
        let mut found = Vec::new();
        for ((scope, everywhere), ids) in scopes {
            self.bring_members(scope, &ids, everywhere, &mut found)?;
        }
        self.staging.change(|state, dirty| {
            for (id, _) in groups {
                state.end_base_group(*id);
            }
            for id in found {
                let group = state.node(id).and_then(|node| node.base_group);
                let is_open = state.area_of(id).is_some_and(|area| area.phase == Phase::Open);
                if is_open && group.is_some_and(|group| apart.contains(&group.key)) {
                    state.end_base_group(id);
                    state.mark_changed(dirty, id);
                }
            }
        });
        Ok(())
    }

    /// Brings the files with these ids into memory that the base has below a directory, or that are
    /// there now (`everywhere`), and adds them to `found`.
    fn bring_members(
        &self,
        top: NodeId,
        ids: &BTreeSet<u128>,
        everywhere: bool,
        found: &mut Vec<NodeId>,
    ) -> Result<(), ResolveError> {
        let mut queue = vec![top];
        while let Some(directory) = queue.pop() {
            for entry in self.linked_entries(directory)? {
                let is_directory = linked_directory(&entry).is_some();
                let is_member = entry.link_group.is_some_and(|group| ids.contains(&group.id));
                if !is_directory && !is_member {
                    continue;
                }
                let child = self.resolve(directory, entry.name.as_bytes())?;
                if !is_directory {
                    found.extend(child);
                } else if !everywhere {
                    queue.extend(child);
                }
            }
            if everywhere {
                queue.extend(self.directories_in(directory));
            }
        }
        Ok(())
    }

    /// What the base has in a directory that is in a group, or has such files below it; nothing
    /// when it is no directory.
    fn linked_entries(&self, directory: NodeId) -> Result<Vec<Entry>, ResolveError> {
        let base = {
            let state = self.staging.read();
            state.node(directory).and_then(Node::directory).and_then(|found| found.base)
        };
        let Some(tree) = base else { return Ok(Vec::new()) };
        if !self.trees.page(&tree)?.summary().has_links {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in entries(&*self.trees, &tree, 0) {
            let entry = entry?;
            if entry.link_group.is_some() || linked_directory(&entry).is_some() {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// The directories in a directory that are in memory.
    fn directories_in(&self, directory: NodeId) -> Vec<NodeId> {
        let state = self.staging.read();
        let Some(found) = state.node(directory).and_then(Node::directory) else {
            return Vec::new();
        };
        if found.directories == 0 {
            return Vec::new();
        }
        let is_directory = |id: &NodeId| state.node(*id).is_some_and(Node::is_directory);
        let nodes = found.slots.values().filter_map(|slot| match slot {
            Slot::Node(id) => Some(*id),
            Slot::Whiteout => None,
        });
        nodes.filter(is_directory).collect()
    }
}

/// Whether a group with a name `depth` directories below some directory has its scope above that.
/// Groups of earlier releases may have names anywhere.
fn reaches_out(group: LinkGroup, depth: u32) -> bool {
    match group.scope {
        LinkScope::Above(levels) => levels > depth,
        LinkScope::Version => true,
    }
}
