//! A deleted repository comes back as it was until its protection time is over.

use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::reply::Reply;
use cairn::control::upkeep::UpkeepRequest;
use cairn::engine::gc::GcOptions;
use cairn::engine::request::{OwnerChange, Request as EngineRequest};
use cairn::model::id::VersionNumber;
use cairn::model::policy::{Limit, Policy, PolicyState};
use cairn::model::quota::Quota;
use cairn::model::time::Timestamp;

use crate::world::{World, create};

fn delete_repository(world: &World) {
    world.ask(Request::DeleteRepository { name: "web".parse().unwrap() }).unwrap();
    assert!(world.engine.registry.by_name("web").is_none());
}

fn undelete(world: &World) -> Result<Vec<u64>, ErrorKind> {
    let request = UpkeepRequest::UndeleteRepository { name: "web".parse().unwrap() };
    match world.ask(Request::Upkeep(request)).map_err(|error| error.kind)? {
        Reply::Numbers(numbers) => Ok(numbers.into_iter().map(|number| number.0).collect()),
        other => panic!("{other:?}"),
    }
}

/// A repository with an owner, a mode, a policy, a quota and two versions, all of it deleted.
fn deleted() -> World {
    let world = World::with_repository();
    world.publish("one", &[("f", b"1")]);
    world.publish("two", &[("f", b"2")]);
    let change = OwnerChange { mode: Some(0o750), uid: Some(7), gid: Some(8) };
    let now = Timestamp::now();
    world
        .engine_call(|repo, reply| EngineRequest::ChangeRepository { repo, change, now, reply })
        .unwrap();
    let policy = Some(Policy { keep_unreleased: Some(5), ..Policy::default() });
    world.engine_call(|repo, reply| EngineRequest::SetPolicy { repo, policy, reply }).unwrap();
    let repository = "web".parse().unwrap();
    let request =
        UpkeepRequest::SetQuota { repository, bytes: Limit::Limit(1000), files: Limit::Keep };
    world.ask(Request::Upkeep(request)).unwrap();
    world.delete(&["1", "2"], true).unwrap();
    delete_repository(&world);
    world
}

fn check_whole(world: &World) {
    let repository = world.repository();
    assert_eq!((repository.mode, repository.uid, repository.gid), (0o750, 7, 8));
    assert!(matches!(&repository.policy, PolicyState::Set(p) if p.keep_unreleased == Some(5)));
    assert_eq!(repository.account.quota(), Quota { bytes: Some(1000), files: None });
    assert_eq!(world.bytes("one", "f"), b"1");
    assert_eq!(world.bytes("two", "f"), b"2");
    assert_eq!(world.show("latest").unwrap().number, VersionNumber(2));
}

#[test]
fn it_comes_back_with_versions_names_owner_policy_and_quota() {
    let world = deleted();
    world.run(true, 600);
    assert_eq!(undelete(&world).unwrap(), [1, 2]);
    check_whole(&world);
    let world = world.reopen();
    check_whole(&world);
    assert_eq!(world.publish("three", &[("f", b"3")]).version.number, VersionNumber(3));
    assert_eq!(undelete(&world), Err(ErrorKind::NotFound), "it is not deleted");
}

#[test]
fn it_comes_back_after_a_restart() {
    let world = deleted().reopen();
    world.run(true, 600);
    assert_eq!(undelete(&world).unwrap(), [1, 2]);
    check_whole(&world);
}

#[test]
fn it_does_not_come_back_beside_another_of_its_name() {
    let world = deleted();
    world.ask(create("web")).unwrap();
    assert_eq!(undelete(&world), Err(ErrorKind::Failed));
    let world = world.reopen();
    assert!(world.numbers().is_empty());
    let refused = undelete(&world);
    assert_eq!(refused, Err(ErrorKind::Failed));
    // The empty one is out of the way: the one that was deleted last comes back first.
    delete_repository(&world);
    assert_eq!(undelete(&world).unwrap(), [0; 0]);
}

#[test]
fn its_content_stays_for_the_protection_time_and_then_goes() {
    let world = deleted();
    assert_eq!(world.run(true, 600).blobs, 0);
    assert_eq!(world.run(true, 0).blobs, 2);
    assert_eq!(undelete(&world), Err(ErrorKind::NotFound));
    assert!(world.engine.query(|reader| reader.deleted_repositories()).unwrap().is_empty());
    let world = world.reopen();
    assert!(world.engine.registry.deleted().is_empty());
}

#[test]
fn a_deletion_from_a_clock_that_was_ahead_ends_too() {
    let world = deleted().reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE deleted_repositories SET deleted_s = deleted_s * 2", []).unwrap();
        catalog.execute("UPDATE versions SET deleted_s = deleted_s * 2", []).unwrap();
    });
    world.run(false, 600);
    let now = Timestamp::now().seconds;
    assert!(world.engine.registry.deleted().iter().all(|(_, seconds)| *seconds <= now));
    let kept = world.engine.query(|reader| reader.deleted_repositories()).unwrap();
    assert!(kept.len() == 1 && kept[0].1 <= now);
}

#[test]
fn a_check_finds_nothing_wrong_with_one_that_can_come_back() {
    let world = deleted();
    let request =
        cairn::control::fsck::FsckRequest { full: true, repair: false, rebuild_counts: false };
    let Reply::Fsck(reply) = world.ask(Request::Fsck(request)).unwrap() else { panic!() };
    assert_eq!((reply.repaired, reply.left), (0, 0), "{reply:?}");
}

#[test]
fn one_that_never_had_a_version_comes_back_too() {
    let options = GcOptions { protect_seconds: 600, ..GcOptions::default() };
    let world = World::with_gc(options);
    delete_repository(&world);
    assert_eq!(undelete(&world).unwrap(), [0; 0]);
    world.publish("one", &[("f", b"1")]);
}
