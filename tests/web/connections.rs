//! Clients that do nothing, or little (H57)

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use support::{content, wait};

use crate::client::{Site, connect, parse};

/// More than there are places.
const SLOW: usize = 1500;

#[test]
fn h57_clients_that_do_nothing_do_not_stop_others() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), "f").unwrap());
    let held: Vec<TcpStream> = (0..SLOW)
        .map(|number| {
            let mut stream = connect(site.address);
            // Some say nothing, some half a request. Some may be ended before they say it.
            if number % 2 == 0 {
                drop(stream.write(b"GET /r/1/f HTTP/1.1\r\nHost: t"));
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(site.get("/r/1/f").text(), "f");
    }
    drop(held);
}

/// As many as there are places, and a few that take turns.
const BUSY: usize = 1100;

#[test]
fn h57_clients_that_ask_again_and_again_do_not_stop_others() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), "f").unwrap());
    let ended = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held: Vec<Option<TcpStream>> = (0..BUSY).map(|_| None).collect();
            while !ended.load(Ordering::Relaxed) {
                for place in &mut held {
                    let stream = place.get_or_insert_with(|| connect(site.address));
                    stream.set_nonblocking(true).unwrap();
                    let mut answers = [0; 4096];
                    let is_closed = matches!(stream.read(&mut answers), Ok(0));
                    let asked = stream.write(b"HEAD /r/1/f HTTP/1.1\r\nHost: t\r\n\r\n");
                    // Who was ended comes again.
                    if is_closed || asked.is_err() {
                        *place = None;
                    }
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _end = EndOnDrop(&ended);
        wait::until("all places are taken", || rounds.load(Ordering::Relaxed) >= 3);
        for _ in 0..5 {
            assert_eq!(site.get("/r/1/f").text(), "f");
        }
    });
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn h57_clients_that_take_nothing_do_not_stop_others() {
    let site = Site::start();
    site.publish("r", |top| {
        fs::write(top.join("big"), content::bytes(1, 16 << 20)).unwrap();
        fs::write(top.join("f"), "f").unwrap();
    });
    let held: Vec<TcpStream> = (0..SLOW)
        .map(|number| {
            let mut stream = connect(site.address);
            let query = if number % 10 == 0 { "/r/1/?tar" } else { "/r/1/big" };
            drop(write!(stream, "GET {query} HTTP/1.1\r\nHost: test\r\n\r\n"));
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(site.get("/r/1/f").text(), "f");
    }
    drop(held);
}

#[test]
fn h57_answers_that_nobody_takes_give_their_places_to_others() {
    let site = Site::start();
    let bytes = content::bytes(1, 24 << 20);
    site.publish("r", |top| fs::write(top.join("big"), &bytes).unwrap());
    let mut held: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(site.address);
            stream
                .write_all(b"GET /r/1/?tar HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
                .unwrap();
            // The answer has begun, so a place is taken.
            stream.read_exact(&mut [0]).unwrap();
            stream
        })
        .collect();
    for path in ["/r/1/?tar", "/r/1/PULP_MANIFEST"] {
        let answer = site.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(path.contains("MANIFEST") || answer.body.len() > bytes.len());
    }
    // Who was ended notices that.
    let is_cut = |stream: &mut TcpStream| {
        let mut received = b"H".to_vec();
        stream.read_to_end(&mut received).is_err() || parse(&received).is_none()
    };
    let cut = held.iter_mut().filter_map(|stream| is_cut(stream).then_some(())).count();
    assert!((4..20).contains(&cut), "{cut}");
}

/// Downloads that stall, and the most that they may cost together: in large pieces they would cost 400 MB.
const STALLED: usize = 400;
const STALLED_BYTES_MAX: u64 = 200 << 20;

#[test]
fn h57_many_downloads_that_begin_fast_and_stall_cost_little_memory() {
    let site = Site::start();
    let size = 32 << 20;
    site.publish("r", |top| fs::write(top.join("big"), content::bytes(1, size)).unwrap());
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", site.cairn.pid())).unwrap();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        anonymous.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let before = memory();
    let mut taken = vec![0; 2 << 20];
    let held: Vec<TcpStream> = (0..STALLED)
        .map(|_| {
            let mut stream = connect(site.address);
            // The kernel's memory for all connections is bounded, too, and this side needs little of it.
            set_socket_recv_buffer_size(&stream, 64 << 10).unwrap();
            stream.write_all(b"GET /r/1/big HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
            stream.read_exact(&mut taken).unwrap();
            stream
        })
        .collect();
    let cost = memory().saturating_sub(before);
    assert!(cost < STALLED_BYTES_MAX, "{cost}");
    // All places of large pieces are taken, and others are sent everything still.
    assert_eq!(site.get("/r/1/big").body.len(), size);
    drop(held);
}

#[test]
fn h57_a_download_goes_on_when_its_version_is_deleted() {
    let site = Site::start();
    let bytes = content::bytes(1, 24 << 20);
    site.publish("r", |top| fs::write(top.join("big"), &bytes).unwrap());
    site.publish("r", |top| fs::write(top.join("other"), "x").unwrap());
    let mut stream = connect(site.address);
    stream.write_all(b"GET /r/1/big HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    let mut received = vec![0; 100];
    stream.read_exact(&mut received).unwrap();
    site.cairn.cli(&["delete", "r/1"]);
    site.cairn.cli(&["gc", "--full", "--wait"]);
    wait::until("the version is gone", || site.get("/r/1/big").status == 404);
    stream.read_to_end(&mut received).unwrap();
    assert!(parse(&received).unwrap().body == bytes);
}

#[test]
fn h57_several_requests_on_one_connection() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), "content").unwrap());
    let mut stream = connect(site.address);
    for _ in 0..3 {
        stream.write_all(b"GET /r/1/f HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        let mut received = Vec::new();
        let mut byte = [0];
        while !received.ends_with(b"\r\n\r\ncontent") {
            stream.read_exact(&mut byte).unwrap();
            received.push(byte[0]);
        }
    }
    // A head that is too large, or no HTTP at all, ends that connection alone.
    for nonsense in [&b"\x16\x03\x01\0\0\0\0\r\n\r\n"[..], &[b'a'; 200_000]] {
        let mut stream = connect(site.address);
        drop(stream.write_all(nonsense));
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    }
    assert_eq!(site.get("/r/1/f").status, 200);
}
