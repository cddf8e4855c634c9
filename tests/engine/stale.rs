//! Areas whose base is not the newest version any more.

use cairn::control::commit::CommitRequest;
use cairn::control::protocol::{DETAIL_VERSIONS_MAX, ErrorDetail, ErrorKind, Request};
use cairn::model::id::VersionNumber;

use crate::world::{World, commit, committed};

/// A version, an area on it, and another version that came since.
fn overtaken() -> World {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1"), ("b", b"1")]);
    let area = world.stage("work@1");
    world.write(area, "a", b"ours");
    let other = world.stage("two@1");
    world.write(other, "b", b"theirs");
    world.commit("two");
    world
}

#[test]
fn a_stale_base_is_refused_with_what_came_between() {
    let world = overtaken();
    let error = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    let hint = error.hint.as_deref().unwrap();
    assert!(hint.contains("--onto-latest") && hint.contains("--force"), "{hint}");
    let Some(ErrorDetail::StaleBase { base, between }) = error.detail.as_deref() else { panic!() };
    assert_eq!(*base, Some(VersionNumber(1)));
    assert_eq!(between.iter().map(|version| version.number.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn only_the_last_of_many_versions_are_told() {
    let world = World::with_repository();
    world.publish("first", &[("a", b"0")]);
    let area = world.stage("work@1");
    world.write(area, "a", b"ours");
    let count = DETAIL_VERSIONS_MAX + 3;
    for number in 0..count {
        world.publish(&format!("v-{number}"), &[("a", number.to_string().as_bytes())]);
    }
    let error = world.ask(Request::Commit(commit("work"))).unwrap_err();
    let Some(ErrorDetail::StaleBase { between, .. }) = error.detail.as_deref() else { panic!() };
    assert_eq!(between.len(), DETAIL_VERSIONS_MAX);
    assert_eq!(between.last().unwrap().number.0, 1 + count as u64);
}

#[test]
fn a_merge_keeps_both_sides() {
    let world = overtaken();
    let request = CommitRequest { onto_latest: true, ..commit("work") };
    let made = committed(world.ask(Request::Commit(request))).version;
    assert_eq!(made.number, VersionNumber(3));
    assert_eq!(world.bytes("3", "a"), b"ours");
    assert_eq!(world.bytes("3", "b"), b"theirs");
}

#[test]
fn force_publishes_the_area_as_it_is() {
    let world = overtaken();
    let request = CommitRequest { force: true, ..commit("work") };
    committed(world.ask(Request::Commit(request)));
    assert_eq!(world.bytes("3", "a"), b"ours");
    assert_eq!(world.bytes("3", "b"), b"1");
}

#[test]
fn conflicts_are_named_and_the_area_stays() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let area = world.stage("work@1");
    world.write(area, "a", b"ours");
    let other = world.stage("two@1");
    world.write(other, "a", b"theirs");
    world.commit("two");
    let request = CommitRequest { onto_latest: true, ..commit("work") };
    let error = world.ask(Request::Commit(request.clone())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    let Some(ErrorDetail::Conflicts(paths)) = error.detail.as_deref() else { panic!("{error:?}") };
    assert_eq!(paths, &[b"a"[..].into()]);

    world.write(area, "a", b"theirs");
    committed(world.ask(Request::Commit(request)));
}

#[test]
fn an_area_without_a_base_is_never_stale() {
    let world = World::with_repository();
    world.stage("work");
    world.publish("one", &[("a", b"1")]);
    assert!(world.commit("work").changed);
}
