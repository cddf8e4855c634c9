//! Leftovers of crashes, and what a run does beside orphans.

use cairn::engine::gc::{GcOptions, Leftover};
use cairn::engine::request::Request;
use cairn::model::hash::BlobHash;
use cairn::model::quota::Usage;

use crate::world::World;
use support::wait;

#[test]
fn a_full_run_finds_what_a_crash_left() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"kept")]);
    let area = world.stage("work");
    let world = world.reopen_changed(|store| {
        let layout = cairn::store::layout::Layout::new(store);
        let stray = BlobHash::of(b"row deleted, file not");
        std::fs::create_dir_all(layout.fan_out(&stray)).unwrap();
        std::fs::write(layout.blob(&stray), b"row deleted, file not").unwrap();
        let file = cairn::store::layout::PrivateId(7);
        for area in [area, cairn::model::id::AreaId(3)] {
            std::fs::create_dir_all(layout.area(area)).unwrap();
            std::fs::write(layout.private(area, file), "abandoned").unwrap();
        }
        std::fs::write(layout.incoming().join("partial"), "download").unwrap();
    });
    assert_eq!(world.run(false, 0).leftovers, 0, "only full runs look");
    let report = world.run(true, 0);
    assert_eq!((report.leftovers, report.blobs, report.errors), (3, 0, 0));
    assert!(world.blob(&BlobHash::of(b"row deleted, file not")).is_none());
    assert!(std::fs::read_dir(world.engine.layout.incoming()).unwrap().next().is_none());
    assert_eq!(world.bytes("1", "f"), b"kept");
    assert_eq!(world.run(true, 0).leftovers, 0);
}

#[test]
fn a_full_run_leaves_a_file_without_a_row_that_somebody_holds() {
    let world = World::with_repository();
    let stray = BlobHash::of(b"its row is on the way");
    let layout = &world.engine.layout;
    std::fs::create_dir_all(layout.fan_out(&stray)).unwrap();
    std::fs::write(layout.blob(&stray), b"its row is on the way").unwrap();
    world.engine.pins.pin(&stray.into());
    assert_eq!(world.run(true, 0).leftovers, 0);
    assert!(world.blob(&stray).is_some());
    world.engine.pins.unpin(&stray.into());
    assert_eq!(world.run(true, 0).leftovers, 1);
    assert!(world.blob(&stray).is_none());
}

/// The sweeper looked before the file was sealed, and tells of it before its row is written.
#[test]
fn a_blob_whose_row_is_not_written_yet_is_no_leftover() {
    let world = World::with_repository();
    let area = world.stage("work");
    for round in 0..20_u32 {
        let bytes = format!("content {round}").into_bytes();
        let (hash, name) = (BlobHash::of(&bytes), format!("f{round}"));
        world.write(area, &name, &bytes);
        world.wait_sealed(area, &name);
        let leftovers = vec![Leftover::Blob(hash)];
        world.engine.submit(Request::Swept { leftovers }).unwrap();
    }
    world.commit("work");
    for round in 0..20_u32 {
        assert_eq!(world.bytes("1", &format!("f{round}")), format!("content {round}").as_bytes());
    }
}

#[test]
fn a_full_run_leaves_what_is_being_written() {
    let world = World::with_repository();
    let area = world.stage("work");
    let large = vec![7_u8; 3 << 20];
    let content = world.open_writer(area, "open");
    content.write(0, &large, cairn::model::time::Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&content);
    world.write(area, "closed", &large[1..]);
    world.run(true, 0);
    world.close_writer(&content);
    world.commit("work");
    assert_eq!(world.bytes("1", "open"), large);
    assert_eq!(world.bytes("1", "closed"), large[1..]);
}

