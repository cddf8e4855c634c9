//! What a remote can give back is dropped and fetched again; what anybody needs stays (L12, H42).

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use support::mapping::Mapping;
use support::{content, wait};

use crate::shared::{FILES, Origin, add, is_stored};

/// What is in `left` of the answer: how many contents stay for each reason.
fn left(document: &serde_json::Value) -> Vec<(String, u64)> {
    let left = document["left"].as_array().unwrap().iter();
    left.map(|left| {
        let reason = left["reason"].as_str().unwrap().to_owned();
        (reason, left["content_count"].as_u64().unwrap())
    })
    .collect()
}

fn read_all(origin: &Origin) {
    for (path, bytes) in FILES {
        assert_eq!(fs::read(origin.cairn.versions("lib/1").join(path)).unwrap(), *bytes);
    }
}

#[test]
fn l12_what_was_reclaimed_is_absent_and_fetched_again() {
    let origin = Origin::new();
    read_all(&origin);
    let dry = origin.cairn.json(&["reclaim", "--dry-run"]);
    assert_eq!((&dry["reclaimed_content_count"], &dry["dry_run"]), (&3.into(), &true.into()));
    assert!(is_stored(&origin.cairn, b"first"), "nothing was done");
    let done = origin.cairn.json(&["reclaim"]);
    assert_eq!(done["reclaimed_content_count"], 3, "{done}");
    assert_eq!(done["reclaimed_bytes"], 16);
    assert!(left(&done).is_empty(), "{done}");
    assert!(![&b"first"[..], b"second", b"third"].iter().any(|it| is_stored(&origin.cairn, it)));
    assert_eq!(origin.cairn.json(&["status"])["absent_content_count"], 3);
    assert_eq!(fs::metadata(origin.cairn.versions("lib/1/a")).unwrap().len(), 5);
    let before = origin.requests();
    read_all(&origin);
    assert_eq!(origin.requests(), before + 3);
    assert_eq!(origin.cairn.cli(&["reclaim", "lib"]), "reclaimed 16 B in 3 contents\n");
    let mut origin = origin;
    origin.cairn.stop();
    support::fsck::check_clean_store(&origin.cairn.store());
    origin.cairn.mount();
    read_all(&origin);
    origin.check();
}

/// What was read last goes last.
#[test]
fn l12_the_least_recently_used_goes_first() {
    let bodies: Vec<_> = (0..5).map(|number| content::bytes(number, 1000)).collect();
    let names: Vec<_> = (0..5).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), &body[..])).collect();
    let mut origin = Origin::of(&files);
    let path = |origin: &Origin, number: usize| origin.cairn.versions("lib/1").join(&names[number]);
    for (number, body) in bodies.iter().enumerate() {
        assert_eq!(fs::read(path(&origin, number)).unwrap(), *body);
    }
    // Uses are told apart by seconds. The kernel has the pages until the mount is made anew.
    origin.cairn.stop();
    let stopped = Instant::now();
    wait::until("the clock goes on", || stopped.elapsed().as_millis() > 1100);
    origin.cairn.mount();
    for number in [3, 1] {
        assert_eq!(fs::read(path(&origin, number)).unwrap(), bodies[number]);
    }
    let done = origin.cairn.json(&["reclaim", "--keep", "2500"]);
    assert_eq!(done["reclaimed_content_count"], 3, "{done}");
    assert_eq!(left(&done), [("kept".to_owned(), 2)]);
    let stored: Vec<_> = bodies.iter().map(|body| is_stored(&origin.cairn, body)).collect();
    assert_eq!(stored, [false, true, false, true, false]);
    let done = origin.cairn.json(&["reclaim", "--keep", "2000"]);
    assert_eq!(done["reclaimed_content_count"], 0, "{done}");
    origin.check();
}

/// L12: content that is read in an area counts as used, too.
#[test]
fn l12_reading_in_an_area_is_a_use() {
    let mut origin = Origin::new();
    read_all(&origin);
    // Uses are told apart by seconds. The kernel has the pages until the mount is made anew.
    origin.cairn.stop();
    let stopped = Instant::now();
    wait::until("the clock goes on", || stopped.elapsed().as_millis() > 1100);
    origin.cairn.mount();
    let area = origin.cairn.area("lib", "work@1");
    assert_eq!(fs::read(area.join("dir/b")).unwrap(), b"second");
    let done = origin.cairn.json(&["reclaim", "--keep", "6"]);
    assert_eq!(done["reclaimed_content_count"], 2, "{done}");
    let stored = FILES[..3].iter().map(|(_, bytes)| is_stored(&origin.cairn, bytes));
    assert_eq!(stored.collect::<Vec<_>>(), [false, true, false]);
    origin.cairn.cli(&["discard", "lib/work"]);
    origin.check();
}

