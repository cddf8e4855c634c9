//! Lists that cannot be right are refused whole, before the first file is asked for (H26, H27, V11)

use cairn::model::digest::Sha256;

use crate::shared::{Synced, map};
use support::Cairn;
use support::http::{Server, Site, answer};

/// Syncs from a list; returns the message and how many requests came.
fn refused(list: &str) -> (String, usize) {
    let site = Site::default();
    site.put("SHA256SUMS", list.as_bytes());
    let synced = Synced::with(site.clone(), site.serve());
    let (status, message) = synced.sync_fails(&[]);
    assert_eq!(status, 1, "{message}");
    assert!(synced.cairn.cli(&["list"]).is_empty(), "nothing is made");
    (message, synced.server.asked().len())
}

#[test]
fn h26_a_list_with_a_path_that_leads_elsewhere_is_refused_whole_with_its_line() {
    let sha256 = Sha256::of(b"x");
    for (list, line, what) in [
        (format!("{sha256}  a\n{sha256}  ../b\n"), 2, "not names"),
        (format!("{sha256}  /etc/passwd\n"), 1, "absolute"),
        (format!("{sha256}  a\n\n{sha256}  b//c\n"), 3, "empty"),
        (format!("{sha256}  b\n{sha256}  a\n{sha256}  b\n"), 3, "b is there twice"),
        (format!("{sha256}  a/b\n{sha256}  a\n"), 2, "a is a file, and a/b is below it"),
        (format!("{sha256}  {}\n", "x/".repeat(2100)), 1, "4095"),
        ("It works!\n".to_owned(), 1, "sha256sum"),
    ] {
        let (message, requests) = refused(&list);
        assert!(
            message.contains(&format!("line {line} of ")) && message.contains(what),
            "{message}"
        );
        assert_eq!(requests, 1, "nothing was fetched");
    }
    let (message, _) = refused("\n");
    assert!(message.contains("declares no file"), "{message}");
}

#[test]
fn h27_a_list_that_was_cut_is_never_taken_for_a_whole_one() {
    let files: Vec<_> = (0..100).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let site = Site::of(&files);
    let inner = site.clone();
    // It says no length and closes the connection: nobody can tell a whole list from a part.
    let server = Server::start(move |asked, _| {
        let whole = String::from_utf8(inner.answer(asked)).unwrap();
        let (_, body) = whole.split_once("\r\n\r\n").unwrap();
        answer("200 OK", &[], &body.as_bytes()[..body.len().min(700)])
    });
    let synced = Synced::with(site, server);
    let (_, message) = synced.sync_fails(&["--mirror"]);
    assert!(message.contains("does not say where it ends"), "{message}");
}

#[test]
fn v11_a_mirror_does_not_empty_a_repository_unless_that_is_allowed() {
    let files: Vec<_> = (0..10).map(|number| format!("f{number}")).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    let synced = Synced::new(&files);
    synced.sync(&["--mirror"]);
    synced.site.set(&files[..4]);
    let (status, message) = synced.sync_fails(&["--mirror"]);
    assert_eq!(status, 1);
    assert!(
        message.contains("remove 6 of the 10 files") && message.contains("--max-delete"),
        "{message}"
    );
    let planned = synced.sync(&["--mirror", "--dry-run"]);
    assert_eq!(planned["removed_file_count"], 6, "what would go is told nevertheless");
    synced.sync_fails(&["--mirror", "--max-delete", "5"]);
    synced.sync_fails(&["--mirror", "--max-delete", "59%"]);
    synced.sync(&["--mirror", "--max-delete", "60%"]);
    assert_eq!(synced.version(2), map(&files[..4]));
    assert!(!synced.cairn.versions("lib/3").exists());
}

#[test]
fn a_manifest_of_pulp_is_read_and_its_sizes_are_held_to() {
    let site = Site::default();
    let manifest = |size: u64| format!("a,b.iso,{},{size}\n# end\n", Sha256::of(b"disc"));
    site.put("PULP_MANIFEST", manifest(4).as_bytes());
    site.put("a,b.iso", b"disc");
    let server = site.serve();
    let cairn = Cairn::start();
    cairn.cli(&["remote", "add", "isos", "manifest", &server.url("/")]);
    cairn.cli(&["sync", "lib", "isos", "--mirror"]);
    assert_eq!(std::fs::read(cairn.versions("lib/1/a,b.iso")).unwrap(), b"disc");
    site.put("PULP_MANIFEST", manifest(5).as_bytes());
    let message = cairn.cli_fails(&["sync", "other", "isos"]);
    assert!(message.contains("4 bytes, not the 5 that are declared"), "{message}");
}

#[test]
fn what_is_no_list_is_told_by_its_kind_and_a_mark_is_left_out() {
    for (list, what, hint) in [
        ("<!DOCTYPE html><title>Index of /</title>", "it is a web page", "end it with `/`"),
        ("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n", "signed text", "without one"),
    ] {
        let (message, requests) = refused(list);
        assert!(message.contains(what) && message.contains(hint), "{message}");
        assert_eq!(requests, 1, "nothing was fetched");
    }
    let site = Site::of(&[("a", b"1")]);
    site.put("packed", b"\x1f\x8b\x08 and so on");
    site.put("marked", &[b"\xef\xbb\xbf", &*site.line("a")].concat());
    let synced = Synced::with(site.clone(), site.serve());
    for (name, path) in [("packed", "/packed"), ("marked", "/marked"), ("directory", "/releases")] {
        synced.cairn.cli(&["remote", "add", name, "sums", &synced.server.url(path)]);
    }
    let message = synced.cairn.cli_fails(&["sync", "lib", "packed"]);
    assert!(message.contains("compressed by gzip"), "{message}");
    let message = synced.cairn.cli_fails(&["sync", "lib", "directory"]);
    assert!(message.contains("404") && message.contains("ends with `/`"), "{message}");
    synced.cairn.cli(&["sync", "lib", "marked"]);
    assert_eq!(synced.version(1), map(&[("a", b"1")]));
}
