//! What a store does, the same for all of them.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use cairn::bucket::key::Nonce;
use cairn::bucket::probe::{Probe, probe};
use cairn::bucket::store::{Created, ObjectStore, StoreErrorKind};
use cairn::model::remote::{BucketSettings, RemoteKind, RemoteSettings};
use cairn::net::Objects;
use support::http::{Answer, Asked, Server, answer};

use crate::server::Place;

fn keys(store: &dyn ObjectStore, prefix: &str) -> Vec<(String, u64)> {
    let mut keys = Vec::new();
    let each = &mut |listed: cairn::bucket::store::Listed| {
        keys.push((listed.key, listed.size));
        ControlFlow::Continue(())
    };
    store.list(prefix, each).unwrap();
    keys.sort();
    keys
}

/// Bytes of which no part is like another one, so that parts in a wrong order are noticed.
fn bytes(length: usize) -> impl Iterator<Item = u8> {
    (0..length).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap())
}

fn works(store: &Objects) {
    let store: &dyn ObjectStore = store;
    assert_eq!(store.get("log/a/1").unwrap(), None);
    assert_eq!(store.get_range("log/a/1", 0..9).unwrap(), None);
    assert_eq!(store.head("log/a/1").unwrap(), None);
    assert_eq!(keys(store, ""), []);

    assert_eq!(store.create("log/a/1", b"first").unwrap(), Created::Done);
    assert_eq!(store.create("log/a/1", b"second").unwrap(), Created::Occupied);
    assert_eq!(store.get("log/a/1").unwrap().unwrap(), b"first");
    assert_eq!(store.get_range("log/a/1", 1..3).unwrap().unwrap(), b"ir");
    assert_eq!(store.get_range("log/a/1", 0..1 << 20).unwrap().unwrap(), b"first");
    store.put("log/a/1", b"third").unwrap();
    assert_eq!(store.get("log/a/1").unwrap().unwrap(), b"third");
    store.put("log/%3Db%20%C3%A4/1", b"").unwrap();
    assert_eq!(store.get("log/%3Db%20%C3%A4/1").unwrap().unwrap(), b"");
    // Not one that may be different in a moment.
    for (key, from) in [("log/%3Db%20%C3%A4/1", 0), ("log/a/1", 5), ("log/a/1", 99)] {
        let error = store.get_range(key, from..200).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Protocol, "{key} from {from}: {error}");
    }

    let large: Vec<u8> = bytes((40 << 20) + 5).collect();
    let mut source = &large[..];
    store.put_reader("packs/large", &mut source, large.len() as u64).unwrap();
    let head = store.head("packs/large").unwrap().unwrap();
    assert_eq!(head.size, large.len() as u64);
    let middle = (16 << 20) - 3..(16 << 20) + 3;
    let found = store.get_range("packs/large", middle.start as u64..middle.end as u64).unwrap();
    assert_eq!(found.unwrap(), large[middle]);
    assert_eq!(store.get("packs/large").unwrap().unwrap(), large);
    store.put_reader("packs/small", &mut &b"small"[..], 5).unwrap();
    assert_eq!(store.get("packs/small").unwrap().unwrap(), b"small");

    let all = [
        ("log/%3Db%20%C3%A4/1".to_owned(), 0),
        ("log/a/1".to_owned(), 5),
        ("packs/large".to_owned(), large.len() as u64),
        ("packs/small".to_owned(), 5),
    ];
    assert_eq!(keys(store, ""), all);
    assert_eq!(keys(store, "packs/"), all[2..]);
    assert_eq!(keys(store, "pack/"), []);
    let doomed = ["packs/large", "packs/none", "log/a/1", "log/%3Db%20%C3%A4/1"];
    store.delete(&doomed.map(str::to_owned)).unwrap();
    assert_eq!(keys(store, ""), all[3..]);
    store.delete(&["packs/small".to_owned()]).unwrap();
    assert_eq!(keys(store, ""), []);
}

#[test]
fn d1_a_directory_is_a_store() {
    works(&Place::directory().open());
}

#[test]
fn d1_a_server_of_s3_is_a_store() {
    works(&Place::server().open());
}

