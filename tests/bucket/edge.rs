//! `cairn mount --edge`: a mount that shows what is in a bucket, follows it, and works without it (D2)

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use serde_json::Value;
use support::cairn::{binary, scratch};
use support::{Cairn, content, fsck, tree, wait};
use tempfile::TempDir;

use crate::server::Place;
use crate::shared::{Bucket, files, import, shown};

/// Longer than a test takes: then an edge asks for news only when it is told to.
pub(crate) const NEVER: [&str; 2] = ["--poll", "1h"];

/// Publishes a version with one file in it.
pub(crate) fn publish(cairn: &Cairn, repository: &str, text: &str) {
    let source = cairn.scratch().join(repository);
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("text"), text).unwrap();
    import(cairn, &source, repository);
    cairn.cli(&["push", repository, "store"]);
}

/// An edge of a bucket in a directory, with a cache of its own that goes with it.
pub(crate) struct Edge {
    pub(crate) cairn: Cairn,
    pub(crate) home: TempDir,
}

impl Edge {
    pub(crate) fn of(place: &str, options: &[&str]) -> Self {
        let home = TempDir::new_in(scratch()).unwrap();
        let mut cairn = Cairn::edge(place, &home.path().join("cache"));
        cairn.set_arguments(options);
        Self { cairn, home }
    }

    pub(crate) fn start(bucket: &Bucket, options: &[&str]) -> Self {
        let mut edge = Self::of(bucket.path().to_str().unwrap(), options);
        edge.cairn.mount();
        edge
    }

    pub(crate) fn refresh(&self) -> Value {
        self.cairn.json(&["refresh", "--wait"])
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.cairn.versions(path)).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        self.cairn.json(&["status"])["edge"].clone()
    }

    /// The numbers of a repository's versions.
    pub(crate) fn numbers(&self, repository: &str) -> BTreeSet<u64> {
        let versions = self.cairn.json(&["versions", repository]);
        versions.as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect()
    }

    /// Stops it, and checks the cache as a store.
    pub(crate) fn end(mut self) {
        self.cairn.stop();
        fsck::check_store(&self.cairn.store());
        drop(self.home);
    }
}

/// Runs a command without a store.
fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn message(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn d2_an_edge_shows_what_is_pushed() {
    let bucket = Bucket::new();
    let one = bucket.store();
    let source = one.scratch().join("source");
    files(&source, 1, 50, 3000);
    fs::write(source.join("large"), content::bytes(7, (9 << 20) + 5)).unwrap();
    import(&one, &source, "lib");
    one.cli(&["tag", "lib/stable", "1"]);
    one.cli(&["push", "lib", "store"]);
    let edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    tree::assert_same_below(&source, &edge.cairn.versions("lib/1"));
    assert_eq!(shown(&one, "lib/1"), shown(&edge.cairn, "lib/1"));
    let tag = fs::read_link(edge.cairn.tags("lib/stable")).unwrap();
    assert_eq!(tag, Path::new("../../versions/lib/1"));
    fs::write(source.join("new"), "new").unwrap();
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    // A repository that is made later is shown as well.
    publish(&one, "later", "made later");
    assert!(!edge.cairn.versions("lib/2").exists());
    let told = edge.refresh();
    assert_eq!(
        (&told["missing_version_count"], &told["followed_repository_count"]),
        (&0.into(), &2.into())
    );
    assert_eq!(fs::read_to_string(edge.cairn.tags("lib/latest/new")).unwrap(), "new");
    assert_eq!(edge.read("later/1/text"), "made later");
    let status = edge.status();
    assert_eq!(status["failures"], serde_json::json!([]));
    assert_eq!(status["alarms"], serde_json::json!([]));
    assert!(status["last_contact_seconds"].as_i64().unwrap() > 0);
    assert!(edge.cairn.cli(&["status"]).contains("follows   all 2 repositories"));
    // What nobody follows fails clearly.
    let refused = one.cli_fails(&["refresh", "--wait"]);
    assert!(refused.contains("no edge"), "{refused}");
    edge.end();
}

#[test]
fn d2_nothing_can_be_changed_at_an_edge() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let mut edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    let cairn = &edge.cairn;
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap();
    for done in [
        fs::create_dir(cairn.staging("other")),
        fs::create_dir(cairn.staging("lib/area")),
        std::os::unix::fs::symlink("../../versions/lib/1", cairn.tags("lib/mine")),
        fs::remove_file(cairn.tags("lib/latest")),
        fs::write(cairn.versions("lib/1/text"), "changed"),
        fs::remove_file(cairn.versions("lib/1/text")),
        fs::create_dir(cairn.mnt().join("new")),
    ] {
        assert_eq!(errno(done.unwrap_err()), Errno::ROFS);
    }
    let source = cairn.scratch().join("source");
    files(&source, 1, 2, 10);
    let source = source.to_str().unwrap();
    let place = bucket.path().display().to_string();
    let changes: &[&[&str]] = &[
        &["create", "mine"],
        &["stage", "lib/area"],
        &["import", source, "lib"],
        &["tag", "lib/mine", "1"],
        &["delete", "lib/1", "--force"],
        &["delete", "lib"],
        &["release", "lib/1"],
        &["lock", "lib/1"],
        &["undelete", "lib/1"],
        &["policy", "lib", "--keep-unreleased", "1"],
        &["quota", "lib", "--bytes", "1G"],
        &["push", "lib", "origin"],
        &["pull", "lib", "origin"],
        &["remote", "add", "more", "bucket", &place],
        &["remote", "remove", "origin"],
        &["remote", "gc", "origin"],
        &["remote", "test", "origin"],
    ];
    let refuse_all = |cairn: &Cairn| {
        for change in changes {
            let refused = cairn.run(change);
            assert_eq!(refused.status.code(), Some(6), "{change:?}: {refused:?}");
            let refused = message(&refused);
            assert!(refused.contains("this store is an edge"), "{change:?}: {refused}");
            assert!(refused.contains("cairn push"), "{change:?}: {refused}");
        }
    };
    refuse_all(cairn);
    let remount = run(&[
        "mount",
        "-o",
        "remount,rw",
        cairn.store().to_str().unwrap(),
        cairn.mnt().to_str().unwrap(),
    ]);
    assert!(message(&remount).contains("read-only"), "{remount:?}");
    // What keeps it in order is not refused, nor are settings of the way to the bucket.
    cairn.cli(&["gc"]);
    cairn.cli(&["fsck"]);
    cairn.cli(&["remote", "fsck", "origin"]);
    cairn.cli(&["remote", "set", "origin", "--url", &place]);
    edge.refresh();
    assert_eq!(edge.read("lib/1/text"), "one");
    // Nor does it change without a daemon.
    edge.cairn.stop();
    refuse_all(&edge.cairn);
    fsck::check_store(&edge.cairn.store());
}

