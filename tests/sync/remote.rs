//! Remotes: adding, showing, changing, trying, removing

use crate::shared::Synced;
use support::Cairn;
use support::http::{Server, Site, answer};

#[test]
fn remotes_are_added_changed_listed_and_removed_and_outlive_a_restart() {
    let mut cairn = Cairn::start();
    cairn.cli(&["remote", "add", "b", "sums", "https://example.org/b/", "--limit-rate", "1M"]);
    cairn.cli(&["remote", "add", "a", "manifest", "https://example.org/a/"]);
    let message = cairn.cli_fails(&["remote", "add", "a", "sums", "https://example.org/"]);
    assert!(message.contains("there is a remote a already"), "{message}");
    cairn.cli(&["remote", "set", "b", "--url", "https://example.org/c/", "--no-limit-rate"]);
    cairn.restart();
    let list: serde_json::Value =
        serde_json::from_str(&cairn.cli(&["remote", "list", "--json"])).unwrap();
    let expected = serde_json::json!([
        { "remote": "a", "kind": "manifest", "url": "https://example.org/a/" },
        { "remote": "b", "kind": "sums", "url": "https://example.org/c/" },
    ]);
    assert_eq!(list, expected);
    assert_eq!(cairn.cli(&["remote", "remove", "a"]), "removed remote a\n");
    for gone in [
        &["remote", "show", "a"][..],
        &["remote", "set", "a", "--connections", "2"],
        &["remote", "test", "a"],
        &["sync", "lib", "a"],
    ] {
        let output = cairn.run(gone);
        assert_eq!(output.status.code(), Some(3), "{gone:?}: {output:?}");
    }
    for log in [
        "add remote a: manifest https://example.org/a/, by root",
        "change remote b",
        "remove remote a",
    ] {
        assert!(cairn.log().contains(log), "{log}: {}", cairn.log());
    }
}

#[test]
fn a_test_says_what_works() {
    let synced = Synced::new(&[("a", b"12")]);
    let test = |cairn: &Cairn| -> serde_json::Value {
        let output = cairn.run(&["remote", "test", "origin", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let found = test(&synced.cairn);
    let expected = serde_json::json!({
        "remote": "origin", "usable": true, "failure": null, "declared_file_count": 1,
        "has_sizes": false, "conditional": true, "ranges": true, "creates_once": null,
        "lists_at_once": null, "notes": [],
    });
    assert_eq!(found, expected);

    let site = Site::of(&[("a", b"12")]);
    let inner = site.clone();
    let server = Server::start(move |asked, _| {
        let answered = inner.answer(&support::http::Asked { headers: Vec::new(), ..asked.clone() });
        String::from_utf8(answered).unwrap().replace("ETag", "X-Tag").into_bytes()
    });
    let plain = test(&Synced::with(site, server).cairn);
    assert_eq!((&plain["conditional"], &plain["ranges"]), (&false.into(), &false.into()));

    let server = Server::start(|_, _| answer("401 Unauthorized", &["Content-Length: 0"], b""));
    let closed = Synced::with(Site::default(), server);
    let output = closed.cairn.run(&["remote", "test", "origin"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("401"), "{output:?}");
    assert_eq!(test(&closed.cairn)["usable"], false);
}
