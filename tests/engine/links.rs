//! Hardlink groups through moves of directories, commits, imports and restarts.

use cairn::model::import::ImportContent;

use crate::world::{Import, World, committed, entry};
use support::fsck::check_clean_store;

/// A directory that moves keeps its groups; a new one at its old path gets its own.
#[test]
fn directories_that_move_and_are_filled_again_keep_their_files() {
    let mut world = World::with_repository();
    for day in ["monday", "tuesday", "wednesday"] {
        let name = if day == "monday" { day.to_owned() } else { format!("{day}@latest") };
        let area = world.stage(&name);
        for (from, to) in [("d.1", "d.2"), ("d.0", "d.1")] {
            if has(&world, from) {
                world.rename(area, from, to);
            }
        }
        world.write(area, "d.0/report", day.as_bytes());
        world.link(area, "d.0/report", "d.0/newest");
        world.commit(&name);
        world = world.reopen();
    }
    let groups =
        [["d.0/newest", "d.0/report"], ["d.1/newest", "d.1/report"], ["d.2/newest", "d.2/report"]];
    assert_eq!(world.links("3"), groups);
    let area = world.stage("again@latest");
    world.write(area, "d.0/report", b"changed");
    world.commit("again@latest");
    assert_eq!(world.links("4"), groups);
    for (version, expected) in [("3", "wednesday"), ("4", "changed")] {
        for (directory, expected) in [("d.0", expected), ("d.1", "tuesday"), ("d.2", "monday")] {
            for name in ["report", "newest"] {
                let path = format!("{directory}/{name}");
                assert_eq!(world.bytes(version, &path), expected.as_bytes(), "{version}:{path}");
            }
        }
    }
    check_clean_store(&world.close().path());
}

/// Whether the newest version has something at a path.
fn has(world: &World, path: &str) -> bool {
    world.engine.registry.by_name("web").unwrap().versions.iter().next().is_some()
        && world.entry("latest", path).is_some()
}

/// Groups with names inside and outside of what moves stay one file, before and after a restart.
#[test]
fn a_group_that_reaches_out_of_a_moved_directory_stays_one_file() {
    for restarts in [false, true] {
        let mut world = World::with_repository();
        let area = world.stage("one");
        world.write(area, "d/s/deep/a", b"old");
        world.link(area, "d/s/deep/a", "z");
        world.write(area, "d/s/x", b"inner");
        world.link(area, "d/s/x", "d/s/y");
        world.write(area, "d/s/other", b"other");
        world.link(area, "d/s/other", "d/o");
        world.commit("one");
        let mut area = world.stage("two@latest");
        world.rename(area, "d/s", "moved");
        world.rename(area, "moved/deep", "deeper");
        if restarts {
            world = world.reopen();
            area = world.area("two@latest");
        }
        world.write(area, "z", b"new");
        world.write(area, "moved/x", b"changed");
        world.commit("two@latest");
        assert_eq!(
            world.links("2"),
            [["d/o", "moved/other"], ["deeper/a", "z"], ["moved/x", "moved/y"]]
        );
        assert_eq!(world.bytes("2", "deeper/a"), b"new");
        assert_eq!(world.bytes("2", "moved/y"), b"changed");
        assert_eq!(world.bytes("2", "d/o"), b"other");
        check_clean_store(&world.close().path());
    }
}

/// One name of a group moves with its directory, and nobody ever looks at the others.
#[test]
fn names_that_were_not_looked_at_follow_the_move() {
    let world = World::with_repository();
    let area = world.stage("one");
    world.write(area, "a/f", b"text");
    world.link(area, "a/f", "b/f");
    world.link(area, "a/f", "c/f");
    world.commit("one");
    let area = world.stage("two@latest");
    world.rename(area, "a", "z");
    world.commit("two@latest");
    assert_eq!(world.links("2"), [["b/f", "c/f", "z/f"]]);
    let area = world.stage("three@latest");
    world.remove(area, "b/f");
    world.commit("three@latest");
    assert_eq!(world.links("3"), [["c/f", "z/f"]]);
    check_clean_store(&world.close().path());
}

/// A name of a group gets another place, and nobody ever looks at the others: as a file, with its directory, and with
/// a directory around the names of another group.
#[test]
fn n5_a_file_that_moves_stays_one_file_with_names_that_were_not_looked_at() {
    for (from, to, expected) in [
        ("a/f", "z", [["b/f", "c/f", "z"], ["a/d/g", "a/e/g", "a/h"]]),
        ("a/f", "a/z", [["a/z", "b/f", "c/f"], ["a/d/g", "a/e/g", "a/h"]]),
        ("a/h", "c/h", [["a/f", "b/f", "c/f"], ["a/d/g", "a/e/g", "c/h"]]),
        ("a/d", "d", [["a/f", "b/f", "c/f"], ["a/e/g", "a/h", "d/g"]]),
        ("a/d/g", "a/e/x", [["a/f", "b/f", "c/f"], ["a/e/g", "a/e/x", "a/h"]]),
        ("a", "z", [["b/f", "c/f", "z/f"], ["z/d/g", "z/e/g", "z/h"]]),
    ] {
        let world = World::with_repository();
        let area = world.stage("one");
        for (first, others) in [("a/f", ["b/f", "c/f"]), ("a/d/g", ["a/e/g", "a/h"])] {
            world.write(area, first, first.as_bytes());
            others.iter().for_each(|other| world.link(area, first, other));
        }
        world.commit("one");
        let area = world.stage("two@latest");
        world.rename(area, from, to);
        world.commit("two@latest");
        let mut expected = expected.map(|group| group.map(str::to_owned).to_vec());
        expected.sort();
        assert_eq!(world.links("2"), expected, "{from} became {to}");
        check_clean_store(&world.close().path());
    }
}

/// The same tree has the same hash, whether it came to be by moves or was imported as it is (N6).
#[test]
fn a_tree_is_the_same_however_it_came_to_be() {
    let world = World::with_repository();
    import(&world, "d.0");
    let area = world.stage("moved@latest");
    world.rename(area, "d.0", "d.1");
    world.commit("moved@latest");
    import(&world, "d.1");
    assert_eq!(world.tree("2"), world.tree("3"));
    let (again, changed) = import(&world, "d.1");
    assert_eq!((again, changed), (3, false));
}

/// Publishes a directory with groups inside, and one that reaches out; says the version and whether
/// it is new.
fn import(world: &World, directory: &str) -> (u64, bool) {
    let import = Import::mirror(world);
    let path = |name: &str| format!("{directory}/{name}");
    import.put(vec![entry("", ImportContent::Directory)]).unwrap();
    for name in ["", "/s"] {
        let path = format!("{directory}{name}");
        import.put(vec![entry(&path, ImportContent::Directory)]).unwrap();
    }
    import.put_file(&path("s/f"), b"inside");
    import.put_file(&path("s/g"), b"outside");
    for (to, name) in [("s/f", path("f")), ("s/g", "z".to_owned())] {
        let to = path(to).into_bytes().into();
        import.put(vec![entry(&name, ImportContent::Hardlink { to })]).unwrap();
    }
    let reply = committed(import.finish());
    (reply.version.number.0, reply.changed)
}
