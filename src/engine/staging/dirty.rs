//! What changed in memory and is not in the catalog yet.
//!
//! The journal is by state, not by operation: it remembers *which* rows are out of date, and what
//! they say is read when they are written. A file that is created, written, renamed and chmodded
//! within one interval costs one row. Which of the rows have to wait for content says
//! [`super::held`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::area::AreaShared;
use crate::model::id::NodeId;
use crate::model::name::EntryName;
use crate::store::catalog::NodeData;

/// A place in the namespace: a name in a directory.
pub type NameKey = (NodeId, EntryName);

/// A name whose row must be written or deleted.
#[derive(Debug)]
pub struct DirtyName {
    /// Its area.
    pub area: Arc<AreaShared>,
    /// Every node that has had the name since its row was written last, each once.
    pub nodes: Vec<NodeId>,
    /// Since when the row is out of date.
    pub since: Instant,
}

/// Rows that are out of date.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Nodes whose row must be written or deleted.
    pub nodes: BTreeSet<NodeId>,
    /// Names whose row must be written or deleted.
    pub names: BTreeMap<NameKey, DirtyName>,
    /// Nodes that are gone from memory and still have a row, with what the row says.
    pub removed: BTreeMap<NodeId, (Arc<AreaShared>, NodeData)>,
    /// How often something was marked since the journal looked here last.
    news: usize,
}

impl Dirty {
    /// The row of a node is out of date.
    pub fn mark_node(&mut self, id: NodeId) {
        self.nodes.insert(id);
        self.news += 1;
    }

    /// The row of a name is out of date; `node` is what had the name or has it now, if anything.
    pub fn mark_name(&mut self, key: NameKey, area: &Arc<AreaShared>, node: Option<NodeId>) {
        let name = self.names.entry(key).or_insert_with(|| DirtyName {
            area: Arc::clone(area),
            nodes: Vec::new(),
            since: Instant::now(),
        });
        if let Some(node) = node
            && !name.nodes.contains(&node)
        {
            name.nodes.push(node);
        }
        self.news += 1;
    }

    /// A node is gone from memory; `row` is what its row says, if it has one.
    pub fn mark_removed(&mut self, area: &Arc<AreaShared>, id: NodeId, row: Option<NodeData>) {
        let was_dirty = self.nodes.remove(&id);
        self.news += usize::from(was_dirty || row.is_some());
        if let Some(row) = row {
            self.removed.insert(id, (Arc::clone(area), row));
        }
    }

    /// How often something was marked since the journal looked here last. What was marked before
    /// and waits for content does not count.
    pub fn news(&self) -> usize {
        self.news
    }

    /// The journal has looked.
    pub fn seen(&mut self) {
        self.news = 0;
    }
}
