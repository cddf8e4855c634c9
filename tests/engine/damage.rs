//! Blobs whose files are not what they should be: whoever finds out, and whenever (H3, H5).

use std::fs;
use std::path::Path;

use cairn::control::protocol::Request;
use cairn::engine::request::{Request as EngineRequest, Reuse};
use cairn::model::hash::BlobHash;

use crate::common::wait;
use crate::world::{Import, World, commit, committed};

fn is_damaged(world: &World, hash: &BlobHash) -> Option<bool> {
    world.engine.query(|reader| reader.blob(hash)).unwrap().map(|row| row.damaged)
}

/// Puts other bytes of the same length in the blob's file.
fn spoil(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::remove_file(file).unwrap();
    fs::write(file, vec![b'#'; usize::try_from(length).unwrap()]).unwrap();
}

#[test]
fn damage_of_a_blob_whose_row_comes_later_is_noted() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    let hash = BlobHash::of(b"imported");
    // Its row comes with the trees, or a second later.
    spoil(&world.engine.layout.blob(&hash));
    world.engine.report_damage(hash);
    wait::until("it is noted", || is_damaged(&world, &hash) == Some(true));
    import.put_file("again", b"imported");
    committed(import.finish());
    assert_eq!(is_damaged(&world, &hash), Some(false), "stored again, it is healed");
    assert_eq!(world.bytes("1", "a"), b"imported");
}

#[test]
fn damage_of_what_nobody_knows_is_harmless() {
    let world = World::with_repository();
    let hash = BlobHash::of(b"collected meanwhile");
    world.engine.report_damage(hash);
    world.publish("v1", &[("f", b"collected meanwhile")]);
    assert_eq!(is_damaged(&world, &hash), Some(false));
}

#[test]
fn what_an_outage_took_is_found_before_it_is_published() {
    let world = World::with_repository();
    let area = world.stage("work");
    for path in ["lost", "kept"] {
        world.write(area, path, path.as_bytes());
        world.wait_sealed(area, path);
    }
    let lost = BlobHash::of(b"lost");
    let world = world.reopen_changed(|store| {
        let catalog = rusqlite::Connection::open(store.join("catalog.db")).unwrap();
        let notes = "UPDATE meta SET value = 'no' WHERE key = 'clean';
                     UPDATE meta SET value = 'another' WHERE key = 'boot';";
        catalog.execute_batch(notes).unwrap();
        spoil(&cairn::store::layout::Layout::new(store).blob(&lost));
    });
    let refused = world.ask(Request::Commit(commit("work"))).unwrap_err();
    assert!(refused.message.contains("lost"), "{refused:?}");
    let unchecked = || world.engine.query(|reader| reader.meta("unchecked_since")).unwrap();
    wait::until("all is checked", || unchecked().as_deref() == Some(""));
    assert_eq!(is_damaged(&world, &lost), Some(true));
    world.write(world.area("work"), "lost", b"lost");
    world.commit("work");
    assert_eq!(world.bytes("1", "lost"), b"lost");
}

#[test]
fn a_blob_that_is_missing_in_one_area_keeps_no_other_from_being_published() {
    let world = World::with_repository();
    let area = world.stage("one");
    world.write(area, "f", b"missing");
    world.wait_sealed(area, "f");
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    let hash = BlobHash::of(b"missing");
    fs::remove_file(world.engine.layout.blob(&hash)).unwrap();
    world.engine.pool.forget_fd(&hash);
    let area = world.stage("two");
    world.write(area, "g", b"there");
    world.ask(Request::Commit(commit("two"))).unwrap_err();
    world.commit("two");
    assert_eq!(is_damaged(&world, &hash), Some(true));
    let refused = world.ask(Request::Commit(commit("one"))).unwrap_err();
    assert!(refused.message.contains('f'), "{refused:?}");
}

#[test]
fn content_that_readers_may_look_for_is_not_absent() {
    let world = World::with_repository();
    world.publish("v1", &[("f", b"lost")]);
    let (lost, none) = (BlobHash::of(b"lost"), BlobHash::of(b"none"));
    fs::remove_file(world.engine.layout.blob(&lost)).unwrap();
    let hashes = vec![lost, none];
    let found = world.engine.call(|reply| EngineRequest::ReuseBlobs { hashes, reply }).unwrap();
    assert!(matches!(found[..], [Reuse::Broken, Reuse::Nothing]), "{found:?}");
}
