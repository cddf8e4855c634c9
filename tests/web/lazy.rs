//! Versions of which not all content was fetched (L2, L4)

use support::{http, wait};

use crate::client::Site;

const FILES: &[(&str, &[u8])] =
    &[("README", b"read me\n"), ("a", b"first"), ("b.bin", b"\0second"), ("empty", b"")];

/// A version `lib/1` of [`FILES`], of which nothing was fetched; the origin, and the server before it.
fn declared() -> (Site, http::Site, http::Server) {
    let origin = http::Site::default();
    origin.set_manifest(FILES);
    let server = origin.serve();
    let site = Site::start();
    let url = server.url("/");
    site.cairn.cli(&["remote", "add", "origin", "manifest", &url, "--policy", "on_demand"]);
    site.cairn.cli(&["sync", "lib", "origin"]);
    (site, origin, server)
}

/// The files that were asked of the origin.
fn asked(server: &http::Server) -> Vec<String> {
    let lines = server.asked().into_iter().map(|asked| asked.line);
    lines.filter(|line| !line.contains("PULP_MANIFEST")).collect()
}

#[test]
fn l4_a_file_is_fetched_when_it_is_downloaded() {
    let (site, _origin, server) = declared();
    for path in ["/lib/1/a", "/lib/latest/b.bin", "/lib/1/README"] {
        let head = site.ask("HEAD", path, &[]);
        assert_eq!(head.status, 200);
        assert!(!head.header("content-length").is_empty(), "{path}");
    }
    assert!(asked(&server).is_empty(), "a HEAD fetches nothing");
    let part = site.ask("GET", "/lib/1/a", &["Range: bytes=1-2"]);
    assert_eq!((part.status, &*part.body), (206, &b"ir"[..]));
    let whole = site.get("/lib/1/a");
    assert_eq!((whole.status, &*whole.body), (200, &b"first"[..]));
    assert_eq!(asked(&server), ["GET /a HTTP/1.1"]);
    let head = site.ask("HEAD", "/lib/1/a", &[]);
    assert_eq!(head.header("content-length"), "5");
    assert_eq!(head.header("etag"), whole.header("etag"));
}

#[test]
fn l4_an_archive_has_all_that_is_declared() {
    let (site, _origin, server) = declared();
    let archive = site.get("/lib/1/?tar");
    assert_eq!(archive.status, 200);
    let names = crate::archive::names(&archive.body, "tar");
    for (name, _) in FILES {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    assert_eq!(asked(&server).len(), 3);
}

/// Who looks around reads no file: a crawler would fetch everything.
#[test]
fn l2_pages_lists_and_manifests_fetch_nothing() {
    let (site, _origin, server) = declared();
    let page = |path: &str| {
        let answer = site.ask("GET", path, &["Accept: text/html"]);
        assert_eq!(answer.status, 200, "{path}");
        answer.text()
    };
    for path in ["/", "/lib/", "/lib/1/", "/lib/1/?sizes", "/lib/1/?sharing"] {
        page(path);
    }
    for path in ["/lib/1/a?view", "/lib/1/b.bin?view"] {
        assert!(page(path).contains("not here yet"), "{path}");
    }
    let manifest = site.get("/lib/1/PULP_MANIFEST").text();
    assert_eq!(manifest.lines().count(), FILES.len() + 1, "a heading, and each file");
    site.json("/lib/1/");
    assert!(asked(&server).is_empty());
    site.get("/lib/1/a");
    assert!(page("/lib/1/a?view").contains("first"));
}

/// H36: what cannot be had is an error that says so, and the rest is served.
#[test]
fn h36_content_that_no_remote_gives_is_a_bad_gateway() {
    let (site, origin, server) = declared();
    origin.take("a");
    for _ in 0..2 {
        let answer = site.get("/lib/1/a");
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("cannot be fetched now"), "{}", answer.text());
    }
    assert_eq!(asked(&server).len(), 1, "it rests for a while");
    assert_eq!(site.get("/lib/1/README").body, b"read me\n");
}

/// The SHA-256 of what a bucket has is known once the content was here.
#[test]
fn d5_the_manifest_of_a_version_of_a_bucket_says_what_it_lacks() {
    let publisher = support::Cairn::unmounted();
    let source = publisher.scratch().join("source");
    std::fs::create_dir(&source).unwrap();
    for (path, bytes) in FILES {
        std::fs::write(source.join(path), bytes).unwrap();
    }
    let bucket = format!("file://{}", publisher.scratch().join("bucket").display());
    publisher.cli(&["import", source.to_str().unwrap(), "lib"]);
    publisher.cli(&["remote", "add", "store", "bucket", &bucket]);
    publisher.cli(&["push", "lib", "store"]);
    let site = Site::start();
    site.cairn.cli(&["remote", "add", "store", "bucket", &bucket, "--policy", "on_demand"]);
    site.cairn.cli(&["pull", "lib", "store"]);
    let manifest = || site.get("/lib/1/PULP_MANIFEST");
    let refused = manifest();
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("has not been fetched yet"), "{}", refused.text());
    assert_eq!(stored(&site), 0, "a manifest fetches nothing");
    site.cairn.cli(&["prefetch", "lib/1"]);
    let whole = manifest();
    assert_eq!(whole.status, 200);
    assert_eq!(whole.text().lines().count(), 1 + FILES.len());
    wait::until("it is absent again", || {
        site.cairn.cli(&["reclaim"]);
        stored(&site) == 0
    });
    assert_eq!(manifest().text(), whole.text());
}

/// How many contents are stored.
fn stored(site: &Site) -> usize {
    site.cairn.pool().len()
}
