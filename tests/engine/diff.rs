//! Differences of versions.

use cairn::control::diff::DiffKind;
use cairn::control::protocol::{CHANGES_MAX, ErrorKind, Request};

use crate::world::World;

#[test]
fn differences_come_by_path() {
    let world = World::with_repository();
    world.publish("one", &[("d/changed", b"1"), ("d/removed", b"1"), ("same", b"1")]);
    let area = world.stage("two@1");
    world.write(area, "d/changed", b"2");
    world.remove(area, "d/removed");
    world.write(area, "added", b"1");
    world.commit("two");

    let (batches, totals) = world.diff("1", "two");
    let files: Vec<_> = batches
        .iter()
        .flatten()
        .filter(|change| !change.directory)
        .map(|change| (change.change, String::from_utf8_lossy(change.path.as_bytes()).into_owned()))
        .collect();
    let expected = [
        (DiffKind::Added, "added"),
        (DiffKind::Modified, "d/changed"),
        (DiffKind::Removed, "d/removed"),
    ];
    assert_eq!(files, expected.map(|(kind, path)| (kind, path.to_owned())));
    assert_eq!((totals.added, totals.removed), (1, 1));
}

#[test]
fn a_version_does_not_differ_from_itself() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let (batches, totals) = world.diff("1", "latest");
    assert!(batches.is_empty());
    assert_eq!((totals.added, totals.removed, totals.modified), (0, 0, 0));
}

#[test]
fn many_differences_come_in_bounded_batches() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let area = world.stage("two@1");
    let count = CHANGES_MAX * 2 + 1;
    for number in 0..count {
        world.write(area, &format!("file{number}"), b"same");
    }
    world.commit("two");
    let (batches, totals) = world.diff("1", "2");
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [CHANGES_MAX, CHANGES_MAX, 1]);
    assert_eq!(totals.added, count as u64);
}

#[test]
fn versions_of_different_repositories_are_compared() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let request = Request::Diff {
        repository: "web".parse().unwrap(),
        first: "1".parse().unwrap(),
        other_repository: "app".parse().unwrap(),
        second: "latest".parse().unwrap(),
    };
    let error = world.ask(request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("`app`"), "{error}");
}
