//! `PULP_MANIFEST` (D5, H56)

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use crate::client::{Site, connect, mode};
use support::{content, wait};

#[test]
fn d5_cairn_reads_a_manifest_back_as_the_same_files() {
    let site = Site::start();
    site.publish("from", |top| {
        fs::create_dir_all(top.join("a/b c")).unwrap();
        fs::write(top.join("a/b c/é;1%2F"), "odd").unwrap();
        fs::write(top.join("empty"), "").unwrap();
        fs::write(top.join("big"), content::bytes(1, 2 << 20)).unwrap();
    });
    let cairn = &site.cairn;
    cairn.cli(&["create", "to"]);
    cairn.cli(&["remote", "add", "own", "manifest", &site.url("/from/latest/")]);
    cairn.cli(&["sync", "to", "own", "--mirror"]);
    let diff = |first: &str, second: &str| {
        let output = std::process::Command::new("diff").args(["-r", first, second]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let path = |version: &str| cairn.versions(version).to_str().unwrap().to_owned();
    diff(&path("from/1"), &path("to/1"));
    // Nothing changed: one request, no version.
    let again = cairn.json(&["sync", "to", "own", "--mirror"]);
    assert_eq!((&again["changed"], &again["unchanged_remote"]), (&false.into(), &true.into()));
    assert!(!cairn.versions("to/2").exists());
    site.publish("from", |top| fs::write(top.join("new"), "new").unwrap());
    cairn.cli(&["sync", "to", "own", "--mirror"]);
    diff(&path("from/2"), &path("to/2"));
}

#[test]
fn h56_names_that_the_format_cannot_carry_are_left_out_and_counted() {
    let site = Site::start();
    site.publish("r", |top| {
        for name in [
            &b"good"[..],
            b"line\nbreak",
            b" edge",
            b"#comment",
            b"\xff\xfe",
            b"a,b",
            b"a\xe2\x80\xa8b",
        ] {
            fs::write(top.join(OsStr::from_bytes(name)), "x").unwrap();
        }
    });
    let answer = site.get("/r/1/PULP_MANIFEST");
    let text = answer.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "# path,sha256,size"));
    assert_eq!(lines[2], "# 6 files left out: this format cannot carry the names");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert!(text.contains(&format!("good,{sha256},1\n")), "{text}");
}

#[test]
fn h56_a_name_that_begins_like_another_format_comes_through() {
    let site = Site::start();
    let cairn = &site.cairn;
    let names = ["BZh91AY", "<html>", "<!doctype html>", "-----BEGIN PGP SIGNED MESSAGE-----"];
    for (number, name) in names.iter().enumerate() {
        let (from, to) = (format!("from{number}"), format!("to{number}"));
        site.publish(&from, |top| fs::write(top.join(name), name).unwrap());
        cairn.cli(&["create", &to]);
        cairn.cli(&["remote", "add", &from, "manifest", &site.url(&format!("/{from}/latest/"))]);
        cairn.cli(&["sync", &to, &from, "--mirror"]);
        let found = fs::read_to_string(cairn.versions(format!("{to}/1/{name}"))).unwrap();
        assert_eq!(found, *name);
        // The list of somebody who writes no comment first is one, too.
        let list = site.get(&format!("/{from}/latest/PULP_MANIFEST")).text();
        let bare = list.split_once('\n').unwrap().1.to_owned();
        let bare_repository = format!("bare{number}");
        site.publish(&bare_repository, |top| {
            fs::write(top.join("PULP_MANIFEST"), bare).unwrap();
            fs::write(top.join(name), name).unwrap();
        });
        let url = site.url(&format!("/{bare_repository}/latest/"));
        cairn.cli(&["remote", "add", &bare_repository, "manifest", &url]);
        cairn.cli(&["sync", &to, &bare_repository, "--mirror"]);
    }
    // A mark before a name is no part of it to some readers.
    site.publish("marked", |top| fs::write(top.join("\u{feff}a"), "x").unwrap());
    let list = site.get("/marked/1/PULP_MANIFEST").text();
    assert!(list.ends_with("# 1 file left out: this format cannot carry the names\n"), "{list}");
}

