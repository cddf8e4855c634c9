//! What the namespace takes in memory, and of a quota.

use super::*;
use crate::engine::staging::area::Phase;
use crate::engine::staging::content::testing::{NOW, area, contents};
use crate::engine::staging::lost::Lost;
use crate::model::on_stale::OnStale;
use crate::model::quota::Usage;
use crate::model::tree::Xattrs;
use crate::store::testing::TestStore;

fn new(body: Body) -> NewNode {
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: NOW, xattrs: Xattrs::new() };
    NewNode { body, attributes, ctime: NOW }
}

fn fifo() -> NewNode {
    new(Body::Fifo)
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

fn open_area(shared: &Arc<AreaShared>, root: NodeId) -> Area {
    Area {
        shared: Arc::clone(shared),
        root,
        name: "work".parse().unwrap(),
        base: None,
        created: NOW,
        message: String::new(),
        author: String::new(),
        on_stale: OnStale::default(),
        error: String::new(),
        loaded: true,
        lost: Lost::default(),
        phase: Phase::Open,
        groups: BTreeMap::new(),
    }
}

/// Programs save a file by writing another one and renaming it over the old one, again and again.
#[test]
fn g15_what_a_rename_replaces_is_forgotten_unless_somebody_has_it_open() {
    const ROOT: NodeId = NodeId(1);
    let store = TestStore::new();
    let (contents, area) = (contents(&store), area());
    let (mut state, mut dirty) = (State::default(), Dirty::default());
    state.areas.insert(area.id, open_area(&area, ROOT));
    state.insert(ROOT, Arc::clone(&area), new(Body::Directory(Directory::new(None))), true);
    let [old, fresh] = [&b"old"[..], b"new"].map(|name| EntryName::new(name).unwrap());
    let make = |state: &mut State, dirty: &mut Dirty, id: u64, name: &EntryName| {
        let content = Arc::new(FileContent::new(&contents, &area, NodeId(id), NOW));
        content.write(0, b"text", NOW).unwrap();
        state.insert(NodeId(id), Arc::clone(&area), new(Body::File(content)), true);
        state.link(dirty, NodeId(id), ROOT, name, NOW);
    };
    make(&mut state, &mut dirty, 2, &old);
    for id in 3..=5 {
        make(&mut state, &mut dirty, id, &fresh);
        state.rename(&mut dirty, (ROOT, &fresh), (ROOT, &old), NOW);
        assert!(state.node(NodeId(id - 1)).is_none(), "nothing refers to it any more");
        assert_eq!(area.charge.taken(), Usage { bytes: 4, files: 1 });
        assert_eq!(state.node(NodeId(id)).unwrap().names, [(ROOT, old.clone())]);
    }
    state.node(NodeId(5)).unwrap().opens.store(1, std::sync::atomic::Ordering::Relaxed);
    make(&mut state, &mut dirty, 6, &fresh);
    state.rename(&mut dirty, (ROOT, &fresh), (ROOT, &old), NOW);
    assert!(state.node(NodeId(5)).unwrap().names.is_empty(), "who has it open reads on");
    assert_eq!(state.node_count(), 3);
}
