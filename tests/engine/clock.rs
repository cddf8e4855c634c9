//! A clock that was ahead for a while: the times that were noted then count as now, so nothing is
//! kept until the clock has caught up, and nothing loses the protection that it was promised.

use std::path::Path;

use cairn::control::protocol::Request as ControlRequest;
use cairn::control::reply::Reply;
use cairn::control::upkeep::UpkeepRequest;
use cairn::engine::fsck::Job;
use cairn::engine::request::Request;
use cairn::engine::scrub::{ScrubOptions, Scrubber, noted};
use cairn::model::policy::Policy;
use cairn::model::time::Timestamp;

use crate::world::World;
use support::wait;

const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// Moves every time in a closed store.
fn shift(store: &Path, seconds: i64) {
    let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
    for column in [
        "blobs SET interest = interest",
        "trees SET interest = interest",
        "versions SET created_s = created_s + ?1, deleted_s = deleted_s",
        "areas SET changed_s = changed_s",
    ] {
        catalog.execute(&format!("UPDATE {column} + ?1"), [seconds]).unwrap();
    }
}

/// A store in which version 1 of two was deleted while the clock was ten years ahead.
fn deleted_ahead() -> World {
    let world = World::with_repository();
    world.publish("one", &[("f", b"one")]);
    world.publish("two", &[("f", b"two")]);
    world.delete(&["1"], false).unwrap();
    world.run(false, 600);
    world.reopen_changed(|store| shift(store, TEN_YEARS))
}

fn undoable_until(world: &World) -> Vec<i64> {
    let repository = "web".parse().unwrap();
    let request = ControlRequest::Upkeep(UpkeepRequest::Deleted { repository, after: None });
    match world.ask(request).unwrap() {
        Reply::DeletedVersions(list) => list.iter().map(|one| one.until.until_seconds).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_protection_time_what_was_deleted_then_is_gone() {
    let world = deleted_ahead();
    assert_eq!(world.run(false, 0).blobs, 1);
    assert!(world.repository().deleted.is_empty());
    world.publish("three", &[("f", b"three")]);
    world.delete(&["2"], false).unwrap();
    assert_eq!(world.run(true, 0).blobs, 1);
}

#[test]
fn what_was_deleted_then_is_protected_from_now_on_and_then_gone() {
    let world = deleted_ahead();
    let shown = undoable_until(&world);
    assert!(shown[0] <= Timestamp::now().seconds + 600, "{shown:?}");
    assert_eq!(world.run(false, 600).blobs, 0, "it may be wanted again");
    assert_eq!(world.repository().deleted.size(), 1);
    // Eleven minutes later.
    let world = world.reopen_changed(|store| shift(store, -660));
    assert_eq!(world.run(false, 600).blobs, 0, "its content was used when it was given up");
    assert!(world.repository().deleted.is_empty());
    let world = world.reopen_changed(|store| shift(store, -660));
    world.run(false, 600);
    assert_eq!(world.engine.query(|reader| reader.orphan_totals(i64::MAX)).unwrap(), (0, 0));
}

#[test]
fn what_was_deleted_then_can_be_brought_back() {
    let world = deleted_ahead();
    world.run(true, 600);
    let (repository, versions) = ("web".parse().unwrap(), vec!["1".parse().unwrap()]);
    let request = UpkeepRequest::Undelete { repository, versions };
    world.ask(ControlRequest::Upkeep(request)).unwrap();
    assert_eq!(world.bytes("1", "f"), b"one");
}

#[test]
fn an_area_that_was_changed_then_expires_when_it_is_left_alone_from_now_on() {
    let world = World::with_repository();
    world.stage("left");
    let world = world.reopen_changed(|store| shift(store, TEN_YEARS));
    let policy = Some(Policy { expire_areas_seconds: Some(3600), ..Policy::default() });
    world.engine_call(|repo, reply| Request::SetPolicy { repo, policy, reply }).unwrap();
    assert_eq!(world.run(true, 600).areas, 0);
    let world = world.reopen_changed(|store| shift(store, -3700));
    assert_eq!(world.run(true, 600).areas, 1);
}

#[test]
fn a_scrub_that_began_then_is_noted_as_now() {
    let world = World::with_repository();
    let later = Timestamp::now().seconds + TEN_YEARS;
    let job = Job::Note("scrub_last", format!("{later} {later} 0 0 0"));
    world.engine.call(|reply| Request::Fsck { job, reply }).unwrap();
    let options = ScrubOptions { period_seconds: 3600, rate_bytes: u64::MAX };
    let mut scrubber = Scrubber::start(&world.engine, options).unwrap();
    wait::until("the scrub has looked", || {
        let last = world.engine.query(noted).unwrap().1;
        last.is_some_and(|last| last.began <= Timestamp::now().seconds)
    });
    scrubber.stop();
}
