//! Retention policies, released and locked versions, deletions taken back, areas that expire.

use cairn::engine::error::EngineError;
use cairn::engine::request::{FlagChange, Request};
use cairn::model::id::VersionNumber;
use cairn::model::policy::{Policy, PolicyState};
use cairn::model::time::Timestamp;

use crate::world::World;

const KEEP: Policy = Policy {
    keep_unreleased: Some(2),
    keep_released: Some(1),
    keep_within_seconds: None,
    expire_areas_seconds: None,
};

fn flag(world: &World, numbers: &[u64], change: FlagChange) {
    let numbers = numbers.iter().copied().map(VersionNumber).collect();
    world
        .engine_call(|repo, reply| Request::FlagVersions { repo, numbers, change, reply })
        .unwrap();
}

fn release(world: &World, numbers: &[u64]) {
    flag(world, numbers, FlagChange { released: Some(true), locked: None });
}

fn lock(world: &World, numbers: &[u64]) {
    flag(world, numbers, FlagChange { released: None, locked: Some(true) });
}

fn set_policy(world: &World, policy: Option<Policy>) {
    world.engine_call(|repo, reply| Request::SetPolicy { repo, policy, reply }).unwrap();
}

fn undelete(world: &World, numbers: &[u64]) -> Result<(), EngineError> {
    let numbers = numbers.iter().copied().map(VersionNumber).collect();
    let now = Timestamp::now();
    world.engine_call(|repo, reply| Request::UndeleteVersions { repo, numbers, now, reply })
}

/// Five unreleased, three released and one locked version: 1 to 9.
fn nine_versions() -> World {
    let world = World::with_repository();
    for number in 1..=9_u64 {
        let content = format!("content {number}");
        world.publish(&format!("v{number}"), &[("f", content.as_bytes())]);
    }
    release(&world, &[2, 4, 6]);
    lock(&world, &[3]);
    world
}

/// The numbers that a policy lets go, as the dry run says.
fn expiring(world: &World) -> Vec<u64> {
    let repository = world.repository();
    let PolicyState::Set(policy) = repository.policy else { panic!("{:?}", repository.policy) };
    let decisions = repository.decide(&policy, Timestamp::now());
    let mut numbers: Vec<u64> = decisions.iter().filter(|d| !d.keep).map(|d| d.number.0).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_full_run_leaves_the_newest_of_each_class_and_what_is_locked() {
    let world = nine_versions();
    set_policy(&world, Some(KEEP));
    assert_eq!(expiring(&world), [1, 2, 4, 5, 7], "the dry run says so before");
    let report = world.run(true, 0);
    assert_eq!(world.numbers(), [3, 6, 8, 9]);
    assert_eq!((report.versions, report.blobs, report.errors), (5, 5, 0));
    let again = world.run(true, 0);
    assert_eq!((again.versions, again.blobs, again.trees), (0, 0, 0));
}

#[test]
fn runs_for_orphans_expire_nothing() {
    let world = nine_versions();
    set_policy(&world, Some(KEEP));
    world.run(false, 0);
    assert_eq!(world.numbers().len(), 9);
}

#[test]
fn no_policy_and_an_unreadable_one_delete_nothing() {
    let world = nine_versions();
    assert_eq!(world.run(true, 0).versions, 0);
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        let changed = catalog.execute("UPDATE repositories SET policy = '{\"keep_all\": 0}'", []);
        assert_eq!(changed.unwrap(), 1);
    });
    let report = world.run(true, 0);
    assert_eq!((report.versions, report.errors), (0, 1));
    assert_eq!(world.numbers().len(), 9);
    let PolicyState::Unreadable { reason, .. } = &world.repository().policy else { panic!() };
    assert!(reason.contains("keep_all"), "{reason}");
    set_policy(&world, Some(KEEP));
    assert_eq!(world.run(true, 0).versions, 5);
}

#[test]
fn one_version_that_cannot_be_deleted_does_not_stop_the_others() {
    let world = nine_versions();
    set_policy(&world, Some(KEEP));
    // Behind the engine's back, so that deleting it fails.
    let catalog =
        rusqlite::Connection::open(world.engine.layout.root().join("catalog.db")).unwrap();
    catalog.execute("DELETE FROM versions WHERE number = 4", []).unwrap();
    let report = world.run(true, 0);
    assert_eq!((report.versions, report.errors), (4, 1));
    assert_eq!(world.numbers(), [3, 4, 6, 8, 9]);
}

