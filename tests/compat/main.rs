//! Stores that earlier releases wrote open in this one, hold what they held, and go on.
//!
//! `tests/fixtures/store-RELEASE.tar.gz` is a store, and the text beside it says what is in it.
//! Neither is ever changed. `CAIRN_WRITE_FIXTURE=NAME` adds those of this release: see [`fixture`].
#![allow(clippy::unwrap_used, reason = "a failure ends the test, in its helpers too")]
#![allow(clippy::print_stderr, reason = "the test runner shows it when the test fails")]
#![allow(clippy::disallowed_methods, reason = "tests call the operations under test directly")]

mod fixture;

use std::fs;

use cairn::engine::fsck::Finding;
use fixture::Fixture;
use support::fsck::{check_clean_store, check_store};
use support::world;

#[test]
fn stores_of_earlier_releases_open_and_go_on() {
    let fixtures = Fixture::all();
    assert!(!fixtures.is_empty(), "there are no fixtures");
    for fixture in fixtures {
        eprintln!("{}", fixture.name);
        go_on(&fixture.archive, &fixture.text);
    }
}

/// Release 0.1.0 gave hardlink groups of a version the same id. A check tells where; what starts
/// from such a version keeps the files apart, and what is written anew has groups of its own.
#[test]
fn hardlink_groups_that_share_an_id_are_found_and_kept_apart() {
    let archive = include_bytes!("../fixtures/links/store-0.1.0.tar.gz");
    let closed = fixture::unpack(archive);
    let found = links_found(&closed.path());
    let versions: Vec<_> = found.iter().map(|(version, _)| version.as_str()).collect();
    assert_eq!(versions, ["web/2", "web/3"]);
    let (days, alike) = (["d.0", "d.1", "d.2"], ["s.0", "s.1"]);
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(days.iter().flat_map(|d| [format!("{d}/newest"), format!("{d}/report")]));
    wrong.extend(alike.iter().flat_map(|d| [format!("{d}/a"), format!("{d}/b")]));
    assert_eq!(found[1].1, wrong);

    let world = closed.open();
    // Begun by that release, which moved a directory with a name of a group whose other is `z`.
    let work = world.area("work@latest");
    world.write(work, "z", b"changed");
    world.commit("work@latest");
    assert_eq!(world.bytes("4", "moved/a"), b"changed");
    assert_eq!(world.bytes("4", "d.1/newest"), b"tuesday\n");

    // One of those that nobody can tell apart changes, and then another goes.
    let area = world.stage("again@4");
    world.write(area, "s.0/a", b"another");
    world.write(area, "d.0/report", b"today");
    world.commit("again@4");
    let world = world.reopen();
    let area = world.stage("last@5");
    world.remove(area, "s.1/a");
    world.commit("last@5");
    assert_eq!(world.bytes("6", "s.0/a"), b"another");
    assert_eq!(world.bytes("6", "s.0/b"), b"same\n");
    assert_eq!(world.bytes("6", "s.1/b"), b"same\n");
    assert_eq!(world.bytes("6", "d.0/newest"), b"today");
    assert_eq!(
        world.links("6"),
        [
            ["d.0/newest", "d.0/report"],
            ["d.1/newest", "d.1/report"],
            ["d.2/newest", "d.2/report"],
            ["moved/a", "z"]
        ]
    );
    let found = links_found(&world.close().path());
    let (version, paths) = found.last().unwrap();
    assert_eq!(version, "web/6");
    assert_eq!(*paths, ["d.1/newest", "d.1/report", "d.2/newest", "d.2/report"]);
}

/// The versions whose hardlinks a check complains of, with the paths. Nothing else is wrong but what
/// the earlier release has charged for files that it took for one.
fn links_found(store: &std::path::Path) -> Vec<(String, Vec<String>)> {
    let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
    let (findings, _) = support::fsck::findings(store, true);
    let damage = findings.iter().filter(|finding| !finding.is_leftover());
    let damage = damage.filter(|finding| !matches!(finding, Finding::Charge { .. }));
    damage
        .map(|finding| match finding {
            Finding::Links { version, paths, more: 0 } => {
                (version.clone(), paths.iter().map(text).collect())
            }
            other => panic!("{other}"),
        })
        .collect()
}

/// A store of this release, as the next release will find it.
#[test]
fn a_store_of_this_release_comes_back_from_its_archive() {
    let (archive, text) = fixture::write();
    if let Some(name) = std::env::var_os(fixture::VARIABLE) {
        Fixture::save(name.to_str().unwrap(), &archive, &text);
    }
    go_on(&archive, &text);
}

/// Unpacks a store, looks at all of it, and works with it.
fn go_on(archive: &[u8], text: &str) {
    let closed = fixture::unpack(archive);
    check_store(&closed.path());
    let world = closed.open();
    let (before, published) = text.split_once(fixture::PUBLISHED).unwrap();
    assert_eq!(fixture::describe(&world), before);
    assert_eq!(fixture::publish_area(&world), published);
    world.publish("after", &[("new", b"of a later release")]);
    assert_eq!(world.bytes("after", "new"), b"of a later release");
    let world = world.reopen();
    assert_eq!(fixture::content(&world, "work"), published);
    world.run(true, 0);
    let closed = world.close();
    check_clean_store(&closed.path());
}

/// The files around the catalog; the catalog and the trees have golden files beside their codecs.
#[test]
fn a_new_store_has_these_files() {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("store");
    cairn::store::init(&store).unwrap();
    let format = fs::read_to_string(store.join("format")).unwrap();
    let (before, uuid) = format.split_once("uuid ").unwrap();
    assert_eq!(before, "cairn store\nformat 1\n");
    let groups: Vec<usize> = uuid.trim_end().split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    let mut names: Vec<String> = fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["catalog.db", "format", "incoming", "lock", "pool", "staging"]);
    let catalog = fs::read(store.join("catalog.db")).unwrap();
    assert!(catalog.starts_with(b"SQLite format 3\0"));
    assert_eq!(catalog[68..72], *b"cair", "the application id");
}
