//! Files by path: bytes, ranges, conditions, headers (W2)

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use crate::client::Site;
use support::content;

fn published() -> Site {
    let site = Site::start();
    site.publish("r", |top| {
        fs::write(top.join("a.html"), "<script>1</script>").unwrap();
        fs::write(top.join("empty"), "").unwrap();
        fs::write(top.join("README"), "plain words\n").unwrap();
        fs::write(top.join("big.bin"), content::bytes(1, 3 << 20)).unwrap();
        fs::create_dir(top.join("dir")).unwrap();
        fs::write(top.join("dir/a b%2F&\"<c>"), "odd").unwrap();
        symlink("../README", top.join("dir/link")).unwrap();
    });
    site
}

#[test]
fn w2_a_file_is_its_bytes_with_what_caches_want_to_know() {
    let site = published();
    let big = content::bytes(1, 3 << 20);
    let whole = site.get("/r/1/big.bin");
    assert_eq!((whole.status, whole.body.len()), (200, big.len()));
    assert!(whole.body == big);
    let hash = blake3::hash(&big).to_hex();
    assert_eq!(whole.header("etag"), format!("\"{hash}\""));
    assert_eq!(whole.header("cache-control"), "no-cache");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-length"), big.len().to_string());
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    let latest = site.get("/r/latest/big.bin");
    assert_eq!(latest.header("cache-control"), "no-cache");
    assert!(latest.body == big);
    let head = site.ask("HEAD", "/r/1/big.bin", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let without_date = |answer: &crate::client::Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("date");
        headers
    };
    assert_eq!(without_date(&head), without_date(&whole));
    let empty = site.get("/r/1/empty");
    assert_eq!((empty.status, empty.header("content-length")), (200, "0"));
    assert_eq!(site.get("/r/1/README").header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(site.get("/r/1/dir/link").text(), "plain words\n");
    let odd = site.get("/r/1/dir/a%20b%252F%26%22%3Cc%3E");
    assert_eq!(odd.text(), "odd");
    site.cairn.cli(&["tag", "r/v1", "1"]);
    let tagged = site.get("/r/v1/README");
    assert_eq!(
        (tagged.text().as_str(), tagged.header("cache-control")),
        ("plain words\n", "no-cache")
    );
}

#[test]
fn w2_parts_of_files() {
    let site = published();
    let big = content::bytes(1, 3 << 20);
    let etag = site.ask("HEAD", "/r/1/big.bin", &[]).header("etag").to_owned();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-", 1_000_000, big.len()),
        ("bytes=-70000", big.len() - 70_000, big.len()),
        ("bytes=5-1048580", 5, 1_048_581),
    ] {
        let part = site.ask("GET", "/r/1/big.bin", &[&format!("Range: {range}")]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == big[from..to], "{range}");
        let said = format!("bytes {from}-{}/{}", to - 1, big.len());
        assert_eq!(part.header("content-range"), said);
    }
    let outside = site.ask("GET", "/r/1/big.bin", &["Range: bytes=99999999-"]);
    assert_eq!((outside.status, outside.header("content-range")), (416, "bytes */3145728"));
    for whole in [
        &["Range: bytes=0-1,5-6"][..],
        &["Range: bytes=0-1", "If-Range: \"other\""],
        &["Range: lines=1-2"],
    ] {
        let answer = site.ask("GET", "/r/1/big.bin", whole);
        assert_eq!((answer.status, answer.body.len()), (200, big.len()), "{whole:?}");
    }
    let same = format!("If-Range: {etag}");
    assert_eq!(site.ask("GET", "/r/1/big.bin", &["Range: bytes=0-1", &same]).status, 206);
    let head = site.ask("HEAD", "/r/1/big.bin", &["Range: bytes=0-1"]);
    assert_eq!((head.status, head.header("content-length")), (200, "3145728"));
}

#[test]
fn w2_what_the_client_has_is_not_sent_again() {
    let site = published();
    let first = site.get("/r/latest/README");
    let has = format!("If-None-Match: {}", first.header("etag"));
    let again = site.ask("GET", "/r/latest/README", &[&has]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), first.header("etag"));
    let since = format!("If-Modified-Since: {}", first.header("last-modified"));
    assert_eq!(site.ask("HEAD", "/r/latest/README", &[&since]).status, 200, "a date says nothing");
    let other = format!("If-Match: \"{}\"", "0".repeat(64));
    assert_eq!(site.ask("GET", "/r/latest/README", &[&other]).status, 412);
    // The same content in the next version is the same to a cache.
    site.publish("r", |top| fs::write(top.join("README"), "plain words\n").unwrap());
    assert_eq!(site.ask("GET", "/r/latest/README", &[&has]).status, 304);
    site.publish("r", |top| fs::write(top.join("README"), "others\n").unwrap());
    assert_eq!(site.ask("GET", "/r/latest/README", &[&has]).text(), "others\n");
    assert_eq!(site.get("/r/1/README").text(), "plain words\n", "the first version stays");
}

