//! What a version has after a sync, and what it costs (V1 to V3, V9, V10)

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::shared::{Synced, map};
use support::http::{Answer, Server, Site};
use support::{Cairn, content, fsck, wait};

#[test]
fn v1_a_mirror_has_exactly_what_is_declared_and_an_addition_at_least() {
    let synced = Synced::new(&[("a", b"1"), ("d/b", b"2"), ("d/e/c", b""), ("d/ \u{e4}%?#", b"3")]);
    let done = synced.sync(&["--mirror", "--tag", "first"]);
    assert_eq!((&done["version"]["number"], &done["tag"]), (&1.into(), &"first".into()));
    assert_eq!((&done["added_file_count"], &done["fetched_bytes"]), (&4.into(), &3.into()));
    assert_eq!(
        synced.version(1),
        map(&[("a", b"1"), ("d/b", b"2"), ("d/e/c", b""), ("d/ \u{e4}%?#", b"3")])
    );
    let area = synced.cairn.area("lib", "own@latest");
    fs::write(area.join("own"), "own").unwrap();
    synced.cairn.publish("lib", "own@latest").unwrap();
    synced.site.set(&[("a", b"4"), ("d/f", b"5")]);
    let planned = synced.sync(&["--mirror", "--dry-run", "--max-delete", "100%"]);
    let events: Vec<_> = planned["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            format!("{} {}", event["change"].as_str().unwrap(), event["path"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        events,
        [
            "changed a",
            "removed d/ \u{e4}%?#",
            "removed d/b",
            "removed d/e",
            "added d/f",
            "removed own"
        ]
    );
    let done = synced.sync(&[]);
    assert_eq!((&done["added_file_count"], &done["changed_file_count"]), (&1.into(), &1.into()));
    let expected = [
        ("a", &b"4"[..]),
        ("d/b", b"2"),
        ("d/e/c", b""),
        ("d/ \u{e4}%?#", b"3"),
        ("d/f", b"5"),
        ("own", b"own"),
    ];
    assert_eq!(synced.version(3), map(&expected));
    let done = synced.sync(&["--mirror", "--max-delete", "4"]);
    assert_eq!(done["removed_file_count"], 4);
    let time = |number: u64| {
        fs::metadata(synced.cairn.versions(format!("lib/{number}/d"))).unwrap().modified().unwrap()
    };
    assert_eq!(time(4), time(3), "removing sets no times, so that equal syncs make equal trees");
    assert_eq!(synced.version(4), map(&[("a", b"4"), ("d/f", b"5")]));
    assert_eq!(synced.asked_for("/d/f"), 1);
}

#[test]
fn v2_what_did_not_change_costs_one_request_and_stays_as_it_is() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"2")]);
    synced.sync(&["--mirror"]);
    let before = synced.server.asked().len();
    let done = synced.sync(&["--mirror"]);
    assert_eq!((&done["changed"], &done["unchanged_remote"]), (&false.into(), &true.into()));
    assert_eq!(synced.server.asked().len(), before + 1);
    let area = synced.cairn.area("lib", "own@latest");
    let script = Command::new("chmod").arg("755").arg(area.join("a")).status().unwrap();
    assert!(script.success());
    synced.cairn.publish("lib", "own@latest").unwrap();
    // The newest version is not the one that was synced: all is compared, and the mode is the user's.
    let done = synced.sync(&["--mirror"]);
    assert_eq!((&done["changed"], &done["unchanged_file_count"]), (&false.into(), &2.into()));
    synced.site.set(&[("a", b"1"), ("b", b"3")]);
    synced.sync(&["--mirror"]);
    let [old, new] = [2, 3]
        .map(|number| fs::metadata(synced.cairn.versions(format!("lib/{number}/a"))).unwrap());
    assert_eq!((old.mode(), old.mtime(), old.ino()), (new.mode(), new.mtime(), new.ino()));
    assert_eq!((synced.asked_for("/a"), synced.asked_for("/b")), (1, 2));
}

