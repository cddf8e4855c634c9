//! Content of a streamed remote is a cache: bounded, the least recently used goes first, and nothing is lost (L1, L15)

use std::fs;

use support::mapping::Mapping;
use support::{Cairn, content, wait};

use crate::shared::{Origin, is_stored};

const FILE_BYTES: usize = 50_000;

fn bodies(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| content::bytes(number, FILE_BYTES)).collect()
}

fn name(number: usize) -> String {
    format!("f{number:03}")
}

/// An origin with these files, whose remote is streamed.
fn streamed(bodies: &[Vec<u8>], options: &[&str]) -> Origin {
    let names: Vec<_> = (0..bodies.len()).map(name).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(bodies).map(|(name, body)| (name.as_str(), &body[..])).collect();
    let site = support::http::Site::default();
    site.set_manifest(&files);
    let server = site.serve();
    let cairn = Cairn::start_with(options);
    let url = server.url("/");
    cairn.cli(&["remote", "add", "origin", "manifest", &url, "--policy", "streamed"]);
    let origin = Origin { cairn, site, server };
    origin.sync();
    origin
}

fn read(origin: &Origin, number: usize, bodies: &[Vec<u8>]) {
    let path = origin.cairn.versions("lib/1").join(name(number));
    assert_eq!(fs::read(path).unwrap(), bodies[number], "file {number}");
}

fn stored(origin: &Origin, bodies: &[Vec<u8>]) -> usize {
    bodies.iter().filter(|body| is_stored(&origin.cairn, body)).count()
}

fn cached(origin: &Origin) -> u64 {
    origin.cairn.json(&["status"])["cached_bytes"].as_u64().unwrap()
}

#[test]
fn l15_the_cache_stays_within_its_size_however_much_is_read() {
    let bodies = bodies(100);
    let origin = streamed(&bodies, &["--cache-size", "1000000"]);
    for _ in 0..2 {
        for number in 0..bodies.len() {
            read(&origin, number, &bodies);
        }
        wait::until("the cache has its size", || {
            stored(&origin, &bodies) <= 20 && cached(&origin) <= 1_000_000
        });
    }
    assert!(stored(&origin, &bodies) >= 10, "it is used");
    assert_eq!(origin.cairn.json(&["status"])["cache_size_bytes"], 1_000_000);
    let text = origin.cairn.cli(&["status"]);
    assert!(text.contains("cache  "), "{text}");
    // What was dropped is absent, and nothing else.
    let absent = origin.cairn.json(&["status"])["absent_content_count"].as_u64().unwrap();
    assert_eq!(absent + stored(&origin, &bodies) as u64, 100);
    origin.check();
}

/// Many readers at once, of more than the cache holds: each gets its bytes.
#[test]
fn l15_a_cache_smaller_than_one_file_gives_every_reader_its_bytes() {
    let bodies = bodies(24);
    let origin = streamed(&bodies, &["--cache-size", "10K"]);
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let (origin, bodies) = (&origin, &bodies);
            scope.spawn(move || {
                for number in 0..bodies.len() {
                    read(origin, (number + reader * 4) % bodies.len(), bodies);
                }
            });
        }
    });
    let target = origin.cairn.scratch().join("copy.tar");
    origin.cairn.cli(&["export", "lib/1", target.to_str().unwrap()]);
    assert!(fs::metadata(&target).unwrap().len() > 24 * FILE_BYTES as u64);
    wait::until("the cache is empty", || stored(&origin, &bodies) == 0);
    origin.check();
}

/// H42: what a program has mapped stays, beyond the cache's size, and goes when it is let go of.
#[test]
fn h42_what_is_mapped_stays_in_a_full_cache() {
    let bodies = bodies(40);
    let origin = streamed(&bodies, &["--cache-size", "500K"]);
    let file = fs::File::open(origin.cairn.versions("lib/1").join(name(0))).unwrap();
    let map = Mapping::shared(&file, FILE_BYTES, false).unwrap();
    assert_eq!(map.read(0, 100), &bodies[0][..100]);
    for number in 1..bodies.len() {
        read(&origin, number, &bodies);
    }
    wait::until("the cache has its size", || stored(&origin, &bodies) <= 11);
    assert!(is_stored(&origin.cairn, &bodies[0]));
    assert_eq!(map.read(FILE_BYTES - 100, 100), &bodies[0][FILE_BYTES - 100..]);
    drop((map, file));
    origin.cairn.cli(&["reclaim"]);
    assert!(!is_stored(&origin.cairn, &bodies[0]));
    wait::until("the figure follows a reclaim", || cached(&origin) == 0);
    origin.check();
}

/// The policy says what is a cache, from the moment it is set; the size can change while the store is mounted.
#[test]
fn l1_only_what_is_streamed_is_a_cache() {
    let bodies = bodies(20);
    let mut origin = streamed(&bodies, &["--cache-size", "100K"]);
    origin.cairn.cli(&["remote", "set", "origin", "--policy", "on_demand"]);
    origin.cairn.cli(&["prefetch", "lib"]);
    assert_eq!(stored(&origin, &bodies), 20);
    assert_eq!(cached(&origin), 0);
    let shown = origin.cairn.cli(&["remote", "set", "origin", "--policy", "streamed"]);
    assert!(shown.contains("and cached"), "{shown}");
    wait::until("it is a cache now", || stored(&origin, &bodies) <= 2);
    // A version that was published from it keeps what it has under its own name.
    let area = origin.cairn.area("own", "v1");
    fs::copy(origin.cairn.versions("lib/1").join(name(7)), area.join("copy")).unwrap();
    origin.cairn.publish("own", "v1").unwrap();
    for number in 0..bodies.len() {
        read(&origin, number, &bodies);
    }
    wait::until("the cache has its size", || stored(&origin, &bodies) <= 3);
    assert!(is_stored(&origin.cairn, &bodies[7]));
    let resize = |origin: &Origin, size: &str| {
        let (store, mnt) = (origin.cairn.store(), origin.cairn.mnt());
        let (store, mnt) = (store.to_str().unwrap(), mnt.to_str().unwrap());
        origin.cairn.cli(&["mount", store, mnt, "-o", "remount", "--cache-size", size]);
    };
    resize(&origin, "0");
    origin.cairn.cli(&["prefetch", "lib"]);
    assert_eq!(stored(&origin, &bodies), 20, "without a size all stays that has room");
    resize(&origin, "300K");
    wait::until("a smaller size holds at once", || stored(&origin, &bodies) <= 7);
    resize(&origin, "0");
    origin.cairn.cli(&["prefetch", "lib"]);
    origin.cairn.stop();
    origin.cairn.mount();
    wait::until("the size of the mount holds from the start", || stored(&origin, &bodies) <= 3);
    origin.check();
}
