//! Repositories: made, listed, deleted.

use cairn::control::protocol::{ErrorKind, Request};
use cairn::control::reply::Reply;

use crate::world::{OWNER, World, create};

fn names(world: &World) -> Vec<String> {
    match world.ask(Request::Repositories).unwrap() {
        Reply::Repositories(all) => all.into_iter().map(|one| one.name.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

fn delete(name: &str) -> Request {
    Request::DeleteRepository { name: name.parse().unwrap() }
}

#[test]
fn a_repository_belongs_to_who_made_it() {
    let world = World::new();
    let Reply::Repository(made) = world.ask(create("web")).unwrap() else { panic!() };
    assert_eq!((made.uid, made.gid, made.mode), (OWNER.0, OWNER.1, 0o755));
    assert_eq!((made.versions, made.latest, made.areas, made.tags), (0, None, 0, 0));
}

#[test]
fn repositories_are_listed_by_name() {
    let world = World::new();
    for name in ["web", "app", "docs"] {
        world.ask(create(name)).unwrap();
    }
    assert_eq!(names(&world), ["app", "docs", "web"]);
}

#[test]
fn a_taken_name_is_refused() {
    let world = World::with_repository();
    let error = world.ask(create("web")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.message.contains("`web`"), "{error}");
}

#[test]
fn only_an_empty_repository_is_deleted() {
    let world = World::with_repository();
    world.stage("work");
    let error = world.ask(delete("web")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.hint.unwrap().contains("cairn discard"));

    let (repository, area) = ("web".parse().unwrap(), "work".parse().unwrap());
    world.ask(Request::Discard { repository, area }).unwrap();
    world.ask(delete("web")).unwrap();
    assert!(names(&world).is_empty());
}

#[test]
fn what_does_not_exist_is_named_with_a_hint() {
    let world = World::new();
    let error = world.ask(delete("web")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("`web`"), "{error}");
    assert!(error.hint.unwrap().contains("cairn list"));
}
