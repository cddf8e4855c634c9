//! The part of the namespace that keeps hardlink groups of a base version together while not all
//! of their names are in memory. [`crate::engine::links`] says who needs that, and when.

use super::node::{BaseGroup, GroupKey};
use super::state::State;
use crate::model::id::NodeId;
use crate::model::links::FileKey;
use crate::model::tree::{Entry, LinkScope};

/// Ids with this bit are derived from a place in a base tree; ids from the counter lack it. Higher
/// bits are clear in both: the catalog stores signed numbers, and tags have numbers of their own.
const DERIVED_BIT: u64 = 1 << 61;

impl State {
    /// The hardlink group of an entry that the base has in `parent`.
    pub(super) fn base_group(
        &self,
        parent: NodeId,
        entry: &Entry,
        apart: bool,
    ) -> Option<BaseGroup> {
        let group = entry.link_group?;
        let root = self.area_of(parent)?.root;
        let (scope, of_version) = match group.scope {
            LinkScope::Version => (root, true),
            LinkScope::Above(levels) => {
                let mut scope = parent;
                for _ in 0..levels {
                    scope = self.node(scope).filter(|_| scope != root)?.names.first()?.0;
                }
                (scope, false)
            }
        };
        let key = GroupKey { scope, file: FileKey::of(entry)? };
        let nlink = if apart { 1 } else { group.nlink };
        Some(BaseGroup { key, id: group.id, nlink, of_version, apart })
    }

    pub(super) fn set_group(&mut self, id: NodeId, group: BaseGroup) {
        if let Some(node) = self.node_mut(id) {
            node.base_group = Some(group);
            let area = node.area.id;
            if group.apart {
                return;
            }
            if let Some(area) = self.areas.get_mut(&area) {
                area.groups.insert(group.key, id);
            }
        }
        self.complete_group(id);
    }

    /// Once all names of a base hardlink group are in memory the node is an ordinary one.
    pub(super) fn complete_group(&mut self, id: NodeId) {
        let is_complete = self.node(id).is_some_and(|node| {
            node.base_group.is_some_and(|group| node.names.len() >= group.nlink as usize)
        });
        if is_complete {
            self.end_base_group(id);
        }
    }

    /// Notes that all names of a base hardlink group are in memory.
    pub fn end_base_group(&mut self, id: NodeId) {
        let Some(node) = self.node_mut(id) else {
            return;
        };
        let area = node.area.id;
        if let Some(group) = node.base_group.take()
            && let Some(area) = self.areas.get_mut(&area)
        {
            area.groups.remove(&group.key);
        }
    }

    /// The id of an entry that the base has in `parent`: the same each time it is taken into
    /// memory, so that an inode number does not change when the kernel forgot the file in between.
    /// All names of a hardlink group have one id. `None` when `parent` is not in memory.
    pub fn base_id(&self, parent: NodeId, entry: &Entry, apart: bool) -> Option<NodeId> {
        let area = self.node(parent)?.area.id;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&area.0.to_le_bytes());
        match self.base_group(parent, entry, apart).filter(|_| !apart) {
            Some(BaseGroup { key: GroupKey { scope, file }, .. }) => {
                hasher.update(b"group").update(&scope.0.to_le_bytes()).update(&file.to_bytes());
            }
            None => {
                hasher.update(&parent.0.to_le_bytes()).update(entry.name.as_bytes());
            }
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Some(NodeId(u64::from_le_bytes(first) & (DERIVED_BIT - 1) | DERIVED_BIT))
    }
}
