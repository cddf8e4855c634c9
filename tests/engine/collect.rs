//! Collection of what nothing references.

use cairn::control::gc::GcRequest;
use cairn::control::protocol::Request;
use cairn::control::reply::Reply;
use cairn::control::service::Attachment;
use cairn::model::hash::BlobHash;

use crate::world::{Import, World, inline};

#[test]
fn what_is_not_shared_goes() {
    let world = World::with_repository();
    let (a, b, c): ([&[u8]; 2], _, _) = ([b"a", b"a"], b"b".as_slice(), b"c".as_slice());
    world.publish("one", &[("a", a[0]), ("b", b)]);
    world.publish("two", &[("a", a[0]), ("c", c)]);
    world.publish("three", &[("x", a[1]), ("b", b)]);
    world.publish("four", &[("a", a[0])]);

    world.delete(&["2"], false).unwrap();
    let reply = world.collect();
    assert!(reply.finished);
    assert_eq!((reply.blobs, reply.freed_bytes), (1, 1));
    assert!(world.blob(&BlobHash::of(c)).is_none());
    assert_eq!(world.bytes("1", "b"), b);
    assert_eq!(world.bytes("3", "b"), b);

    world.delete(&["1", "3"], false).unwrap();
    assert_eq!(world.collect().blobs, 1);
    assert!(world.blob(&BlobHash::of(b)).is_none());
    assert_eq!(world.bytes("4", "a"), b"a");
}

#[test]
fn collection_is_idempotent() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"a")]);
    world.collect();
    let again = world.collect();
    assert_eq!((again.blobs, again.trees, again.freed_bytes), (0, 0, 0));
}

#[test]
fn the_young_are_protected() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"a")]);
    world.publish("two", &[("a", b"b")]);
    world.delete(&["1"], false).unwrap();
    let request = GcRequest { full: false, dry_run: false, wait: true, protect_seconds: None };
    let Reply::Gc(reply) = world.ask(Request::Gc(request)).unwrap() else { panic!() };
    assert_eq!(reply.blobs, 0);
    assert_eq!(world.collect().blobs, 1);
}

#[test]
fn an_open_area_keeps_what_was_written_to_it() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "a", b"written");
    support::wait::until("the file is sealed", || world.blob(&BlobHash::of(b"written")).is_some());
    assert_eq!(world.collect().blobs, 0);
    world.commit("work");
    assert_eq!(world.bytes("1", "a"), b"written");
}

#[test]
fn a_discarded_area_gives_its_content_back() {
    let world = World::with_repository();
    let area = world.stage("work");
    world.write(area, "a", b"written");
    support::wait::until("the file is sealed", || world.blob(&BlobHash::of(b"written")).is_some());
    world
        .ask(Request::Discard { repository: "web".parse().unwrap(), area: "work".parse().unwrap() })
        .unwrap();
    world.collect();
    assert!(world.blob(&BlobHash::of(b"written")).is_none());
}

#[test]
fn a_running_import_keeps_what_it_put() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    assert_eq!(world.collect().blobs, 0);
    import.finish().unwrap();
    assert_eq!(world.collect().blobs, 0);
    assert_eq!(world.bytes("1", "a"), b"imported");
}

#[test]
fn an_aborted_import_leaves_nothing() {
    let world = World::with_repository();
    let import = Import::additive(&world);
    import.put_file("a", b"imported");
    import.abort().unwrap();
    assert_eq!(world.collect().blobs, 1);
    assert!(world.blob(&BlobHash::of(b"imported")).is_none());
}

/// Its removal once counted as done although nothing was removed, and was tried again for ever.
#[test]
fn a_tree_without_its_page_does_not_keep_the_collector_busy() {
    let world = World::with_repository().reopen_changed(|store| {
        let catalog = cairn::store::layout::Layout::new(store).catalog();
        let connection = rusqlite::Connection::open(catalog).unwrap();
        let insert = "INSERT INTO trees(hash, refs, interest, page) VALUES(?1, 0, 0, 999)";
        connection.execute(insert, [BlobHash::of(b"tree").as_bytes()]).unwrap();
    });
    world.publish("one", &[("a", b"a")]);
    let report = world.run(true, 0);
    assert_eq!(report.trees, 0);
}

#[test]
fn a_long_collection_goes_on_after_each_copy_of_the_log() {
    // Let go of and removed: more than is done at a stretch.
    const FILES: u32 = 25_000;
    let world = World::with_repository();
    let import = Import::mirror(&world);
    let bytes: Vec<u8> = (0..FILES).flat_map(u32::to_le_bytes).collect();
    let entries = (0..FILES).map(|n| inline(&format!("d{}/f{n}", n % 100), n * 4, 4)).collect();
    import.put_with(entries, Attachment::of_payload(bytes)).unwrap();
    import.finish().unwrap();
    world.publish("keeps", &[("a", b"a")]);
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().blobs, u64::from(FILES));
    assert_eq!(world.bytes("2", "a"), b"a");
}
