//! Servers that are no good home for a bucket: what they answer is told, and no wrong byte comes from them (H29, H48, H49)

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn::bucket::store::{ObjectStore, StoreErrorKind};
use cairn::model::remote::{RemoteKind, RemoteSettings};
use cairn::net::HttpObjects;
use support::Cairn;
use support::http::{Asked, Server, answer, whole};
use support::nginx::Nginx;

use crate::edge::publish;
use crate::shared::{Bucket, shown};

fn bytes() -> Vec<u8> {
    (0..1000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

fn objects(
    reply: impl Fn(&Asked, usize) -> Vec<u8> + Send + Sync + 'static,
) -> (Server, HttpObjects) {
    let server = Server::start(reply);
    let settings = RemoteSettings::new(RemoteKind::Bucket, server.url("/b").parse().unwrap());
    let objects = HttpObjects::open(&settings).unwrap();
    (server, objects)
}

/// The part that was asked for.
fn part(asked: &Asked) -> Vec<u8> {
    let range = asked.header("range").unwrap().strip_prefix("bytes=").unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
    let to = to.min(999);
    let said = format!("Content-Range: bytes {from}-{to}/1000");
    let length = format!("Content-Length: {}", to + 1 - from);
    answer("206 Partial Content", &[&said, &length], &bytes()[from..=to])
}

#[test]
fn h49_parts_are_right_also_from_a_server_that_sends_everything() {
    let ignores = |asked: &Asked, _: usize| {
        assert!(asked.line.starts_with("GET /b/packs/x "), "{}", asked.line);
        whole(&bytes())
    };
    let (_honours, honours) = objects(|asked, _| part(asked));
    let (_ignores, ignores) = objects(ignores);
    for store in [&honours, &ignores] {
        for (from, to) in [(0, 10), (5, 6), (900, 1000), (990, 5000), (0, 1000)] {
            let found = ObjectStore::get_range(store, "packs/x", from..to).unwrap().unwrap();
            let (from, to) =
                (usize::try_from(from).unwrap(), usize::try_from(to.min(1000)).unwrap());
            assert!(found == bytes()[from..to], "{from}..{to}");
        }
    }
    let error = ObjectStore::get_range(&ignores, "packs/x", 1000..1001).unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
    // All of a large object for each part of it would be too much.
    let length = "Content-Length: 100000000000";
    let (_large, large) = objects(move |_, _| answer("200 OK", &[length], &bytes()));
    let error = ObjectStore::get_range(&large, "blobs/x", (90 << 20)..(98 << 20)).unwrap_err();
    assert!(error.to_string().contains("Range"), "{error}");
}

#[test]
fn h29_what_is_no_answer_to_the_question_is_an_error_that_says_why() {
    let length = "Content-Length: 1000";
    let html = "Content-Type: text/html; charset=utf-8";
    let gzip = "Content-Encoding: gzip";
    let other = ["Content-Range: bytes 0-99/1000", "Content-Length: 100"];
    let short = ["Content-Range: bytes 10-14/1000", "Content-Length: 5"];
    let page = answer("200 OK", &[html, "Content-Length: 4"], b"<p>!");
    for (reply, words) in [
        (page, "web page"),
        (answer("200 OK", &[length, gzip], &bytes()), "encoded"),
        (answer("200 OK", &[], &bytes()), "where it ends"),
        (answer("206 Partial Content", &other, &bytes()[..100]), "bytes 0-99/1000"),
        (answer("206 Partial Content", &short, &bytes()[..5]), "bytes 10-14/1000"),
        (answer("206 Partial Content", &["Content-Length: 10"], &bytes()[..10]), "which one"),
        (answer("416 Range Not Satisfiable", &["Content-Length: 0"], b""), "has ended"),
        (answer("302 Found", &["Location: ftp://h/", "Content-Length: 0"], b""), "redirect"),
        (answer("204 No Content", &[], b""), "204"),
    ] {
        let (server, store) = objects(move |_, _| reply.clone());
        let error = ObjectStore::get_range(&store, "packs/x", 10..20).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert_eq!(error.kind(), StoreErrorKind::Protocol, "{error}");
        assert_eq!(server.asked().len(), 1, "it stays so: {error}");
    }
    let (_server, store) = objects(|_, _| {
        part(&Asked { line: String::new(), headers: vec!["range: bytes=0-9".to_owned()] })
    });
    let error = ObjectStore::get(&store, "keys/x").unwrap_err();
    assert!(error.to_string().contains("a part comes"), "{error}");
    for (status, kind) in
        [("401 Unauthorized", StoreErrorKind::Refused), ("403 Forbidden", StoreErrorKind::Refused)]
    {
        let (_server, store) = objects(move |_, _| answer(status, &["Content-Length: 0"], b""));
        assert_eq!(ObjectStore::get(&store, "keys/x").unwrap_err().kind(), kind);
    }
    for status in ["404 Not Found", "410 Gone"] {
        let (_server, store) =
            objects(move |_, _| answer(status, &[html, "Content-Length: 0"], b""));
        assert_eq!(ObjectStore::get(&store, "keys/x").unwrap(), None);
        assert_eq!(ObjectStore::get_range(&store, "keys/x", 0..9).unwrap(), None);
        assert_eq!(ObjectStore::head(&store, "keys/x").unwrap(), None);
    }
}

#[test]
fn h49_a_body_that_was_cut_is_asked_for_again_and_never_taken() {
    let cut = || answer("200 OK", &["Content-Length: 1000"], &bytes()[..500]);
    let (server, store) =
        objects(move |_, number| if number < 3 { cut() } else { whole(&bytes()) });
    assert!(ObjectStore::get(&store, "index/x").unwrap().unwrap() == bytes());
    assert_eq!(server.asked().len(), 3);
    let (server, store) = objects(move |_, _| cut());
    for ask in [
        |store: &HttpObjects| ObjectStore::get(store, "index/x"),
        |store: &HttpObjects| ObjectStore::get_range(store, "index/x", 100..900),
    ] {
        let error = ask(&store).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Temporary, "{error}");
    }
    assert_eq!(server.asked().len(), 10, "five tries each");
    // What was asked for came before the cut.
    assert!(ObjectStore::get_range(&store, "index/x", 0..500).unwrap().unwrap() == bytes()[..500]);
    let busy = AtomicUsize::new(0);
    let (_server, store) = objects(move |_, _| match busy.fetch_add(1, Ordering::SeqCst) {
        0 => answer("503 Service Unavailable", &["Content-Length: 0", "Retry-After: 0"], b""),
        _ => whole(&bytes()),
    });
    assert!(ObjectStore::get(&store, "index/x").unwrap().is_some());
}

#[test]
fn h48_what_caches_may_do_with_an_answer_is_read_from_it() {
    let now = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
    for (headers, seconds) in [
        (vec![], None),
        (vec!["Cache-Control: public, Max-Age=60"], Some(60)),
        (vec!["Cache-Control: max-age=60, s-maxage=5"], Some(5)),
        (vec!["Cache-Control: max-age=60", "Cache-Control: no-store"], Some(0)),
        (vec![now, "Expires: Sun, 06 Nov 1994 08:50:37 GMT"], Some(60)),
        (vec![now, "Expires: 0"], Some(0)),
        (vec![now, "Expires: Sun, 06 Nov 1994 08:00:00 GMT"], Some(0)),
    ] {
        let of_answer = headers.clone();
        let (_server, store) = objects(move |asked, _| {
            assert!(asked.line.starts_with("HEAD /b/head "));
            answer("404 Not Found", &[&of_answer[..], &["Content-Length: 0"]].concat(), b"")
        });
        assert_eq!(
            store.kept_for("head").unwrap(),
            seconds.map(Duration::from_secs),
            "{headers:?}"
        );
    }
}

/// nginx as it may be set up.
fn served(bucket: &Bucket, more: &str) -> Nginx {
    let server = format!("server {{ listen 8080; root {}; {more} }}", bucket.path().display());
    Nginx::launch(tempfile::tempdir().unwrap(), &server)
}

#[test]
fn h49_a_bucket_is_had_from_servers_that_redirect_and_ignore_ranges() {
    let bucket = Bucket::new();
    let one = bucket.store();
    publish(&one, "lib", "one");
    let ignoring = served(&bucket, "max_ranges 0;");
    let moved = served(&bucket, "location /moved/ { rewrite ^/moved/(.*)$ /$1 redirect; }");
    // Who may not list a bucket of S3 is told 403 of what is missing, also of a head that nobody has written.
    let closed =
        served(&bucket, "location = /head { return 403; } location / { try_files $uri =403; }");
    let moved_url = format!("{}/moved", moved.plain_url());
    for (url, ranges) in
        [(ignoring.plain_url(), false), (moved_url, true), (closed.plain_url(), true)]
    {
        let two = Cairn::unmounted();
        two.cli(&["remote", "add", "web", "bucket", &url]);
        two.cli(&["pull", "lib", "web"]);
        assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"));
        assert_eq!(two.json(&["remote", "test", "web"])["ranges"], ranges);
        assert_eq!(two.json(&["remote", "fsck", "web"])["finding_count"], 0);
    }
}

#[test]
fn h48_a_server_that_answers_what_is_missing_with_a_page_is_refused() {
    let bucket = Bucket::new();
    publish(&bucket.store(), "lib", "one");
    std::fs::write(bucket.path().join("page"), "<html>not here</html>").unwrap();
    let two = Cairn::unmounted();
    let html =
        served(&bucket, "error_page 404 =200 /page; location = /page { default_type text/html; }");
    let plain = served(&bucket, "error_page 404 =200 /page;");
    for (nginx, words) in [(html, "web page"), (plain, "must answer 404")] {
        let error = two.cli_fails(&["remote", "add", "web", "bucket", &nginx.plain_url()]);
        assert!(error.contains(words), "{error}");
    }
    // Pages that show up later: nothing is taken, and the reason is told.
    let some = served(&bucket, "location /log/lib/ { default_type text/html; }");
    two.cli(&["remote", "add", "web", "bucket", &some.plain_url()]);
    let error = two.cli_fails(&["pull", "lib", "web"]);
    assert!(error.contains("web page") && error.contains("log/lib"), "{error}");
    assert!(!two.cli(&["list"]).contains("lib"));
}
