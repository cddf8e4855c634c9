//! Content is fetched before somebody reads it, and readers come first (L12, H39).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::cairn::binary;
use support::http::{Answer, Server, Site};
use support::{Cairn, content, wait};

use crate::shared::{FILES, Origin, is_stored};

/// A prefetch in a process of its own.
fn begin(cairn: &Cairn, target: &str) -> Child {
    let mut command = Command::new(binary());
    command.args(["prefetch", target]).env("CAIRN_STORE", cairn.store());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn fetching(cairn: &Cairn) -> u64 {
    cairn.json(&["status"])["fetching_content_count"].as_u64().unwrap()
}

/// A site with files `ahead/0`, `ahead/1` and so on, and one `read`.
fn site(count: u64) -> (Site, Vec<Vec<u8>>) {
    let bodies: Vec<_> = (0..count).map(|number| content::bytes(number, 2000)).collect();
    let names: Vec<_> = (0..count).map(|number| format!("ahead/{number}")).collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), &body[..])).collect();
    files.push(("read", b"at once"));
    let site = Site::default();
    site.set_manifest(&files);
    (site, bodies)
}

#[test]
fn l12_a_version_a_directory_or_a_file_is_fetched_and_kept() {
    let origin = Origin::new();
    let counts = |target: &str| {
        let documents = origin.cairn.json(&["prefetch", target]);
        let counts = ["file_count", "present_file_count", "fetched_file_count", "fetched_bytes"];
        counts.map(|name| documents[0][name].as_u64().unwrap())
    };
    assert_eq!(counts("lib/1/dir/deep"), [1, 0, 1, 5]);
    assert_eq!((origin.requests(), origin.asked_for("dir/deep/c")), (1, 1));
    assert_eq!(counts("lib/latest/a"), [1, 0, 1, 5]);
    let mount = origin.cairn.versions("lib/1/dir");
    assert_eq!(counts(mount.to_str().unwrap()), [2, 1, 1, 6], "a path on the mount");
    let tag = origin.cairn.tags("lib/latest");
    assert_eq!(counts(tag.to_str().unwrap()), [4, 4, 0, 0], "the empty file needs nothing");
    assert_eq!(origin.requests(), 3);
    let printed = origin.cairn.cli(&["prefetch", "lib"]);
    assert_eq!(printed, "lib/1: fetched 0 B in 0 files, 4 of 4 files there already\n");
    for (path, bytes) in FILES {
        assert_eq!(fs::read(origin.cairn.versions("lib/1").join(path)).unwrap(), *bytes);
    }
    assert_eq!(origin.requests(), 3);
    origin.check();
}

