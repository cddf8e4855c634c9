//! An area whose base is not the newest version any more: ECANCELED

use std::fs;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use support::{Cairn, errno};

/// Version 1, an area based on it with a change, and a version 2 that came between.
fn stale() -> Cairn {
    let cairn = Cairn::start();
    let first = cairn.area("lib", "first");
    fs::write(first.join("f"), "one").unwrap();
    fs::write(first.join("g"), "one").unwrap();
    cairn.publish("lib", "first").unwrap();
    fs::write(cairn.area("lib", "late@latest").join("f"), "late").unwrap();
    fs::write(cairn.area("lib", "between@latest").join("g"), "between").unwrap();
    cairn.publish("lib", "between@latest").unwrap();
    cairn
}

#[test]
fn is_refused_and_stays() {
    let cairn = stale();
    assert_eq!(errno(cairn.publish("lib", "late@latest")), Errno::CANCELED);
    assert_eq!(fs::read(cairn.staging("lib/late@latest/f")).unwrap(), b"late");
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 2);
    fs::write(cairn.staging("lib/late@latest/h"), "still writable").unwrap();
    let mut reason = [0; 1000];
    let area = cairn.staging("lib/late@latest");
    let length = rustix::fs::getxattr(&area, "user.cairn.error", &mut reason[..]).unwrap();
    assert!(length > 0, "the reason in words");
    let message = cairn.cli_fails(&["commit", "lib/late"]);
    assert!(message.contains('2'), "names the version that came between: {message}");
    assert!(message.contains("--onto-latest") && message.contains("--force"), "{message}");
}

#[test]
fn force_publishes_the_area_as_it_is() {
    let cairn = stale();
    cairn.cli(&["commit", "lib/late", "--force"]);
    assert_eq!(fs::read(cairn.versions("lib/3/f")).unwrap(), b"late");
    assert_eq!(fs::read(cairn.versions("lib/3/g")).unwrap(), b"one");
}

#[test]
fn onto_latest_merges_changes_of_different_files() {
    let cairn = stale();
    cairn.cli(&["commit", "lib/late", "--onto-latest"]);
    assert_eq!(fs::read(cairn.versions("lib/3/f")).unwrap(), b"late");
    assert_eq!(fs::read(cairn.versions("lib/3/g")).unwrap(), b"between");
}

#[test]
fn onto_latest_lists_conflicts_and_publishes_nothing() {
    let cairn = stale();
    fs::write(cairn.staging("lib/late@latest/g"), "conflicting").unwrap();
    let message = cairn.cli_fails(&["commit", "lib/late", "--onto-latest"]);
    assert!(message.contains('g'), "{message}");
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 2);
    assert_eq!(fs::read(cairn.staging("lib/late@latest/g")).unwrap(), b"conflicting");
}

#[test]
fn the_area_says_what_the_next_mv_does() {
    let cairn = stale();
    let area = cairn.staging("lib/late@latest");
    let set = rustix::fs::setxattr(&area, "user.cairn.on-stale", b"force", XattrFlags::empty());
    set.unwrap();
    cairn.publish("lib", "late@latest").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/3/f")).unwrap(), b"late");
}

#[test]
fn an_area_without_base_is_never_stale() {
    let cairn = stale();
    fs::write(cairn.area("lib", "free").join("f"), "free").unwrap();
    fs::write(cairn.area("lib", "quick").join("f"), "quick").unwrap();
    cairn.publish("lib", "quick").unwrap();
    cairn.publish("lib", "free").unwrap();
    assert_eq!(fs::read_dir(cairn.versions("lib")).unwrap().count(), 4);
}
