//! Archives that are mirrored, and installed from

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Cairn, fsck};

use super::apt::Apt;
use super::archive::{Archive, Key, SUITE, add_remote, architecture};
use crate::shared::files;
use support::nginx::Nginx;

/// An archive with a package of this machine and one of all machines, its server, and a daemon with a remote for it.
fn served(archive: &Archive, key: Option<&Key>, more: &[&str]) -> (Nginx, Cairn) {
    archive.package("hello", "1", &architecture(), "one");
    archive.package("data", "1", "all", "for all");
    archive.publish(key);
    let nginx = Nginx::of(&archive.top());
    let cairn = Cairn::start();
    add_remote(&cairn, &nginx.plain_url(), more);
    (nginx, cairn)
}

#[track_caller]
pub(crate) fn sync(cairn: &Cairn, options: &[&str]) -> Value {
    let arguments =
        [&["sync", "lib", "debian", "--mirror", "--max-delete", "100%"], options].concat();
    crate::shared::result(&cairn.cli(&[&arguments[..], &["--json"]].concat()))
}

fn version(cairn: &Cairn, number: u64) -> String {
    cairn.versions(format!("lib/{number}")).display().to_string()
}

/// All that is equal in the archive and in a version.
fn assert_same(archive: &Archive, version: &Path, paths: &[&str]) {
    for path in paths {
        assert_eq!(
            fs::read(version.join(path)).unwrap(),
            fs::read(archive.path(path)).unwrap(),
            "{path}"
        );
    }
}

