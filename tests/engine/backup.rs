//! Backups while everything else goes on (H25).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::backup::error::{BackupError, Result};
use cairn::backup::{self, Options, Priority};
use cairn::control::backup::{BackupReport, BackupRequest};
use cairn::control::client::Connection;
use cairn::control::protocol::{Progress, Request};
use cairn::control::reply::Reply;
use cairn::control::service::{Attachment, ConnectionId, Service};
use cairn::daemon::service::{DaemonFacts, StoreService};
use cairn::store::Store;

use crate::world::World;
use support::{content, fsck};

/// Backs the store up, on a thread of its own: it lowers its priority. `watch` hears of each step.
fn watched(
    world: &World,
    directory: &Path,
    watch: &mut (dyn FnMut(Progress) + Send),
) -> Result<BackupReport> {
    std::thread::scope(|scope| {
        let run = || {
            let service =
                StoreService::new(Arc::clone(&world.engine), || {}, DaemonFacts::default());
            let connection = Connection::local(Box::new(service));
            let options = Options { priority: Priority::Low, fetch: false };
            backup::run(connection, world.engine.layout.root(), directory, options, watch)
        };
        scope.spawn(run).join().unwrap()
    })
}

fn backed_up(world: &World, directory: &Path) -> BackupReport {
    watched(world, directory, &mut |_| {}).unwrap()
}

fn is_content(progress: &Progress) -> bool {
    matches!(progress, Progress::Step { what, .. } if what == "copying content")
}

/// The numbers of the versions in a store that nobody has open.
fn numbers(store: &Path) -> Vec<u64> {
    let store = Store::open(store).unwrap();
    let mut numbers = Vec::new();
    let rows = store.catalog.snapshots().latest().unwrap();
    rows.versions(&mut |row| numbers.push(row.unwrap().number.0)).unwrap();
    numbers
}

#[test]
fn what_the_collector_removes_meanwhile_is_no_damage() {
    let world = World::with_repository();
    for number in 1..=20_u64 {
        world.publish(&format!("v{number}"), &[("own", &content::bytes(number, 4000))]);
    }
    let target = tempfile::tempdir().unwrap();
    let mut collected = 0;
    let report = watched(&world, target.path(), &mut |progress| {
        // The first blob is copied, and the catalog names nineteen more.
        if is_content(&progress) && collected == 0 {
            world.delete(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], true).unwrap();
            collected = world.run(true, 0).blobs;
        }
    });
    let report = report.unwrap();
    assert_eq!(collected, 10, "the first catalog is not held");
    assert_eq!((report.damaged, report.versions, report.blobs), (0, 10, 10));
    fsck::check_clean_store(target.path());
    assert_eq!(numbers(target.path()), (11..=20).collect::<Vec<_>>());
}

#[test]
fn a_held_catalog_keeps_its_blobs_until_it_is_released() {
    let world = World::with_repository();
    world.publish("one", &[("f", b"held")]);
    world.publish("two", &[("f", b"other")]);
    let ask = |connection, request| {
        world.ask_as(connection, Request::Backup(request), Attachment::none())
    };
    let hold = || ask(7, BackupRequest::Catalog { hold: true }).unwrap();
    let (reply, attachment) = hold();
    assert!(reply == Reply::Catalog && attachment.files.len() == 1);
    world.delete(&["1"], true).unwrap();
    assert_eq!(world.run(false, 0).blobs, 0, "it is held");
    assert_eq!(ask(7, BackupRequest::Release).unwrap().0, Reply::Done);
    assert_eq!(world.run(false, 0).blobs, 1);

    world.publish("three", &[("f", b"last")]);
    hold();
    world.delete(&["2"], true).unwrap();
    assert_eq!(world.run(false, 0).blobs, 0, "it is held again");
    world.service.disconnected(ConnectionId(7));
    ask(7, BackupRequest::Release).unwrap_err();
    assert_eq!(world.run(false, 0).blobs, 1);
}

