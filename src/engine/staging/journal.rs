//! What changed in memory and is not in the catalog yet.
//!
//! The journal is by state, not by operation: it remembers *which* rows are out of date, and what
//! they say is read when they are written. A file that is created, written, renamed and chmodded
//! within one interval costs one row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::area::AreaShared;
use crate::model::id::NodeId;
use crate::model::name::EntryName;
use crate::store::catalog::NodeData;

/// Rows that are out of date.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Nodes whose row must be written or deleted.
    pub nodes: BTreeSet<NodeId>,
    /// Names whose row must be written or deleted: (directory, name), with their area.
    pub names: BTreeMap<(NodeId, EntryName), Arc<AreaShared>>,
    /// Nodes that are gone from memory and still have a row.
    pub removed: Vec<(Arc<AreaShared>, NodeId, NodeData)>,
}

impl Dirty {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.nodes.len() + self.names.len() + self.removed.len()
    }

    /// Whether nothing is out of date.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Seals of small files that were queued and not applied yet, in order of their closes.
///
/// A batch of rows taken after a close is written only once the files closed before it are
/// sealed: so `write new; rename over old` is old or new after a crash (H4).
#[derive(Debug, Default)]
pub struct SealOrder {
    next: u64,
    outstanding: BTreeSet<u64>,
}

impl SealOrder {
    /// Queues a seal.
    pub fn issue(&mut self) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.outstanding.insert(ticket);
        ticket
    }

    /// The seal was applied, failed, or was overtaken.
    pub fn done(&mut self, ticket: u64) {
        self.outstanding.remove(&ticket);
    }

    /// A barrier that waits for all seals issued so far.
    pub fn barrier(&self) -> u64 {
        self.next
    }

    /// Whether all seals before the barrier are done.
    pub fn reached(&self, barrier: u64) -> bool {
        self.outstanding.first().is_none_or(|first| *first >= barrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_waits_for_earlier_seals_only() {
        let mut order = SealOrder::default();
        let first = order.issue();
        let second = order.issue();
        let barrier = order.barrier();
        let third = order.issue();
        assert!(!order.reached(barrier));
        order.done(second);
        assert!(!order.reached(barrier));
        order.done(first);
        assert!(order.reached(barrier), "the third came later");
        order.done(third);
        assert!(order.reached(order.barrier()));
    }
}
