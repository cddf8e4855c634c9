//! Deletion of versions.

use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::reply::Reply;
use cairn::model::id::VersionNumber;

use crate::world::World;

#[test]
fn a_number_is_never_used_twice() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    world.publish("two", &[("a", b"2")]);
    world.delete(&["latest"], true).unwrap();
    assert_eq!(world.publish("three", &[("a", b"3")]).version.number, VersionNumber(3));

    let world = world.reopen();
    world.delete(&["1", "3"], true).unwrap();
    let world = world.reopen();
    assert_eq!(world.publish("four", &[("a", b"4")]).version.number, VersionNumber(4));
}

#[test]
fn the_newest_and_what_is_tagged_need_force() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    world.publish("two", &[("a", b"2")]);
    let (repository, tag) = ("web".parse().unwrap(), "keep".parse().unwrap());
    let version = "1".parse().unwrap();
    world.ask(Request::SetTag { repository, tag, version }).unwrap();
    for version in ["1", "2"] {
        let error = world.delete(&[version], false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
        assert!(error.message.contains(version), "{error}");
        assert!(error.hint.unwrap().contains("--force"));
    }
    world.delete(&["1", "2"], true).unwrap();
    assert_eq!(world.show("keep").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn its_own_name_does_not_protect_a_version_and_goes_with_it() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    world.publish("two", &[("a", b"2")]);
    let Reply::Deleted(reply) = world.delete(&["one"], false).unwrap() else { panic!() };
    assert_eq!(reply.deleted, [VersionNumber(1)]);
    assert_eq!(world.show("one").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn all_or_none_are_deleted() {
    let world = World::with_repository();
    for (label, bytes) in [("one", b"1"), ("two", b"2"), ("three", b"3")] {
        world.publish(label, &[("a", bytes)]);
    }
    world.delete(&["1", "9"], false).unwrap_err();
    world.delete(&["1", "3"], false).unwrap_err();
    for version in ["1", "2", "3"] {
        world.show(version).unwrap();
    }
}

#[test]
fn an_area_keeps_its_base() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1"), ("b", b"1")]);
    let area = world.stage("work@1");
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().blobs, 0);
    world.write(area, "a", b"changed");
    world.commit("work");
    assert_eq!(world.bytes("2", "b"), b"1");
}