#[test]
fn a_source_that_is_too_short_leaves_no_object() {
    for place in [Place::directory(), Place::server()] {
        let store = place.open();
        for length in [10_u64, 40 << 20] {
            let short = length - 1;
            let mut source = std::io::repeat(7).take(short);
            let error = ObjectStore::put_reader(&store, "packs/short", &mut source, length);
            assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Local);
            assert_eq!(keys(&store, ""), []);
        }
    }
}

#[test]
fn h44_a_probe_finds_what_works() {
    for place in [Place::directory(), Place::server()] {
        let store = place.open();
        let found = probe(&store, &mut Nonce::random).unwrap();
        assert_eq!(found, Probe { creates_once: true, ranges: true, lists_at_once: true });
        assert_eq!(keys(&store, ""), [], "a probe leaves nothing");
    }
}

#[test]
fn a_bucket_that_is_not_there_and_a_server_that_does_not_answer_are_told() {
    let place = Place::server();
    let mut settings = place.settings.clone();
    settings.url = "s3://none-such/x".parse().unwrap();
    let store = Objects::open(&settings).unwrap();
    let error = probe(&store, &mut Nonce::random).unwrap_err();
    assert!(error.to_string().contains("no such bucket"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// A server of S3 that gives one answer to everything.
fn answering(reply: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Objects {
    let server = Server::start(move |asked: &Asked, _| reply(asked));
    let mut settings = RemoteSettings::new(RemoteKind::Bucket, "s3://releases/x".parse().unwrap());
    let endpoint = Some(server.url("/").parse().unwrap());
    settings.bucket = Some(BucketSettings { endpoint, ..BucketSettings::default() });
    Objects::open(&settings).unwrap()
}

/// Whoever waits for the bytes would wait for ever, also when another answer came at once.
#[test]
fn v12_an_answer_that_trickles_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\nETag: \"x\"\r\n\
                Last-Modified: Mon, 30 Nov 2026 18:00:00 GMT\r\n\r\n";
    let pause = Duration::from_millis(50);
    let server = Server::start(move |_, _| Answer::Trickles(head.as_bytes().to_vec(), 90, pause));
    let mut settings = RemoteSettings::new(RemoteKind::Bucket, "s3://releases/x".parse().unwrap());
    let endpoint = Some(server.url("/").parse().unwrap());
    settings.bucket = Some(BucketSettings { endpoint, ..BucketSettings::default() });
    (settings.idle_timeout_ms, settings.lowest_bytes_per_second) = (Some(500), Some(1000));
    let error = Objects::open(&settings).unwrap().get("packs/a", 100).unwrap_err();
    assert!(error.to_string().contains("fewer than 1000 bytes per second"), "{error}");
    settings.lowest_bytes_per_second = Some(0);
    assert_eq!(Objects::open(&settings).unwrap().get("packs/a", 100).unwrap().unwrap().len(), 90);
}

#[test]
fn h45_try_again_is_not_taken_for_occupied() {
    for (status, occupied) in [
        ("412 Precondition Failed", true),
        ("409 Conflict", false),
        ("403 Forbidden", false),
        ("400 Bad Request", false),
    ] {
        let store = answering(move |_| answer(status, &["Content-Length: 0"], b""));
        let created = ObjectStore::create(&store, "log/a/1", b"x");
        match created {
            Ok(created) => assert!(occupied && created == Created::Occupied, "{status}"),
            Err(error) => {
                let refused = error.kind() == StoreErrorKind::Refused;
                assert_eq!((occupied, refused), (false, status.starts_with("403")), "{error}");
            }
        }
    }
}

#[test]
fn h49_a_whole_answer_to_a_range_is_cut() {
    let store = answering(|_| {
        let headers = ["Content-Length: 10", "Last-Modified: Mon, 30 Nov 2026 18:00:00 GMT"];
        answer("200 OK", &[&headers[..], &["ETag: \"x\""]].concat(), b"0123456789")
    });
    let store: &dyn ObjectStore = &store;
    assert_eq!(store.get_range("packs/a", 3..6).unwrap().unwrap(), b"345");
    assert_eq!(store.get_range("packs/a", 8..99).unwrap().unwrap(), b"89");
}
