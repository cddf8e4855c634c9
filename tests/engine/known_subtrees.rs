//! Directories that an import puts as trees, because the store has them with all that is below.

use cairn::control::protocol::ErrorKind;
use cairn::engine::gc::RunKind;
use cairn::engine::request::Request as EngineRequest;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::import::{ImportContent, ImportEntry};
use cairn::model::quota::Quota;
use cairn::model::time::Timestamp;
use cairn::model::tree::Content;

use crate::world::{Import, World, committed, entry};
use support::{fsck, wait};

const FILES: [(&str, &[u8]); 3] = [("d/a", b"one"), ("d/e/b", b"two"), ("f", b"three")];

/// A world with version 1, and the tree of its directory `d`.
fn world() -> (World, TreeHash) {
    let world = World::with_repository();
    world.publish("first", &FILES);
    let tree = tree(&world, "1", "d");
    (world, tree)
}

fn tree(world: &World, version: &str, path: &str) -> TreeHash {
    match world.entry(version, path).unwrap().content {
        Content::Directory { tree, .. } => tree,
        other => panic!("{other:?}"),
    }
}

fn whole(path: &str, tree: TreeHash) -> ImportEntry {
    ImportEntry { content: ImportContent::Tree { tree }, ..entry(path, ImportContent::Directory) }
}

#[test]
fn v3_a_directory_that_is_there_needs_no_look_at_its_entries() {
    let (world, tree) = world();
    let import = Import::mirror(&world);
    let unknown = TreeHash::of(b"unknown");
    assert_eq!(import.known_trees(&[("x/y", tree), ("z", unknown)]), [true, false]);
    import.put(vec![whole("x/y", tree), whole("again", tree)]).unwrap();
    let version = committed(import.finish()).version;
    assert_eq!((version.files, version.directories), (4, 5));
    for path in ["x/y/a", "again/a"] {
        assert_eq!(world.bytes("2", path), b"one");
    }
    assert_eq!(world.bytes("2", "x/y/e/b"), b"two");
    assert!(world.entry("2", "f").is_none());
    assert_eq!(world.entry("2", "x/y").unwrap().attributes.mode, 0o755);
    fsck::check_store(&world.close().path());
}

#[test]
fn the_version_is_the_one_that_its_entries_make() {
    let (world, _) = world();
    let put = |import: &Import<'_>, path: &str| {
        import.put(vec![entry(path, ImportContent::Directory)]).unwrap();
        import.put_file(&format!("{path}/a"), b"one");
        import.put(vec![entry(path, ImportContent::Directory)]).unwrap();
    };
    let import = Import::mirror(&world);
    put(&import, "p");
    let by_entries = committed(import.finish()).version;
    let import = Import::mirror(&world);
    let below = tree(&world, "2", "p");
    assert_eq!(import.known_trees(&[("p", below)]), [true]);
    // What only the path tells of comes from the first entry.
    import.put(vec![whole("p", below)]).unwrap();
    let again = committed(import.finish());
    assert_eq!((again.changed, again.version.hash), (false, by_entries.hash));
}

#[test]
fn an_addition_takes_only_what_changes_nothing_else() {
    let (world, of_d) = world();
    let of_e = tree(&world, "1", "d/e");
    let import = Import::additive(&world);
    let wanted = [("d", of_d), ("d/e", of_e), ("d", of_e), ("f/x", of_e), ("d/n", of_e)];
    // Another directory, with names of its own; below a file; a new name.
    assert_eq!(import.known_trees(&wanted), [true, true, false, false, true]);
    let refused = import.put(vec![whole("d", of_e)]).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage, "{refused}");
    let import = Import::additive(&world);
    assert_eq!(import.known_trees(&wanted[1..]), [true, false, false, true]);
    import.put(vec![whole("d/e", of_e), whole("d/n", of_e)]).unwrap();
    committed(import.finish());
    for (path, bytes) in FILES.into_iter().chain([("d/n/b", &b"two"[..])]) {
        assert_eq!(world.bytes("2", path), bytes);
    }
}

#[test]
fn what_this_import_was_not_told_of_is_refused() {
    let (world, tree) = world();
    let other = Import::mirror(&world);
    assert_eq!(other.known_trees(&[("d", tree)]), [true]);
    let import = Import::begin(&world, 2, crate::world::begin(true)).unwrap();
    let refused = import.put(vec![whole("d", tree)]).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage, "{refused}");
    let refused = other.put(vec![whole("", tree)]).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage, "{refused}");
}

