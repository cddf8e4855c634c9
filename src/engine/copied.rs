//! Copies of versions that were published elsewhere: their trees come as they are, page by page.
//!
//! Whoever copies one stores contents and pages first, each pinned, then has an empty hidden area rest on the tree, and commits that
//! with [`CopiedVersion`](super::commit::CopiedVersion). So such a version becomes visible as every other does.

use super::handle::Engine;
use crate::model::id::{AreaId, NodeId};
use crate::model::tree::Root;

impl Engine {
    /// Makes an area that is empty, and that nobody sees, equal to `root`. The tree is in the store and pinned until
    /// the commit is over.
    pub fn rest_area_on(&self, area: AreaId, root: &Root) {
        let node = NodeId(area.0);
        self.staging.change(|state, _| {
            let below = state.rest_on(node, root.tree);
            assert!(below.is_empty(), "the area was empty");
            if let Some(node) = state.node_mut(node) {
                node.mode = root.attributes.mode;
                node.uid = root.attributes.uid;
                node.gid = root.attributes.gid;
                node.mtime = root.attributes.mtime;
                node.xattrs = root.attributes.xattrs.clone();
            }
        });
    }
}
