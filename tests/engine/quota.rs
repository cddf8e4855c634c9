//! Quotas: what counts, when it is refused, and that nothing is counted twice or lost (G15, H20).

use std::collections::BTreeSet;

use cairn::engine::error::EngineError;
use cairn::engine::request::Request;
use cairn::engine::staging::content::FileContent;
use cairn::engine::staging::node::Slot;
use cairn::engine::staging::state::State;
use cairn::model::id::{AreaId, NodeId};
use cairn::model::quota::{Quota, Usage};
use cairn::model::time::Timestamp;
use cairn::store::error::StoreError;

use crate::world::{Import, World};
use support::wait;

fn set(world: &World, bytes: Option<u64>, files: Option<u64>) {
    let quota = Quota { bytes, files };
    world.engine_call(|repo, reply| Request::SetQuota { repo, quota, reply }).unwrap();
}

fn used(world: &World) -> Usage {
    world.repository().account.usage()
}

fn usage(bytes: u64, files: u64) -> Usage {
    Usage { bytes, files }
}

/// What the area's files count for, counted anew, is what the account says.
#[track_caller]
fn check(world: &World, area: AreaId) {
    let state = world.engine.staging.read();
    let area = &state.areas[&area];
    let mut nodes = BTreeSet::new();
    below(&state, area.root, &mut nodes);
    let nodes: Vec<NodeId> = nodes.into_iter().collect();
    assert_eq!(area.shared.charge.taken(), state.charged(&nodes));
}

/// A node and all that are named below it, each once.
fn below(state: &State, id: NodeId, found: &mut BTreeSet<NodeId>) {
    if !found.insert(id) {
        return;
    }
    let directory = state.node(id).and_then(|node| node.directory());
    for slot in directory.iter().flat_map(|directory| directory.slots.values()) {
        if let Slot::Node(child) = slot {
            below(state, *child, found);
        }
    }
}

fn is_counted(world: &World, area: AreaId) -> bool {
    world.engine.staging.read().areas[&area].shared.charge.is_counted()
}

fn write(content: &std::sync::Arc<FileContent>, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
    content.write(at, bytes, Timestamp::now()).map(drop)
}

#[test]
fn what_an_area_changes_counts_and_what_it_deletes_does_not() {
    let world = World::with_repository();
    world.publish("one", &[("a", &[1; 1000]), ("b", &[2; 500])]);
    let area = world.stage("work@latest");
    assert_eq!(used(&world), usage(1500, 2), "an untouched area costs nothing");
    let content = world.open_writer(area, "a");
    assert_eq!(used(&world), usage(1500, 2), "opening is no change");
    write(&content, 999, &[3; 11]).unwrap();
    assert_eq!(used(&world), usage(1500 + 1010, 3), "the whole file is another one now");
    content.truncate(10, Timestamp::now()).unwrap();
    assert_eq!(used(&world), usage(1510, 3));
    world.close_writer(&content);
    world.remove(area, "a");
    assert_eq!(used(&world), usage(1500, 2));
    world.write(area, "new", &[4; 100]);
    world.link(area, "new", "linked");
    assert_eq!(used(&world), usage(1600, 3), "names of one file count once");
    world.remove(area, "b");
    check(&world, area);
    world.commit("work@latest");
    assert_eq!(used(&world), usage(1600, 3), "the charge moved to the version");
}

#[test]
fn overwriting_beyond_the_quota_is_refused_and_loses_nothing() {
    let world = World::with_repository();
    world.publish("one", &[("a", &[1; 1000])]);
    set(&world, Some(1500), None);
    let area = world.stage("work@latest");
    let content = world.open_writer(area, "a");
    let refused = write(&content, 0, b"x");
    assert!(matches!(refused, Err(StoreError::OverQuota)), "{refused:?}");
    let mut read = vec![0; 2000];
    assert_eq!(content.read(0, &mut read).unwrap(), 1000);
    assert!(read[..1000].iter().all(|byte| *byte == 1));
    world.close_writer(&content);
    let temporary = world.open_writer(area, "tmp");
    write(&temporary, 0, &[2; 500]).unwrap();
    assert!(matches!(write(&temporary, 500, b"y"), Err(StoreError::OverQuota)));
    assert!(matches!(temporary.truncate(501, Timestamp::now()), Err(StoreError::OverQuota)));
    let allocated = temporary.fallocate(0, 0, 501, Timestamp::now());
    assert!(matches!(allocated, Err(StoreError::OverQuota)));
    temporary.truncate(100, Timestamp::now()).unwrap();
    write(&temporary, 100, &[3; 400]).unwrap();
    world.close_writer(&temporary);
    check(&world, area);
    assert_eq!(used(&world), usage(1500, 2));
    set(&world, None, None);
    let content = world.open_writer(area, "a");
    write(&content, 0, b"x").unwrap();
    world.close_writer(&content);
    check(&world, area);
}

