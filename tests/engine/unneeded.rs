//! Rows that say where content can be had: they go when nothing needs them any more (L8).

use cairn::control::protocol::Request;
use cairn::engine::pins::{NamePin, SourcesHold};
use cairn::engine::request::{RemoteNote, Request as EngineRequest};
use cairn::engine::stop_point::StopPoint;
use cairn::model::digest::Sha256;
use cairn::model::hash::BlobHash;
use cairn::model::import::{FileSource, ImportContent};
use cairn::model::name::RemoteName;
use cairn::store::catalog::{BucketPlace, PlacesOf, SourceRow};
use support::{fsck, wait};

use crate::world::{Import, World, committed, file};

/// More than one slice looks at.
const MANY: u32 = 50_000;

/// Rows that one slice looks at, at most.
const ROWS_PER_SLICE: u32 = 256;

fn remote(name: &str) -> RemoteName {
    name.parse().unwrap()
}

fn note(world: &World, note: RemoteNote) {
    world.engine.call(|reply| EngineRequest::NoteRemote { note, reply }).unwrap();
}

fn add_remotes(world: &World) {
    for name in ["one", "two", "bucket"] {
        let (name, settings, keeps_seen) = (remote(name), Some("{}".to_owned()), false);
        let put = |reply| EngineRequest::PutRemote { name, settings, keeps_seen, reply };
        world.engine.call(put).unwrap();
    }
}

/// Notes that two remotes have a content, one of them twice.
fn note_sources(world: &World, content: &[u8]) {
    let source = |name: &str, locator: &str| {
        let locator = locator.as_bytes().into();
        (Sha256::of(content), SourceRow { remote: remote(name), locator, size: 5 })
    };
    let sources = vec![source("one", "a"), source("one", "b/c"), source("two", "a")];
    note(world, RemoteNote::Sources(sources));
}

/// How many sources of a content are noted.
fn sources(world: &World, content: &[u8]) -> usize {
    let digest = Sha256::of(content);
    world.engine.query(|reader| reader.sources(&digest)).unwrap().len()
}

/// Puts a file whose content is to be fetched when it is read, as a sync does.
fn put_absent(import: &Import<'_>, path: &str, content: &[u8]) {
    let mut entry = file(path, content.len() as u64, FileSource::Absent);
    if let ImportContent::File { declared, .. } = &mut entry.content {
        *declared = Some(Sha256::of(content));
    }
    import.put(vec![entry]).unwrap();
}

/// Publishes a version that has one file, as a sync does.
fn sync(world: &World, content: &[u8]) {
    let _hold = SourcesHold::new(&world.engine.pins);
    let import = Import::mirror(world);
    note_sources(world, content);
    put_absent(&import, "a", content);
    committed(import.finish());
}

fn world() -> World {
    let world = World::with_repository();
    add_remotes(&world);
    world
}

#[test]
fn l8_sources_go_with_the_last_version_that_names_their_content() {
    let world = world();
    for content in [b"first", b"secnd", b"third"] {
        sync(&world, content);
    }
    assert_eq!(world.collect().locations, 0);
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().locations, 3);
    assert_eq!(
        [b"first", b"secnd", b"third"].map(|content| sources(&world, content)),
        [0, 3, 3],
        "what the other versions name stays"
    );
    // A content that was fetched keeps its sources as long as it is stored: it may be reclaimed.
    let digests = vec![(Sha256::of(b"secnd"), BlobHash::of(b"secnd"))];
    let import = Import::additive(&world);
    import.put_file("own", b"secnd");
    committed(import.finish());
    note(&world, RemoteNote::Digests(digests));
    world.delete(&["2", "3"], true).unwrap();
    assert_eq!(world.collect().locations, 0);
    assert_eq!([b"secnd", b"third"].map(|content| sources(&world, content)), [3, 3]);
    // Once nothing has it, they go.
    world.publish("nothing of it", &[("a", b"a")]);
    world.delete(&["4"], true).unwrap();
    assert_eq!(world.collect().locations, 6);
    assert_eq!([b"secnd", b"third"].map(|content| sources(&world, content)), [0, 0]);
    fsck::check_store(&world.close().path());
}

#[test]
fn l8_what_a_bucket_had_goes_with_the_last_blob_that_it_had() {
    let world = world();
    let place = |content: &[u8], key: &[u8]| {
        let blob = BlobHash::of(content);
        (BucketPlace { blob, key: key.into(), object_bytes: 99, entry: Some((8, 5)) }, 5)
    };
    let (first, other, orphan) =
        (place(b"first", b"pack"), place(b"other", b"pack"), place(b"none", b"own"));
    let placed = |places, of| world.engine.note_in_bucket(remote("bucket"), places, of).unwrap();
    world.publish("one", &[("a", b"first")]);
    world.publish("two", &[("a", b"other")]);
    placed(vec![first, other], PlacesOf::Fetched);
    // Its pull failed before anything had the blob.
    placed(vec![orphan], PlacesOf::Fetched);
    let places = |content: &[u8]| {
        let name = BlobHash::of(content).into();
        world.engine.query(|reader| reader.sources_of(&name)).unwrap().len()
    };
    assert_eq!(world.collect().locations, 2, "the place, and its object");
    assert_eq!([&b"first"[..], b"other", b"none"].map(places), [1, 1, 0]);
    world.delete(&["1"], true).unwrap();
    assert_eq!(
        world.collect().locations,
        0,
        "the place went with the blob, the object has another"
    );
    assert_eq!([&b"first"[..], b"other"].map(places), [0, 1]);
    world.publish("three", &[("a", b"third")]);
    world.delete(&["2"], true).unwrap();
    assert_eq!(world.collect().locations, 1, "the object");
    let any = world.engine.query(|reader| reader.any_places_at(&remote("bucket"))).unwrap();
    assert!(!any);
}

