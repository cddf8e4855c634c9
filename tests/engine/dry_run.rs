//! A dry run of the collector foretells what the run does.

use cairn::control::du::{DuReply, DuTarget, VersionUsage};
use cairn::control::protocol::{Progress, Request};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, Service};
use cairn::control::upkeep::UpkeepRequest;
use cairn::engine::dry_run::DryRunReport;
use cairn::engine::gc::{RunKind, RunReport};
use cairn::engine::pins::{BlobPin, TreePin};
use cairn::engine::request::Request as EngineRequest;
use cairn::engine::stop_point::StopPoint;
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::policy::Policy;
use cairn::model::time::Timestamp;
use cairn::model::tree::Content;
use cairn::store::catalog::{BucketPlace, PlacesOf, ReclaimScope};

use crate::world::{Closed, World, caller};

fn foretold(world: &World, full: bool, protect_seconds: u64) -> DryRunReport {
    let kind = RunKind { full, protect_seconds: Some(protect_seconds) };
    world.engine.dry_run(kind, Timestamp::now()).unwrap()
}

fn change(closed: &Closed, sql: &str) {
    let catalog = rusqlite::Connection::open(closed.path().join("catalog.db")).unwrap();
    catalog.execute_batch(sql).unwrap();
}

/// Versions, areas, blobs, their bytes, directory pages; blobs that are pinned, and their bytes.
type Figures = [u64; 7];

fn figures(report: &DryRunReport) -> Figures {
    let versions = report.retention.iter().map(|expiry| expiry.expiring().count() as u64).sum();
    let areas = report.retention.iter().map(|expiry| expiry.areas.len() as u64).sum();
    let (free, pinned) = (report.garbage.free, report.garbage.pinned);
    let trees = report.garbage.trees;
    [versions, areas, free.count, free.bytes, trees, pinned.count, pinned.bytes]
}

fn done(report: &RunReport) -> Figures {
    let RunReport { versions, areas, blobs, bytes, trees, pinned_blobs, pinned_bytes, .. } = report;
    [*versions, *areas, *blobs, *bytes, *trees, *pinned_blobs, *pinned_bytes]
}

/// Tries a run and does it. Returns what both say.
fn both(world: &World, full: bool, protect_seconds: u64) -> Figures {
    // What goes between runs is counted by none, so it goes first.
    world.run(false, 600);
    let (tried, did) = (foretold(world, full, protect_seconds), world.run(full, protect_seconds));
    assert_eq!(figures(&tried), done(&did));
    let after = foretold(world, full, protect_seconds);
    let [_, _, blobs, bytes, trees, ..] = figures(&after);
    assert_eq!([blobs, bytes, trees], [0; 3], "all of that was done");
    let protected = |report: &DryRunReport| report.garbage.protected.bytes + report.kept.bytes();
    assert_eq!(protected(&tried), protected(&after));
    figures(&tried)
}

fn du(world: &World, versions: &[&str]) -> (DuReply, Vec<VersionUsage>) {
    let target = |version: &&str| DuTarget {
        repository: "web".parse().unwrap(),
        version: Some(version.parse().unwrap()),
    };
    let targets = versions.iter().map(target).collect();
    let mut usages = Vec::new();
    let mut on_progress = |progress| {
        if let Progress::Usages(some) = progress {
            usages.extend(some);
        }
    };
    let request = Request::Upkeep(UpkeepRequest::Du { targets });
    let answer = world.service.call(caller(1), request, Attachment::none(), &mut on_progress);
    let Reply::Du(reply) = answer.unwrap().0 else { panic!() };
    (reply, usages)
}

fn directory(world: &World, version: &str, path: &str) -> TreeHash {
    match world.entry(version, path).unwrap().content {
        Content::Directory { tree, .. } => tree,
        other => panic!("{other:?}"),
    }
}

fn text(number: usize) -> Vec<u8> {
    format!("content {number}").into_bytes()
}