#[test]
fn g3_what_an_import_was_told_of_outlives_its_version() {
    let (world, tree) = world();
    let import = Import::mirror(&world);
    assert_eq!(import.known_trees(&[("d", tree)]), [true]);
    world.publish("second", &[("other", b"other")]);
    world.delete(&["1"], true).unwrap();
    world.run(true, 0);
    assert!(world.blob(&BlobHash::of(b"three")).is_none(), "what nobody holds is collected");
    import.put(vec![whole("d", tree)]).unwrap();
    committed(import.finish());
    assert_eq!(world.bytes("3", "d/a"), b"one");
    assert_eq!(world.bytes("3", "d/e/b"), b"two");
    fsck::check_store(&world.close().path());
}

#[test]
fn g3_what_an_import_held_goes_when_it_is_aborted() {
    let (world, tree) = world();
    let import = Import::mirror(&world);
    assert_eq!(import.known_trees(&[("d", tree)]), [true]);
    world.publish("second", &[("other", b"other")]);
    world.delete(&["1"], true).unwrap();
    world.run(true, 0);
    assert!(world.blob(&BlobHash::of(b"one")).is_some());
    import.put(vec![whole("d", tree)]).unwrap();
    import.abort().unwrap();
    world.run(true, 0);
    assert!(world.blob(&BlobHash::of(b"one")).is_none());
    fsck::check_store(&world.close().path());
}

#[test]
fn hardlinks_are_put_one_by_one() {
    let world = World::with_repository();
    let area = world.stage("first");
    world.write(area, "d/a", b"one");
    world.link(area, "d/a", "d/b");
    world.commit("first");
    let tree = tree(&world, "1", "d");
    let import = Import::mirror(&world);
    assert_eq!(import.known_trees(&[("d", tree)]), [false]);
}

#[test]
fn r5_where_anything_is_damaged_nothing_is_taken_unseen() {
    let (world, tree) = world();
    let hash = BlobHash::of(b"one");
    let damaged = || world.engine.query(|reader| reader.blob(&hash)).unwrap().unwrap().is_damaged();
    std::fs::remove_file(world.engine.layout.blob(&hash)).unwrap();
    world.engine.report_damage(hash);
    wait::until("it is noted", damaged);
    let import = Import::mirror(&world);
    assert_eq!(import.known_trees(&[("d", tree)]), [false]);
    import.put_file("d/a", b"one");
    committed(import.finish());
    assert_eq!(world.bytes("1", "d/a"), b"one", "healed");
}

#[test]
fn g15_a_whole_directory_counts() {
    let (world, tree) = world();
    let quota = Quota { bytes: None, files: Some(3) };
    world.engine_call(|repo, reply| EngineRequest::SetQuota { repo, quota, reply }).unwrap();
    let import = Import::additive(&world);
    assert_eq!(import.known_trees(&[("new", tree)]), [true]);
    import.put(vec![whole("new", tree)]).unwrap();
    let refused = import.finish().unwrap_err();
    assert!(refused.message.contains("quota"), "{refused}");
}

/// The look at the inner one left it in memory, and the outer one was taken for changed.
#[test]
fn v3_a_directory_and_one_in_it_are_there_when_both_are_asked_for() {
    let (world, outer) = world();
    let inner = tree(&world, "1", "d/e");
    let import = Import::additive(&world);
    assert_eq!(import.known_trees(&[("d", outer), ("d/e", inner)]), [true, true]);
    import.put(vec![whole("d", outer)]).unwrap();
    import.put_file("g", b"four");
    committed(import.finish());
    for (path, bytes) in FILES {
        assert_eq!(world.bytes("2", path), bytes, "{path}");
    }
    // What was changed is something else.
    let import = Import::additive(&world);
    import.put_file("d/e/b", b"changed");
    assert_eq!(import.known_trees(&[("d", outer), ("d/e", inner)]), [false, false]);
}

fn changed(world: World, sql: &str) -> World {
    world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute_batch(sql).unwrap();
    })
}

#[test]
fn g5_what_a_whole_directory_holds_is_reused() {
    let (world, tree) = world();
    let world = changed(world, "UPDATE blobs SET interest = 9; UPDATE trees SET interest = 9;");
    let import = Import::mirror(&world);
    assert_eq!(import.known_trees(&[("d", tree)]), [true]);
    import.put(vec![whole("d", tree)]).unwrap();
    committed(import.finish());
    world.delete(&["1", "2"], true).unwrap();
    let kind = RunKind { full: false, protect_seconds: Some(600) };
    let kept = world.engine.dry_run(kind, Timestamp::now()).unwrap().kept;
    assert_eq!((kept.free.count, kept.protected.count), (1, 2));
    // So long ago that nobody takes it back.
    let world = changed(world, "UPDATE versions SET deleted_s = 9");
    world.run(false, 600);
    for (path, bytes) in FILES {
        assert_eq!(world.blob(&BlobHash::of(bytes)).is_some(), path != "f", "{path}");
    }
}
