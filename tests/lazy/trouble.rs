//! Origins that are wrong, gone, slow or silent: no wrong byte reaches anybody, and the rest of the mount goes on.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use support::http::{Answer, Server, Site, answer};
use support::{content, wait};

use crate::shared::{FILES, Origin, add, is_stored, sha256};

#[track_caller]
fn errno(read: std::io::Result<Vec<u8>>) -> Errno {
    Errno::from_io_error(&read.unwrap_err()).unwrap()
}

/// A server that answers for files as long as `is_good` says so, and the site that it serves.
fn server(site: &Site, is_good: &Arc<AtomicBool>, bad: fn(&[u8]) -> Answer) -> Server {
    let (site, is_good) = (site.clone(), Arc::clone(is_good));
    Server::start(move |asked, _| {
        let good = site.answer(asked);
        if is_good.load(Ordering::SeqCst) || asked.line.contains("PULP_MANIFEST") {
            Answer::Ends(good)
        } else {
            bad(&good)
        }
    })
}

/// H36, L5: what is not what was declared is an error, for a while at once, and never anything else.
#[test]
fn l5_a_wrong_origin_is_an_error_until_it_is_right_again() {
    let bad: [fn(&[u8]) -> Answer; 4] = [
        |_| Answer::Ends(answer("200 OK", &["Content-Length: 5"], b"wrong")),
        |_| Answer::Ends(answer("404 Not Found", &["Content-Length: 0"], b"")),
        |good| Answer::Ends(good[..good.len() - 2].to_vec()),
        |_| Answer::Ends(answer("200 OK", &["Content-Length: 9000"], &[b'x'; 9000])),
    ];
    for bad in bad {
        let site = Site::default();
        site.set_manifest(FILES);
        let is_good = Arc::new(AtomicBool::new(false));
        let origin = Origin::with(site.clone(), server(&site, &is_good, bad));
        let path = origin.cairn.versions("lib/1/a");
        assert_eq!(errno(fs::read(&path)), Errno::IO);
        let asked = origin.requests();
        assert_eq!(errno(fs::read(&path)), Errno::IO);
        assert_eq!(origin.requests(), asked, "it rests for a while");
        let status = origin.cairn.json(&["status"]);
        assert_eq!(status["failed_content_count"], 1);
        assert!(!is_stored(&origin.cairn, b"wrong") && !is_stored(&origin.cairn, b"first"));
        assert_eq!(fs::metadata(&path).unwrap().len(), 5, "it stays listed");
        is_good.store(true, Ordering::SeqCst);
        wait::until("it is tried again", || fs::read(&path).is_ok_and(|read| read == b"first"));
        origin.check();
    }
}

/// L5: all sources are tried.
#[test]
fn l5_another_source_is_asked_where_one_fails() {
    let site = Site::default();
    site.set_manifest(FILES);
    let never = Arc::new(AtomicBool::new(false));
    let bad = |_: &[u8]| Answer::Ends(answer("200 OK", &["Content-Length: 5"], b"wrong"));
    let origin = Origin::with(site.clone(), server(&site, &never, bad));
    let good = site.serve();
    add(&origin.cairn, "second", &good);
    origin.cairn.cli(&["sync", "other", "second"]);
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    origin.check();
}

/// L5: one that takes connections and says nothing is passed over, and asked last for a while, where another has the content.
#[test]
fn l5_a_silent_source_is_passed_over_where_there_is_another() {
    let site = Site::default();
    site.set_manifest(FILES);
    let never = Arc::new(AtomicBool::new(false));
    let origin = Origin::with(site.clone(), server(&site, &never, |_| Answer::Sticks(Vec::new())));
    let good = site.serve();
    add(&origin.cairn, "second", &good);
    origin.cairn.cli(&["sync", "other", "second"]);
    let begun = Instant::now();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(origin.asked_for("a"), 1);
    let begun = Instant::now();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/dir/b")).unwrap(), b"second");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(origin.asked_for("dir/b"), 0, "it rests");
    origin.check();
}

/// L5: one that cuts its answers is not asked again and again while another has the content.
#[test]
fn l5_a_source_that_cuts_its_answers_is_passed_over_at_once() {
    let site = Site::default();
    site.set_manifest(FILES);
    let never = Arc::new(AtomicBool::new(false));
    let cut = |good: &[u8]| Answer::Ends(good[..good.len() - 2].to_vec());
    let origin = Origin::with(site.clone(), server(&site, &never, cut));
    let good = site.serve();
    add(&origin.cairn, "second", &good);
    origin.cairn.cli(&["sync", "other", "second"]);
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    assert_eq!(origin.asked_for("a"), 1);
    origin.check();
}