#[test]
fn areas_are_left_out_and_nothing_of_them_stays() {
    let world = World::with_repository();
    world.publish("one", &[("d/shared", b"shared"), ("d/other", b"other")]);
    let area = world.stage("work@1");
    world.write(area, "d/shared", b"other");
    world.write(area, "new", b"only in the area");
    let open = world.stage("large");
    world.write(open, "large", &content::bytes(5, 3 << 20));
    world.engine.call(|reply| cairn::engine::request::Request::Flush { reply }).unwrap();
    // What the areas started from is theirs alone.
    world.publish("two", &[("x", b"two")]);
    world.delete(&["1"], true).unwrap();
    world.run(true, 0);
    let target = tempfile::tempdir().unwrap();
    let report = backed_up(&world, target.path());
    assert_eq!((report.versions, report.areas_left_out, report.damaged), (1, 2, 0));
    fsck::check_clean_store(target.path());
    // It goes on where it is, and the next backup finds nothing to do.
    world.commit("large");
    let report = backed_up(&world, target.path());
    assert_eq!((report.versions, report.copied, report.areas_left_out), (2, 1, 1));
    assert_eq!(backed_up(&world, target.path()).copied, 0);
    fsck::check_clean_store(target.path());
}

#[test]
fn writers_commits_and_a_collector_without_protection_go_on() {
    let world = World::with_repository();
    world.publish("first", &[("f", b"first")]);
    let target = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut number = 0_u64;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let files: Vec<(String, Vec<u8>)> = (0..8)
                    .map(|n| (format!("d{n}/f"), content::bytes((number * 8 + n) % 64, 9000)))
                    .collect();
                let files: Vec<(&str, &[u8])> =
                    files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
                world.publish(&format!("v{number}"), &files);
                if let [.., oldest, _, _] = world.numbers()[..] {
                    world.delete(&[&oldest.to_string()], true).unwrap();
                }
            }
            number
        });
        let collecting = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                world.run(true, 0);
            }
        });
        for _ in 0..12 {
            let before = *world.numbers().last().unwrap();
            let report = backed_up(&world, target.path());
            assert_eq!(report.damaged, 0, "{:?}", report.damaged_blobs);
            fsck::check_clean_store(target.path());
            assert!(numbers(target.path()).last().unwrap() >= &before, "what was acknowledged");
        }
        done.store(true, Ordering::Relaxed);
        assert!(publishing.join().unwrap() > 0);
        collecting.join().unwrap();
    });
    fsck::check_store(&world.close().path());
}

/// The directory is a path to SQLite, so nobody else may be able to put another one there (H24).
#[test]
fn a_directory_that_others_can_replace_is_refused() {
    const STRANGER: Option<u32> = Some(4321);
    let world = World::with_repository();
    world.publish("one", &[("f", b"content")]);
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    for name in ["theirs", "theirs/there", "secret", "real"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::os::unix::fs::chown(path("theirs"), STRANGER, None).unwrap();
    for name in ["theirs/new", "theirs/there"] {
        let refused = watched(&world, &path(name), &mut |_| {}).unwrap_err();
        assert!(matches!(refused, BackupError::Exposed { owner: 4321, .. }), "{refused}");
    }
    assert!(!path("theirs/new").exists());
    assert_eq!(std::fs::read_dir(path("theirs/there")).unwrap().count(), 0);

    std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
    std::os::unix::fs::lchown(path("link"), STRANGER, None).unwrap();
    let refused = watched(&world, &path("link"), &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("belongs to user 4321"), "{refused}");
    assert_eq!(std::fs::read_dir(path("secret")).unwrap().count(), 0);

    std::os::unix::fs::symlink(path("real"), path("own")).unwrap();
    assert_eq!(backed_up(&world, &path("own")).versions, 1);
    assert!(path("real/catalog.db").exists());
}

/// H41: a backup holds what has a declared name, and counts it as the store does.
#[test]
fn declared_names_are_backed_up() {
    let world = crate::declared::mirrored();
    let target = tempfile::tempdir().unwrap();
    let directory = target.path().join("backup");
    backed_up(&world, &directory);
    fsck::check_store(&directory);
}
