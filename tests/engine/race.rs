//! The collector against those who are about to use what it is about to remove: every order, by
//! holding a thread at a known place, and a stress run (G3, G5, G6).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::engine::request::{Request, Reuse};
use cairn::engine::stop_point::StopPoint;
use cairn::model::hash::BlobHash;

use crate::world::{Import, World};
use support::wait;

const CONTENT: &[u8] = b"what both sides are after";

/// A world in which `CONTENT` is in the pool and nothing references it.
fn with_orphan() -> World {
    let world = World::with_repository();
    world.publish("one", &[("f", CONTENT)]);
    world.publish("two", &[("f", b"other")]);
    world.delete(&["1"], false).unwrap();
    assert_eq!(world.run(false, 600).blobs, 0);
    world
}

/// Starts a run with protection 0 on a thread of its own, and gives what it freed.
fn collecting<'scope>(
    world: &'scope World,
    scope: &'scope std::thread::Scope<'scope, '_>,
) -> std::thread::ScopedJoinHandle<'scope, u64> {
    scope.spawn(|| world.run(false, 0).blobs)
}

#[test]
fn a_writer_that_comes_after_the_choice_keeps_the_blob() {
    let world = with_orphan();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::OrphansListed);
        let collected = collecting(&world, scope);
        hold.wait_reached();
        let inode = std::fs::metadata(world.engine.layout.blob(&BlobHash::of(CONTENT))).unwrap();
        let area = world.stage("work");
        world.write(area, "g", CONTENT);
        // The close is answered; the commit needs the seal, so the seal came before the removal.
        world.commit("work");
        drop(hold);
        assert_eq!(collected.join().unwrap(), 0, "the collector's delete is refused");
        let found = std::fs::metadata(world.engine.layout.blob(&BlobHash::of(CONTENT))).unwrap();
        assert_eq!(found.ino(), inode.ino(), "it was a dedup hit");
    });
    assert_eq!(world.bytes("3", "g"), CONTENT);
}

#[test]
fn a_seal_that_is_not_journalled_yet_keeps_the_blob() {
    let world = with_orphan();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::OrphansListed);
        let collected = collecting(&world, scope);
        hold.wait_reached();
        let area = world.stage("work");
        let shared = std::sync::Arc::clone(&world.engine.staging.read().areas[&area].shared);
        world.write(area, "g", CONTENT);
        wait::until("the file is sealed", || shared.unsealed() == 0);
        drop(hold);
        assert_eq!(collected.join().unwrap(), 0);
    });
    world.commit("work");
    assert_eq!(world.bytes("3", "g"), CONTENT);
}

#[test]
fn a_writer_that_hashed_before_the_removal_stores_its_own_data() {
    let world = with_orphan();
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    let area = world.stage("work");
    world.write(area, "g", CONTENT);
    hold.wait_reached();
    // The sealer has looked the blob up and found it; now it goes. The journal's barrier waits
    // for the seal, so the run is asked for without a flush.
    let kind = cairn::engine::gc::RunKind { full: false, protect_seconds: Some(0) };
    let report = world.engine.call(|reply| Request::Collect { kind, reply }).unwrap();
    assert_eq!(report.blobs, 1, "the collector wins");
    assert!(world.blob(&BlobHash::of(CONTENT)).is_none());
    drop(hold);
    world.commit("work");
    assert_eq!(world.bytes("3", "g"), CONTENT);
    assert_eq!(world.run(false, 0).blobs, 0);
}

#[test]
fn the_newest_version_may_go_while_the_next_is_compared_with_it() {
    let world = World::with_repository();
    world.publish("one", &[("d/a", CONTENT), ("d/b", b"other"), ("e/c", b"third")]);
    // After a start no page of a tree is in memory.
    let world = world.reopen();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::Building);
        let (world, area) = (&world, world.stage("new"));
        world.write(area, "d/a", b"another");
        let committed = scope.spawn(|| world.commit("new"));
        hold.wait_reached();
        world.delete(&["1"], true).unwrap();
        world.run(false, 0);
        drop(hold);
        assert_eq!(committed.join().unwrap().version.number.0, 2);
    });
    assert_eq!(world.bytes("2", "d/a"), b"another");
    world.run(false, 0);
    let totals = world.engine.query(|reader| reader.totals()).unwrap();
    assert_eq!((totals.blobs, totals.trees), (1, 2), "the first version is gone");
    support::fsck::check_clean_store(&world.close().path());
}

#[test]
fn an_upload_probe_that_comes_after_the_choice_keeps_the_blob() {
    let world = with_orphan();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::OrphansListed);
        let collected = collecting(&world, scope);
        hold.wait_reached();
        let hashes = vec![BlobHash::of(CONTENT)];
        let pins =
            world.engine.call(|reply| Request::ReuseBlobs { hashes, is_own: true, reply }).unwrap();
        assert!(matches!(pins[0], Reuse::Whole(..)));
        drop(hold);
        assert_eq!(collected.join().unwrap(), 0);
        drop(pins);
    });
    assert_eq!(world.run(false, 600).blobs, 0, "it was used just now");
    assert_eq!(world.run(false, 0).blobs, 1);
}