#[test]
fn w2_a_date_never_stands_for_content() {
    let site = Site::start();
    let publish = |text: &str, seconds: u64| {
        site.publish("r", |top| {
            fs::write(top.join("f"), text).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::options()
                .write(true)
                .open(top.join("f"))
                .unwrap()
                .set_modified(time)
                .unwrap();
        });
    };
    publish("AAAA", 1_577_923_200);
    let first = site.get("/r/latest/f");
    // The next version has an older file, and then another one with the same time.
    for (text, seconds) in [("BBBB", 1_577_836_800), ("CCCC", 1_577_836_800)] {
        let before = site.get("/r/latest/f");
        publish(text, seconds);
        for date in [&first, &before].map(|answer| answer.header("last-modified").to_owned()) {
            let since = format!("If-Modified-Since: {date}");
            assert_eq!(site.ask("GET", "/r/latest/f", &[&since]).text(), text);
            let range = format!("If-Range: {date}");
            let answer = site.ask("GET", "/r/latest/f", &["Range: bytes=2-", &range]);
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
        }
        let time = |answer: &crate::client::Answer| {
            httpdate::parse_http_date(answer.header("last-modified")).unwrap()
        };
        assert!(time(&site.get("/r/latest/f")) >= time(&before), "it only grows");
    }
    assert_eq!(site.get("/r/2/f").header("last-modified"), "Wed, 01 Jan 2020 00:00:00 GMT");
}

#[test]
fn w2_a_number_that_names_something_else_by_now_is_asked_for_again() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), "first").unwrap());
    let addresses = ["/r/1/f", "/r/1/?tar", "/r/1/PULP_MANIFEST"];
    let first = addresses.map(|address| site.get(address));
    site.cairn.cli(&["delete", "r/1", "r", "--force"]);
    site.publish("r", |top| fs::write(top.join("f"), "other").unwrap());
    for (address, first) in addresses.iter().zip(&first) {
        assert_eq!(first.header("cache-control"), "no-cache", "{address}");
        let has = format!("If-None-Match: {}", first.header("etag"));
        let again = site.ask("GET", address, &[&has]);
        assert_eq!(again.status, 200, "{address}");
        assert_ne!(again.body, first.body, "{address}");
    }
    // Nor is a refusal kept.
    for (header, status) in [("If-Match: \"x\"", 412), ("Range: bytes=99-", 416)] {
        let answer = site.ask("GET", "/r/1/f", &[header]);
        assert_eq!((answer.status, answer.header("cache-control")), (status, "no-cache"));
    }
    assert_eq!(
        site.ask("GET", "/@/style.css", &["If-Match: \"x\""]).header("cache-control"),
        "no-cache"
    );
}

#[test]
fn w4_what_somebody_published_cannot_act_in_a_browser() {
    let site = published();
    for path in ["/", "/r/", "/r/1/", "/r/1/a.html", "/r/1/nothing", "/r/1/?tar", "/@/style.css"] {
        let answer = site.get(path);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("script-src"), "{path}: {policy}");
        let is_file = path == "/r/1/a.html";
        assert_eq!(policy.contains("sandbox"), is_file, "{path}: {policy}");
    }
    for method in ["POST", "PUT", "DELETE", "PROPFIND"] {
        let answer = site.ask(method, "/r/1/a.html", &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
    }
}

#[test]
fn w2_directories_are_listed_in_the_form_that_is_accepted() {
    let site = published();
    assert_eq!(site.get("/r/1/dir").header("location"), "./dir/");
    assert_eq!(site.get("/r").header("location"), "./r/");
    assert_eq!(site.get("/r/1").header("location"), "./1/");
    let listed = site.json("/r/1/dir/");
    assert_eq!(listed["path"], "dir");
    assert_eq!(
        (&listed["number"], &listed["entries"][0]["path"]),
        (&1.into(), &"dir/a b%2F&\"<c>".into())
    );
    assert_eq!(
        (&listed["entries"][0]["size_bytes"], &listed["entries"][0]["mode"]),
        (&3.into(), &"0644".into())
    );
    assert_eq!(listed["entries"][1]["target"], "../README");
    let links = site.get("/r/1/dir/").text();
    assert!(links.contains("<a href=\"./a%20b%252F%26%22%3Cc%3E\">a b%2F&amp;&quot;&lt;c&gt;</a>"));
    assert_eq!(site.json("/")["repositories"][0]["repository"], "r");
    assert_eq!(site.json("/r/")["versions"][0]["number"], 1);
    assert_eq!(site.json("/r/")["repository"]["latest"], 1);
}
