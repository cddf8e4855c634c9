//! Exports: what a client needs to write a version by itself.

use std::io::{Read, Write};

use cairn::control::export::{ExportRequest, OPEN_MAX};
use cairn::control::protocol::{ErrorKind, HASHES_MAX, Request};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, ConnectionId, Service};
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::tree_format;

use crate::world::World;

fn export(world: &World, request: ExportRequest) -> Result<(Reply, Attachment), ErrorKind> {
    let request = Request::Export(request);
    world.ask_as(1, request, Attachment::none()).map_err(|error| error.kind)
}

fn root(world: &World) -> ExportRequest {
    let _ = world;
    ExportRequest::Root { repository: "web".parse().unwrap(), version: "latest".parse().unwrap() }
}

#[test]
fn root_and_pages_are_as_they_are_stored() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1"), ("b", b"2")]);
    let (reply, attachment) = export(&world, root(&world)).unwrap();
    let Reply::Root(version) = reply else { panic!() };
    let decoded = tree_format::decode_root(&attachment.payload).unwrap();
    assert_eq!(tree_format::root_hash(&decoded), version.hash);

    let hashes = vec![decoded.tree, decoded.tree];
    let (reply, attachment) = export(&world, ExportRequest::Pages { hashes }).unwrap();
    let Reply::Pages(lengths) = reply else { panic!() };
    assert_eq!(lengths.len(), 2);
    let first = &attachment.payload[..lengths[0] as usize];
    assert_eq!(first, &attachment.payload[lengths[0] as usize..]);
    assert_eq!(TreeHash::of(first), decoded.tree);
}

#[test]
fn files_are_open_for_reading_only() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"content")]);
    let hash = BlobHash::of(b"content");
    let (_, attachment) =
        export(&world, ExportRequest::Open { names: vec![hash.into(); 2], no_fetch: false })
            .unwrap();
    let mut files = attachment.files;
    assert_eq!(files.len(), 2);
    for file in &mut files {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content", "each has an offset of its own");
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
    }
    assert_eq!(world.bytes("1", "a"), b"content");
}

#[test]
fn open_content_is_kept_until_the_connection_ends() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    let hash = BlobHash::of(b"1");
    export(&world, ExportRequest::Open { names: vec![hash.into()], no_fetch: false }).unwrap();
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().blobs, 0);
    world.service.disconnected(ConnectionId(1));
    assert_eq!(world.collect().blobs, 1);
}

#[test]
fn requests_are_bounded() {
    let world = World::with_repository();
    let tree = TreeHash::from_bytes([1; 32]);
    let pages = ExportRequest::Pages { hashes: vec![tree; HASHES_MAX + 1] };
    assert_eq!(export(&world, pages).unwrap_err(), ErrorKind::Usage);
    let open = ExportRequest::Open {
        names: vec![BlobHash::of(b"1").into(); OPEN_MAX + 1],
        no_fetch: false,
    };
    assert_eq!(export(&world, open).unwrap_err(), ErrorKind::Usage);
}

#[test]
fn what_is_not_there_is_refused() {
    let world = World::with_repository();
    assert_eq!(export(&world, root(&world)).unwrap_err(), ErrorKind::NotFound);
    let tree = TreeHash::from_bytes([1; 32]);
    export(&world, ExportRequest::Pages { hashes: vec![tree] }).unwrap_err();
    let names = vec![BlobHash::of(b"nowhere").into()];
    export(&world, ExportRequest::Open { names, no_fetch: false }).unwrap_err();
}

#[test]
fn a_blob_that_is_too_short_is_not_handed_out() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"content")]);
    let hash = BlobHash::of(b"content");
    let path = world.engine.layout.blob(&hash);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "con").unwrap();
    let request =
        Request::Export(ExportRequest::Open { names: vec![hash.into()], no_fetch: false });
    let error = world.ask_as(1, request, Attachment::none()).unwrap_err();
    assert!(error.message.contains(&hash.to_string()), "{error}");
    assert!(error.message.contains("damaged"), "{error}");
}

#[test]
fn an_exported_version_stays_readable_until_the_connection_ends() {
    let world = World::with_repository();
    world.publish("one", &[("d/a", b"1")]);
    // Nothing is in the cache of trees.
    let world = world.reopen();
    let (_, attachment) = export(&world, root(&world)).unwrap();
    let decoded = tree_format::decode_root(&attachment.payload).unwrap();
    world.delete(&["1"], true).unwrap();
    assert_eq!((world.collect().blobs, world.collect().trees), (0, 0));
    export(&world, ExportRequest::Pages { hashes: vec![decoded.tree] }).unwrap();
    export(&world, ExportRequest::Open { names: vec![BlobHash::of(b"1").into()], no_fetch: false })
        .unwrap();

    world.service.disconnected(ConnectionId(1));
    assert_eq!(world.collect().blobs, 1);
}

#[test]
fn a_running_export_is_no_area_that_anybody_sees() {
    let world = World::with_repository();
    world.publish("one", &[("a", b"1")]);
    export(&world, root(&world)).unwrap();
    export(&world, root(&world)).unwrap();
    let Reply::Areas(areas) = world.ask(Request::Areas { repository: None }).unwrap() else {
        panic!()
    };
    assert!(areas.is_empty());
    world.delete(&["1"], true).unwrap();
    world.ask(Request::DeleteRepository { name: "web".parse().unwrap() }).unwrap();
    world.service.disconnected(ConnectionId(1));
    assert_eq!(world.collect().blobs, 1);
}
