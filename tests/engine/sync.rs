//! What waits for the disk: it comes to an end, and nothing is forgotten on the way.

use std::fs;
use std::sync::Arc;

use cairn::engine::Then;
use cairn::engine::error::Result;
use cairn::engine::request::Request;
use cairn::engine::staging::content::FileContent;
use cairn::engine::stop_point::StopPoint;
use cairn::model::hash::BlobHash;
use cairn::store::catalog::NodeData;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::world::World;
use support::wait;

/// More than the flushes that may wait in line.
const MANY: usize = 1100;

/// Asks for a flush of the journal; its answer can be received.
fn sync_journal(world: &World) -> Receiver<Result<()>> {
    let (send, receive) = bounded(1);
    world.engine.sync_journal(Then::new(move |result| drop(send.send(result))));
    receive
}

#[test]
fn a_flush_ends_while_more_synced_files_change_than_may_wait_in_line() {
    let world = World::with_repository();
    let area = world.stage("work");
    for number in 0..MANY {
        world.write(area, &number.to_string(), b"old");
    }
    // What an earlier run saved counts as synced.
    let world = world.reopen();
    let area = world.area("work");
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    for number in 0..MANY {
        world.write(area, &number.to_string(), b"new");
    }
    hold.wait_reached();
    // It waits for the journal, and the journal for the seals.
    let flushed = sync_journal(&world);
    for _ in 0..100 {
        world
            .engine
            .call(|reply| Request::ReuseBlobs { hashes: Vec::new(), is_own: true, reply })
            .unwrap();
    }
    drop(hold);
    flushed.recv_timeout(wait::PATIENCE).unwrap().unwrap();
    world.commit("work");
    assert_eq!(world.bytes("1", "7"), b"new");
}

/// Keeps the thread that waits for the disk from anything else until the sender is dropped.
fn hold_sync_thread(world: &World) -> Sender<()> {
    let (send, receive) = bounded::<()>(0);
    let (reached, wait) = bounded(1);
    world.engine.sync_journal(Then::new(move |_| {
        reached.send(()).unwrap();
        receive.recv().unwrap_err();
    }));
    wait.recv().unwrap();
    send
}

/// A file whose synced content was replaced while the blob that replaces it cannot be had.
fn withheld(world: &World) -> (Arc<FileContent>, impl FnOnce() + use<>) {
    let area = world.area("work");
    let held = hold_sync_thread(world);
    world.write(area, "f", b"new");
    world.wait_sealed(area, "f");
    let content = world.open_writer(area, "f");
    world.close_writer(&content);
    let blob = world.engine.layout.blob(&BlobHash::of(b"new"));
    let aside = blob.with_extension("aside");
    fs::rename(&blob, &aside).unwrap();
    // A name that leads to itself cannot be opened, which says nothing of the content: one that is
    // missing would be damage, and not be tried again.
    std::os::unix::fs::symlink(&blob, &blob).unwrap();
    world.engine.pool.forget_fd(&BlobHash::of(b"new"));
    drop(held);
    // With the first the file is handed to that thread, and before the second it is tried.
    for _ in 0..2 {
        sync_journal(world).recv_timeout(wait::PATIENCE).unwrap().unwrap();
    }
    assert_eq!(content.saved().data, NodeData::Blob(BlobHash::of(b"old").into()));
    (content, move || fs::rename(&aside, &blob).unwrap())
}

fn with_synced_file() -> World {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "f", b"old");
    world.write(area, "g", b"other");
    world.wait_sealed(area, "f");
    // What an earlier run saved counts as synced.
    world.reopen()
}

#[test]
fn what_could_not_be_brought_to_disk_is_tried_again() {
    let world = with_synced_file();
    let (content, bring_back) = withheld(&world);
    // It keeps no other from it.
    world.write(world.area("work"), "g", b"newer");
    world.wait_sealed(world.area("work"), "g");
    bring_back();
    let new = NodeData::Blob(BlobHash::of(b"new").into());
    wait::until("the new content is saved", || content.saved().data == new);
    drop(content);
    let world = world.reopen();
    world.commit("work");
    assert_eq!((world.bytes("1", "f"), world.bytes("1", "g")), (b"new".into(), b"newer".into()));
}

#[test]
fn what_waits_to_be_tried_again_is_brought_to_disk_by_a_stop() {
    let world = with_synced_file();
    let (content, bring_back) = withheld(&world);
    drop(content);
    bring_back();
    let world = world.reopen();
    world.commit("work");
    assert_eq!(world.bytes("1", "f"), b"new");
}
