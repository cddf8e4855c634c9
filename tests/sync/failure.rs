//! Files that cannot be had (V5, V6, H28, H30, H32)

use crate::shared::{Synced, map};
use support::http::{Server, Site, answer};

#[test]
fn v6_a_file_that_cannot_be_had_means_no_version_unless_it_goes_on() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"2"), ("c", b"3")]);
    synced.sync(&["--mirror"]);
    synced.site.set(&[("a", b"4"), ("b", b"5"), ("d", b"6"), ("e", b"7")]);
    synced.site.take("b");
    synced.site.take("e");
    let (status, message) = synced.sync_fails(&["--mirror"]);
    assert_eq!(status, 1);
    for part in ["b: ", "e: ", "404", "2 files could not be fetched", "--keep-going"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!synced.cairn.versions("lib/2").exists());
    let done = synced.sync(&["--mirror", "--keep-going"]);
    assert_eq!(
        (&done["failed_file_count"], &done["events"][0]["change"]),
        (&2.into(), &"failed".into())
    );
    // What failed is not added, and not removed either.
    assert_eq!(synced.version(2), map(&[("a", b"4"), ("b", b"2"), ("d", b"6")]));
    assert_eq!(synced.asked_for("/a"), 2, "what came was kept");
    synced.site.put("b", b"5");
    synced.site.put("e", b"7");
    synced.sync(&["--mirror"]);
    assert_eq!(synced.version(3), map(&[("a", b"4"), ("b", b"5"), ("d", b"6"), ("e", b"7")]));
}

#[test]
fn v5_content_that_is_not_what_was_declared_never_reaches_a_version() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"right")]);
    for wrong in [&b"wrong"[..], b"", b"right and more"] {
        synced.site.put("b", wrong);
        let (status, message) = synced.sync_fails(&[]);
        assert_eq!(status, 1, "{message}");
        assert!(message.contains("another SHA-256"), "{message}");
    }
    assert!(
        !synced.cairn.staging("lib").exists(),
        "a repository that was made for it goes with it"
    );
    synced.site.put("b", b"right");
    synced.sync(&[]);
    assert_eq!(synced.version(1), map(&[("a", b"1"), ("b", b"right")]));
}

#[test]
fn h28_a_remote_that_changes_meanwhile_is_told_from_one_that_is_wrong() {
    let site = Site::of(&[("a", b"old")]);
    let inner = site.clone();
    // Right after the list was fetched, somebody publishes the next one.
    let server = Server::start(move |asked, number| {
        let answer = inner.answer(asked);
        if number == 1 {
            inner.set(&[("a", b"new")]);
        }
        answer
    });
    let synced = Synced::with(site, server);
    let (status, message) = synced.sync_fails(&[]);
    assert_eq!(status, 13, "{message}");
    assert!(message.contains("changed while it was fetched"), "{message}");
    synced.sync(&[]);
    assert_eq!(synced.version(1), map(&[("a", b"new")]));
}

#[test]
fn h29_a_page_of_an_error_is_named_as_one() {
    let site = Site::of(&[("a", b"1")]);
    let inner = site.clone();
    let server = Server::start(move |asked, _| match asked.line.contains("SHA256SUMS") {
        true => inner.answer(asked),
        false => answer("200 OK", &["Content-Type: text/html", "Content-Length: 9"], b"not found"),
    });
    let (_, message) = Synced::with(site, server).sync_fails(&[]);
    assert!(message.contains("a web page came"), "{message}");
}

#[test]
fn h32_a_password_shows_nowhere() {
    let synced = Synced::new(&[("a", b"1")]);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("password");
    std::fs::write(&file, "open-sesame\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (cairn, path) = (&synced.cairn, file.to_str().unwrap());
    let set = cairn.cli(&["remote", "set", "origin", "--user", "me", "--password-file", path]);
    synced.sync(&[]);
    assert!(synced.server.asked().iter().all(|asked| asked.header("authorization").is_some()));
    let shown = cairn.cli(&["remote", "show", "origin", "--json"]) + &set + &cairn.log();
    assert!(shown.contains(path) && !shown.contains("open-sesame"), "{shown}");
    let catalog = std::fs::read(cairn.store().join("catalog.db")).unwrap();
    let log = std::fs::read(cairn.store().join("catalog.db-wal")).unwrap();
    let is_in = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"open-sesame");
    assert!(!is_in(&catalog) && !is_in(&log));
    let refused =
        cairn.cli_fails(&["remote", "set", "origin", "--url", "http://me:open-sesame@127.0.0.1/"]);
    assert!(refused.contains("--password-file"), "{refused}");
}

#[test]
fn v6_what_could_not_be_replaced_is_not_removed() {
    let synced = Synced::new(&[("d", b"1"), ("x", b"2"), ("y", b"3"), ("z", b"4")]);
    synced.sync(&["--mirror"]);
    synced.site.set(&[("d/f", b"5"), ("x", b"2"), ("y", b"3"), ("z", b"6")]);
    synced.site.take("d/f");
    for options in [&["--keep-going"][..], &["--mirror", "--keep-going"]] {
        let (status, message) = synced.sync_fails(options);
        assert_eq!(status, 1, "{message}");
        assert!(
            message.contains("d/f could not be fetched, and something else is at its place"),
            "{message}"
        );
    }
    assert!(!synced.cairn.versions("lib/2").exists());
}