#[test]
fn l8_an_area_keeps_the_sources_of_what_it_has() {
    let world = world();
    sync(&world, b"first");
    world.stage("work@latest");
    sync(&world, b"other");
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().locations, 0);
    assert_eq!(sources(&world, b"first"), 3);
    let discard =
        Request::Discard { repository: "web".parse().unwrap(), area: "work".parse().unwrap() };
    world.ask(discard).unwrap();
    world.collect();
    assert_eq!([b"first", b"other"].map(|content| sources(&world, content)), [0, 3]);
}

/// L8: a sync notes where content can be had before anything names it.
#[test]
fn l8_a_sync_that_runs_keeps_what_it_noted() {
    let world = world();
    let hold = SourcesHold::new(&world.engine.pins);
    let import = Import::mirror(&world);
    note_sources(&world, b"first");
    put_absent(&import, "a", b"first");
    assert_eq!(world.collect().locations, 0);
    assert_eq!(world.run(true, 0).locations, 0, "nor does a full run");
    committed(import.finish());
    drop(hold);
    assert_eq!(world.collect().locations, 0);
    assert_eq!(sources(&world, b"first"), 3);
    // Of one that failed nothing stays: the next run does what was put off.
    let hold = SourcesHold::new(&world.engine.pins);
    let import = Import::mirror(&world);
    note_sources(&world, b"other");
    import.abort().unwrap();
    world.collect();
    assert_eq!(sources(&world, b"other"), 3);
    drop(hold);
    assert_eq!(world.collect().locations, 3);
    assert_eq!([b"first", b"other"].map(|content| sources(&world, content)), [3, 0]);
}

/// L8: somebody reads a file of a version that was deleted, and its content is still to be fetched.
#[test]
fn l8_sources_of_a_content_that_is_held_open_go_when_it_is_closed() {
    let world = world();
    sync(&world, b"first");
    sync(&world, b"other");
    let pin = NamePin::new(&world.engine.pins, Sha256::of(b"first").into());
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.collect().locations, 0);
    assert_eq!(sources(&world, b"first"), 3);
    drop(pin);
    wait::until("a run that nobody asked for", || sources(&world, b"first") == 0);
    assert_eq!(sources(&world, b"other"), 3);
}

fn numbered(number: u32) -> Sha256 {
    Sha256::of(&number.to_le_bytes())
}

/// Notes many sources that nothing needs.
fn with_many() -> World {
    let world = world();
    sync(&world, b"first");
    let source = || SourceRow { remote: remote("one"), locator: b"x"[..].into(), size: 1 };
    let numbers: Vec<u32> = (0..MANY).collect();
    for some in numbers.chunks(1000) {
        let sources = some.iter().map(|number| (numbered(*number), source())).collect();
        note(&world, RemoteNote::Sources(sources));
    }
    world
}

/// How many of them are left.
fn left(world: &World) -> u32 {
    let count = world.engine.query(|reader| {
        let mut left = 0;
        for number in 0..MANY {
            left += u32::from(!reader.sources(&numbered(number))?.is_empty());
        }
        Ok(left)
    });
    count.unwrap()
}

#[test]
fn l8_requests_come_between_the_steps_in_which_many_go() {
    let world = with_many();
    let stopped = world.engine.stop_points.hold(StopPoint::LocationsLooked);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| world.collect());
        stopped.wait_reached();
        let removed = MANY - left(&world);
        assert!((1..=ROWS_PER_SLICE).contains(&removed), "{removed} in a step");
        // It is asked, and answers, while the run has most of them before it.
        world.publish("beside", &[("b", b"b")]);
        assert_eq!(MANY - left(&world), removed);
        drop(stopped);
        assert_eq!(run.join().unwrap().locations, u64::from(MANY));
    });
    assert_eq!((left(&world), sources(&world, b"first")), (0, 3));
}

#[test]
fn l8_a_sync_that_begins_during_a_run_ends_the_removal() {
    let world = with_many();
    let stopped = world.engine.stop_points.hold(StopPoint::LocationsLooked);
    let hold = std::thread::scope(|scope| {
        let run = scope.spawn(|| world.collect());
        stopped.wait_reached();
        let hold = SourcesHold::new(&world.engine.pins);
        drop(stopped);
        assert!(run.join().unwrap().locations <= u64::from(ROWS_PER_SLICE));
        hold
    });
    let rest = left(&world);
    assert!(rest >= MANY - ROWS_PER_SLICE);
    assert_eq!(world.collect().locations, 0);
    drop(hold);
    assert_eq!(world.collect().locations, u64::from(rest));
}

#[test]
fn r1_a_removal_that_a_stop_interrupts_goes_on_when_it_is_asked_for() {
    let world = with_many();
    let stopped = world.engine.stop_points.hold(StopPoint::LocationsLooked);
    let closed = std::thread::scope(|scope| {
        let engine = std::sync::Arc::clone(&world.engine);
        let kind = cairn::engine::gc::RunKind { full: false, protect_seconds: Some(0) };
        let run = scope.spawn(move || engine.call(|reply| EngineRequest::Collect { kind, reply }));
        stopped.wait_reached();
        let closed = world.close();
        run.join().unwrap().unwrap_err();
        closed
    });
    let world = closed.open();
    let rest = left(&world);
    assert!((MANY - ROWS_PER_SLICE..MANY).contains(&rest), "{rest}");
    assert_eq!(world.collect().locations, u64::from(rest));
    assert_eq!((left(&world), sources(&world, b"first")), (0, 3));
    fsck::check_store(&world.close().path());
}
