//! Buckets that nginx shows by plain HTTP, also behind a cache: they are pulled, read lazily and followed, and nothing is
//! written (D2, D7, H48, H49, V12)

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::nginx::Nginx;
use support::{Cairn, content, tree, wait};

use crate::edge::{Edge, NEVER, publish};
use crate::shared::{Bucket, files, import, set_mode, shown};

/// The configurations in docs/edges.md, with a bucket, a cache and times of ours.
fn documented(number: usize) -> String {
    let text = include_str!("../../docs/edges.md");
    let block = text.split("```nginx\n").nth(number).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// Replaces what must be there.
fn replace(text: &str, before: &str, after: &str) -> String {
    assert!(text.contains(before), "{before} in {text}");
    text.replace(before, after)
}

/// Shows a bucket in a directory. `more` is said of the whole server.
fn origin(bucket: &Bucket, head_seconds: u64, more: &str) -> Nginx {
    let root = format!("root {}; {more}", bucket.path().display());
    let text = replace(&documented(1), "root /srv/share/cairn;", &root);
    let text = replace(&text, "max-age=60", &format!("max-age={head_seconds}"));
    Nginx::launch(tempfile::tempdir().unwrap(), &text)
}

/// A cache before it.
fn cache(origin: &Nginx, missing_seconds: u64) -> Nginx {
    let home = tempfile::tempdir().unwrap();
    let kept = home.path().join("kept").display().to_string();
    let text = replace(&documented(2), "/var/cache/nginx/cairn", &kept);
    let text = replace(&text, "http://origin.example.org", &origin.plain_url());
    let text = replace(&text, "403 404 60s", &format!("403 404 {missing_seconds}s"));
    Nginx::launch(home, &text)
}

/// The requests that a server answered so, of keys that begin so.
fn count(nginx: &Nginx, key: &str, status: &str) -> usize {
    let begin = format!("/{key}");
    let is_one = |line: &&String| {
        line.split(' ').nth(1).unwrap().starts_with(&begin) && line.ends_with(status)
    };
    nginx.answered().iter().filter(is_one).count()
}

/// A bucket with a version of small files and a large one in `lib`, and one of a repository with an odd name.
fn published() -> (Bucket, Cairn) {
    let bucket = Bucket::new();
    let one = bucket.store();
    let source = one.scratch().join("source");
    files(&source, 1, 40, 3000);
    fs::write(source.join("large"), content::bytes(7, (9 << 20) + 5)).unwrap();
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    publish(&one, "a b=%", "odd");
    (bucket, one)
}

#[test]
fn d2_a_bucket_over_http_is_pulled_and_checked_and_takes_no_changes() {
    let (bucket, one) = published();
    let nginx = origin(&bucket, 60, "");
    let two = Cairn::unmounted();
    two.cli(&["remote", "add", "web", "bucket", &nginx.plain_url()]);
    assert!(two.cli(&["remote", "show", "web"]).contains("only read"));
    two.cli(&["pull", "lib", "web"]);
    two.cli(&["pull", "a b=%", "web"]);
    for version in ["lib/1", "a b=%/1"] {
        assert_eq!(shown(&one, version), shown(&two, version));
    }
    two.cli(&["fsck", "--full"]);
    let checked = two.json(&["remote", "fsck", "web", "--content"]);
    assert_eq!((&checked["version_count"], &checked["finding_count"]), (&2.into(), &0.into()));
    let test = two.json(&["remote", "test", "web"]);
    assert_eq!((&test["usable"], &test["ranges"]), (&true.into(), &true.into()), "{test}");
    assert!(test["creates_once"].is_null() && test["lists_at_once"].is_null(), "{test}");
    assert_eq!(test["notes"].as_array().unwrap().len(), 1, "{test}");
    let before = count(&nginx, "", "200");
    for arguments in [
        &["push", "lib", "web"][..],
        &["push", "lib/1", "web", "--delete"],
        &["remote", "gc", "web"],
        &["remote", "gc", "web", "--dry-run"],
    ] {
        let refused = two.cli_fails(arguments);
        assert!(refused.contains("read over HTTP") && refused.contains("s3://"), "{refused}");
    }
    assert_eq!(count(&nginx, "", "200"), before, "nobody was asked");
    // A needed object that is gone is found without a list.
    let (pack, _) = bucket.objects("packs").remove(0);
    fs::remove_file(&pack).unwrap();
    let output = two.run(&["remote", "fsck", "web"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(pack.file_name().unwrap().to_str().unwrap()), "{said}");
    // What is no bucket is not kept.
    let error =
        two.cli_fails(&["remote", "add", "no", "bucket", &format!("{}/log/", nginx.plain_url())]);
    assert!(error.contains("cairn.json"), "{error}");
}

#[test]
fn d2_a_lazy_read_over_http_asks_for_the_part_that_has_it() {
    let (bucket, _one) = published();
    let nginx = origin(&bucket, 60, "");
    let two = Cairn::start();
    two.cli(&["remote", "add", "web", "bucket", &nginx.plain_url(), "--policy", "on_demand"]);
    two.cli(&["pull", "lib", "web"]);
    assert_eq!(count(&nginx, "blobs/", "206"), 0);
    let parts = count(&nginx, "packs/", "206");
    let name = "file-0017";
    assert!(fs::read(two.versions("lib/1").join(name)).unwrap() == content::bytes(100_017, 3000));
    let whole = bucket.objects("packs").iter().map(|(_, bytes)| bytes).max().copied().unwrap();
    assert_eq!(count(&nginx, "packs/", "206"), parts + 1);
    let log = fs::read_to_string(nginx.path("access.log")).unwrap();
    let last = log.lines().rfind(|line| line.contains("/packs/")).unwrap();
    let sent: u64 = last.split("206 ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(sent < whole, "{sent} of {whole} bytes");
    let mut end = [0; 5];
    let large = fs::File::open(two.versions("lib/1/large")).unwrap();
    large.read_exact_at(&mut end, 9 << 20).unwrap();
    assert_eq!(end, content::bytes(7, (9 << 20) + 5)[9 << 20..]);
}

#[test]
fn d2_an_edge_follows_a_bucket_over_http_with_a_login() {
    let (bucket, one) = published();
    let users = one.scratch().join("users");
    fs::write(&users, "me:{PLAIN}open sesame\n").unwrap();
    let login = format!("auth_basic closed; auth_basic_user_file {};", users.display());
    let nginx = origin(&bucket, 60, &login);
    let password = one.scratch().join("password");
    fs::write(&password, "open sesame\n").unwrap();
    set_mode(&password, 0o600);
    let mut edge = Edge::of(&format!("{}/", nginx.plain_url()), &NEVER);
    edge.cairn.spawn();
    assert!(!edge.cairn.wait_for_exit().success(), "it wants a login");
    assert!(edge.cairn.log().contains("401"), "{}", edge.cairn.log());
    let password = password.to_str().unwrap();
    let options = [&NEVER[..], &["--user", "me", "--password-file", password]].concat();
    edge.cairn.set_arguments(&options);
    edge.cairn.mount();
    edge.refresh();
    tree::assert_same_below(&one.scratch().join("source"), &edge.cairn.versions("lib/1"));
    assert_eq!(edge.read("a b=%/1/text"), "odd");
    publish(&one, "lib", "two");
    assert!(!edge.cairn.versions("lib/2").exists());
    edge.refresh();
    assert_eq!(edge.read("lib/2/text"), "two");
    assert_eq!(edge.status()["alarms"], serde_json::json!([]));
    // A test writes into other buckets; this one it only reads.
    assert!(edge.cairn.cli(&["remote", "test", "origin"]).contains("yes"));
    let refused = edge.cairn.cli_fails(&["push", "lib", "origin"]);
    assert!(refused.contains("edge"), "{refused}");
    edge.end();
}

/// What docs/edges.md promises: an edge learns of a version once `head` and the note that its event is missing have run
/// out, and a poll came.
#[test]
fn h48_edges_behind_a_cache_see_a_version_in_time_and_cost_the_bucket_little() {
    const HEAD: u64 = 2;
    const MISSING: u64 = 2;
    const EDGES: usize = 3;
    let (bucket, one) = published();
    let nginx = origin(&bucket, HEAD, "");
    let cache = cache(&nginx, MISSING);
    let began = Instant::now();
    let edges: Vec<Edge> = (0..EDGES)
        .map(|_| {
            let mut edge = Edge::of(&cache.plain_url(), &["--poll", "1s"]);
            edge.cairn.mount();
            edge.refresh();
            edge
        })
        .collect();
    for number in 2..=4 {
        let path = format!("lib/{number}/text");
        publish(&one, "lib", &number.to_string());
        let published = Instant::now();
        for edge in &edges {
            wait::until("the version is there", || edge.cairn.versions(&path).exists());
            assert_eq!(edge.read(&path), number.to_string());
        }
        // Some seconds are for the daemons' own work on a busy machine.
        let promised = Duration::from_secs(HEAD.max(MISSING) + 2);
        assert!(
            published.elapsed() < promised + Duration::from_secs(8),
            "{:?}",
            published.elapsed()
        );
    }
    for edge in &edges {
        tree::assert_same_below(&one.scratch().join("source"), &edge.cairn.versions("lib/1"));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    let events: usize =
        ["lib", "=bucket", "a%20b%3D%25"].map(|log| bucket.events(log)).iter().sum();
    let asked = count(&nginx, "log/", "206") + count(&nginx, "log/", "200");
    assert_eq!(asked, events, "each event once: {:#?}", nginx.answered());
    let heads = count(&nginx, "head", "200") + count(&nginx, "head", "206");
    assert!(heads <= seconds / usize::try_from(HEAD).unwrap() + 2, "{heads} in {seconds} s");
    // The next number of each of the three logs.
    let missing = count(&nginx, "log/", "404");
    assert!(
        missing <= 3 * (seconds / usize::try_from(MISSING).unwrap() + 2),
        "{missing} in {seconds} s"
    );
    for kind in ["packs", "blobs", "index", "uses"] {
        let slices: u64 =
            bucket.objects(kind).iter().map(|(_, bytes)| bytes.div_ceil(1 << 20)).sum();
        let asked = count(&nginx, &format!("{kind}/"), "20");
        let asked = asked + count(&nginx, &format!("{kind}/"), "206");
        assert!(asked as u64 <= slices, "{asked} requests for {slices} slices of {kind}");
    }
    for edge in edges {
        edge.end();
    }
}

/// The files of a directory, and of those in it.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

#[test]
fn h49_a_cache_that_was_damaged_is_passed_and_mended() {
    const KINDS: [&str; 4] = ["/packs/", "/blobs/", "/index/", "/uses/"];
    let (bucket, one) = published();
    let nginx = origin(&bucket, 60, "");
    let cache = cache(&nginx, 60);
    let pull = |policy: &str| {
        let two = Cairn::start();
        let url = cache.plain_url();
        two.cli(&["remote", "add", "web", "bucket", &url, "--policy", policy]);
        two.cli(&["pull", "lib", "web"]);
        assert_eq!(shown(&one, "lib/1"), shown(&two, "lib/1"));
        tree::assert_same_below(&one.scratch().join("source"), &two.versions("lib/1"));
    };
    pull("immediate");
    for policy in ["immediate", "on_demand"] {
        for path in below(&cache.path("kept")) {
            let mut bytes = fs::read(&path).unwrap();
            let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8_lossy(&bytes[..body]).into_owned();
            if KINDS.into_iter().any(|kind| head.contains(&format!("KEY: {kind}"))) {
                let middle = body + (bytes.len() - body) / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        let asked = || {
            let before = nginx.answered().len();
            pull(policy);
            let of_objects = |line: &&String| KINDS.into_iter().any(|kind| line.contains(kind));
            nginx.answered()[before..].iter().filter(of_objects).count()
        };
        assert!(asked() > 0, "the bucket was asked");
        assert_eq!(asked(), 0, "the cache is mended");
    }
}