#[test]
fn v1_a_suite_is_mirrored_and_each_version_installs_what_it_has() {
    let archive = Archive::new();
    let (nginx, mut cairn) = served(&archive, None, &[]);
    let machine = architecture();
    let done = sync(&cairn, &[]);
    assert!(done["warnings"][0].as_str().unwrap().contains("was not checked"), "{done}");
    let index = format!("dists/{SUITE}/main/binary-{machine}/Packages.xz");
    let deb = format!("pool/main/hello_1_{machine}.deb");
    let release = format!("dists/{SUITE}/Release");
    let description = format!("dists/{SUITE}/main/i18n/Translation-en.xz");
    let first = cairn.versions("lib/1");
    let paths = [&*index, &*deb, &*release, &*description, "pool/main/data_1_all.deb"];
    assert_same(&archive, &first, &paths);
    let names: Vec<_> =
        files(&first).into_keys().filter(|name| !name.contains("by-hash/")).collect();
    assert_eq!(names.len(), paths.len(), "{names:?}");
    // Nobody asked for the index where it is replaced, but for the name that says what it is (H28).
    assert!(!nginx.answered().iter().any(|line| line.contains("Packages.xz")));

    assert_eq!(sync(&cairn, &[])["changed"], false);
    archive.package("hello", "2", &machine, "two");
    fs::remove_file(archive.path(&deb)).unwrap();
    archive.publish(None);
    let before = nginx.answered().len();
    let done = sync(&cairn, &[]);
    assert_eq!(done["version"]["number"], 2);
    assert!(done["unchanged_file_count"].as_u64().unwrap() >= 2, "the other package stays: {done}");
    let asked = nginx.answered()[before..].join("\n");
    assert!(!asked.contains("data_1_all.deb") && !asked.contains("Translation"), "{asked}");
    // Nothing but the version that is asked for: each has its own indexes and packages.
    let source =
        |number| format!("deb [trusted=yes] file:{} {SUITE} main", version(&cairn, number));
    let apt = Apt::new(&source(2));
    assert_eq!(apt.install("hello"), "two");
    assert_eq!(apt.install("data"), "for all");
    assert_eq!(Apt::new(&source(1)).install("hello"), "one");
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn v2_an_unchanged_suite_costs_one_request() {
    let archive = Archive::new();
    let key = Key::new("me");
    let keyring = key.keyring(false);
    let (nginx, cairn) = served(&archive, Some(&key), &["--keyring", keyring.to_str().unwrap()]);
    // A server's word counts once the file is older than a second or two.
    for name in ["InRelease", "Release", "Release.gpg"] {
        crate::shared::age(&archive.suite().join(name));
    }
    assert_eq!(sync(&cairn, &[])["warnings"].as_array().unwrap().len(), 0);
    let before = nginx.answered().len();
    assert_eq!(sync(&cairn, &[])["unchanged_remote"], true);
    assert_eq!(nginx.answered()[before..], [format!("GET /dists/{SUITE}/InRelease HTTP/1.1 304")]);
}

#[test]
fn v1_a_signed_version_is_installed_from_a_mount_and_over_http() {
    let archive = Archive::new();
    let key = Key::new("me");
    let keyring = key.keyring(true);
    let keyring = keyring.to_str().unwrap();
    let (_nginx, mut cairn) = served(&archive, Some(&key), &["--keyring", keyring]);
    sync(&cairn, &[]);
    for name in ["InRelease", "Release", "Release.gpg"] {
        let path = format!("dists/{SUITE}/{name}");
        assert_same(&archive, &cairn.versions("lib/1"), &[&path]);
    }
    let apt =
        Apt::new(&format!("deb [signed-by={keyring}] file:{} {SUITE} main", version(&cairn, 1)));
    assert_eq!(apt.install("hello"), "one");
    cairn.set_arguments(&["--http", "0"]);
    cairn.restart();
    let nginx = Nginx::of(&cairn.versions("lib/1"));
    for url in [nginx.plain_url(), format!("http://{}/lib/1", cairn.web_address())] {
        let apt = Apt::new(&format!("deb [signed-by={keyring}] {url} {SUITE} main"));
        assert_eq!(apt.install("hello"), "one");
        assert_eq!(apt.install("data"), "for all");
    }
}

#[test]
fn v1_sources_and_flat_archives_are_mirrored() {
    let archive = Archive::flat();
    archive.package("hello", "1", &architecture(), "one");
    archive.source("hello", b"the source");
    archive.publish(None);
    let nginx = Nginx::of(&archive.top());
    let cairn = Cairn::start();
    let url = nginx.plain_url();
    cairn.cli(&["remote", "add", "debian", "debian", &url, "--suite", "./", "--sources"]);
    sync(&cairn, &[]);
    let expected: Vec<_> = [
        "Packages.xz",
        "Release",
        "Sources.xz",
        "pool/main/hello_1.dsc",
        "pool/main/hello_1.tar.gz",
        &format!("pool/main/hello_1_{}.deb", architecture()),
    ]
    .map(str::to_owned)
    .to_vec();
    let found: Vec<_> = files(&cairn.versions("lib/1")).into_keys().collect();
    assert_eq!(found, expected);
    let path = version(&cairn, 1);
    let apt = Apt::new(&format!(
        "deb [trusted=yes] file:{path} ./\ndeb-src [trusted=yes] file:{path} ./"
    ));
    assert_eq!(apt.install("hello"), "one");
    apt.works(&["source", "--download-only", "hello"]);
    assert_eq!(fs::read(apt.path("hello_1.tar.gz")).unwrap(), b"the source");
}

#[test]
fn v1_two_suites_share_their_packages_and_additions_keep_what_there_was() {
    let archive = Archive::new();
    let (_nginx, cairn) = served(&archive, None, &[]);
    // What the other suite lists is the same file.
    let other = archive.path("dists/other");
    std::process::Command::new("cp").arg("-a").arg(archive.suite()).arg(&other).status().unwrap();
    let release = archive.read_release().replace(SUITE, "other");
    fs::write(other.join("Release"), release).unwrap();
    cairn.cli(&["remote", "set", "debian", "--suite", "other,stable"]);
    let planned = sync(&cairn, &["--dry-run"]);
    assert_eq!((&planned["changed"], &planned["fetched_file_count"]), (&true.into(), &0.into()));
    assert!(!cairn.versions("lib/1").exists());
    let done = sync(&cairn, &[]);
    assert_eq!(planned["added_file_count"], done["added_file_count"]);
    let names = files(&cairn.versions("lib/1"));
    assert_eq!(names.keys().filter(|name| name.starts_with("pool/")).count(), 2);
    archive.package("hello", "2", &architecture(), "two");
    fs::remove_file(archive.path(&format!("pool/main/hello_1_{}.deb", architecture()))).unwrap();
    archive.publish(None);
    cairn.cli(&["remote", "set", "debian", "--suite", SUITE]);
    cairn.cli(&["sync", "lib", "debian"]);
    let names = files(&cairn.versions("lib/2"));
    assert_eq!(names.keys().filter(|name| name.starts_with("pool/")).count(), 3, "nothing goes");
    // A part of it alone, seen from there.
    cairn.cli(&["sync", "part", "debian/pool/main", "--mirror"]);
    assert_eq!(files(&cairn.versions("part/1")).len(), 2);
}

#[test]
fn a_test_says_what_there_is() {
    let archive = Archive::new();
    let (_nginx, cairn) = served(&archive, None, &["--language", "en,tlh"]);
    let found = cairn.json(&["remote", "test", "debian"]);
    assert_eq!((&found["usable"], &found["has_sizes"]), (&true.into(), &true.into()), "{found}");
    assert!(found["declared_file_count"].as_u64().unwrap() > 4, "{found}");
    let notes = found["notes"].to_string();
    assert!(notes.contains("was not checked") && notes.contains("`tlh`"), "{notes}");
    let shown = cairn.cli(&["remote", "show", "debian"]);
    for part in ["suites stable", "components main", "signatures are not checked", "en, tlh"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn an_archive_may_change_from_release_to_inrelease() {
    let archive = Archive::new();
    let (_nginx, cairn) = served(&archive, None, &[]);
    sync(&cairn, &[]);
    let text = format!("Label: x\n{}", archive.read_release());
    fs::remove_file(archive.suite().join("Release")).unwrap();
    fs::write(archive.suite().join("InRelease"), text).unwrap();
    sync(&cairn, &[]);
    let second = cairn.versions(format!("lib/2/dists/{SUITE}"));
    assert!(second.join("InRelease").exists() && !second.join("Release").exists());
}