/// Three versions: all have a directory in common, and each has what no other has.
fn three() -> World {
    let world = World::with_repository();
    let same: [(&str, &[u8]); 2] = [("same/a", b"the same"), ("same/b", b"in all")];
    world.publish("v1", &[same[0], same[1], ("own/f", &text(1)), ("first", &text(10))]);
    for number in 2..=3 {
        let area = world.stage(&format!("v{number}@{}", number - 1));
        world.remove(area, "own/f");
        world.write(area, "own/f", &text(number));
        if number == 2 {
            world.remove(area, "first");
        }
        world.write(area, "pair", &text(20));
        world.commit(&format!("v{number}"));
    }
    world
}

#[test]
fn g13_versions_that_share_directories_are_foretold() {
    let world = three();
    world.delete(&["1"], false).unwrap();
    assert_eq!(both(&world, false, 0), [0, 0, 2, 19, 2, 0, 0]);
    world.delete(&["2", "3"], true).unwrap();
    assert_eq!(both(&world, false, 600)[2..4], [0, 0], "it is protected");
    let [_, _, blobs, _, trees, ..] = both(&world, false, 0);
    assert_eq!((blobs, trees), (5, 5), "the shared directory is counted once");
}

#[test]
fn g13_what_expires_is_foretold_with_areas_and_without_what_a_tag_keeps() {
    let world = three();
    for (name, base) in [("idle", "@1"), ("alone", "")] {
        let area = world.stage(&format!("{name}{base}"));
        world.write(area, "of/area", name.as_bytes());
        world.wait_sealed(area, "of/area");
    }
    let set_tag = Request::SetTag {
        repository: "web".parse().unwrap(),
        tag: "kept".parse().unwrap(),
        version: "2".parse().unwrap(),
    };
    world.ask(set_tag).unwrap();
    let policy = Some(Policy {
        keep_unreleased: Some(1),
        expire_areas_seconds: Some(1),
        ..Policy::default()
    });
    world.engine_call(|repo, reply| EngineRequest::SetPolicy { repo, policy, reply }).unwrap();
    let closed = world.close();
    change(&closed, "UPDATE areas SET changed_s = 1");
    let world = closed.open();
    let [versions, areas, blobs, ..] = both(&world, true, 0);
    assert_eq!((versions, areas), (1, 2));
    assert_eq!(blobs, 4, "two of the version, one of each area");
    assert_eq!(world.numbers(), [2, 3]);
}

/// The counts of the catalog follow those in memory a moment later.
#[test]
fn g13_what_is_not_journalled_yet_is_foretold() {
    let world = World::with_repository();
    let area = world.stage("work");
    for number in 0..50 {
        let path = format!("f{number}");
        world.write(area, &path, &text(number));
        world.wait_sealed(area, &path);
        world.engine.call(|reply| EngineRequest::Flush { reply }).unwrap();
        world.remove(area, &path);
        let free = foretold(&world, false, 0).garbage.free;
        assert_eq!(free.count, number as u64 + 1);
    }
}

/// Nothing is queued, purged or collected while the store is served read-only, so the queue can be looked at.
#[test]
fn g13_what_is_queued_is_foretold_once_however_often_it_is_queued() {
    let world = three();
    let area = world.stage("work@3");
    world.write(area, "of/area", b"the area's own");
    world.wait_sealed(area, "of/area");
    let tree = world.tree("1");
    let closed = world.close();
    change(
        &closed,
        &format!(
            "UPDATE areas SET state = 1 WHERE id = {area};
         INSERT INTO doomed(area) VALUES({area}), ({area});
         INSERT INTO doomed(tree) VALUES(x'{tree}');
         DELETE FROM versions WHERE number = 1"
        ),
    );
    let world = closed.open_read_only();
    let [_, _, blobs, bytes, ..] = figures(&foretold(&world, false, 0));
    assert_eq!((blobs, bytes), (3, 19 + 14));
    let world = world.close().open();
    let did = world.run(false, 0);
    assert_eq!((did.blobs, did.bytes), (blobs, bytes));
    assert_eq!(world.bytes("3", "same/a"), b"the same", "the area gave its base back once");
}