/// Nobody holds the blob any more when it is to be removed and no row is waiting, but it was wanted
/// after it was chosen (G5).
#[test]
fn an_upload_probe_that_came_and_went_after_the_choice_keeps_the_blob() {
    let world = with_orphan();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::OrphansListed);
        let collected = collecting(&world, scope);
        hold.wait_reached();
        let hashes = vec![BlobHash::of(CONTENT)];
        drop(
            world.engine.call(|reply| Request::ReuseBlobs { hashes, is_own: true, reply }).unwrap(),
        );
        world.engine.call(|reply| Request::Flush { reply }).unwrap();
        drop(hold);
        assert_eq!(collected.join().unwrap(), 0);
    });
    assert_eq!(world.run(false, 600).blobs, 0, "it was used just now");
    assert_eq!(world.run(false, 0).blobs, 1);
}

#[test]
fn an_import_that_comes_after_the_choice_keeps_the_blob() {
    let world = with_orphan();
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::OrphansListed);
        let collected = collecting(&world, scope);
        hold.wait_reached();
        let import = Import::additive(&world);
        import.put_file("g", CONTENT);
        drop(hold);
        assert_eq!(collected.join().unwrap(), 0);
        import.finish().unwrap();
    });
    assert_eq!(world.bytes("3", "g"), CONTENT);
}

#[test]
fn what_is_held_open_does_not_keep_the_others() {
    let world = World::with_repository();
    let names: Vec<String> = (0..50).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    world.publish("one", &files);
    world.publish("two", &[("g", b"g")]);
    world.delete(&["1"], false).unwrap();
    let held = BlobHash::of(b"f7");
    world.engine.pins.pin(&held.into());
    let report = world.run(false, 0);
    assert_eq!((report.blobs, report.pinned_blobs, report.pinned_bytes), (49, 1, 2));
    assert_eq!(world.blob(&held).unwrap(), b"f7", "an open file stays readable (G16)");
    world.engine.pins.unpin(&held.into());
    let report = world.run(false, 0);
    assert_eq!((report.blobs, report.pinned_blobs), (1, 0));
}

/// Eight writers store, delete and commit 50 shared contents while the collector runs all the
/// time without protection. `CAIRN_STRESS_ROUNDS` makes it longer (nightly: 2000).
#[test]
fn writers_and_the_collector_never_meet_badly() {
    let rounds = std::env::var("CAIRN_STRESS_ROUNDS").map_or(12, |text| text.parse().unwrap());
    let world = World::with_repository();
    let contents: Vec<Vec<u8>> =
        (0..50_usize).map(|n| format!("shared {n} ").repeat(1 + n * 40).into_bytes()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        let collector = scope.spawn(|| {
            let mut freed = 0;
            while !done.load(Ordering::SeqCst) {
                freed += world.run(false, 0).blobs;
            }
            freed + world.run(false, 0).blobs
        });
        let writers: Vec<_> = (0..8_usize)
            .map(|writer| {
                let (world, contents) = (&world, &contents);
                scope.spawn(move || write_and_commit(world, contents, writer, rounds))
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        assert!(collector.join().unwrap() > 0, "the collector had something to do");
    });
    check_versions(&world, &contents);
    let numbers: Vec<String> = world.numbers().iter().map(ToString::to_string).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    world.delete(&numbers, true).unwrap();
    world.run(true, 0);
    let totals = world.engine.query(|reader| reader.totals()).unwrap();
    assert_eq!((totals.blobs, totals.trees), (0, 0), "the counts were exact");
}

/// Ends the collector when a writer failed, too.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn write_and_commit(world: &World, contents: &[Vec<u8>], writer: usize, rounds: usize) {
    for round in 0..rounds {
        let label = format!("w{writer}r{round}");
        let area = world.stage(&label);
        for file in 0..10 {
            // Each content under a name that says which it is.
            let which = (writer * 7 + round * 3 + file * 11) % contents.len();
            world.write(area, &format!("d{}/c{which}", file % 3), &contents[which]);
        }
        // What nobody else has goes with the area or the version.
        world.write(area, "own", format!("only in {label}").as_bytes());
        world.remove(area, &format!("d0/c{}", (writer * 7 + round * 3) % contents.len()));
        if round % 4 == 3 {
            let request = cairn::control::protocol::Request::Discard {
                repository: "web".parse().unwrap(),
                area: label.parse().unwrap(),
            };
            world.ask(request).unwrap();
            continue;
        }
        let made = world.commit(&label).version.number;
        if round % 2 == 1 {
            // Another writer may have made a newer version, or this one may be the newest.
            world.delete(&[made.to_string().as_str()], true).unwrap();
        }
    }
}

/// Every file of every version reads as its name says.
fn check_versions(world: &World, contents: &[Vec<u8>]) {
    let mut checked = BTreeMap::new();
    for number in world.numbers() {
        for directory in ["d0", "d1", "d2"] {
            for (which, content) in contents.iter().enumerate() {
                let path = format!("{directory}/c{which}");
                if world.entry(&number.to_string(), &path).is_some() {
                    assert_eq!(
                        &world.bytes(&number.to_string(), &path),
                        content,
                        "{number}:{path}"
                    );
                    *checked.entry(which).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(checked.len() > 40, "most contents were published: {checked:?}");
}