/// H42: content that a program has mapped is not dropped under it.
#[test]
fn h42_what_is_mapped_stays_until_it_is_not() {
    let big = content::bytes(7, 3 << 20);
    let origin = Origin::of(&[("big", &big), ("small", b"small")]);
    let path = origin.cairn.versions("lib/1/big");
    let file = fs::File::open(&path).unwrap();
    let map = Mapping::shared(&file, big.len(), false).unwrap();
    assert_eq!(map.read(0, 4096), &big[..4096]);
    drop(file);
    assert_eq!(fs::read(origin.cairn.versions("lib/1/small")).unwrap(), b"small");
    let done = origin.cairn.json(&["reclaim"]);
    assert_eq!(left(&done), [("open".to_owned(), 1)], "{done}");
    assert_eq!(done["reclaimed_bytes"], 5);
    origin.cairn.cli(&["remote", "set", "origin", "--url", "http://127.0.0.1:9/"]);
    assert_eq!(map.read(2 << 20, 1 << 20), &big[2 << 20..]);
    drop(map);
    let done = origin.cairn.json(&["reclaim"]);
    assert_eq!((&done["reclaimed_content_count"], left(&done).len()), (&1.into(), 0), "{done}");
    assert!(!is_stored(&origin.cairn, &big));
    origin.check();
}

#[test]
fn l12_what_something_else_needs_stays() {
    let origin = Origin::new();
    read_all(&origin);
    // The same bytes without a remote, and a file of an area.
    let area = origin.cairn.area("own", "v1");
    fs::write(area.join("copy"), "first").unwrap();
    origin.cairn.publish("own", "v1").unwrap();
    let area = origin.cairn.area("lib", "work@1");
    fs::rename(area.join("dir/b"), area.join("moved")).unwrap();
    fs::set_permissions(area.join("moved"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    fs::File::open(area.join("moved")).unwrap().sync_all().unwrap();
    let done = origin.cairn.json(&["reclaim"]);
    let expected = [("other_name".to_owned(), 1), ("area".to_owned(), 1)];
    assert_eq!(left(&done), expected, "{done}");
    assert_eq!(done["reclaimed_bytes"], 5);
    assert!(is_stored(&origin.cairn, b"first") && is_stored(&origin.cairn, b"second"));
    origin.cairn.cli(&["prefetch", "lib"]);
    origin.cairn.cli(&["remote", "remove", "origin"]);
    let done = origin.cairn.json(&["reclaim"]);
    assert_eq!(left(&done), [("no_source".to_owned(), 3)], "{done}");
    origin.cairn.cli(&["discard", "lib/work"]);
    origin.check();
}

/// With repositories, what others have as well stays.
#[test]
fn l12_what_other_repositories_have_stays() {
    let origin = Origin::new();
    let site = support::http::Site::default();
    site.set_manifest(&[("a", b"first"), ("alone", b"its own")]);
    let server = site.serve();
    add(&origin.cairn, "second", &server);
    origin.cairn.cli(&["sync", "other", "second"]);
    origin.cairn.cli(&["prefetch", "lib", "other"]);
    origin.cairn.cli_fails(&["reclaim", "none"]);
    let done = origin.cairn.json(&["reclaim", "other"]);
    assert_eq!(done["reclaimed_bytes"], 7, "{done}");
    assert!(is_stored(&origin.cairn, b"first") && !is_stored(&origin.cairn, b"its own"));
    origin.cairn.cli(&["reclaim", "other", "lib"]);
    assert_eq!(origin.cairn.json(&["status"])["absent_content_count"], 4);
    origin.check();
}

/// Readers of all kinds beside reclaims get the right bytes, always.
#[test]
fn l12_readers_beside_reclaims_see_nothing_of_them() {
    let origin = Origin::new();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..2 {
            let (origin, is_over) = (&origin, &is_over);
            scope.spawn(move || {
                let mut rounds = 0;
                while !is_over.load(Ordering::SeqCst) || rounds < 5 {
                    rounds += 1;
                    if number == 0 {
                        read_all(origin);
                        continue;
                    }
                    let to = origin.cairn.scratch().join(format!("out{rounds}"));
                    origin.cairn.cli(&["export", "lib/1", to.to_str().unwrap()]);
                    for (path, bytes) in FILES {
                        assert_eq!(fs::read(to.join(path)).unwrap(), *bytes);
                    }
                }
            });
        }
        for _ in 0..20 {
            origin.cairn.cli(&["reclaim"]);
        }
        is_over.store(true, Ordering::SeqCst);
    });
    origin.check();
}

/// A store that is open for reading only keeps what it has.
#[test]
fn l12_a_read_only_store_reclaims_nothing() {
    let mut origin = Origin::new();
    read_all(&origin);
    origin.cairn.stop();
    origin.cairn.set_arguments(&["--read-only"]);
    origin.cairn.mount();
    origin.cairn.cli_fails(&["reclaim"]);
    assert_eq!(origin.cairn.json(&["reclaim", "--dry-run"])["reclaimed_bytes"], 16);
    assert!(is_stored(&origin.cairn, b"first"));
    origin.check();
}