#[test]
fn g16_what_is_pinned_is_not_foretold() {
    let world = three();
    let tree = TreePin::new(&world.engine.pins, directory(&world, "1", "own"));
    let blob = BlobPin::new(&world.engine.pins, BlobHash::of(&text(10)));
    world.delete(&["1"], false).unwrap();
    assert_eq!(both(&world, false, 0), [0, 0, 0, 0, 1, 1, 10], "the root goes");
    assert_eq!(both(&world, false, 0), [0, 0, 0, 0, 0, 1, 10]);
    let garbage = foretold(&world, false, 0).garbage;
    assert_eq!(garbage.bytes(), 10, "what is pinned is unreferenced all the same");
    drop(tree);
    assert_eq!(figures(&foretold(&world, false, 0)), [0, 0, 1, 9, 1, 1, 10]);
    assert_eq!(done(&world.run(false, 0)), [0, 0, 1, 9, 1, 1, 10]);
    drop(blob);
    let free = foretold(&world, false, 0).garbage.free;
    assert!(free.count == 1 || world.blob(&BlobHash::of(&text(10))).is_none(), "{free:?}");
}

/// A commit compares with the newest version, and keeps it while it does.
#[test]
fn h7_what_a_running_commit_has_pinned_is_not_foretold() {
    let world = World::with_repository();
    world.publish("one", &[("d/a", b"first"), ("e/c", b"second")]);
    let area = world.stage("new");
    world.write(area, "d/a", b"another");
    world.wait_sealed(area, "d/a");
    std::thread::scope(|scope| {
        let hold = world.engine.stop_points.hold(StopPoint::Building);
        let committed = scope.spawn(|| world.commit("new"));
        hold.wait_reached();
        world.delete(&["1"], true).unwrap();
        assert_eq!(both(&world, false, 0), [0; 7], "the whole version stays");
        drop(hold);
        committed.join().unwrap();
    });
    assert_eq!(both(&world, false, 0), [0, 0, 2, 11, 0, 0, 0], "its pages are gone already");
}

#[test]
fn g13_content_that_is_absent_frees_no_bytes() {
    let world = three();
    let (name, settings, keeps_seen) = ("bucket".parse().unwrap(), Some("{}".to_owned()), false);
    let put = |reply| EngineRequest::PutRemote { name, settings, keeps_seen, reply };
    world.engine.call(put).unwrap();
    let blob = BlobHash::of(&text(1));
    let place =
        BucketPlace { blob, key: b"pack"[..].into(), object_bytes: 99, entry: Some((8, 9)) };
    let places = vec![(place, text(1).len() as u64)];
    world.engine.note_in_bucket("bucket".parse().unwrap(), places, PlacesOf::Fetched).unwrap();
    let before = du(&world, &["1"]).1.remove(0);
    let rows = world.engine.query(|reader| reader.reclaimable(ReclaimScope::All, None, 9)).unwrap();
    assert_eq!(world.engine.reclaim(rows).unwrap().contents, 1);
    let after = du(&world, &["1"]).1.remove(0);
    assert_eq!(after.unique_bytes, before.unique_bytes - 9, "it takes no space here");
    assert_eq!(after.apparent_bytes, before.apparent_bytes);
    world.delete(&["1"], false).unwrap();
    assert_eq!(both(&world, false, 0), [0, 0, 2, 10, 2, 0, 0], "the row goes, and frees nothing");
}

/// What one version frees does not depend on what was asked before.
#[test]
fn g13_each_version_is_measured_by_itself() {
    let world = three();
    let alone = ["1", "2", "3"].map(|version| du(&world, &[version]).1.remove(0));
    let (reply, together) = du(&world, &["1", "2", "3"]);
    assert_eq!(together, alone);
    assert_eq!(together[0].unique_bytes, 9 + 10);
    assert_eq!(together[1].unique_bytes, 9);
    assert_eq!(reply.reclaimable_bytes, 0);
    // Somebody who reads the version has its content pinned. Its deletion frees that in the end.
    let pin = BlobPin::new(&world.engine.pins, BlobHash::of(&text(1)));
    assert_eq!(du(&world, &["1"]).1, alone[..1]);
    drop(pin);
}
