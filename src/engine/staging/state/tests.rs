//! What the namespace takes in memory.

use super::*;
use crate::engine::staging::content::testing::{NOW, area};
use crate::model::tree::Xattrs;

fn fifo() -> NewNode {
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: NOW, xattrs: Xattrs::new() };
    NewNode { body: Body::Fifo, attributes, ctime: NOW }
}

#[test]
fn the_table_of_nodes_is_small_and_shrinks_once_they_are_gone() {
    const NODES: u64 = 20_000;
    const SLOT_BYTES_MAX: usize = 16;
    fn slot_bytes<K, V>(_: &HashMap<K, V>) -> usize {
        size_of::<(K, V)>()
    }
    let (mut state, mut dirty, area) = (State::default(), Dirty::default(), area());
    assert!(slot_bytes(&state.nodes) <= SLOT_BYTES_MAX, "empty slots take as much as full ones");
    for number in 2..NODES {
        state.insert(NodeId(number), Arc::clone(&area), fifo(), false);
    }
    assert!(state.nodes.capacity() > SHRINK_SLOTS_MIN);
    for number in 2..NODES {
        state.drop_if_unused(&mut dirty, NodeId(number));
    }
    assert_eq!(state.node_count(), 0);
    assert!(state.nodes.capacity() <= SHRINK_SLOTS_MIN, "{} slots", state.nodes.capacity());
}
