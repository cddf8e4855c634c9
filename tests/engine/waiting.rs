//! Rows that wait for room on a full disk keep the content that they name (H4)

use std::sync::Arc;

use cairn::engine::error::EngineError;
use cairn::engine::gc::RunKind;
use cairn::engine::poison::Blocked;
use cairn::engine::request::Request;
use cairn::engine::staging::Staging;
use cairn::engine::staging::content::FileContent;
use cairn::engine::staging::node::Body;
use cairn::engine::staging::state::{Child, NewNode};
use cairn::model::hash::BlobHash;
use cairn::model::id::{AreaId, NodeId};
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Xattrs};
use cairn::store::durable::testing::{Fault, on_this_thread};
use crossbeam_channel::bounded;

use crate::world::World;
use support::{fsck, wait};

const CONTENT: &[u8] = b"named by a row that waits";

fn name() -> EntryName {
    EntryName::new(b"new").unwrap()
}

/// Makes a file of content that the store has.
fn make(staging: &Staging, area: AreaId) {
    let (root, now, id) = (NodeId(area.0), Timestamp::now(), NodeId(staging.store.new_id()));
    staging.change(|state, dirty| {
        let shared = Arc::clone(&state.areas[&area].shared);
        let size = u64::try_from(CONTENT.len()).unwrap();
        let blob = BlobHash::of(CONTENT);
        let content =
            FileContent::sealed(&staging.store, &shared, id, Some(blob.into()), size, now, now);
        let attributes =
            Attributes { mode: 0o644, uid: 0, gid: 0, mtime: now, xattrs: Xattrs::new() };
        let body = Body::File(Arc::new(content));
        state.insert(id, shared, NewNode { body, attributes, ctime: now }, false);
        state.link(dirty, id, root, &name(), now);
    });
}

/// Removes it again.
fn remove(staging: &Staging, area: AreaId) {
    let (root, now) = (NodeId(area.0), Timestamp::now());
    staging.change(|state, dirty| {
        assert!(matches!(state.child(root, b"new"), Some(Child::Node(_))));
        state.unlink(dirty, root, &name(), now);
    });
}

#[test]
fn h4_a_collection_leaves_what_rows_that_wait_for_room_name() {
    let world = World::with_repository();
    let area = world.stage("work");
    // A blob that no row names: only who holds the file in memory needs it, and later the batch.
    world.write(area, "old", CONTENT);
    world.wait_sealed(area, "old");
    let flush = |reply| Request::Flush { reply };
    world.engine.call(flush).unwrap();
    world.remove(area, "old");
    world.engine.call(flush).unwrap();
    let (refused, hear_refused) = bounded(1);
    let (collected, hear_collected) = bounded(1);
    let engine = Arc::clone(&world.engine);
    // Replies are given by the metadata thread. So its next transaction is the journal's, which fails; then
    // the file goes, and a collection runs before the batch that makes it is tried again.
    let fail = move |_| {
        // The fault is this thread's and ends by itself.
        std::mem::forget(on_this_thread(Fault::full_at("catalog commit")));
        make(&engine.staging, area);
        let later = Arc::clone(&engine);
        let collect = move |result| {
            refused.send(result).unwrap();
            remove(&later.staging, area);
            let reply = Box::new(move |result| collected.send(result).unwrap());
            let kind = RunKind { full: false, protect_seconds: Some(0) };
            later.submit(Request::Collect { kind, reply }).unwrap();
        };
        engine.submit(flush(Box::new(collect))).unwrap();
    };
    world.engine.submit(Request::Save { reply: Box::new(fail) }).unwrap();
    let refusal = hear_refused.recv_timeout(wait::PATIENCE).unwrap();
    assert!(matches!(refusal, Err(EngineError::Unsealed { full: true, .. })), "{refusal:?}");
    let report = hear_collected.recv_timeout(wait::PATIENCE).unwrap().unwrap();
    assert_eq!((report.blobs, report.pinned_blobs), (0, 1), "the batch needs it");
    world.engine.call(flush).unwrap();
    assert_eq!(world.engine.staging.poison.blocked(), Blocked::No);
    // Written and taken back, it is nobody's, and goes once.
    assert_eq!(world.collect().blobs, 1);
    let closed = world.close();
    fsck::check_clean_store(&closed.path());
}
