//! What a store knows after it was closed and opened again.

use cairn::control::protocol::Request;
use cairn::control::reply::Reply;
use cairn::model::time::Timestamp;

use crate::world::{Import, World};
use support::content;

#[test]
fn everything_is_there_again() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1"), ("d/b", b"2")]);
    let large = content::bytes(3, 2 << 20);
    let area = world.stage("work@1");
    world.write(area, "a", b"changed");
    world.write(area, "new/large", &large);
    world.remove(area, "d/b");
    world.link(area, "a", "linked");

    let world = world.reopen();
    assert_eq!(world.bytes("one", "d/b"), b"2");
    let area = world.area("work@1");
    world.write(area, "after", b"restart");
    let reply = world.commit("work");
    assert_eq!(reply.version.base.unwrap().0, 1);
    assert_eq!(world.bytes("2", "a"), b"changed");
    assert_eq!(world.bytes("2", "after"), b"restart");
    assert!(world.bytes("2", "new/large") == large);
    assert!(world.entry("2", "d/b").is_none());
    assert_eq!(world.entry("2", "linked").unwrap().link_group.unwrap().nlink, 2);
}

#[test]
fn a_second_restart_changes_nothing() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let area = world.stage("work@1");
    world.write(area, "b", b"2");
    let world = world.reopen().reopen();
    world.commit("work");
    assert_eq!((world.bytes("2", "a"), world.bytes("2", "b")), (b"1".to_vec(), b"2".to_vec()));
}

#[test]
fn an_unfinished_import_is_gone() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    let world = world.reopen();
    let Reply::Areas(areas) = world.ask(Request::Areas { repository: None }).unwrap() else {
        panic!()
    };
    assert!(areas.is_empty());
    assert_eq!(world.collect().blobs, 1);
    let Reply::Status(status) = world.ask(Request::Status).unwrap() else { panic!() };
    assert_eq!((status.blobs, status.doomed), (0, 0));
}

#[test]
fn a_private_file_that_a_power_loss_took_leaves_the_rest_of_its_area() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "kept", b"kept");
    let writing = world.open_writer(area, "lost");
    writing.write(0, &content::bytes(1, 2 << 20), Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&writing);
    let world = world.reopen_changed(|store| {
        let directory = store.join("staging").join(area.to_string());
        for file in std::fs::read_dir(directory).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    });
    world.commit("work");
    assert_eq!(world.bytes("1", "kept"), b"kept");
    assert_eq!(world.bytes("1", "lost"), b"");
}

#[test]
fn h1_a_private_file_that_became_a_blob_is_not_changed_in_place() {
    let world = World::with_repository();
    let area = world.stage("work");
    let old = content::bytes(4, 2 << 20);
    let writing = world.open_writer(area, "large");
    writing.write(0, &old, Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&writing);
    drop(writing);
    let blob = |store: &std::path::Path| {
        let hash = cairn::model::hash::BlobHash::of(&old);
        cairn::store::layout::Layout::new(store).blob(&hash)
    };
    // The stop came between the link into the pool and its row.
    let world = world.reopen_changed(|store| {
        let directory = store.join("staging").join(area.to_string());
        let file = std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
        std::fs::create_dir_all(blob(store).parent().unwrap()).unwrap();
        std::fs::hard_link(file, blob(store)).unwrap();
    });
    let area = world.area("work");
    let writing = world.open_writer(area, "large");
    writing.write(0, b"new", Timestamp::now()).unwrap();
    world.engine.staging.content_modified(&writing);
    let blob = blob(world.engine.layout.root());
    assert!(std::fs::read(blob).unwrap() == old, "the blob was changed");
    world.close_writer(&writing);
    world.commit("work");
    assert!(world.bytes("1", "large") == [b"new", &old[3..]].concat());
}