#[test]
fn v2_equal_syncs_make_equal_trees() {
    let files: [(&str, &[u8]); 3] = [("a", b"1"), ("d/b", b"2"), ("d/e/c", b"3")];
    let site = Site::of(&files);
    let dated = site.clone();
    let server = Server::start(move |asked, _| {
        let answer = String::from_utf8(dated.answer(asked)).unwrap();
        answer
            .replacen("ETag", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag", 1)
            .into_bytes()
    });
    let synced = Synced::with(site, server);
    synced.sync(&["--mirror"]);
    assert_eq!(fs::metadata(synced.cairn.versions("lib/1/a")).unwrap().mtime(), 784_111_777);
    synced.cairn.cli(&["sync", "other", "origin"]);
    let hash = |version: &str| {
        let shown: serde_json::Value =
            serde_json::from_str(&synced.cairn.cli(&["show", version, "--json"])).unwrap();
        shown["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash("lib/1"), hash("other/1"));
}

#[test]
fn v3_content_that_the_store_has_is_not_fetched_whatever_its_name() {
    let large = content::bytes(1, 3 << 20);
    let synced = Synced::new(&[("a", &large), ("b", b"2")]);
    let area = synced.cairn.area("lib", "imported");
    fs::write(area.join("a"), &large).unwrap();
    synced.cairn.publish("lib", "imported").unwrap();
    // It came by another way: its digest is not known, and found out once.
    let done = synced.sync(&["--mirror"]);
    assert_eq!(
        (&done["unchanged_file_count"], &done["fetched_file_count"]),
        (&1.into(), &1.into())
    );
    synced.site.set(&[("moved/a", &large), ("moved/b", b"2")]);
    let done = synced.sync(&["--mirror", "--max-delete", "100%"]);
    assert_eq!((&done["reused_file_count"], &done["fetched_file_count"]), (&2.into(), &0.into()));
    assert_eq!(synced.asked_for("/a") + synced.asked_for("/moved/a"), 0);
    assert_eq!(synced.version(3), map(&[("moved/a", &large), ("moved/b", b"2")]));
}

#[test]
fn v9_content_that_was_collected_is_fetched_again() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"2")]);
    synced.sync(&["--mirror"]);
    synced.cairn.cli(&["delete", "lib/1", "--force"]);
    synced.cairn.cli(&["gc", "--protect", "0", "--wait"]);
    let done = synced.sync(&["--mirror"]);
    assert_eq!((&done["fetched_file_count"], &done["version"]["number"]), (&2.into(), &2.into()));
    assert_eq!(synced.version(2), map(&[("a", b"1"), ("b", b"2")]));
}

#[test]
fn v10_two_syncs_fetch_a_content_once() {
    let site = Site::of(&[("a", b"content"), ("other", b"content")]);
    let inner = site.clone();
    let server = Server::start(move |asked, _| Answer::Ends(inner.answer(asked)));
    let synced = Synced::with(site, server);
    let start = |repository: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(["sync", repository, "origin"]).env("CAIRN_STORE", synced.cairn.store());
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    for mut running in ["one", "two", "three"].map(start) {
        assert!(running.wait().unwrap().success());
    }
    assert_eq!(synced.asked_for("/a") + synced.asked_for("/other"), 1);
    for repository in ["one", "two", "three"] {
        assert_eq!(
            fs::read(synced.cairn.versions(format!("{repository}/1/other"))).unwrap(),
            b"content"
        );
    }
}

