//! The scrub: finds what was altered, goes on where it stopped, and keeps its pace.

use std::sync::Arc;

use cairn::control::protocol::Request;
use cairn::control::reply::Reply;
use cairn::control::status::StatusReply;
use cairn::engine::fsck::Job;
use cairn::engine::request::Request as EngineRequest;
use cairn::engine::scrub::{Scrub, ScrubOptions, Scrubber, noted};
use cairn::model::hash::BlobHash;

use crate::world::World;
use support::wait;

const FAST: ScrubOptions = ScrubOptions { period_seconds: 3600, rate_bytes: u64::MAX };

/// A store with three blobs whose last scrub was long ago.
fn due() -> World {
    let world = World::with_repository();
    world.publish("one", &[("a", b"first"), ("b", b"second"), ("c", b"third")]);
    let job = Job::Note("scrub_last", "0 0 0 0 0".to_owned());
    world.engine.call(|reply| EngineRequest::Fsck { job, reply }).unwrap();
    world
}

fn last(world: &World) -> Option<Scrub> {
    world.engine.query(noted).unwrap().1.filter(|scrub| scrub.began > 0)
}

fn status(world: &World) -> StatusReply {
    match world.ask(Request::Status).unwrap() {
        Reply::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_altered_is_marked_and_healed() {
    let world = due();
    let path = world.engine.layout.blob(&BlobHash::of(b"second"));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "sEcond").unwrap();
    let mut scrubber = Scrubber::start(&world.engine, FAST).unwrap();
    wait::until("the scrub has ended", || last(&world).is_some());
    scrubber.stop();
    let scrub = last(&world).unwrap();
    assert_eq!((scrub.blobs, scrub.bytes, scrub.damaged), (3, 16, 1));
    let shown = status(&world);
    assert_eq!(shown.scrub.last.unwrap().damaged, 1);
    assert_eq!((shown.scrub.running_permille, shown.scrub.damaged), (None, 1));
    assert!(shown.problems[0].message.contains("1 blob is damaged"), "{:?}", shown.problems);
    world.publish("two", &[("again", b"second")]);
    assert_eq!(world.bytes("1", "b"), b"second");
    assert_eq!(status(&world).scrub.damaged, 0);
}

#[test]
fn it_goes_on_where_it_stopped() {
    let world = due();
    // The first blob is not paid for before the test is over.
    let slow = ScrubOptions { rate_bytes: 1, ..FAST };
    let mut scrubber = Scrubber::start(&world.engine, slow).unwrap();
    scrubber.stop();
    let Some(stopped) = world.engine.query(noted).unwrap().0 else { panic!("nothing is noted") };
    assert!(stopped.blobs < 2, "{stopped:?}");
    assert_eq!(status(&world).scrub.running_permille, Some(stopped.done_permille()));
    let world = world.reopen();
    let mut scrubber = Scrubber::start(&world.engine, FAST).unwrap();
    wait::until("the scrub has ended", || last(&world).is_some());
    scrubber.stop();
    let scrub = last(&world).unwrap();
    assert_eq!((scrub.began, scrub.blobs, scrub.bytes), (stopped.began, 3, 16));
}

#[test]
fn a_new_store_is_not_scrubbed_at_once() {
    let world = World::with_repository();
    let scrubber = Scrubber::start(&world.engine, FAST).unwrap();
    wait::until("the scrub has looked", || world.engine.query(noted).unwrap().1.is_some());
    drop(scrubber);
    assert_eq!(world.engine.query(noted).unwrap().0, None);
    assert_eq!(status(&world).scrub.last, None);
}

#[test]
fn it_can_be_turned_off() {
    let world = due();
    // While one runs, its thread holds the engine; it does so before `start` returns.
    let on = Scrubber::start(&world.engine, FAST).unwrap();
    assert_eq!(Arc::strong_count(&world.engine), 3, "the service, the test and the thread hold it");
    wait::until("the scrub has ended", || last(&world).is_some());
    drop(on);
    let before = world.engine.query(noted).unwrap();
    let off = ScrubOptions { period_seconds: 0, ..FAST };
    let _running = Scrubber::start(&world.engine, off).unwrap();
    assert_eq!(Arc::strong_count(&world.engine), 2, "the service and the test hold it");
    assert_eq!(world.engine.query(noted).unwrap(), before);
}
