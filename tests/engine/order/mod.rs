//! Readers and the catalog see every change of a repository in one order, also while the flush of
//! a commit is held back, and so nothing that was answered is another thing after a restart.

mod history;
mod seen;

use std::sync::mpsc::{Receiver, channel};

use cairn::engine::commit::CommitOptions;
use cairn::engine::error::Result;
use cairn::engine::request::{FlagChange, Owner, OwnerChange, Reply, Request};
use cairn::engine::stop_point::StopPoint;
use cairn::model::id::{AreaId, RepoId, VersionNumber};
use cairn::model::name::TagName;
use cairn::model::policy::Policy;
use cairn::model::quota::Quota;
use cairn::model::time::Timestamp;

use crate::world::{World, commit_options};
use seen::{Flight, check_in_flight, settled};
use support::wait;

/// Whether an answer came, and whether it was a good one.
type Answer = Receiver<bool>;

/// Hands a request to the engine without waiting for the answer.
fn submit<T: Send + 'static>(
    world: &World,
    make: impl FnOnce(RepoId, Reply<T>) -> Request,
) -> Answer {
    let (send, receive) = channel();
    let reply = Box::new(move |result: Result<T>| send.send(result.is_ok()).unwrap_or_default());
    world.engine.submit(make(world.repository().id, reply)).unwrap();
    receive
}

/// Returns once the metadata thread has applied whatever was submitted before.
fn applied(world: &World) {
    world
        .engine_call(|_, reply| Request::ReuseBlobs { hashes: Vec::new(), is_own: true, reply })
        .unwrap();
}

fn tag(name: &str) -> TagName {
    name.parse().unwrap()
}

fn start_commit(world: &World, area: AreaId, name: Option<&str>) -> Answer {
    let options =
        CommitOptions { tag: name.map(tag), caller: "someone".to_owned(), ..commit_options() };
    submit(world, |_, reply| Request::Commit { area, options, reply })
}

fn set_tag(world: &World, name: &str, number: u64, fresh: bool) -> Answer {
    let (tag, number, now) = (tag(name), VersionNumber(number), Timestamp::now());
    submit(world, |repo, reply| Request::SetTag { repo, tag, number, fresh, now, reply })
}

fn rename_tag(world: &World, from: &str, to: &str) -> Answer {
    let (from, to, now) = (tag(from), tag(to), Timestamp::now());
    submit(world, |repo, reply| Request::RenameTag { repo, from, to, now, reply })
}

fn delete_tag(world: &World, name: &str) -> Answer {
    let (tag, now) = (tag(name), Timestamp::now());
    submit(world, |repo, reply| Request::DeleteTag { repo, tag, now, reply })
}

fn delete(world: &World, number: u64) -> Answer {
    let (numbers, force, now) = (vec![VersionNumber(number)], true, Timestamp::now());
    submit(world, |repo, reply| Request::DeleteVersions { repo, numbers, force, now, reply })
}

fn undelete(world: &World, number: u64) -> Answer {
    let (numbers, now) = (vec![VersionNumber(number)], Timestamp::now());
    submit(world, |repo, reply| Request::UndeleteVersions { repo, numbers, now, reply })
}

fn flag(world: &World, number: u64, released: bool) -> Answer {
    let numbers = vec![VersionNumber(number)];
    let change = FlagChange { released: Some(released), locked: None };
    submit(world, |repo, reply| Request::FlagVersions { repo, numbers, change, reply })
}

fn set_policy(world: &World, keep: u64) -> Answer {
    let policy = (keep > 0).then(|| Policy { keep_unreleased: Some(keep), ..Policy::default() });
    submit(world, |repo, reply| Request::SetPolicy { repo, policy, reply })
}

fn set_quota(world: &World, files: u64) -> Answer {
    let quota = Quota { bytes: None, files: Some(files) };
    submit(world, |repo, reply| Request::SetQuota { repo, quota, reply })
}

fn change_owner(world: &World, mode: u16, uid: u32) -> Answer {
    let change = OwnerChange { mode: Some(mode), uid: Some(uid), gid: None };
    let now = Timestamp::now();
    submit(world, |repo, reply| Request::ChangeRepository { repo, change, now, reply })
}

fn stage(world: &World, name: &str) -> Answer {
    let (name, now) = (name.parse().unwrap(), Timestamp::now());
    let owner = Owner { mode: 0o755, uid: 1, gid: 1 };
    submit(world, |repo, reply| Request::OpenArea {
        repo,
        name,
        owner,
        journalled: true,
        now,
        reply,
    })
}

