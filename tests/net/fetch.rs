//! Bodies that are cut, longer than said, encoded, other ones; servers that are busy (H28, H29)

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn::net::{
    Body, Client, Fetch, Fetched, NetError, NetErrorKind, TRIES_MAX, Validators, Watcher,
};

use support::http::{Answer, Server, answer, whole};

const CONTENT: &[u8] = b"0123456789";

/// Nobody stops it.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// A body in memory.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Body for Memory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.extend(data);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.clear();
        Ok(())
    }
}

pub(crate) fn wanted(server: &Server) -> Fetch<'static> {
    Fetch {
        url: server.url("/file").parse().unwrap(),
        size_bytes: None,
        max_bytes: 1 << 20,
        unless: None,
        needs_end: false,
        tries_max: TRIES_MAX,
        stop: &GO_ON,
        watcher: &(),
    }
}

fn fetched(server: &Server, fetch: &Fetch<'_>) -> Result<Vec<u8>, NetError> {
    let mut body = Memory::default();
    Client::new(&server.settings()).unwrap().fetch(fetch, &mut body)?;
    Ok(body.0)
}

fn refused(server: &Server, fetch: &Fetch<'_>) -> NetError {
    fetched(server, fetch).expect_err("it was believed")
}

#[test]
fn a_document_comes_whole_with_its_validators() {
    let server = Server::start(|_, _| {
        answer("200 OK", &["Content-Length: 10", "ETag: \"a\"", "Content-Type: text/html"], CONTENT)
    });
    let mut body = Memory::default();
    let found = Client::new(&server.settings()).unwrap().fetch(&wanted(&server), &mut body);
    let validators =
        Validators { etag: Some("\"a\"".to_owned()), last_modified: None, just_modified: false };
    let content_type = Some("text/html".to_owned());
    assert_eq!(found.unwrap(), Fetched::Whole { validators: validators.clone(), content_type });
    assert_eq!(body.0, CONTENT);
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "GET /file HTTP/1.1");
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert!(asked.header("user-agent").unwrap().starts_with("cairn/"));

    let server = Server::start(|_, _| answer("304 Not Modified", &[], b""));
    let known = Fetch { unless: Some(&validators), ..wanted(&server) };
    let found = Client::new(&server.settings()).unwrap().fetch(&known, &mut Memory::default());
    assert_eq!(found.unwrap(), Fetched::Unchanged);
    assert_eq!(server.asked()[0].header("if-none-match"), Some("\"a\""));
    let unasked = wanted(&server);
    assert_eq!(
        refused(&server, &unasked).kind(),
        NetErrorKind::Protocol,
        "nobody asked for changes"
    );
}