#[test]
fn d2_an_edge_follows_chosen_repositories_alone() {
    let bucket = Bucket::new();
    let one = bucket.store();
    for name in ["a", "b", "c"] {
        publish(&one, name, name);
    }
    let options = [&NEVER[..], &["--repo", "a", "--repo", "c", "--repo", "later"]].concat();
    let mut edge = Edge::start(&bucket, &options);
    edge.refresh();
    let all = |edge: &Edge| -> BTreeSet<String> {
        let entries = fs::read_dir(edge.cairn.versions("")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(all(&edge), names(&["a", "c"]));
    publish(&one, "later", "later");
    publish(&one, "b", "again");
    edge.refresh();
    assert_eq!(all(&edge), names(&["a", "c", "later"]));
    // Told otherwise at the next mount.
    edge.cairn.stop();
    edge.cairn.set_arguments(&NEVER);
    edge.cairn.mount();
    edge.refresh();
    assert_eq!(all(&edge), names(&["a", "b", "c", "later"]));
    assert_eq!(edge.read("b/2/text"), "again");
    edge.end();
}

#[test]
fn d2_deletions_tags_and_flags_are_those_of_the_bucket() {
    let bucket = Bucket::new();
    let one = bucket.store();
    for text in ["one", "two", "three", "four"] {
        publish(&one, "lib", text);
    }
    one.cli(&["tag", "lib/old", "1"]);
    one.cli(&["tag", "lib/stable", "2"]);
    one.cli(&["lock", "lib/1"]);
    one.cli(&["push", "lib", "store"]);
    let edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    assert_eq!(edge.cairn.json(&["show", "lib/1"])["locked"], true);
    let mut reader = fs::File::open(edge.cairn.versions("lib/1/text")).unwrap();
    // All of it at once, as an edge sees it that was away.
    one.cli(&["lock", "--undo", "lib/1"]);
    one.cli(&["tag", "lib/stable", "4"]);
    one.cli(&["tag", "lib/third", "3"]);
    one.cli(&["tag", "--delete", "lib/old"]);
    one.cli(&["release", "lib/3"]);
    one.cli(&["push", "lib", "store"]);
    one.cli(&["push", "lib/1", "lib/2", "store", "--delete"]);
    edge.refresh();
    assert_eq!(edge.numbers("lib"), BTreeSet::from([3, 4]));
    let tags = |cairn: &Cairn| {
        let tags = cairn.json(&["tag", "lib"]);
        let tags = tags.as_array().unwrap().iter();
        tags.map(|tag| (tag["tag"].clone(), tag["number"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(tags(&edge.cairn), [("stable".into(), 4.into()), ("third".into(), 3.into())]);
    assert_eq!(edge.cairn.json(&["show", "lib/3"])["released"], true);
    // Who reads a version reads on when it is deleted.
    let mut text = String::new();
    edge.cairn.cli(&["gc", "--full"]);
    reader.seek(SeekFrom::Start(0)).unwrap();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one");
    drop(reader);
    // Another edge that begins now ends in the same state.
    let other = Edge::start(&bucket, &NEVER);
    other.refresh();
    assert_eq!(tags(&other.cairn), tags(&edge.cairn));
    for version in ["lib/3", "lib/4"] {
        assert_eq!(shown(&other.cairn, version), shown(&edge.cairn, version));
    }
    assert_eq!(other.numbers("lib"), edge.numbers("lib"));
    other.end();
    edge.end();
}

#[test]
fn d2_the_newest_version_comes_first_and_then_the_others() {
    let bucket = Bucket::new();
    let one = bucket.store();
    for text in ["one", "two", "three", "four"] {
        publish(&one, "lib", text);
    }
    one.cli(&["push", "lib/2", "store", "--delete"]);
    let edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    publish(&one, "lib", "five");
    publish(&one, "lib", "six");
    edge.refresh();
    let log = edge.cairn.log();
    let published = log.split("published lib/").skip(1);
    let order: Vec<_> = published.filter_map(|rest| rest.split(',').next()).collect();
    assert_eq!(order, ["4", "3", "1", "5", "6"]);
    assert_eq!(edge.numbers("lib"), BTreeSet::from([1, 3, 4, 5, 6]));
    assert_eq!(fs::read_to_string(edge.cairn.tags("lib/latest/text")).unwrap(), "six");
    assert_eq!(edge.read("lib/1/text"), "one");
    edge.end();
}

#[test]
fn d2_an_edge_fetches_what_is_read() {
    let bucket = Bucket::new();
    let one = bucket.store();
    let source = one.scratch().join("source");
    files(&source, 1, 50, 300_000);
    for seed in [2, 1] {
        files(&source, seed, 1, 300_000);
        import(&one, &source, "lib");
    }
    one.cli(&["push", "lib", "store"]);
    let edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    let absent = || edge.cairn.json(&["status"])["absent_content_count"].as_u64().unwrap();
    assert_eq!(absent(), 51, "trees are there, and nothing else");
    let file = |number: u64| format!("lib/2/file-{number:04}");
    let read = fs::read(edge.cairn.versions(file(0))).unwrap();
    assert!(read == content::bytes(100_000, 300_000));
    let left = absent();
    assert!((1..=50).contains(&left), "{left}: neighbours in the pack came along, not all");
    edge.cairn.cli(&["prefetch", "lib/2"]);
    assert_eq!(absent(), 1, "what version 1 alone has");
    tree::assert_same_below(&source, &edge.cairn.versions("lib/2"));
    edge.end();
    let whole = Edge::start(&bucket, &[&NEVER[..], &["--policy", "immediate"]].concat());
    whole.refresh();
    assert_eq!(whole.cairn.json(&["status"])["absent_content_count"], 0);
    whole.end();
}

#[test]
fn d2_an_edge_asks_for_news_by_itself() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let edge = Edge::start(&bucket, &["--poll", "1s"]);
    wait::until("the first version is shown", || edge.cairn.versions("lib/1/text").exists());
    publish(&one, "lib", "two");
    wait::until("the second version is shown", || edge.cairn.versions("lib/2/text").exists());
    edge.end();
}

#[test]
fn d2_an_edge_works_while_its_bucket_is_away() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let mut edge = Edge::start(&bucket, &["--poll", "1s"]);
    edge.refresh();
    // What was read is in its cache.
    assert_eq!(edge.read("lib/1/text"), "one");
    let away = bucket.path().with_file_name("away");
    fs::rename(bucket.path(), &away).unwrap();
    let failed = edge.cairn.run(&["refresh", "--wait"]);
    assert!(message(&failed).contains("there is no directory"), "{failed:?}");
    assert_eq!(edge.read("lib/1/text"), "one");
    // A restart needs no bucket either, and is told nothing else: it goes on as it was.
    edge.cairn.stop();
    let mut again = Cairn::over(&edge.cairn.store());
    again.mount();
    let text = fs::read_to_string(again.versions("lib/1/text")).unwrap();
    assert_eq!(text, "one");
    let status = again.json(&["status"]);
    wait::until("status says why", || {
        let status = again.json(&["status"]);
        let failures = status["edge"]["failures"].as_array().unwrap().clone();
        failures.iter().any(|one| one["message"].as_str().unwrap().contains("no directory"))
    });
    assert!(!bucket.path().exists(), "an edge makes no bucket");
    assert_eq!(again.run(&["status", "--check"]).status.code(), Some(11));
    assert_eq!((&status["read_only"], &status["edge"]["poll_ms"]), (&true.into(), &1000.into()));
    fs::rename(&away, bucket.path()).unwrap();
    publish(&one, "lib", "two");
    // By itself, after a pause.
    wait::until("the bucket is found again", || again.versions("lib/2/text").exists());
    again.json(&["refresh", "--wait"]);
    let problems = again.json(&["status"])["problems"].clone();
    let mut problems = problems.as_array().unwrap().iter();
    assert!(problems.all(|problem| problem["kind"] != "edge_behind"), "{problems:?}");
    again.stop();
    fsck::check_store(&again.store());
}

#[test]
fn d2_a_first_mount_says_what_is_no_bucket() {
    let home = TempDir::new_in(scratch()).unwrap();
    let cache = home.path().join("cache");
    let target = Cairn::over(&cache);
    let mount = |place: &Path, cache: &Path, more: &[&str]| {
        let (place, cache) = (place.to_str().unwrap(), cache.to_str().unwrap());
        let mnt = target.mnt();
        let mnt = mnt.to_str().unwrap();
        run(&[&["mount", "--edge", place, mnt, "--cache", cache], more].concat())
    };
    let nothing = home.path().join("nothing");
    let refused = message(&mount(&nothing, &cache, &[]));
    assert!(refused.contains("there is no directory"), "{refused}");
    fs::create_dir(&nothing).unwrap();
    let refused = message(&mount(&nothing, &cache, &[]));
    assert!(refused.contains("no bucket of cairn") && refused.contains("cairn push"), "{refused}");
    assert!(fs::read_dir(&nothing).unwrap().next().is_none(), "nothing was written");
    // The cache is nobody's yet, and may become that of another place.
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let mounted = mount(&bucket.path(), &cache, &[]);
    assert!(mounted.status.success(), "{mounted:?}");
    assert!(target.versions("lib/1/text").exists(), "the first mount waits for what is there");
    run(&["unmount", target.mnt().to_str().unwrap()]);
    let other = Bucket::new();
    publish(&other.store(), "lib", "other");
    let refused = message(&mount(&other.path(), &cache, &[]));
    assert!(refused.contains("is an edge of"), "{refused}");
    // A store with things of its own is never made an edge.
    let refused = message(&mount(&bucket.path(), &one.store(), &[]));
    assert!(refused.contains("things of its own") && refused.contains("--cache"), "{refused}");
    publish(&one, "lib", "two");
    let refused = message(&mount(Path::new("ftp://example.org/x"), &cache, &[]));
    assert!(refused.contains("s3://"), "{refused}");
    let store = one.store();
    let mnt = target.mnt();
    let refused =
        run(&["mount", store.to_str().unwrap(), mnt.to_str().unwrap(), "--endpoint", "https://h"]);
    assert!(message(&refused).contains("--edge"));
}

#[test]
fn d2_two_edges_cannot_share_a_cache() {
    let bucket = Bucket::new();
    publish(&bucket.store(), "lib", "one");
    let edge = Edge::start(&bucket, &NEVER);
    edge.refresh();
    let second = Cairn::over(&edge.cairn.store());
    let (place, cache, mnt) = (bucket.path(), edge.cairn.store(), second.mnt());
    let [place, cache, mnt] = [&place, &cache, &mnt].map(|path| path.to_str().unwrap());
    let refused = run(&["mount", "--edge", place, mnt, "--cache", cache, "--poll", "5s"]);
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(message(&refused).contains("in use"), "{refused:?}");
    assert_eq!(edge.status()["poll_ms"], 3_600_000);
    edge.end();
}

#[test]
fn d2_an_edge_of_a_server_of_s3() {
    let place = Place::server();
    let arguments = place.arguments();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let one = Cairn::unmounted();
    one.cli(&[&["remote", "add", "store"], &arguments[..]].concat());
    publish(&one, "lib", "one");
    let [_, url, options @ ..] = &arguments[..] else { panic!("{arguments:?}") };
    let mut edge = Edge::of(url, &[&NEVER[..], options].concat());
    edge.cairn.mount();
    edge.refresh();
    assert_eq!(edge.read("lib/1/text"), "one");
    publish(&one, "lib", "two");
    edge.refresh();
    assert_eq!(edge.read("lib/2/text"), "two");
    // The key is kept with the edge, so nobody has to give it again.
    edge.cairn.stop();
    let mut again = Cairn::over(&edge.cairn.store());
    again.mount();
    publish(&one, "lib", "three");
    again.json(&["refresh", "--wait"]);
    assert!(again.versions("lib/3/text").exists());
    again.stop();
    fsck::check_store(&again.store());
}
