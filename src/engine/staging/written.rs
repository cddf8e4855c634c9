//! Directories whose entries have been written as a tree, and leave memory.

use std::sync::Arc;

use super::dirty::Dirty;
use super::node::{Directory, Node};
use super::state::State;
use crate::model::hash::TreeHash;
use crate::model::id::NodeId;

impl State {
    /// Makes a directory one over `tree`, which has everything that is in memory of it. Returns the nodes that were below
    /// it, children first: nobody finds them any more.
    pub fn rest_on(&mut self, id: NodeId, tree: TreeHash) -> Vec<NodeId> {
        let mut below = self.below(id);
        if let Some(directory) = self.node_mut(id).and_then(Node::directory_mut) {
            *directory = Directory::new(Some(tree));
        }
        below.reverse();
        below.retain(|node| *node != id);
        below
    }

    /// Takes nodes out of memory that nobody finds any more, in the order of [`State::rest_on`]. What they count for stays
    /// taken.
    pub fn let_go(&mut self, dirty: &mut Dirty, nodes: &[NodeId]) {
        let taken = self.charged(nodes);
        let area = nodes.first().and_then(|id| self.node(*id)).map(|node| Arc::clone(&node.area));
        if let Some(area) = area {
            area.charge.restore(taken);
        }
        for id in nodes {
            self.remove(dirty, *id);
        }
    }
}
