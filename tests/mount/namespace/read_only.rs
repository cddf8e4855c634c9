//! A mount with `--read-only` changes nothing: neither through files nor by commands.

use std::fs;

use rustix::io::Errno;

use support::{Cairn, errno};

/// Every verb that changes a store, as it would succeed on one that takes changes.
const CHANGES: [&[&str]; 22] = [
    &["create", "other"],
    &["stage", "web/more"],
    &["commit", "web/open"],
    &["discard", "web/open"],
    &["tag", "web/more", "1"],
    &["tag", "--delete", "web/a"],
    &["delete", "web/1", "--force"],
    &["undelete", "web/3"],
    &["release", "web/1"],
    &["lock", "web/1"],
    &["policy", "web", "--keep-unreleased", "1"],
    &["quota", "web", "--files", "9"],
    &["remote", "add", "origin", "sums", "http://127.0.0.1:1/"],
    &["sync", "web", "origin"],
    &["push", "web", "origin"],
    &["pull", "web", "origin"],
    &["remote", "accept", "origin", "web"],
    &["gc", "--wait"],
    &["prefetch", "web/1"],
    &["reclaim"],
    &["fsck", "--repair"],
    &["import", "/etc/hostname", "web"],
];

/// Every verb that looks at a store.
const READS: [&[&str]; 18] = [
    &["jobs"],
    &["list"],
    &["versions", "web"],
    &["show", "web/1"],
    &["diff", "web/1", "web/2"],
    &["log", "web"],
    &["log", "web", "f"],
    &["find", "web", "f"],
    &["cat", "web/1/f"],
    &["areas"],
    &["tag", "web"],
    &["remote", "list"],
    &["status"],
    &["top", "--once"],
    &["du"],
    &["why", "web/1/f"],
    &["fsck"],
    &["gc", "--dry-run"],
];

/// Verbs that are about no store, or about the daemon.
const OTHERS: [&str; 13] = [
    "init",
    "mount",
    "serve",
    "unmount",
    "doctor",
    "export",
    "profile",
    "refresh",
    "restore",
    "backup",
    "wait",
    "completions",
    "man",
];

#[test]
fn every_command_that_changes_the_store_is_refused() {
    let mut cairn = Cairn::start();
    for area in ["a", "b", "c"] {
        fs::write(cairn.area("web", area).join("f"), area).unwrap();
        cairn.publish("web", area).unwrap();
    }
    cairn.cli(&["delete", "web/3", "--force"]);
    fs::write(cairn.area("web", "open").join("f"), "open").unwrap();
    cairn.stop();
    cairn.set_arguments(&["--read-only"]);
    cairn.mount();
    let (status, pool) = (cairn.json(&["list"]), cairn.pool());
    for command in CHANGES {
        let output = cairn.run(command);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        if command[0] == "import" {
            // The kind of its source is looked at first.
            assert!(!output.status.success(), "{command:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(6), "{command:?}: {message}");
        assert!(message.contains("read-only"), "{command:?}: {message}");
    }
    let source = cairn.scratch();
    fs::write(source.join("f"), "imported").unwrap();
    let message = cairn.cli_fails(&["import", source.to_str().unwrap(), "web"]);
    assert!(message.contains("read-only"), "{message}");
    for command in READS {
        cairn.cli(command);
    }
    let target = cairn.scratch().join("exported");
    cairn.cli(&["export", "web/1", target.to_str().unwrap()]);
    assert_eq!(fs::read(target.join("f")).unwrap(), b"a");
    assert_eq!(errno(fs::create_dir(cairn.staging("new"))), Errno::ROFS);
    assert_eq!((cairn.json(&["list"]), cairn.pool()), (status, pool));
    assert_eq!(fs::read(cairn.versions("web/1/f")).unwrap(), b"a");
    cairn.stop();
    cairn.set_arguments(&[]);
    cairn.mount();
    cairn.publish("web", "open").unwrap();
}

#[test]
fn every_verb_is_in_one_of_the_tables() {
    for verb in cairn::cli::command().get_subcommands() {
        let name = verb.get_name();
        let known = CHANGES.iter().chain(&READS).any(|line| line[0] == name);
        assert!(
            known || OTHERS.contains(&name) || verb.is_hide_set(),
            "say in the tables above what `cairn {name}` does to a store"
        );
    }
}

#[test]
fn a_deleted_repository_comes_back() {
    let cairn = Cairn::start();
    fs::write(cairn.area("web", "one").join("f"), "content").unwrap();
    cairn.publish("web", "one").unwrap();
    cairn.cli(&["delete", "web/1", "web", "--force"]);
    assert_eq!(errno(fs::metadata(cairn.versions("web"))), Errno::NOENT);
    let told = cairn.cli(&["undelete", "web"]);
    assert_eq!(told, "brought back the repository web with web/1\n");
    assert_eq!(fs::read(cairn.versions("web/1/f")).unwrap(), b"content");
    assert_eq!(fs::read(cairn.tags("web/one/f")).unwrap(), b"content");
    fs::create_dir(cairn.staging("web/next")).unwrap();
    // Once more, by hand: an empty repository is a directory.
    fs::remove_dir(cairn.staging("web/next")).unwrap();
    cairn.cli(&["delete", "web/1", "--force"]);
    fs::remove_dir(cairn.staging("web")).unwrap();
    fs::create_dir(cairn.staging("web")).unwrap();
    let refused = cairn.cli_fails(&["undelete", "web"]);
    assert!(refused.contains("another of that name"), "{refused}");
}