#[test]
fn a_deletion_frees_its_space_by_itself_once_the_protection_is_over() {
    let options = GcOptions { period_seconds: None, protect_seconds: 1 };
    let world = World::with_gc(options);
    world.publish("one", &[("f", b"old")]);
    world.publish("two", &[("f", b"new")]);
    world.delete(&["1"], false).unwrap();
    assert!(world.blob(&BlobHash::of(b"old")).is_some(), "the answer does not wait for it");
    wait::until("the space is back", || world.blob(&BlobHash::of(b"old")).is_none());
    assert!(world.repository().deleted.is_empty());
}

#[test]
fn full_runs_come_by_themselves() {
    let options = GcOptions { period_seconds: Some(1), protect_seconds: 600 };
    let world = World::with_gc(options);
    wait::until("a periodic run", || world.engine.last_run().is_some_and(|run| run.full));
    let first = world.engine.last_run().unwrap().began;
    wait::until("another", || world.engine.last_run().is_some_and(|run| run.began > first));
}

#[test]
fn versions_are_charged_what_they_add() {
    let world = World::with_repository();
    let used = || world.repository().account.usage();
    let usage = |bytes, files| Usage { bytes, files };
    world.publish("one", &[("a", b"12345"), ("d/b", b"123")]);
    assert_eq!(used(), usage(8, 2));
    let area = world.stage("two@latest");
    world.write(area, "a", b"other");
    world.write(area, "e/c", b"1");
    world.commit("two@latest");
    assert_eq!(used(), usage(8 + 6, 4), "d/b is shared");
    let area = world.stage("three@latest");
    world.remove(area, "e/c");
    world.write(area, "a", b"12345");
    world.commit("three@latest");
    assert_eq!(used(), usage(8 + 6 + 5, 5), "a has its old content again");
    world.delete(&["2"], false).unwrap();
    wait::until("it is computed again", || used() == usage(8, 2));
    world.delete(&["1"], false).unwrap();
    wait::until("it is computed again", || used() == usage(8, 2));
    let world = world.reopen();
    assert_eq!(world.repository().account.usage(), usage(8, 2));
}

#[test]
fn a_full_run_corrects_usage() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"12345")]);
    world.publish("two", &[("a", b"123")]);
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        catalog.execute("UPDATE versions SET charge_bytes = 700 WHERE number = 1", []).unwrap();
        catalog.execute("UPDATE versions SET charge_base = NULL WHERE number = 2", []).unwrap();
    });
    let used = || world.repository().account.usage();
    wait::until("what is missing is computed at start", || used().bytes == 703);
    world.run(true, 600);
    assert_eq!(used(), Usage { bytes: 8, files: 2 });
}

#[test]
fn seventy_thousand_equal_and_as_many_empty_files() {
    let world = World::with_repository();
    let area = world.stage("many");
    for number in 0..70_000 {
        let directory = number % 100;
        world.write(area, &format!("equal/{directory}/{number}"), b"always the same");
        world.write(area, &format!("empty/{directory}/{number}"), b"");
    }
    let version = world.commit("many").version;
    assert_eq!((version.files, version.size_bytes), (140_000, 70_000 * 15));
    assert_eq!(world.bytes("1", "equal/33/33"), b"always the same");
    assert_eq!(world.bytes("1", "empty/0/0"), b"");
    world.delete(&["1"], true).unwrap();
    let report = world.run(false, 0);
    assert_eq!((report.blobs, report.bytes), (1, 15));
    let left = world.engine.query(|reader| reader.totals()).unwrap();
    assert_eq!((left.blobs, left.trees), (0, 0));
}

#[test]
fn modes_and_times_are_the_files_own() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"same"), ("b", b"same"), ("old", b"x")]);
    let before = (world.entry("1", "a").unwrap(), world.entry("1", "b").unwrap());
    let area = world.stage("two@1");
    world.write(area, "c", b"same");
    world.commit("two@1");
    world.run(true, 0);
    assert_eq!((world.entry("1", "a").unwrap(), world.entry("1", "b").unwrap()), before);
    assert_eq!(world.entry("2", "a").unwrap(), before.0);
    assert_ne!(world.entry("2", "c").unwrap().attributes.mtime, before.0.attributes.mtime);
}