#[test]
fn a_policy_survives_a_restart_and_can_be_cleared() {
    let world = nine_versions();
    set_policy(&world, Some(KEEP));
    let world = world.reopen();
    assert_eq!(world.repository().policy, PolicyState::Set(KEEP));
    set_policy(&world, None);
    let world = world.reopen();
    assert_eq!(world.repository().policy, PolicyState::None);
    assert_eq!(world.run(true, 0).versions, 0);
}

#[test]
fn released_and_locked_versions_are_refused_and_flags_can_be_taken_back() {
    let world = nine_versions();
    world.delete(&["2"], false).unwrap_err();
    world.delete(&["2"], true).unwrap();
    let error = world.delete(&["3"], true).unwrap_err();
    assert!(error.message.contains("locked"), "{error}");
    flag(&world, &[3, 4], FlagChange { released: Some(false), locked: Some(false) });
    let world = world.reopen();
    world.delete(&["3", "4"], false).unwrap();
    assert_eq!(world.numbers(), [1, 5, 6, 7, 8, 9]);
}

#[test]
fn flags_change_for_all_or_for_none() {
    let world = nine_versions();
    let change = FlagChange { released: Some(true), locked: None };
    let numbers = vec![VersionNumber(1), VersionNumber(77)];
    let refused =
        world.engine_call(|repo, reply| Request::FlagVersions { repo, numbers, change, reply });
    assert!(matches!(refused, Err(EngineError::NoVersion(_))));
    assert!(!world.show("1").unwrap().released);
}

#[test]
fn a_deletion_can_be_taken_back_until_a_run_gives_it_up() {
    let world = nine_versions();
    world.delete(&["1", "5"], false).unwrap();
    world.run(false, 600);
    let world = world.reopen();
    assert_eq!(world.numbers(), [2, 3, 4, 6, 7, 8, 9]);
    assert_eq!(world.repository().deleted.size(), 2);
    undelete(&world, &[5]).unwrap();
    assert_eq!(world.bytes("5", "f"), b"content 5");
    assert_eq!(world.show("v5").unwrap().number, VersionNumber(5), "its own name is back");
    assert_eq!(world.run(false, 0).blobs, 1, "version 1 is given up");
    assert!(matches!(undelete(&world, &[1]), Err(EngineError::NotDeleted(_))));
    assert!(matches!(undelete(&world, &[5]), Err(EngineError::NotDeleted(_))));
    let world = world.reopen();
    assert_eq!(world.numbers(), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(world.bytes("5", "f"), b"content 5");
}

#[test]
fn a_deleted_newest_version_comes_back_as_latest_and_keeps_its_number() {
    let world = nine_versions();
    world.delete(&["9"], true).unwrap();
    assert_eq!(world.publish("next", &[("f", b"ten")]).version.number, VersionNumber(10));
    undelete(&world, &[9]).unwrap();
    assert_eq!(world.numbers(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(world.show("latest").unwrap().number, VersionNumber(10));
}

#[test]
fn the_name_of_an_undeleted_version_may_be_taken() {
    let world = nine_versions();
    world.delete(&["1"], false).unwrap();
    world.publish("v1", &[("f", b"another")]);
    undelete(&world, &[1]).unwrap();
    assert_eq!(world.show("v1").unwrap().number, VersionNumber(10));
    assert_eq!(world.bytes("1", "f"), b"content 1");
}

#[test]
fn a_repository_with_deleted_versions_only_can_be_deleted() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"one")]);
    world.delete(&["1"], true).unwrap();
    let name = "web".parse().unwrap();
    world.ask(cairn::control::protocol::Request::DeleteRepository { name }).unwrap();
    assert_eq!(world.run(false, 0).blobs, 1);
    let world = world.reopen();
    assert!(world.engine.registry.all().is_empty());
}

#[test]
fn areas_that_nobody_changes_expire() {
    let world = World::with_repository();
    let used = world.stage("used");
    world.stage("idle");
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE areas SET changed_s = changed_s - 7200", []).unwrap();
    });
    let expire = |seconds| Policy { expire_areas_seconds: Some(seconds), ..Policy::default() };
    set_policy(&world, Some(expire(7300)));
    assert_eq!(world.run(true, 0).areas, 0);
    world.write(used, "f", b"in use");
    set_policy(&world, Some(expire(3600)));
    assert_eq!(world.run(true, 0).areas, 1);
    assert_eq!(
        world.repository().areas.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["used"]
    );
    assert_eq!(world.run(true, 0).areas, 0);
}
