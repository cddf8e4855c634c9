//! Areas of which damage took rows of the catalog: nothing is published that would lose, or bring back,
//! a file without a word.

use cairn::control::protocol::Request;
use cairn::engine::fsck::{Finding, Step, bare, steps};
use cairn::engine::request::Request as EngineRequest;
use cairn::model::name::EntryName;
use cairn::model::tree::Content;
use cairn::store::Store;

use crate::world::{Closed, World, commit};
use support::fsck::{check_clean_store, findings};

const BASE: [(&str, &[u8]); 3] = [("dir/kept", b"kept"), ("file", b"old"), ("gone", b"removed")];

/// A closed store whose area `work@latest` has a changed, a new and a removed file; `sql` was done to its
/// catalog.
fn damaged(sql: &str) -> Closed {
    let world = World::with_repository();
    world.publish("one", &BASE);
    let area = world.stage("work@latest");
    world.write(area, "file", b"changed");
    world.write(area, "dir/new", b"new");
    world.remove(area, "gone");
    for path in ["file", "dir/new"] {
        world.wait_sealed(area, path);
    }
    let closed = world.close();
    check_clean_store(&closed.path());
    let catalog = rusqlite::Connection::open(closed.path().join("catalog.db")).unwrap();
    assert!(catalog.execute(sql, []).unwrap() > 0, "{sql}");
    closed
}

fn without_node(name: &str) -> Closed {
    damaged(&format!(
        "DELETE FROM nodes WHERE id = (SELECT node FROM names WHERE CAST(name AS TEXT) = '{name}')"
    ))
}

/// What a refused commit of the area says; the area says the same.
fn refusal(world: &World) -> String {
    let refused = world.ask(Request::Commit(commit("work@latest"))).unwrap_err().message;
    assert_eq!(world.numbers(), [1], "{refused}");
    let state = world.engine.staging.read();
    assert_eq!(state.areas[&world.area("work@latest")].error, refused);
    refused
}

/// What is at a name of the area; `None`: nothing.
fn is_there(world: &World, path: &str) -> bool {
    let mut at = cairn::model::id::NodeId(world.area("work@latest").0);
    world.engine.load_area(world.area("work@latest")).unwrap();
    path.split('/').all(|name| match world.engine.resolve(at, name.as_bytes()).unwrap() {
        Some(node) => {
            at = node;
            true
        }
        None => false,
    })
}

/// Asserts that nothing is wrong but the count of the content whose row was lost, and corrects that.
fn check_but_for_a_count(closed: &Closed) {
    let (found, _) = findings(&closed.path(), false);
    let [count @ Finding::BlobCount { recorded: 1, counted: 0, .. }] = &found[..] else {
        panic!("{found:#?}");
    };
    let mut store = Store::open(&closed.path()).unwrap();
    assert!(bare::repair(&mut store, &steps(count)[0]).unwrap());
    drop(store);
    check_clean_store(&closed.path());
}

#[test]
fn a_changed_file_without_a_row_is_not_replaced_by_that_of_the_base() {
    let world = without_node("file").open();
    assert!(!is_there(&world, "file"), "the base has an older one");
    let refused = refusal(&world);
    assert!(refused.contains("lost what was at file ("), "{refused}");
    let world = world.reopen();
    assert_eq!(refusal(&world), refused, "a restart does not make it forget");
    let area = world.area("work@latest");
    world.write(area, "file", b"anew");
    world.commit("work@latest");
    assert_eq!(world.bytes("2", "file"), b"anew");
    assert_eq!(world.bytes("2", "dir/new"), b"new");
    check_but_for_a_count(&world.close());
}

#[test]
fn a_new_file_without_a_row_is_named_by_path_and_can_be_given_up() {
    let world = without_node("new").open();
    let refused = refusal(&world);
    assert!(refused.contains("lost what was at dir/new ("), "{refused}");
    let area = world.area("work@latest");
    world.write(area, "dir/new", b"");
    assert_eq!(world.engine.staging.read().areas[&area].error, "", "it is settled");
    world.remove(area, "dir/new");
    world.commit("work@latest");
    assert_eq!(world.entry("2", "dir/new"), None);
    assert_eq!(world.bytes("2", "file"), b"changed");
}

#[test]
fn a_directory_without_a_row_is_lost_with_what_is_in_it() {
    let world = without_node("dir").open();
    assert!(!is_there(&world, "dir"));
    let refused = refusal(&world);
    assert!(refused.contains("lost what was at dir ("), "{refused}");
    let area = world.area("work@latest");
    world.write(area, "dir/again", b"again");
    world.commit("work@latest");
    assert_eq!(world.bytes("2", "dir/again"), b"again");
    assert_eq!(world.entry("2", "dir/kept"), None);
}

#[test]
fn a_lost_name_goes_with_the_directory_that_is_removed() {
    let world = without_node("new").open();
    let area = world.area("work@latest");
    world.rename(area, "dir", "elsewhere");
    let refused = refusal(&world);
    assert!(refused.contains("lost what was at elsewhere/new ("), "{refused}");
    world.remove(area, "elsewhere/kept");
    world.remove(area, "elsewhere");
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    let closed = world.close();
    check_but_for_a_count(&closed);
    let world = closed.open();
    world.commit("work@latest");
    assert_eq!(world.entry("2", "elsewhere"), None);
    assert_eq!(world.entry("2", "dir"), None);
}

#[test]
fn an_area_without_its_top_is_not_published() {
    let world = damaged("DELETE FROM nodes WHERE id = area").open();
    let refused = refusal(&world);
    assert!(refused.contains("the top directory"), "{refused}");
}