/// Version 1 is tagged `old`, version 2 is deleted; the area `new` holds what becomes version 3.
fn before_the_commit() -> (World, AreaId) {
    let world = World::with_repository();
    world.publish("one", &[("f", b"1")]);
    world.publish("two", &[("f", b"2")]);
    assert!(set_tag(&world, "old", 1, true).recv().unwrap());
    assert!(delete(&world, 2).recv().unwrap());
    let area = world.stage("new");
    world.write(area, "f", b"3");
    (world, area)
}

/// Makes a change while the flush of a commit named `new` is held back, and compares readers and
/// catalog right then, after the flush, and after a restart.
#[track_caller]
fn beside_a_commit(change: impl FnOnce(&World) -> Answer) -> World {
    let (world, area) = before_the_commit();
    let hold = world.engine.stop_points.hold(StopPoint::Flushing);
    let committed = start_commit(&world, area, Some("new"));
    let three = VersionNumber(3);
    wait::until("the commit is in the catalog", || {
        seen::catalog(&world).versions.contains_key(&three)
    });
    hold.wait_reached();
    let changed = change(&world);
    applied(&world);
    assert!(!seen::registry(&world).versions.contains_key(&three), "it is not on disk");
    let flight = Flight { commits: 1, names: [tag("new")].into() };
    check_in_flight(&world, &flight).unwrap();
    drop(hold);
    assert!(committed.recv().unwrap());
    // Whether it was refused or not, it was answered.
    changed.recv().unwrap();
    let seen = settled(&world);
    assert!(seen.versions.contains_key(&three));
    let world = world.reopen();
    assert_eq!(settled(&world), seen, "after a restart");
    world
}

#[test]
fn a_tag_set_beside_a_commit_of_that_name_wins() {
    let world = beside_a_commit(|world| set_tag(world, "new", 1, false));
    assert_eq!(world.show("new").unwrap().number, VersionNumber(1));
}

#[test]
fn a_tag_moved_over_the_name_of_a_commit_wins() {
    let world = beside_a_commit(|world| rename_tag(world, "old", "new"));
    assert_eq!(world.show("new").unwrap().number, VersionNumber(1));
    world.show("old").unwrap_err();
}

#[test]
fn the_name_of_a_commit_that_nobody_saw_is_nobodys_to_change() {
    for change in [
        (|world| delete_tag(world, "new")) as fn(&World) -> Answer,
        |world| rename_tag(world, "new", "other"),
        |world| set_tag(world, "new", 1, true),
        |world| set_tag(world, "other", 3, true),
        |world| delete(world, 3),
        |world| flag(world, 3, true),
    ] {
        let world = beside_a_commit(|world| {
            let answer = change(world);
            // A refusal waits for no flush.
            assert!(!answer.recv().unwrap());
            let (send, answered) = channel();
            send.send(false).unwrap();
            answered
        });
        assert_eq!(world.show("new").unwrap().number, VersionNumber(3));
        world.show("other").unwrap_err();
    }
}

#[test]
fn every_other_change_beside_a_commit_is_in_both() {
    for change in [
        (|world| delete_tag(world, "old")) as fn(&World) -> Answer,
        |world| set_tag(world, "more", 1, true),
        |world| delete(world, 1),
        |world| undelete(world, 2),
        |world| flag(world, 1, true),
        |world| set_policy(world, 7),
        |world| set_quota(world, 99),
        |world| change_owner(world, 0o700, 77),
        |world| stage(world, "more"),
    ] {
        beside_a_commit(change);
    }
}

/// A commit that changed nothing makes a tag of a version that everybody sees.
#[test]
fn a_version_deleted_beside_a_commit_that_names_it_takes_the_name_along() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"1")]);
    let area = world.stage("same@1");
    let hold = world.engine.stop_points.hold(StopPoint::Flushing);
    let committed = start_commit(&world, area, Some("same"));
    wait::until("the commit is in the catalog", || {
        world.engine.query(|reader| Ok(reader.tags()?.len())).unwrap() == 2
    });
    hold.wait_reached();
    let deleted = delete(&world, 1);
    applied(&world);
    drop(hold);
    assert!(committed.recv().unwrap() && deleted.recv().unwrap());
    let seen = settled(&world);
    let world = world.reopen();
    assert_eq!(settled(&world), seen);
    world.show("same").unwrap_err();
}