#[test]
fn l12_what_cannot_be_named_is_said() {
    let origin = Origin::new();
    fs::create_dir(origin.cairn.staging("lib/work")).unwrap();
    for (target, code, says) in [
        ("none", 3, "no repository"),
        ("lib/7", 3, "no version"),
        ("lib/1/none", 3, "no such file"),
        ("lib/1/a/b", 3, "no such file"),
        ("lib//a", 2, "REPO/VERSION/PATH"),
        (origin.cairn.staging("lib/work").to_str().unwrap(), 2, "not in a version"),
        (origin.cairn.versions("lib/1/none").to_str().unwrap(), 3, "No such file"),
        ("/", 2, "not in a version"),
    ] {
        let output = origin.cairn.run(&["prefetch", target]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{target}: {errors}");
        assert!(errors.contains(says), "{target}: {errors}");
    }
    assert_eq!(origin.requests(), 0);
}

/// What one file's content fails with keeps none of the others from coming.
#[test]
fn l12_what_could_not_be_had_is_listed_and_the_rest_is_there() {
    let site = Site::default();
    site.set_manifest(FILES);
    site.take("a");
    let server = site.serve();
    let origin = Origin::with(site, server);
    let output = origin.cairn.run(&["prefetch", "lib"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("warning: a: origin: ") && errors.contains("404"), "{errors}");
    assert!(errors.contains("1 file could not be fetched"), "{errors}");
    assert!(is_stored(&origin.cairn, b"second") && is_stored(&origin.cairn, b"third"));
    let output = origin.cairn.run(&["prefetch", "lib", "lib/1/dir", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let documents: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(documents[0]["failed_file_count"], 1);
    assert_eq!(documents[0]["files"][0]["path"], "a");
    assert_eq!(documents[1]["failed_file_count"], 0);
    origin.check();
}

/// H39: whatever the number of connections, a reader waits for no prefetch; and the prefetch goes on afterwards.
#[test]
fn h39_a_reader_does_not_wait_behind_a_prefetch() {
    for connections in ["1", "4"] {
        let (site, bodies) = site(30);
        let is_silent = Arc::new(AtomicBool::new(true));
        let (served, silent) = (site.clone(), Arc::clone(&is_silent));
        let stuck = Arc::new(Mutex::new(Vec::new()));
        let sticks = Arc::clone(&stuck);
        let server = Server::start(move |asked, _| {
            if asked.line.contains("/ahead/") && silent.load(Ordering::SeqCst) {
                sticks.lock().unwrap().push(asked.line.clone());
                return Answer::Sticks(Vec::new());
            }
            Answer::Ends(served.answer(asked))
        });
        let origin = Origin::with(site, server);
        origin.cairn.cli(&["remote", "set", "origin", "--connections", connections]);
        let mut prefetch = begin(&origin.cairn, "lib/1/ahead");
        // As many as may be are under way, and none of them gets a byte.
        let most = if connections == "1" { 1 } else { 3 };
        wait::until("the prefetch waits", || {
            fetching(&origin.cairn) == 30 && origin.requests() >= most
        });
        assert_eq!(origin.requests(), most, "places are left to readers");
        let begun = Instant::now();
        assert_eq!(fs::read(origin.cairn.versions("lib/1/read")).unwrap(), b"at once");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // A reader of what waits for the prefetch is a reader. It waits, and is not what the prefetch got a place for: where there
        // is one place, that is another content than before.
        let asked = if connections == "1" { 2 } else { 3 };
        wait::until("the prefetch goes on", || stuck.lock().unwrap().len() >= asked);
        is_silent.store(false, Ordering::SeqCst);
        let lines = stuck.lock().unwrap().clone();
        let is_asked =
            |number: &usize| lines.iter().any(|line| line.contains(&format!("/ahead/{number} ")));
        let waits = (0..30).rev().find(|number| !is_asked(number)).unwrap();
        let path = origin.cairn.versions(format!("lib/1/ahead/{waits}"));
        assert_eq!(fs::read(path).unwrap(), bodies[waits]);
        prefetch.kill().unwrap();
        prefetch.wait().unwrap();
        wait::until("it has ended", || fetching(&origin.cairn) == 0);
        origin.cairn.cli(&["prefetch", "lib"]);
        assert_eq!(origin.cairn.json(&["status"])["absent_content_count"], 0);
        origin.check();
    }
}

/// A prefetch that is interrupted leaves what came, and asks for nothing more.
#[test]
fn l12_an_interrupted_prefetch_keeps_what_came_and_ends() {
    let (site, bodies) = site(200);
    let answered = Arc::new(AtomicUsize::new(0));
    let (served, counted) = (site.clone(), Arc::clone(&answered));
    let server = Server::start(move |asked, _| {
        let is_list = asked.line.contains("PULP_MANIFEST");
        match is_list || counted.fetch_add(1, Ordering::SeqCst) < 50 {
            true => Answer::Ends(served.answer(asked)),
            false => Answer::Sticks(Vec::new()),
        }
    });
    let origin = Origin::with(site, server);
    let absent =
        |origin: &Origin| origin.cairn.json(&["status"])["absent_content_count"].as_u64().unwrap();
    let mut prefetch = begin(&origin.cairn, "lib");
    wait::until("fifty came", || absent(&origin) == 151);
    prefetch.kill().unwrap();
    prefetch.wait().unwrap();
    wait::until("it has ended", || fetching(&origin.cairn) == 0);
    let asked = origin.requests();
    assert_eq!(absent(&origin), 151);
    assert_eq!(origin.requests(), asked, "nothing more is asked for");
    let stored = bodies.iter().filter(|body| is_stored(&origin.cairn, body)).count();
    assert!(stored >= 49, "{stored} are kept");
    origin.check();
}

/// A large file goes on where it was when the prefetch was interrupted, also for a reader.
#[test]
fn l12_an_interrupted_prefetch_of_a_large_file_is_gone_on_with() {
    let big = content::bytes(7, 3 << 20);
    let site = Site::default();
    site.set_manifest(&[("big", &big)]);
    let served = site.clone();
    let is_first = AtomicBool::new(true);
    let server = Server::start(move |asked, _| {
        let answer = served.answer(asked);
        match asked.line.contains("/big") && is_first.swap(false, Ordering::SeqCst) {
            true => Answer::Sticks(answer[..2 << 20].to_vec()),
            false => Answer::Ends(answer),
        }
    });
    let origin = Origin::with(site, server);
    let mut prefetch = begin(&origin.cairn, "lib/1/big");
    wait::until("a part came", || {
        origin.cairn.json(&["status"])["partial_bytes"].as_u64().unwrap() > 1 << 20
    });
    prefetch.kill().unwrap();
    prefetch.wait().unwrap();
    wait::until("it has ended", || fetching(&origin.cairn) == 0);
    assert_eq!(fs::read(origin.cairn.versions("lib/1/big")).unwrap(), big);
    let asked = origin.server.asked();
    let ranges: Vec<_> = asked.iter().filter_map(|asked| asked.header("range")).collect();
    assert!(ranges.len() == 1 && ranges[0] != "bytes=0-", "{ranges:?}");
    origin.check();
}

/// A store without a daemon is prefetched by the command itself; one that is open for reading only is not.
#[test]
fn l12_a_store_without_a_daemon_is_prefetched_by_the_command() {
    let mut origin = Origin::new();
    origin.cairn.stop();
    let printed = origin.cairn.cli(&["prefetch", "lib/1"]);
    assert_eq!(printed, "lib/1: fetched 16 B in 3 files, 1 of 4 files there already\n");
    origin.cairn.set_arguments(&["--read-only"]);
    origin.cairn.mount();
    let message = origin.cairn.cli_fails(&["prefetch", "lib/1"]);
    assert!(message.contains("read"), "{message}");
    origin.check();
}