/// L14: readers who wait for a silent origin are in nobody's way.
#[test]
fn l14_everything_else_goes_on_beside_readers_of_a_silent_origin() {
    let site = Site::default();
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let bodies: Vec<Vec<u8>> = (0..100).map(|number| content::bytes(number, 2000)).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), &body[..])).collect();
    site.set_manifest(&files);
    let is_good = Arc::new(AtomicBool::new(true));
    let origin =
        Origin::with(site.clone(), server(&site, &is_good, |_| Answer::Sticks(Vec::new())));
    let here = fs::read(origin.cairn.versions("lib/1/f0")).unwrap();
    assert_eq!(here, bodies[0]);
    is_good.store(false, Ordering::SeqCst);
    let readers: Vec<_> = names[1..]
        .iter()
        .map(|name| {
            let path = origin.cairn.versions("lib/1").join(name);
            thread::spawn(move || fs::read(path))
        })
        .collect();
    let waiting =
        |origin: &Origin| origin.cairn.json(&["status"])["waiting_read_count"].as_u64().unwrap();
    wait::until("all wait", || waiting(&origin) == 99);
    // Looking, reading what is here, writing and publishing.
    fs::metadata(origin.cairn.versions("lib/1/f7")).unwrap();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/f0")).unwrap(), bodies[0]);
    let area = origin.cairn.area("other", "work");
    fs::write(area.join("new"), "content").unwrap();
    origin.cairn.cli(&["commit", "other/work"]);
    assert_eq!(fs::read(origin.cairn.versions("other/1/new")).unwrap(), b"content");
    assert_eq!(waiting(&origin), 99, "they wait on");
    // A stop lets them go.
    let Origin { mut cairn, .. } = origin;
    cairn.stop();
    for reader in readers {
        reader.join().unwrap().unwrap_err();
    }
}

