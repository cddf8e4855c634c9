//! What published and discarded areas leave in memory, for as long as the kernel knows of it (H13).

use std::sync::atomic::Ordering;

use cairn::model::id::{AreaId, NodeId};

use crate::world::World;

/// An area with `d/e/f` and `g`, all of which the kernel has looked up; returns its nodes.
fn looked_up(world: &World, name: &str) -> Vec<NodeId> {
    let area = world.stage(name);
    world.write(area, "d/e/f", b"one");
    world.write(area, "g", b"two");
    let nodes = world.engine.staging.left_nodes(area);
    let state = world.engine.staging.read();
    for node in &nodes {
        state.node(*node).unwrap().lookups.fetch_add(1, Ordering::SeqCst);
    }
    nodes
}

#[test]
fn the_nodes_of_an_area_that_is_gone_are_known_until_the_last_is_forgotten() {
    let world = World::with_repository();
    let nodes = looked_up(&world, "work");
    let area = world.area("work");
    assert_eq!(nodes.len(), 5);
    assert_eq!(nodes.last(), Some(&NodeId(area.0)), "a directory comes after what is in it");
    let staging = &world.engine.staging;
    assert!(staging.left_areas().is_empty());
    let signal = staging.left_signal();
    assert!(signal.try_recv().is_err());
    world.commit("work");
    assert!(signal.try_recv().is_ok(), "nobody was told that the area went");
    assert!(staging.left_areas().into_iter().eq([area]));
    assert_eq!(staging.left_nodes(area), nodes);
    for node in nodes {
        assert!(staging.left_areas().contains(&area));
        staging.change(|state, dirty| {
            state.node(node).unwrap().lookups.store(0, Ordering::SeqCst);
            state.drop_if_unused(dirty, node);
        });
    }
    assert!(staging.left_areas().is_empty());
}

/// A shell in the area may ask again for what the kernel has forgotten there.
#[test]
fn what_the_kernel_forgets_of_an_area_that_somebody_works_in_can_be_looked_up_again() {
    let world = World::with_repository();
    let nodes = looked_up(&world, "work");
    let (root, rest) = nodes.split_last().unwrap();
    world.commit("work");
    let forget = |node: NodeId| {
        world.engine.staging.change(|state, dirty| {
            state.node(node).unwrap().lookups.store(0, Ordering::SeqCst);
            state.drop_if_unused(dirty, node);
        });
    };
    rest.iter().copied().for_each(forget);
    assert_eq!(world.engine.staging.left_nodes(AreaId(root.0)), nodes);
    forget(*root);
    let state = world.engine.staging.read();
    assert!(nodes.iter().all(|node| state.node(*node).is_none()), "all went with the root");
}
