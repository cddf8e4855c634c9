//! Paths in all versions.

use cairn::control::find::{FindRequest, FoundPath, VersionRange};
use cairn::control::protocol::{CHANGES_MAX, ControlError, ErrorKind, Progress, Request};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, Service};

use crate::world::{World, caller};

fn find(
    world: &World,
    pattern: &str,
    version: Option<&str>,
) -> Result<Vec<FoundPath>, ControlError> {
    let request = Request::Find(FindRequest {
        repository: "web".parse().unwrap(),
        pattern: pattern.parse().unwrap(),
        version: version.map(|version| version.parse().unwrap()),
    });
    let mut found = Vec::new();
    let mut progress = |progress| match progress {
        Progress::Found(some) => {
            assert!(!some.is_empty() && some.len() <= CHANGES_MAX);
            found.extend(some);
        }
        other => panic!("{other:?}"),
    };
    let reply = world.service.call(caller(1), request, Attachment::none(), &mut progress)?.0;
    assert_eq!(reply, Reply::Done);
    Ok(found)
}

/// As a person reads it: `1-3,5 path`.
fn shown(found: &[FoundPath]) -> Vec<String> {
    let range = |VersionRange { from, to }: &VersionRange| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    };
    let line = |found: &FoundPath| {
        let ranges: Vec<_> = found.version_ranges.iter().map(range).collect();
        let slash = if found.is_directory { "/" } else { "" };
        let path = String::from_utf8_lossy(found.path.as_bytes()).into_owned();
        format!("{} {path}{slash}", ranges.join(","))
    };
    found.iter().map(line).collect()
}

#[test]
fn o4_paths_are_found_with_the_versions_that_have_them() {
    let world = World::with_repository();
    world.publish("one", &[("lib/a.so", b"1"), ("lib/b.so", b"1"), ("x", b"1")]);
    for (name, write, remove) in [
        ("two@1", "new/c.so", ""),
        ("three@2", "", "lib/a.so"),
        ("four@3", "lib/a.so", ""),
        ("five@4", "x.so/d.so", "x"),
    ] {
        let area = world.stage(name);
        if !write.is_empty() {
            world.write(area, write, b"2");
        }
        if !remove.is_empty() {
            world.remove(area, remove);
        }
        world.commit(name.split('@').next().unwrap());
    }
    let all = find(&world, "*.so", None).unwrap();
    assert_eq!(
        shown(&all),
        ["1-2,4-5 lib/a.so", "1-5 lib/b.so", "2-5 new/c.so", "5 x.so/", "5 x.so/d.so"]
    );
    assert_eq!(shown(&find(&world, "lib/*.so", Some("3")).unwrap()), ["3 lib/b.so"]);
    assert_eq!(shown(&find(&world, "*.so/", None).unwrap()), ["5 x.so/"]);
    assert_eq!(shown(&find(&world, "x", None).unwrap()), ["1-4 x"]);
    // A range runs over numbers that are gone.
    world.delete(&["2"], true).unwrap();
    assert_eq!(shown(&find(&world, "lib/?.so", None).unwrap()), ["1,4-5 lib/a.so", "1-5 lib/b.so"]);
}

#[test]
fn o4_a_name_that_changes_its_kind_is_a_directory_where_it_is_one_last() {
    let world = World::with_repository();
    world.publish("one", &[("a/x", b"1")]);
    world.stage("two");
    let area = world.area("two");
    world.write(area, "a", b"1");
    let forced = Request::Commit(cairn::control::commit::CommitRequest {
        force: true,
        ..crate::world::commit("two")
    });
    world.ask(forced).unwrap();
    assert_eq!(shown(&find(&world, "a", None).unwrap()), ["1-2 a"]);
    assert_eq!(shown(&find(&world, "a/", None).unwrap()), ["1 a/"]);
    assert_eq!(shown(&find(&world, "**/x", None).unwrap()), ["1 a/x"]);
}

#[test]
fn o4_many_paths_come_in_bounded_batches() {
    let world = World::with_repository();
    let area = world.stage("one");
    let count = CHANGES_MAX * 2 + 1;
    for number in 0..count {
        world.write(area, &format!("file{number}"), b"same");
    }
    world.commit("one");
    assert_eq!(find(&world, "file*", None).unwrap().len(), count);
}

#[test]
fn o4_nothing_found_is_said() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    for (pattern, version) in [("b", None), ("b", Some("latest")), ("a/*", None)] {
        let error = find(&world, pattern, version).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{pattern}");
        assert!(error.message.contains(pattern), "{error}");
    }
    assert_eq!(find(&world, "a", Some("7")).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(find(&World::with_repository(), "a", None).unwrap_err().kind, ErrorKind::NotFound);
}