#[test]
fn files_and_directories_take_each_others_place() {
    let synced = Synced::new(&[("a", b"1"), ("d/x", b"2"), ("d/y/z", b"3"), ("k", b"4")]);
    synced.sync(&["--mirror"]);
    synced.site.set(&[("a/below/it", b"5"), ("d", b"6"), ("k", b"4")]);
    for options in [&["--max-delete", "3"][..], &["--mirror"]] {
        synced.sync(options);
        assert_eq!(synced.version(2), map(&[("a/below/it", b"5"), ("d", b"6"), ("k", b"4")]));
    }
    let mut cairn = synced.cairn;
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn a_subpath_is_synced_as_if_it_was_the_root() {
    let synced = Synced::new(&[("a/b/c", b"1"), ("a/bc", b"2"), ("d", b"3")]);
    let printed = synced.cairn.cli(&["sync", "lib", "origin/a/b", "--mirror"]);
    assert!(printed.contains("lib/1: 1 file declared, 1 added"), "{printed}");
    assert_eq!(synced.version(1), map(&[("c", b"1")]));
    let message = synced.cairn.cli_fails(&["sync", "lib", "origin/none"]);
    assert!(message.contains("declares no file below none"), "{message}");
    synced.cairn.cli_fails(&["sync", "lib", "origin/../a"]);
}

#[test]
fn a_sync_needs_no_daemon() {
    let site = Site::of(&[("a", b"1")]);
    let server = site.serve();
    let mut cairn = Cairn::start();
    cairn.stop();
    cairn.cli(&["remote", "add", "origin", "sums", &server.url("/SHA256SUMS")]);
    cairn.cli(&["sync", "lib", "origin"]);
    cairn.mount();
    wait::until("it is there", || cairn.versions("lib/1/a").exists());
    assert_eq!(fs::read(cairn.versions("lib/1/a")).unwrap(), b"1");
}

#[test]
fn what_somebody_publishes_meanwhile_is_compared_as_well() {
    let site = Site::of(&[("a", b"1"), ("b", b"2")]);
    let (inner, held) = (site.clone(), std::sync::Arc::new(std::sync::Mutex::new(())));
    let gate = std::sync::Arc::clone(&held);
    let server = Server::start(move |asked, _| {
        if asked.line.contains("/late") {
            drop(gate.lock().unwrap());
        }
        inner.answer(asked)
    });
    let synced = Synced::with(site, server);
    synced.sync(&[]);
    for (number, options) in [(2, &[][..]), (4, &["--mirror"])] {
        let late = format!("late{number}");
        synced.site.set(&[("a", b"1"), ("b", b"2"), (&late, b"3"), ("late", late.as_bytes())]);
        let waiting = held.lock().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(["sync", "lib", "origin"]).args(options);
        let mut running = command.env("CAIRN_STORE", synced.cairn.store()).spawn().unwrap();
        let path = "/late";
        wait::until("it is asked for", || synced.asked_for(path) > usize::from(number > 2));
        let own = format!("own{number}@latest");
        let area = synced.cairn.area("lib", &own);
        fs::remove_file(area.join("a")).unwrap();
        fs::write(area.join("b"), "mine").unwrap();
        synced.cairn.publish("lib", &own).unwrap();
        drop(waiting);
        assert!(running.wait().unwrap().success());
        let found = synced.version(number + 1);
        assert_eq!((&found["a"], &found["b"]), (&b"1".to_vec(), &b"2".to_vec()), "{options:?}");
        assert_eq!(found["late"], late.as_bytes());
    }
}

#[test]
fn v11_what_is_in_the_way_counts_as_removed() {
    let files: Vec<_> = (0..20).map(|number| format!("data/f{number}")).collect();
    let mut files: Vec<(&str, &[u8])> =
        files.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    files.push(("other", b"y"));
    let synced = Synced::new(&files);
    synced.sync(&["--mirror"]);
    synced.site.set(&[("data", b"z"), ("other", b"y")]);
    for options in [&["--mirror"][..], &[]] {
        let (_, message) = synced.sync_fails(options);
        assert!(message.contains("remove 20 of the 21 files"), "{message}");
    }
    let planned = synced.sync(&["--dry-run"]);
    assert_eq!(
        (&planned["removed_file_count"], &planned["events"][0]["change"]),
        (&20.into(), &"removed".into())
    );
    synced.sync(&["--max-delete", "20"]);
    assert_eq!(synced.version(2), map(&[("data", b"z"), ("other", b"y")]));
}

#[test]
fn a_new_content_runs_as_nobody_else_and_a_tag_is_given_though_nothing_changed() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"2")]);
    synced.sync(&["--mirror"]);
    let area = synced.cairn.area("lib", "own@latest");
    for name in ["a", "b"] {
        assert!(Command::new("chmod").arg("4755").arg(area.join(name)).status().unwrap().success());
    }
    synced.cairn.publish("lib", "own@latest").unwrap();
    synced.site.set(&[("a", b"1"), ("b", b"3")]);
    synced.sync(&["--mirror"]);
    let mode = |name: &str| {
        fs::metadata(synced.cairn.versions(format!("lib/3/{name}"))).unwrap().mode() & 0o7777
    };
    assert_eq!((mode("a"), mode("b")), (0o4755, 0o755));
    let done = synced.sync(&["--mirror", "--tag", "stable"]);
    assert_eq!((&done["changed"], &done["version"]["number"]), (&false.into(), &3.into()));
    assert!(synced.cairn.tags("lib/stable").exists());
}

#[test]
fn v10_two_first_syncs_of_one_repository_both_succeed() {
    let synced = Synced::new(&[("a", b"1"), ("b", b"2")]);
    for round in 0..5 {
        let repository = format!("new{round}");
        let start = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
            command.args(["sync", &repository, "origin"]).stdout(Stdio::null());
            command.env("CAIRN_STORE", synced.cairn.store()).spawn().unwrap()
        };
        for mut running in [start(), start()] {
            assert!(running.wait().unwrap().success(), "{}", synced.cairn.log());
        }
        let found = crate::shared::files(&synced.cairn.versions(format!("{repository}/1")));
        assert_eq!(found, map(&[("a", b"1"), ("b", b"2")]));
        assert!(!synced.cairn.versions(format!("{repository}/2")).exists());
    }
}
