//! One remote's trouble is not another's, and each is asked as often at a time as its settings allow.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use support::check::errno_of;
use support::http::{Answer, Server, Site};
use support::{Cairn, content, wait};

use crate::shared::{FILES, Origin, add};

/// Files of a site, each with content of its own.
fn files(count: u64) -> Vec<(String, Vec<u8>)> {
    (0..count).map(|number| (format!("f{number}"), content::bytes(number, 2000))).collect()
}

fn set(site: &Site, files: &[(String, Vec<u8>)]) {
    let lines: Vec<_> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    site.set_manifest(&lines);
}

/// A server of a site that says nothing more once it has given its manifest.
fn silent(site: &Site) -> Server {
    let site = site.clone();
    Server::start(move |asked, _| match asked.line.contains("PULP_MANIFEST") {
        true => Answer::Ends(site.answer(asked)),
        false => Answer::Sticks(Vec::new()),
    })
}

fn waiting(cairn: &Cairn) -> u64 {
    cairn.json(&["status"])["waiting_read_count"].as_u64().unwrap()
}

/// L14: readers of a remote that is silent take no place from readers of another, however many they are.
#[test]
fn l14_a_silent_remote_holds_up_no_reader_of_another() {
    let wanted = files(200);
    let site = Site::default();
    set(&site, &wanted);
    let mut origin = Origin::with(site.clone(), silent(&site));
    origin.cairn.cli(&["remote", "set", "origin", "--connections", "64"]);
    let good = Site::default();
    good.set_manifest(FILES);
    let server = good.serve();
    add(&origin.cairn, "good", &server);
    origin.cairn.cli(&["sync", "other", "good"]);
    let readers: Vec<_> = wanted
        .iter()
        .map(|(name, _)| {
            let path = origin.cairn.versions("lib/1").join(name);
            thread::spawn(move || fs::read(path))
        })
        .collect();
    wait::until("all wait", || waiting(&origin.cairn) == 200);
    let begun = Instant::now();
    assert_eq!(fs::read(origin.cairn.versions("other/1/a")).unwrap(), b"first");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // A stop lets them go, and waits for none of them.
    let begun = Instant::now();
    origin.cairn.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for reader in readers {
        reader.join().unwrap().unwrap_err();
    }
}

/// L15: a remote is asked for no more contents at a time than its settings allow.
#[test]
fn l15_no_more_connections_than_the_settings_allow() {
    let wanted = files(30);
    let site = Site::default();
    set(&site, &wanted);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest, served) = (Arc::clone(&now), Arc::clone(&most), site.clone());
    let server = Server::start(move |asked, _| {
        highest.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let begun = Instant::now();
        wait::until("others had time to come", || begun.elapsed().as_millis() >= 20);
        counted.fetch_sub(1, Ordering::SeqCst);
        served.answer(asked)
    });
    let origin = Origin::with(site, server);
    let read = |wanted: &[(String, Vec<u8>)]| {
        thread::scope(|scope| {
            for (name, bytes) in wanted {
                let path = origin.cairn.versions("lib/1").join(name);
                scope.spawn(move || assert_eq!(fs::read(path).unwrap(), *bytes));
            }
        });
    };
    origin.cairn.cli(&["remote", "set", "origin", "--connections", "1"]);
    read(&wanted[..10]);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    origin.cairn.cli(&["remote", "set", "origin", "--connections", "3"]);
    read(&wanted[10..]);
    assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    origin.check();
}

/// L5: a remote that refused a connection is asked after the others for a while.
#[test]
fn l5_a_remote_that_is_down_costs_its_retries_once() {
    let wanted = files(20);
    let site = Site::default();
    set(&site, &wanted);
    let mut cairn = Cairn::start();
    let (first, second) = (site.serve(), site.serve());
    add(&cairn, "first", &first);
    add(&cairn, "second", &second);
    cairn.cli(&["sync", "lib", "first"]);
    cairn.cli(&["sync", "other", "second"]);
    // Nobody listens there any more, and nobody else can.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cairn.cli(&["remote", "set", "first", "--url", &format!("http://{nobody}/")]);
    let read = |cairn: &Cairn, number: usize| {
        let (name, bytes) = &wanted[number];
        assert_eq!(fs::read(cairn.versions("lib/1").join(name)).unwrap(), *bytes);
    };
    read(&cairn, 0);
    let begun = Instant::now();
    for number in 1..wanted.len() {
        read(&cairn, number);
    }
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    cairn.stop();
    support::fsck::check_store(&cairn.store());
}

/// R8: a panic during a fetch is an error for who waits for it, and for nobody after that.
#[test]
fn r8_a_panic_costs_the_readers_of_one_content() {
    let site = Site::default();
    site.set_manifest(FILES);
    let server = site.serve();
    let mut cairn = Cairn::unmounted();
    cairn.set_env("CAIRN_PANIC", Some("lazy:1"));
    cairn.mount();
    add(&cairn, "origin", &server);
    cairn.cli(&["sync", "lib", "origin"]);
    let path = cairn.versions("lib/1/a");
    assert_eq!(errno_of(&fs::read(&path).unwrap_err()), Errno::IO);
    assert_eq!(fs::read(cairn.versions("lib/1/dir/b")).unwrap(), b"second");
    wait::until("it is tried again", || fs::read(&path).is_ok_and(|read| read == b"first"));
    cairn.stop();
    support::fsck::check_store(&cairn.store());
}
