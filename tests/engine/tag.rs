//! Tags.

use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::reply::Reply;
use cairn::control::tags::TagInfo;
use cairn::model::id::VersionNumber;

use crate::world::World;

fn set(world: &World, tag: &str, version: &str) -> Result<Reply, ErrorKind> {
    let (tag, version) = (tag.parse().unwrap(), version.parse().unwrap());
    let request = Request::SetTag { repository: "web".parse().unwrap(), tag, version };
    world.ask(request).map_err(|error| error.kind)
}

fn tags(world: &World) -> Vec<TagInfo> {
    match world.ask(Request::Tags { repository: "web".parse().unwrap() }).unwrap() {
        Reply::Tags(tags) => tags,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tag_is_made_moved_and_deleted() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    world.publish("two", &[("a", b"2")]);
    set(&world, "stable", "1").unwrap();
    assert_eq!(world.show("stable").unwrap().number, VersionNumber(1));
    set(&world, "stable", "latest").unwrap();
    assert_eq!(world.show("stable").unwrap().number, VersionNumber(2));

    let request =
        Request::DeleteTag { repository: "web".parse().unwrap(), tag: "stable".parse().unwrap() };
    world.ask(request.clone()).unwrap();
    assert_eq!(world.ask(request).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_tag_needs_a_version() {
    let world = World::with_repository();
    assert_eq!(set(&world, "stable", "latest").unwrap_err(), ErrorKind::NotFound);
    assert_eq!(set(&world, "stable", "4").unwrap_err(), ErrorKind::NotFound);
    assert!(tags(&world).is_empty());
}

#[test]
fn tags_are_listed_by_name_and_say_whether_they_protect() {
    let world = World::with_repository();
    world.publish("own", &[("a", b"1")]);
    set(&world, "given", "1").unwrap();
    let listed: Vec<_> =
        tags(&world).into_iter().map(|tag| (tag.name.to_string(), tag.protects)).collect();
    assert_eq!(listed, [("given".to_owned(), true), ("own".to_owned(), false)]);
    assert_eq!(world.show("1").unwrap().tags.len(), 2);
}
