//! What nodes count for in their repository's quota (G15, H20).
//!
//! Everything made in an area counts as a file, directories excepted; a regular file whose content
//! is the area's own counts with its length, too. What comes unchanged from the base counts
//! nothing. Whoever makes a node reserves first ([`reserve`]) and marks the node after
//! ([`State::set_charged`]); contents reserve by themselves before they grow.

use std::sync::Arc;

use super::area::AreaShared;
use super::node::{Body, Node};
use super::state::State;
use crate::engine::quota::OverQuota;
use crate::model::id::NodeId;
use crate::model::quota::Usage;

const ONE_FILE: Usage = Usage { bytes: 0, files: 1 };

/// One file of the quota, for a node without content of its own; given back when dropped.
#[derive(Debug)]
pub struct NodeCharge(Arc<AreaShared>);

impl Drop for NodeCharge {
    fn drop(&mut self) {
        self.0.charge.release(ONE_FILE);
    }
}

fn usage_of(body: &Body) -> Usage {
    match body {
        Body::Directory(_) => Usage::default(),
        Body::File(content) => Usage { bytes: content.attr().size, ..ONE_FILE },
        Body::Symlink(_) | Body::Fifo | Body::Socket => ONE_FILE,
        Body::CharDevice(_) | Body::BlockDevice(_) => ONE_FILE,
    }
}

/// Takes what a node that is about to be made counts for.
///
/// # Errors
/// When the quota does not allow it; nothing is taken then.
pub fn reserve(area: &AreaShared, body: &Body) -> Result<(), OverQuota> {
    area.charge.reserve(usage_of(body))
}

impl State {
    /// Notes that what a node counts for has been taken.
    pub fn set_charged(&mut self, id: NodeId) {
        let Some(node) = self.node_mut(id) else { return };
        match &node.body {
            Body::Directory(_) => {}
            Body::File(content) => content.set_charged(),
            Body::Symlink(_) | Body::Fifo | Body::Socket | Body::CharDevice(_) => {
                node.charge = Some(NodeCharge(Arc::clone(&node.area)));
            }
            Body::BlockDevice(_) => node.charge = Some(NodeCharge(Arc::clone(&node.area))),
        }
    }

    /// What these nodes count for.
    pub fn charged(&self, nodes: &[NodeId]) -> Usage {
        nodes.iter().filter_map(|id| self.node(*id)).map(Node::charged).sum()
    }

    /// A node without names that nobody has open counts no more, although the kernel may remember it for a
    /// moment.
    pub(super) fn release_unnamed(&mut self, id: NodeId) {
        use std::sync::atomic::Ordering;
        let unnamed =
            |node: &&mut Node| node.names.is_empty() && node.opens.load(Ordering::SeqCst) == 0;
        if let Some(node) = self.node_mut(id).filter(unnamed) {
            node.charge = None;
            if let Body::File(content) = &node.body {
                content.release_charge();
            }
        }
    }
}

impl Node {
    /// Whether it counts as what its area changed.
    pub fn is_charged(&self) -> bool {
        match &self.body {
            Body::File(content) => content.charged().is_some(),
            _ => self.charge.is_some(),
        }
    }

    fn charged(&self) -> Usage {
        match &self.body {
            Body::File(content) => {
                content.charged().map_or(Usage::default(), |bytes| Usage { bytes, ..ONE_FILE })
            }
            _ if self.charge.is_some() => ONE_FILE,
            _ => Usage::default(),
        }
    }
}
