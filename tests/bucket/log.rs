//! Publishers that race, and a collector, over real stores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn::bucket::collect::{CollectError, Collector, Patience};
use cairn::bucket::event::{BucketId, Payload};
use cairn::bucket::fold::BucketState;
use cairn::bucket::format;
use cairn::bucket::key::{LogName, Nonce, ObjectKey, ObjectKind};
use cairn::bucket::log::{Cursor, Intent, Log, LogError};
use cairn::model::hash::ObjectHash;
use cairn::model::time::Timestamp;
use cairn::net::Objects;

use crate::server::Place;

const PUBLISHERS: usize = 8;
const EACH: usize = 4;

fn retry(tries: u32) -> bool {
    tries < 50
}

pub(crate) fn make(store: &Objects) -> BucketId {
    format::make(store, Nonce::random().unwrap(), &retry).unwrap()
}

pub(crate) fn register(store: &Objects, bucket: BucketId, name: &str) {
    let log = Log::new(store, bucket, LogName::Bucket, &retry);
    let intent = Intent { nonce: Nonce::random().unwrap(), time: Timestamp::now() };
    let payload = Payload::Repository { name: name.parse().unwrap() };
    let decide = &mut |_: &Cursor<BucketState>| Ok::<_, LogError>(Some(payload.clone()));
    log.append(&mut Cursor::default(), intent, decide).unwrap().unwrap();
}

/// Several publishers append to one log at once.
fn race(place: &Place) {
    let bucket = make(&place.open());
    let looks = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let looks = &looks;
            scope.spawn(move || {
                let store = place.open();
                let log = Log::new(&store, bucket, LogName::Bucket, &retry);
                let mut cursor = Cursor::default();
                for number in 0..EACH {
                    let name = format!("r{publisher}-{number}");
                    let nonce = Nonce::random().unwrap();
                    let intent = Intent { nonce, time: Timestamp::now() };
                    let decide = &mut |_: &Cursor<BucketState>| {
                        looks.fetch_add(1, Ordering::Relaxed);
                        let name = name.parse().unwrap();
                        Ok::<_, LogError>(Some(Payload::Repository { name }))
                    };
                    let at = log.append(&mut cursor, intent, decide).unwrap().unwrap();
                    assert_eq!(cursor.published(nonce), Some(at));
                }
            });
        }
    });
    let store = place.open();
    let mut cursor = Cursor::<BucketState>::default();
    Log::new(&store, bucket, LogName::Bucket, &retry).follow(&mut cursor).unwrap();
    assert_eq!(cursor.state().repositories().count(), PUBLISHERS * EACH);
    let events = usize::try_from(cursor.position().seq.get()).unwrap();
    assert_eq!(events, PUBLISHERS * EACH, "each is there once");
    assert!(looks.into_inner() >= events);
}

#[test]
fn d3_publishers_in_a_directory_lose_no_event() {
    race(&Place::directory());
}

#[test]
fn d3_publishers_on_a_server_lose_no_event() {
    race(&Place::server());
}

/// What nobody needs is marked, and goes when its time has come.
fn collects(place: &Place) {
    let store = place.open();
    let bucket = make(&store);
    register(&store, bucket, "gcc");
    let bytes = b"nobody needs this";
    let key = ObjectKey {
        kind: ObjectKind::Pack,
        hash: ObjectHash::of(bytes),
        nonce: Nonce::random().unwrap(),
    };
    store.put(&key.to_string(), bytes).unwrap();
    store.put("packs/of-a-stranger", b"").unwrap();
    let collect = |patience: Patience| {
        let collector = Collector::new(&store, bucket, &retry, &Nonce::random, Timestamp::now());
        collector.patience(patience).run()
    };
    let young = collect(Patience::default()).unwrap();
    assert_eq!((young.objects, young.strangers, young.candidates), (1, 1, 0));
    let at_once = Patience { young: Duration::ZERO, ..Patience::default() };
    let marked = collect(at_once).unwrap();
    assert_eq!((marked.condemned, marked.waiting, marked.deleted), (1, 1, 0));
    assert!(store.head(&key.to_string()).unwrap().is_some(), "readers have their grace");
    let late = Patience { grace: Duration::ZERO, ..at_once };
    let deleted = collect(late).unwrap();
    assert!(deleted.deleted >= 1 && deleted.deleted_bytes >= bytes.len() as u64, "{deleted:?}");
    assert!(store.head(&key.to_string()).unwrap().is_none());
    assert!(store.head("packs/of-a-stranger").unwrap().is_some(), "H54");
}

#[test]
fn d6_a_collector_removes_what_nobody_needs_from_a_directory() {
    collects(&Place::directory());
}

#[test]
fn d6_a_collector_removes_what_nobody_needs_from_a_server() {
    collects(&Place::server());
}

#[test]
fn h47_a_collector_that_cannot_tell_what_is_needed_deletes_nothing() {
    use cairn::bucket::fold::RepositoryState;
    let place = Place::directory();
    let store = place.open();
    let bucket = make(&store);
    register(&store, bucket, "gcc");
    let uses = ObjectKey {
        kind: ObjectKind::Uses,
        hash: ObjectHash::of(b"lost"),
        nonce: Nonce::random().unwrap(),
    };
    let log = Log::new(&store, bucket, LogName::Repository("gcc".parse().unwrap()), &retry);
    let intent = Intent { nonce: Nonce::random().unwrap(), time: Timestamp::now() };
    let decide =
        &mut |_: &Cursor<RepositoryState>| Ok::<_, LogError>(Some(Payload::Draft { uses }));
    log.append(&mut Cursor::default(), intent, decide).unwrap();
    let collector = Collector::new(&store, bucket, &retry, &Nonce::random, Timestamp::now());
    let error = collector.run().unwrap_err();
    assert!(matches!(error, CollectError::Missing(key) if key == uses), "{error}");
}