#[test]
fn v12_a_body_that_is_cut_goes_on_where_it_ended() {
    let server = Server::start(|asked, _| match asked.header("range") {
        None => answer("200 OK", &["Content-Length: 10", "ETag: \"a\""], &CONTENT[..4]),
        Some(range) => {
            assert_eq!((range, asked.header("if-range")), ("bytes=4-", Some("\"a\"")));
            let headers = ["Content-Length: 6", "Content-Range: bytes 4-9/10", "ETag: \"a\""];
            answer("206 Partial Content", &headers, &CONTENT[4..])
        }
    });
    assert_eq!(fetched(&server, &wanted(&server)).unwrap(), CONTENT);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn h29_a_range_that_is_not_the_one_asked_for_is_refused() {
    for headers in [
        vec!["Content-Length: 10", "Content-Range: bytes 0-9/10"],
        vec!["Content-Length: 3", "Content-Range: bytes 4-6/10"],
        vec!["Content-Length: 6"],
    ] {
        let lying = headers.clone();
        let server = Server::start(move |asked, _| match asked.header("range") {
            None => answer("200 OK", &["Content-Length: 10"], &CONTENT[..4]),
            Some(_) => answer("206 Partial Content", &lying, CONTENT),
        });
        assert_eq!(
            refused(&server, &wanted(&server)).kind(),
            NetErrorKind::Protocol,
            "{headers:?}"
        );
    }
    let server = Server::start(|_, _| {
        answer(
            "206 Partial Content",
            &["Content-Length: 6", "Content-Range: bytes 4-9/10"],
            &CONTENT[4..],
        )
    });
    assert_eq!(
        refused(&server, &wanted(&server)).kind(),
        NetErrorKind::Protocol,
        "not asked for a part"
    );
}

#[test]
fn h29_the_whole_for_a_range_begins_anew() {
    let server = Server::start(|_, number| match number {
        1 => answer("200 OK", &["Content-Length: 10"], &CONTENT[..4]),
        _ => whole(b"abcdefghij"),
    });
    assert_eq!(fetched(&server, &wanted(&server)).unwrap(), b"abcdefghij");
}

#[test]
fn v7_what_an_earlier_run_left_goes_on_or_begins_anew() {
    let server = Server::start(|asked, _| match asked.header("range") {
        Some("bytes=4-") => answer(
            "206 Partial Content",
            &["Content-Range: bytes 4-9/10", "Content-Length: 6"],
            &CONTENT[4..],
        ),
        Some(_) => answer(
            "416 Range Not Satisfiable",
            &["Content-Range: bytes */10", "Content-Length: 0"],
            b"",
        ),
        None => whole(CONTENT),
    });
    let client = Client::new(&server.settings()).unwrap();
    for there in [&b"0123"[..], b"longer than the document"] {
        let mut body = Memory(there.to_vec());
        client.fetch(&wanted(&server), &mut body).unwrap();
        assert_eq!(body.0, CONTENT);
    }
}

#[test]
fn h28_another_size_than_the_declared_one_is_refused() {
    let server = Server::start(|_, _| whole(CONTENT));
    for size in [9, 11] {
        let fetch = Fetch { size_bytes: Some(size), ..wanted(&server) };
        let error = refused(&server, &fetch);
        assert!(error.to_string().contains("declared"), "{error}");
    }
    let fetch = Fetch { max_bytes: 9, ..wanted(&server) };
    assert!(refused(&server, &fetch).to_string().contains("more than 9 bytes"));
    assert_eq!(
        fetched(&server, &Fetch { size_bytes: Some(10), ..wanted(&server) }).unwrap(),
        CONTENT
    );
}

#[test]
fn h29_a_body_without_an_end_is_bounded() {
    let server = Server::start(|_, _| answer("200 OK", &[], &[b'x'; 100_000]));
    for fetch in [
        Fetch { max_bytes: 50_000, ..wanted(&server) },
        Fetch { size_bytes: Some(99_999), ..wanted(&server) },
    ] {
        assert_eq!(refused(&server, &fetch).kind(), NetErrorKind::Protocol);
    }
    assert_eq!(fetched(&server, &wanted(&server)).unwrap().len(), 100_000);
    let error = refused(&server, &Fetch { needs_end: true, ..wanted(&server) });
    assert!(error.to_string().contains("does not say where it ends"), "{error}");
}

#[test]
fn h27_chunks_that_end_too_early_are_not_the_end() {
    let server = Server::start(|_, number| match number {
        1 => answer("200 OK", &["Transfer-Encoding: chunked"], b"4\r\n0123\r\n"),
        2 => answer("200 OK", &["Transfer-Encoding: chunked"], b"4\r\n0123\r\n6\r\n456"),
        _ => answer(
            "200 OK",
            &["Transfer-Encoding: chunked"],
            b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n",
        ),
    });
    assert_eq!(fetched(&server, &Fetch { needs_end: true, ..wanted(&server) }).unwrap(), CONTENT);
}

#[test]
fn h29_an_encoded_body_is_refused() {
    let server = Server::start(|_, _| {
        answer("200 OK", &["Content-Length: 10", "Content-Encoding: gzip"], CONTENT)
    });
    let error = refused(&server, &wanted(&server));
    assert!(error.to_string().contains("gzip"), "{error}");
}

#[test]
fn v12_a_busy_server_is_asked_again_as_it_says() {
    let server = Server::start(|_, number| match number {
        1 => answer("503 Service Unavailable", &["Content-Length: 0", "Retry-After: 1"], b""),
        _ => whole(CONTENT),
    });
    let start = Instant::now();
    assert_eq!(fetched(&server, &wanted(&server)).unwrap(), CONTENT);
    assert!(start.elapsed() >= Duration::from_secs(1), "it was told to wait");
    let server =
        Server::start(|_, _| answer("503 Busy", &["Content-Length: 0", "Retry-After: 86400"], b""));
    assert_eq!(refused(&server, &wanted(&server)).kind(), NetErrorKind::Temporary);
    assert_eq!(server.asked().len(), 1, "a day is too long to wait");
}

#[test]
fn answers_that_are_no_document_say_what_they_mean() {
    for (status, kind) in [
        ("404 Not Found", NetErrorKind::NotFound),
        ("410 Gone", NetErrorKind::NotFound),
        ("401 Unauthorized", NetErrorKind::Refused),
        ("403 Forbidden", NetErrorKind::Refused),
        ("204 No Content", NetErrorKind::Protocol),
        ("418 Teapot", NetErrorKind::Protocol),
    ] {
        let server = Server::start(move |_, _| answer(status, &["Content-Length: 0"], b""));
        let error = refused(&server, &wanted(&server));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
        assert_eq!(server.asked().len(), 1, "{status} stays");
    }
}

#[test]
fn a_fetch_ends_when_it_is_told_to() {
    let server =
        Server::start(|_, _| answer("503 Busy", &["Content-Length: 0", "Retry-After: 60"], b""));
    let stop = AtomicBool::new(false);
    let fetch = Fetch { stop: &stop, ..wanted(&server) };
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| refused(&server, &fetch).kind());
        while server.asked().is_empty() {
            std::thread::yield_now();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(fetching.join().unwrap(), NetErrorKind::Stopped);
    });
}

/// Stops a fetch at its first pause, and keeps the reason for it.
#[derive(Debug)]
struct Once<'a>(&'a AtomicBool, Mutex<String>);

impl Watcher for Once<'_> {
    fn waits(&self, reason: &NetError, _tries: u32, _wait: Duration) {
        *self.1.lock().unwrap() = reason.to_string();
        self.0.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) {}
}

#[test]
fn v12_a_server_that_is_too_slow_is_left() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n".to_vec();
    let server = Server::start(move |_, _| {
        Answer::Trickles(head.clone(), 10_000, Duration::from_millis(20))
    });
    let mut settings = server.settings();
    settings.idle_timeout_ms = Some(2000);
    settings.lowest_bytes_per_second = Some(1 << 20);
    let stop = AtomicBool::new(false);
    let watcher = Once(&stop, Mutex::default());
    let fetch = Fetch { stop: &stop, watcher: &watcher, ..wanted(&server) };
    let mut body = Memory::default();
    let error = Client::new(&settings).unwrap().fetch(&fetch, &mut body).unwrap_err();
    assert_eq!(error.kind(), NetErrorKind::Stopped);
    let reason = watcher.1.into_inner().unwrap();
    assert!(reason.contains("fewer than 1048576 bytes per second for 2 seconds"), "{reason}");
    assert!(!body.0.is_empty(), "bytes came all the time");
}
