//! What a bucket can give back and what somebody stored here are told apart (L8, L12).

use cairn::engine::request::Request as EngineRequest;
use cairn::model::content_name::ContentName;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::import::ImportContent;
use cairn::model::name::RemoteName;
use cairn::model::tree::Content;
use cairn::store::catalog::{BucketPlace, PlacesOf, ReclaimScope, ReclaimableRow};

use crate::world::{Import, World, committed, entry};
use support::fsck;

const TEXT: &[u8] = b"what the bucket has";

fn name() -> ContentName {
    BlobHash::of(TEXT).into()
}

fn remote(name: &str) -> RemoteName {
    name.parse().unwrap()
}

/// Has a bucket noted as having the text.
fn note(world: &World, bucket: &str, of: PlacesOf) {
    let (name, settings, keeps_seen) = (remote(bucket), Some("{}".to_owned()), false);
    let put = |reply| EngineRequest::PutRemote { name, settings, keeps_seen, reply };
    world.engine.call(put).unwrap();
    let blob = BlobHash::of(TEXT);
    let place =
        BucketPlace { blob, key: b"pack"[..].into(), object_bytes: 99, entry: Some((8, 9)) };
    world.engine.note_in_bucket(remote(bucket), vec![(place, TEXT.len() as u64)], of).unwrap();
}

fn reclaimable(world: &World) -> Vec<ReclaimableRow> {
    world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
    world.engine.query(|reader| reader.reclaimable(ReclaimScope::All, None, 9)).unwrap()
}

fn sources(world: &World) -> Vec<String> {
    let sources = world.engine.query(|reader| reader.sources_of(&name())).unwrap();
    sources.into_iter().map(|source| source.remote.to_string()).collect()
}

fn world() -> World {
    let world = World::with_repository();
    world.publish("first", &[("d/a", TEXT)]);
    world
}

/// The cache is trimmed while somebody reclaims: both have listed the same contents.
#[test]
fn l12_content_that_two_reclaims_have_listed_is_absent_afterwards() {
    let world = world();
    note(&world, "bucket", PlacesOf::Fetched);
    let rows = reclaimable(&world);
    assert_eq!(rows.len(), 1);
    assert_eq!(world.engine.reclaim(rows.clone()).unwrap().contents, 1);
    assert!(!world.engine.is_stored(&name()).unwrap());
    assert_eq!(world.engine.reclaim(rows).unwrap().contents, 0);
    assert!(!world.engine.is_stored(&name()).unwrap(), "or readers would look for its file");
    assert_eq!(world.engine.absent_count().unwrap(), 1);
    fsck::check_store(&world.close().path());
}

/// Whoever imports a directory relies on this store, also if it is here already as the cache of a bucket.
#[test]
fn l12_a_directory_that_is_imported_is_reclaimed_no_more() {
    let world = world();
    note(&world, "bucket", PlacesOf::Fetched);
    let Content::Directory { tree, .. } = world.entry("1", "d").unwrap().content else { panic!() };
    let import = Import::mirror(&world);
    let known = |import: &Import<'_>, tree: TreeHash| import.known_trees(&[("x", tree)])[0];
    assert!(!known(&import, tree), "its contents are to be asked for one by one");
    import.put_file("x/a", TEXT);
    committed(import.finish());
    assert_eq!(reclaimable(&world), []);
    let import = Import::mirror(&world);
    assert!(known(&import, tree), "there are no caches any more");
    import.abort().unwrap();
}

/// The trees that name it exist already, so that the commit writes none of them.
#[test]
fn h1_absent_content_that_is_imported_is_stored_once_the_version_is_published() {
    let world = World::with_repository();
    let publish = |directory: &str| {
        let import = Import::mirror(&world);
        import.put(vec![entry(directory, ImportContent::Directory)]).unwrap();
        import.put_file(&format!("{directory}/a"), TEXT);
        committed(import.finish());
    };
    publish("one");
    note(&world, "bucket", PlacesOf::Fetched);
    world.engine.reclaim(reclaimable(&world)).unwrap();
    publish("two");
    let row = || world.engine.query(|reader| reader.blob(&BlobHash::of(TEXT))).unwrap().unwrap();
    assert!(row().is_stored(), "a kill from here on would lose it");
    assert_eq!(sources(&world), [] as [&str; 0]);
    // The same where it is here as a cache.
    note(&world, "bucket", PlacesOf::Fetched);
    publish("three");
    assert_eq!(sources(&world), [] as [&str; 0]);
    let world = world.reopen();
    assert_eq!(world.bytes("3", "three/a"), TEXT);
    fsck::check_store(&world.close().path());
}

#[test]
fn l8_another_bucket_is_noted_as_well_unless_the_content_was_stored_here() {
    let world = world();
    for of in [PlacesOf::Held, PlacesOf::Absent] {
        note(&world, "one", of);
        assert_eq!(sources(&world), [] as [&str; 0], "it was stored here: {of:?}");
    }
    assert_eq!(reclaimable(&world), []);
    note(&world, "one", PlacesOf::Fetched);
    for (bucket, of) in [("three", PlacesOf::Absent), ("two", PlacesOf::Held)] {
        note(&world, bucket, of);
        assert!(world.engine.is_stored(&name()).unwrap(), "{of:?}");
    }
    assert_eq!(sources(&world), ["one", "three", "two"]);
    let rows = reclaimable(&world);
    assert_eq!(world.engine.reclaim(rows).unwrap().contents, 1);
    note(&world, "four", PlacesOf::Absent);
    assert_eq!(sources(&world), ["four", "one", "three", "two"]);
}
