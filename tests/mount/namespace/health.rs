//! `cairn status --check`: an exit code by how the store is, and what is wrong.

use std::fs;
use std::path::Path;

use serde_json::Value;

use support::{Cairn, schema};

const HEALTHY: i32 = 0;
const WARNING: i32 = 11;
const CRITICAL: i32 = 12;

/// Runs the check; returns what it prints for people.
#[track_caller]
fn check(cairn: &Cairn, code: i32) -> String {
    let output = cairn.run(&["status", "--check"]);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The kinds of problems in the JSON of a status.
#[track_caller]
fn kinds(cairn: &Cairn) -> Vec<String> {
    let output = cairn.run(&["status", "--check", "--json"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let status = schema::documents("status", &printed).remove(0);
    let problems = status["problems"].as_array().unwrap().iter();
    problems.map(|problem| problem["kind"].as_str().unwrap().to_owned()).collect()
}

/// A store with one version, on a disk that may be low on space for reasons of the machine.
fn published(cairn: &Cairn) {
    fs::write(cairn.area("lib", "one").join("f"), "content").unwrap();
    cairn.publish("lib", "one").unwrap();
}

#[test]
fn a_store_in_order_is_healthy_and_one_near_its_quota_is_a_warning() {
    let cairn = Cairn::start();
    published(&cairn);
    assert!(!kinds(&cairn).iter().any(|kind| kind != "low_space"), "{:?}", kinds(&cairn));
    if kinds(&cairn).is_empty() {
        assert_eq!(check(&cairn, HEALTHY), "healthy\n");
    }
    cairn.cli(&["quota", "lib", "--bytes", "7"]);
    assert!(check(&cairn, WARNING).contains("warning   lib uses more than nine tenths"));
    // Without --check the status is shown, and that it can be is all that the exit code says.
    assert!(cairn.cli(&["status"]).contains("warning   lib uses more"));
}

#[test]
fn damage_is_critical_and_comes_before_warnings() {
    let cairn = Cairn::start();
    published(&cairn);
    cairn.cli(&["quota", "lib", "--bytes", "7"]);
    let (blob, _) = cairn.pool().remove(0);
    damage(&blob);
    cairn.run(&["fsck", "--full"]);
    let printed = check(&cairn, CRITICAL);
    assert!(printed.starts_with("CRITICAL  1 blob is damaged"), "{printed}");
    assert_eq!(kinds(&cairn)[0], "damage");
}

/// Replaces the content of a blob by another one of the same length.
fn damage(blob: &Path) {
    let length = fs::read(blob).unwrap().len();
    fs::write(blob, vec![b'x'; length]).unwrap();
}

#[test]
fn a_mount_whose_daemon_was_killed_is_critical_until_it_is_mounted_again() {
    let mut cairn = Cairn::start();
    published(&cairn);
    // Or it would take the mount away.
    cairn.kill_guard();
    cairn.kill9();
    let printed = check(&cairn, CRITICAL);
    let line = format!("the mount at {} has ended", cairn.mnt().display());
    assert_eq!(printed.matches(&line).count(), 1, "{printed}");
    assert_eq!(kinds(&cairn)[0], "dead_mount");
    cairn.mount();
    assert!(!kinds(&cairn).contains(&"dead_mount".to_owned()));
}

#[test]
fn a_daemon_whose_program_was_replaced_is_told() {
    let mut cairn = Cairn::unmounted();
    let copy = cairn.scratch().join("copy");
    let become_copy = format!("cp \"$0\" '{0}' && exec '{0}' \"$@\"", copy.display());
    cairn.set_launcher(&["sh", "-c", &become_copy]);
    cairn.mount();
    assert!(!kinds(&cairn).contains(&"replaced_binary".to_owned()));
    // As a package manager replaces it.
    let new = copy.with_extension("new");
    fs::write(&new, "another program").unwrap();
    fs::rename(&new, &copy).unwrap();
    assert!(check(&cairn, WARNING).contains("the daemon's program was replaced"));
    assert!(kinds(&cairn).contains(&"replaced_binary".to_owned()));
}

#[test]
fn the_status_shows_the_store_as_it_was_named() {
    let cairn = Cairn::start();
    let status: Value = cairn.json(&["status"]);
    assert_eq!(status["store"], cairn.store().canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn versions_say_which_are_released_and_locked() {
    let cairn = Cairn::start();
    published(&cairn);
    cairn.cli(&["release", "lib/1"]);
    cairn.cli(&["lock", "lib/1"]);
    assert!(cairn.cli(&["versions", "lib"]).contains("released,locked"));
}