#[test]
fn a_lost_whiteout_is_told_and_what_it_hid_is_published_only_once_that_is_accepted() {
    for running in [false, true] {
        let closed = damaged("DELETE FROM names WHERE node IS NULL");
        let (found, _) = findings(&closed.path(), false);
        let [finding @ Finding::LostNames { area, place, recorded: 4, counted: 3 }] = &found[..]
        else {
            panic!("{found:#?}");
        };
        assert_eq!(place, "staging/web/work@latest");
        assert!(!finding.is_repairable(), "what was lost stays lost");
        let world = closed.open();
        assert!(is_there(&world, "gone"), "the base shows through");
        let refused = refusal(&world);
        assert!(refused.contains("the catalog lost 1 name of the area"), "{refused}");
        let world = if running {
            assert!(world.engine.repair(Step::AcceptNames(*area)).unwrap());
            assert!(!world.engine.repair(Step::AcceptNames(*area)).unwrap());
            world
        } else {
            let closed = world.close();
            let mut store = Store::open(&closed.path()).unwrap();
            assert!(bare::repair(&mut store, &steps(finding)[0]).unwrap());
            drop(store);
            check_clean_store(&closed.path());
            closed.open()
        };
        world.remove(world.area("work@latest"), "gone");
        world.commit("work@latest");
        assert_eq!(world.entry("2", "gone"), None);
        check_clean_store(&world.close().path());
    }
}

#[test]
fn a_lost_name_of_a_file_of_several_is_told() {
    let world = World::with_repository();
    world.publish("one", &BASE);
    let area = world.stage("work@latest");
    world.link(area, "file", "second");
    let closed = world.close();
    let catalog = rusqlite::Connection::open(closed.path().join("catalog.db")).unwrap();
    let sql = "DELETE FROM names WHERE CAST(name AS TEXT) = 'second'";
    assert_eq!(catalog.execute(sql, []).unwrap(), 1);
    drop(catalog);
    let (found, _) = findings(&closed.path(), false);
    assert!(
        matches!(found[..], [Finding::LostNames { recorded: 2, counted: 1, .. }]),
        "{found:#?}"
    );
    let refused = refusal(&closed.open());
    assert!(refused.contains("1 name"), "{refused}");
}

#[test]
fn names_are_counted_whatever_becomes_of_them() {
    let world = World::with_repository();
    world.publish("one", &BASE);
    let mut area = world.stage("work@latest");
    let mut world = world;
    for round in 0..6 {
        world.write(area, "a/b", &[round]);
        world.write(area, "c", &[round]);
        world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        world.rename(area, "c", "d");
        world.remove(area, "a/b");
        if round % 2 == 0 {
            world.remove(area, "a");
        }
        world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        world.remove(area, "d");
        let closed = world.close();
        check_clean_store(&closed.path());
        world = closed.open();
        area = world.area("work@latest");
    }
    world.write(area, "last", b"last");
    world.commit("work@latest");
    check_clean_store(&world.close().path());
}

#[test]
fn a_wrong_size_is_found_and_is_not_what_is_published() {
    for size in [0, 3, 1 << 40] {
        let closed = damaged(&format!(
            "UPDATE nodes SET size = {size}
             WHERE id = (SELECT node FROM names WHERE CAST(name AS TEXT) = 'file')"
        ));
        let (found, _) = findings(&closed.path(), false);
        let [finding @ Finding::NodeSize { file, path }] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(path, "staging/web/work@latest/file");
        assert_eq!((file.recorded, file.size), (size, 7));
        let world = closed.open();
        let version = {
            world.commit("work@latest");
            world.entry("2", "file").unwrap()
        };
        assert!(matches!(version.content, Content::File { size: 7, .. }), "{version:?}");
        assert_eq!(world.bytes("2", "file"), b"changed");

        let closed = damaged("UPDATE nodes SET size = 5 WHERE data_kind = 1 AND size = 7");
        let (found, _) = findings(&closed.path(), false);
        let mut store = Store::open(&closed.path()).unwrap();
        assert!(bare::repair(&mut store, &steps(&found[0])[0]).unwrap());
        assert!(!bare::repair(&mut store, &steps(&found[0])[0]).unwrap());
        drop(store);
        check_clean_store(&closed.path());
        assert!(finding.is_repairable());
    }
}

#[test]
fn of_two_sizes_the_one_is_right_that_the_file_has() {
    let closed = damaged("UPDATE blobs SET size = 6 WHERE size = 7");
    let (found, _) = findings(&closed.path(), false);
    assert!(!found.iter().any(|finding| matches!(finding, Finding::NodeSize { .. })), "{found:#?}");
    let world = closed.open();
    let area = world.area("work@latest");
    world.engine.load_area(area).unwrap();
    let file = EntryName::new(b"file").unwrap();
    let top = cairn::model::id::NodeId(area.0);
    let node = world.engine.resolve(top, file.as_bytes()).unwrap().unwrap();
    let state = world.engine.staging.read();
    assert_eq!(state.node(node).unwrap().content().unwrap().attr().size, 7);
}

#[test]
fn an_empty_file_with_a_size_is_found() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "empty", b"");
    let closed = world.close();
    let catalog = rusqlite::Connection::open(closed.path().join("catalog.db")).unwrap();
    assert_eq!(catalog.execute("UPDATE nodes SET size = 9 WHERE kind = 0", []).unwrap(), 1);
    drop(catalog);
    let (found, _) = findings(&closed.path(), false);
    let [finding @ Finding::NodeSize { path, .. }] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(finding.to_string(), format!("{path} has 0 bytes, and 9 are recorded"));
    let mut store = Store::open(&closed.path()).unwrap();
    assert!(bare::repair(&mut store, &steps(finding)[0]).unwrap());
    drop(store);
    check_clean_store(&closed.path());
}