/// Reads paths as Pulp does: lines end wherever `str.splitlines` of Python ends them, and every comma counts.
fn read_as_pulp(list: &str) -> Vec<&str> {
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let lines = list.split(ends).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let path = |line| match str::split(line, ',').collect::<Vec<_>>()[..] {
        [path, sha256, "1"] if sha256.len() == 64 => path,
        ref other => panic!("{other:?}"),
    };
    lines.map(path).collect()
}

#[test]
fn d5_pulp_reads_a_manifest_whatever_names_are_there() {
    let site = Site::start();
    site.publish("r", |top| {
        for odd in ",\x0b\x0c\x1c\x1d\x1e\u{85}\u{2028}\u{2029}".chars() {
            fs::write(top.join(format!("a{odd}b")), "x").unwrap();
        }
        fs::write(top.join("good name"), "x").unwrap();
    });
    let list = site.get("/r/1/PULP_MANIFEST").text();
    assert_eq!(read_as_pulp(&list), ["good name"]);
    assert!(list.ends_with("# 9 files left out: this format cannot carry the names\n"), "{list}");
}

#[test]
fn d5_a_digest_is_computed_once_and_kept() {
    let mut site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), content::bytes(1, 1 << 20)).unwrap());
    let first = site.get("/r/1/PULP_MANIFEST").text();
    // What is not read any more cannot be missed.
    let (blob, _) = site.cairn.pool().into_iter().find(|(_, size)| *size == 1 << 20).unwrap();
    site.cairn.stop();
    let aside = site.cairn.scratch().join("aside");
    fs::rename(&blob, &aside).unwrap();
    site.cairn.mount();
    let site = Site::of(site.cairn);
    assert_eq!(site.get("/r/1/PULP_MANIFEST").text(), first);
    fs::rename(&aside, &blob).unwrap();
}

#[test]
fn h57_clients_that_ask_for_digests_and_go_do_not_stop_others() {
    let site = Site::start();
    let bytes = content::bytes(1, 64 << 20);
    site.publish("r", |top| {
        fs::write(top.join("big"), &bytes).unwrap();
        fs::write(top.join("small"), "small").unwrap();
    });
    for _ in 0..40 {
        let mut stream = connect(site.address);
        stream.write_all(b"GET /r/1/PULP_MANIFEST HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    }
    assert_eq!(site.get("/r/1/small").text(), "small");
    // Many at once read it once, and all get it.
    let lists: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..8).map(|_| scope.spawn(|| site.get("/r/1/PULP_MANIFEST"))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(lists.iter().all(|list| list.status == 200 && list.body == lists[0].body));
    assert!(lists[0].text().contains(",67108864\n"));
}

#[test]
fn d5_a_digest_of_wrong_bytes_is_never_told_and_the_damage_is_reported() {
    let mut site = Site::start();
    let bytes = content::bytes(1, 1 << 20);
    site.publish("r", |top| {
        fs::create_dir(top.join("below")).unwrap();
        fs::write(top.join("below/f"), &bytes).unwrap();
    });
    let (blob, _) = site.cairn.pool().into_iter().find(|(_, size)| *size == 1 << 20).unwrap();
    site.cairn.stop();
    mode(&blob, 0o600);
    let mut wrong = bytes.clone();
    wrong[500_000] ^= 1;
    fs::write(&blob, &wrong).unwrap();
    site.cairn.mount();
    let site = Site::of(site.cairn);
    let answer = site.get("/r/1/PULP_MANIFEST");
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("The content of below/f cannot be read."), "{}", answer.text());
    wait::until("the blob is known to be damaged", || site.get("/r/1/below/f").status == 500);
}

#[test]
fn d5_a_version_that_has_such_a_file_shows_that() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("PULP_MANIFEST"), "mine").unwrap());
    assert_eq!(site.get("/r/1/PULP_MANIFEST").text(), "mine");
}