#[test]
fn a_restart_keeps_the_count() {
    let world = World::with_repository();
    world.publish("one", &[("a", &[1; 1000]), ("same", &[1; 10])]);
    let area = world.stage("work@latest");
    world.write(area, "a", &[2; 700]);
    world.write(area, "large", &vec![3; 2 << 20]);
    world.write(area, "same", &[1; 10]);
    let before = used(&world);
    assert_eq!(before, usage(1010 + 700 + (2 << 20) + 10, 5));
    let world = world.reopen();
    assert!(!is_counted(&world, area), "a start looks at no node without need (H10)");
    world.engine.count_areas(&world.repository()).unwrap();
    assert_eq!(used(&world), before, "before the area is loaded");
    world.engine.load_area(area).unwrap();
    assert_eq!(used(&world), before, "and after");
    let world = world.reopen();
    world.engine.load_area(area).unwrap();
    assert_eq!(used(&world), before, "loaded before anybody asked");
    world.engine.count_areas(&world.repository()).unwrap();
    assert_eq!(used(&world), before, "and counted once");
    check(&world, area);
    world.remove(area, "large");
    assert_eq!(used(&world), usage(1010 + 710, 4));
    let request = cairn::control::protocol::Request::Discard {
        repository: "web".parse().unwrap(),
        area: "work@latest".parse().unwrap(),
    };
    world.ask(request).unwrap();
    assert_eq!(used(&world), usage(1010, 2));
    let world = world.reopen();
    assert_eq!(used(&world), usage(1010, 2));
}

#[test]
fn a_quota_knows_areas_that_nobody_touched_since_the_start() {
    let world = World::with_repository();
    let old = world.stage("old");
    world.write(old, "a", &[1; 1000]);
    let world = world.reopen();
    assert!(!is_counted(&world, old));
    set(&world, Some(1500), None);
    assert_eq!(used(&world), usage(1000, 1), "set now");
    let world = world.reopen();
    assert_eq!(used(&world), usage(1000, 1), "set before the start");
    let new = world.stage("new");
    let content = world.open_writer(new, "b");
    let refused = write(&content, 0, &[2; 501]);
    assert!(matches!(refused, Err(StoreError::OverQuota)), "{refused:?}");
    write(&content, 0, &[2; 500]).unwrap();
    world.close_writer(&content);
}

#[test]
fn sharing_a_blob_counts_its_length() {
    let world = World::with_repository();
    world.publish("one", &[("a", &[1; 1000])]);
    set(&world, Some(1500), None);
    let area = world.stage("work@latest");
    let (source, target) = (world.open_writer(area, "a"), world.open_writer(area, "copy"));
    let shared = target.share(&source, Timestamp::now());
    assert!(matches!(shared, Err(StoreError::OverQuota)), "{shared:?}");
    set(&world, Some(2000), None);
    assert!(target.share(&source, Timestamp::now()).unwrap());
    world.close_writer(&source);
    world.close_writer(&target);
    assert_eq!(used(&world), usage(2000, 2));
    check(&world, area);
}

#[test]
fn imports_are_refused_over_quota() {
    let world = World::with_repository();
    set(&world, Some(10), Some(2));
    let import = Import::additive(&world);
    import.put_file("a", b"12345");
    let error = import.try_put_file("b", b"123456").unwrap_err();
    assert!(error.message.contains("quota of repository `web`"), "{error}");
    import.put_file("c", b"12345");
    let error = import.try_put_file("d", b"").unwrap_err();
    assert!(error.message.contains("quota"), "{error}");
    import.abort().unwrap();
    wait::until("it is given back", || used(&world) == usage(0, 0));
}

#[test]
fn a_commit_over_quota_is_refused_and_the_area_stays() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "a", &[1; 1000]);
    set(&world, Some(100), None);
    let repo = world.repository().id;
    assert_eq!(world.repository().areas.size(), 1);
    let refused =
        world.ask(cairn::control::protocol::Request::Commit(crate::world::commit("work")));
    // It was written before there was a quota: nothing grows by the commit.
    refused.unwrap();
    assert_eq!(world.engine.registry.by_id(repo).unwrap().account.usage(), usage(1000, 1));
    let area = world.stage("more@latest");
    let content = world.open_writer(area, "b");
    assert!(matches!(write(&content, 0, b"1"), Err(StoreError::OverQuota)));
    world.close_writer(&content);
    set(&world, Some(1001), None);
    let content = world.open_writer(area, "b");
    write(&content, 0, b"1").unwrap();
    world.close_writer(&content);
    world.commit("more@latest");
    let missing = world.engine_call(|_, reply| Request::SetQuota {
        repo: cairn::model::id::RepoId(999),
        quota: Quota::default(),
        reply,
    });
    assert!(matches!(missing, Err(EngineError::NoRepository(_))));
}
