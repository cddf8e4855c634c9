//! The history of a repository and of its paths.

use cairn::control::diff::DiffKind;
use cairn::control::log::{LOG_ENTRIES_MAX, LogEntry, LogRequest};
use cairn::control::protocol::{ControlError, ErrorKind, Progress, Request};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, Service};

use crate::world::{World, caller};

fn log(world: &World, path: &str, limit: Option<u64>) -> Result<Vec<LogEntry>, ControlError> {
    let (repository, path) = ("web".parse().unwrap(), path.as_bytes().into());
    let request = Request::Log(LogRequest { repository, path, limit });
    let mut entries = Vec::new();
    let mut progress = |progress| match progress {
        Progress::Log(some) => {
            assert!(!some.is_empty() && some.len() <= LOG_ENTRIES_MAX);
            entries.extend(some);
        }
        other => panic!("{other:?}"),
    };
    let reply = world.service.call(caller(1), request, Attachment::none(), &mut progress)?.0;
    assert_eq!(reply, Reply::Done);
    Ok(entries)
}

/// Version 1 has `a` and `d/x`; 2 changes `d/x` and adds `d/y`; 3 removes `a`; 4 brings `a` back.
fn history() -> World {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1"), ("d/x", b"1")]);
    let area = world.stage("two@1");
    world.write(area, "d/x", b"four");
    world.write(area, "d/y", b"22");
    world.commit("two");
    let area = world.stage("three@2");
    world.remove(area, "a");
    world.commit("three");
    let area = world.stage("four@3");
    world.write(area, "a", b"again");
    world.commit("four");
    world
}

#[test]
fn o4_each_version_has_the_size_of_its_difference() {
    let world = history();
    let all = log(&world, "", None).unwrap();
    let numbers: Vec<_> = all.iter().map(|entry| entry.version.number.0).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);
    for (entry, before) in all.iter().zip(["3", "2", "1"]) {
        let (_, totals) = world.diff(before, &entry.version.number.to_string());
        let size = &entry.size;
        assert_eq!(
            (size.added, size.removed, size.modified),
            (totals.added, totals.removed, totals.modified)
        );
        assert_eq!((entry.since.unwrap().to_string(), entry.change), (before.to_owned(), None));
    }
    let bytes: Vec<_> =
        all.iter().map(|entry| (entry.size.added_bytes, entry.size.removed_bytes)).collect();
    assert_eq!(bytes, [(5, 0), (0, 1), (6, 1), (2, 0)]);
    // The first is compared with nothing: two files and a directory.
    assert_eq!((all[3].since, all[3].size.added), (None, 3));
    assert_eq!(log(&world, "", Some(2)).unwrap(), all[..2]);
    assert_eq!(log(&world, "", Some(0)).unwrap(), []);
}

#[test]
fn o4_a_path_has_the_versions_in_which_it_changed() {
    use DiffKind::{Added, Modified, Removed};
    let world = history();
    let changes = |path| -> Vec<_> {
        let entries = log(&world, path, None).unwrap().into_iter();
        entries.map(|entry| (entry.version.number.0, entry.change.unwrap())).collect()
    };
    assert_eq!(changes("a"), [(4, Added), (3, Removed), (1, Added)]);
    assert_eq!(changes("d/x"), [(2, Modified), (1, Added)]);
    assert_eq!(changes("d/y"), [(2, Added)]);
    assert_eq!(changes("d"), [(2, Modified), (1, Added)]);
    let newest = log(&world, "a", Some(1)).unwrap();
    assert_eq!((newest.len(), newest[0].version.number.0), (1, 4));
    let directory = &log(&world, "d", Some(1)).unwrap()[0];
    // The directory's own time changed, too.
    assert_eq!((directory.size.added, directory.size.added_bytes), (1, 6));
}

#[test]
fn o4_a_version_that_is_gone_is_stepped_over() {
    let world = history();
    world.delete(&["3"], true).unwrap();
    let of_a: Vec<_> =
        log(&world, "a", None).unwrap().iter().map(|entry| entry.version.number.0).collect();
    // Between 2 and 4 it changed from one content to another.
    assert_eq!(of_a, [4, 1]);
    assert_eq!(log(&world, "a", None).unwrap()[0].since.unwrap().0, 2);
}

#[test]
fn o4_what_is_in_no_version_is_said() {
    let world = history();
    for path in ["none", "a/below", "d/x/y"] {
        let error = log(&world, path, None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{path}");
        assert!(error.message.contains(path), "{error}");
    }
    assert_eq!(log(&world, "../a", None).unwrap_err().kind, ErrorKind::Usage);
    let empty = World::with_repository();
    assert_eq!(log(&empty, "", None).unwrap(), []);
}

#[test]
fn o4_a_long_history_comes_in_parts() {
    let world = World::with_repository();
    let area = world.stage("first");
    world.write(area, "a", b"0");
    world.commit("first");
    let count = LOG_ENTRIES_MAX + 2;
    for number in 1..count {
        let area = world.stage(&format!("n{number}@latest"));
        world.write(area, "a", number.to_string().as_bytes());
        world.commit(&format!("n{number}"));
    }
    assert_eq!(log(&world, "a", None).unwrap().len(), count);
}