/// H7: the kernel holds the lock of a file that is truncated, and behind a rename of it all renames wait.
#[test]
fn h7_a_truncation_of_absent_content_holds_up_renames_for_seconds_only() {
    let site = Site::default();
    site.set_manifest(FILES);
    let never = Arc::new(AtomicBool::new(false));
    let origin = Origin::with(site.clone(), server(&site, &never, |_| Answer::Sticks(Vec::new())));
    let area = origin.cairn.area("lib", "work@latest");
    let other = origin.cairn.area("other", "work");
    fs::write(other.join("here"), "").unwrap();
    let script = "import os, sys; os.truncate(sys.argv[1], 3)";
    let mut truncation = Command::new("python3")
        .args(["-c", script, area.join("a").to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("it waits", || origin.cairn.json(&["status"])["waiting_read_count"] == 1);
    let begun = Instant::now();
    let mut behind =
        Command::new("mv").arg(area.join("a")).arg(area.join("moved")).spawn().unwrap();
    let stat = format!("/proc/{}/stat", behind.id());
    wait::until("it waits for the lock", || fs::read_to_string(&stat).unwrap().contains(") D "));
    fs::rename(other.join("here"), other.join("there")).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(behind.wait().unwrap().success());
    assert!(!truncation.wait().unwrap().success());
    assert_eq!(fs::metadata(area.join("moved")).unwrap().len(), 5);
}

/// L10: what came before the daemon was killed is not fetched again.
#[test]
fn l10_a_download_goes_on_after_kill_9() {
    let big = content::bytes(3, 4 << 20);
    let site = Site::default();
    site.set_manifest(&[("big", &big)]);
    let is_good = Arc::new(AtomicBool::new(false));
    let half = |good: &[u8]| Answer::Sticks(good[..good.len() / 2].to_vec());
    let mut origin = Origin::with(site.clone(), server(&site, &is_good, half));
    let path = origin.cairn.versions("lib/1/big");
    let reader = thread::spawn(move || fs::read(path));
    let partial = origin.cairn.store().join("partial").join(sha256(&big));
    wait::until("half of it is here", || {
        fs::metadata(&partial).is_ok_and(|found| found.len() > 2_000_000)
    });
    origin.cairn.kill9_and_unmount();
    reader.join().unwrap().unwrap_err();
    is_good.store(true, Ordering::SeqCst);
    origin.cairn.mount();
    assert_eq!(fs::read(origin.cairn.versions("lib/1/big")).unwrap(), big);
    let last = origin.server.asked().pop().unwrap();
    assert!(last.header("range").is_some(), "{last:?}");
    origin.check();
}

/// A reader that is killed leaves nothing behind, and the next one gets the content.
#[test]
fn l10_a_killed_reader_leaves_nothing_behind() {
    let big = content::bytes(4, 1 << 20);
    let site = Site::default();
    site.set_manifest(&[("big", &big)]);
    let is_good = Arc::new(AtomicBool::new(false));
    let silent = |_: &[u8]| Answer::Sticks(Vec::new());
    let origin = Origin::with(site.clone(), server(&site, &is_good, silent));
    let path = origin.cairn.versions("lib/1/big");
    let mut reader = std::process::Command::new("cat")
        .arg(&path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait::until("it waits", || {
        origin.cairn.json(&["status"])["waiting_read_count"].as_u64() > Some(0)
    });
    reader.kill().unwrap();
    // It goes when its READ is answered, at the latest when the mount ends.
    is_good.store(true, Ordering::SeqCst);
    let Origin { mut cairn, .. } = origin;
    cairn.restart();
    reader.wait().unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/big")).unwrap(), big);
}

/// A list of these lines: path, content and the size that is claimed.
fn claim(site: &Site, lines: &[(&str, &[u8], u64)]) {
    let line =
        |(path, content, size): &(&str, &[u8], u64)| format!("{path},{},{size}\n", sha256(content));
    let list: String = lines.iter().map(line).collect();
    site.put("PULP_MANIFEST", list.as_bytes());
}

/// H36: whoever declares a wrong size harms nobody who has the content.
#[test]
fn h36_a_wrong_size_is_never_damage() {
    let site = Site::default();
    site.put("x", b"first");
    site.put("y", b"first");
    site.put("z", b"first");
    claim(&site, &[("x", b"first", 5), ("y", b"first", 10), ("z", b"first", 3)]);
    let origin = Origin::with(site.clone(), site.serve());
    let read = |path: &str| fs::read(origin.cairn.versions(path));
    // Nothing is known of the content yet.
    wait::until("one of the places has what was declared", || {
        read("lib/1/x").is_ok_and(|read| read == b"first")
    });
    assert_eq!(errno(read("lib/1/y")), Errno::IO);
    assert_eq!(errno(read("lib/1/z")), Errno::IO);
    assert_eq!(read("lib/1/x").unwrap(), b"first");
    // What is known by now is not declared otherwise.
    claim(&site, &[("x", b"first", 5), ("v", b"first", 4)]);
    let lines = &["sync", "other", "origin"];
    let message = origin.cairn.cli_fails(lines);
    assert!(message.contains("5 bytes, not the 4 that are declared"), "{message}");
    assert_eq!(read("lib/1/x").unwrap(), b"first");
    assert!(!origin.cairn.log().contains("damaged"), "{}", origin.cairn.log());
}

/// L5: a file that is gone from one of its places is had from another.
#[test]
fn l5_all_places_of_a_content_are_asked() {
    let site = Site::default();
    site.set_manifest(&[("a", b"first"), ("b", b"first")]);
    let origin = Origin::with(site.clone(), site.serve());
    site.take("a");
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    origin.check();
}

/// L14: readers of a file that cannot be had take no place from others.
#[test]
fn l14_readers_of_what_is_gone_hold_up_nobody() {
    let site = Site::default();
    let names: Vec<String> = (0..150).map(|number| format!("f{number}")).collect();
    let mut files: Vec<_> =
        (0..).zip(&names).map(|(seed, name)| (&**name, content::bytes(seed, 100))).collect();
    files.push(("gone", b"gone".to_vec()));
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    site.set_manifest(&files);
    site.take("gone");
    let origin = Origin::with(site.clone(), site.serve());
    let gone = origin.cairn.versions("lib/1/gone");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    fs::read(&gone).unwrap_err();
                }
            });
        }
        for (name, bytes) in &files[..150] {
            let begun = Instant::now();
            assert_eq!(fs::read(origin.cairn.versions(format!("lib/1/{name}"))).unwrap(), *bytes);
            let took = begun.elapsed();
            is_over.store(took.as_secs() >= 5, Ordering::SeqCst);
            assert!(took.as_secs() < 5, "{name} took {took:?}");
        }
        is_over.store(true, Ordering::SeqCst);
    });
    origin.check();
}
