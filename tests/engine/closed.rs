//! Rows that a full disk kept out of the catalog, of an area that was closed before there was room
//! again. The area is taken apart as the catalog has it, so none of them may be written any more.

use std::sync::Arc;

use cairn::engine::error::EngineError;
use cairn::engine::poison::Blocked;
use cairn::engine::request::Request;
use cairn::engine::staging::Staging;
use cairn::engine::staging::content::FileContent;
use cairn::engine::staging::node::{Body, Node};
use cairn::engine::staging::state::{Child, NewNode};
use cairn::model::id::{AreaId, NodeId};
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Xattrs};
use cairn::store::durable::testing::{Fault, on_this_thread};
use crossbeam_channel::bounded;

use crate::world::World;
use support::{fsck, wait};

/// Changes an area with the files `gone`, `kept` and `other` so that rows of each kind are out of
/// date: one file goes, one has another mode, and a new one has the content of the third.
fn change(staging: &Staging, area: AreaId) {
    let (root, now) = (NodeId(area.0), Timestamp::now());
    let [gone, kept, other, new] =
        ["gone", "kept", "other", "new"].map(|name| EntryName::new(name.as_bytes()).unwrap());
    let id = NodeId(staging.store.new_id());
    staging.change(|state, dirty| {
        let shared = Arc::clone(&state.areas[&area].shared);
        let node = |name: &EntryName| match state.child(root, name.as_bytes()) {
            Some(Child::Node(node)) => node,
            child => panic!("{child:?}"),
        };
        let (kept, other) = (node(&kept), node(&other));
        let blob = state.node(other).and_then(Node::content).unwrap().blob().unwrap();
        state.node_mut(kept).unwrap().mode = 0o600;
        state.mark_changed(dirty, kept);
        state.unlink(dirty, root, &gone, now);
        let content = FileContent::sealed(&staging.store, &shared, id, blob, 5, now, now);
        let attributes =
            Attributes { mode: 0o644, uid: 0, gid: 0, mtime: now, xattrs: Xattrs::new() };
        let body = Body::File(Arc::new(content));
        state.insert(id, shared, NewNode { body, attributes, ctime: now }, false);
        state.link(dirty, id, root, &new, now);
    });
}

#[test]
fn rows_of_an_area_that_was_closed_while_they_waited_for_room_are_not_written() {
    let world = World::with_repository();
    let area = world.stage("work");
    for name in ["gone", "kept", "other"] {
        world.write(area, name, name.as_bytes());
        world.wait_sealed(area, name);
    }
    let flush = |reply| Request::Flush { reply };
    world.engine.call(flush).unwrap();
    let (refused, hear_refused) = bounded(1);
    let (discarded, hear_discarded) = bounded(1);
    let engine = Arc::clone(&world.engine);
    // Replies are given by the metadata thread. So its next transaction is the journal's, which fails;
    // and the area is discarded before that is tried again.
    let fail = move |_| {
        // The fault is this thread's and ends by itself.
        std::mem::forget(on_this_thread(Fault::full_at("catalog commit")));
        change(&engine.staging, area);
        let later = Arc::clone(&engine);
        let discard = move |result| {
            refused.send(result).unwrap();
            let reply = Box::new(move |result| discarded.send(result).unwrap());
            later.submit(Request::DiscardArea { area, reply }).unwrap();
        };
        engine.submit(flush(Box::new(discard))).unwrap();
    };
    world.engine.submit(Request::Save { reply: Box::new(fail) }).unwrap();
    let refusal = hear_refused.recv_timeout(wait::PATIENCE).unwrap();
    assert!(matches!(refusal, Err(EngineError::Unsealed { full: true, .. })), "{refusal:?}");
    hear_discarded.recv_timeout(wait::PATIENCE).unwrap().unwrap();
    world.engine.call(flush).unwrap();
    assert_eq!(world.engine.staging.poison.blocked(), Blocked::No);
    assert_eq!(world.collect().blobs, 3, "each content is let go of once");
    let closed = world.close();
    fsck::check_clean_store(&closed.path());
}
