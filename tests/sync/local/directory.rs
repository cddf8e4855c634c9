//! What a sync of a directory makes (V1, V2, V8, V13)

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{Cairn, content, fsck, tree, wait};

use super::{Local, counts, events, write};
use crate::shared::{map, result};

/// A tree with one of everything.
fn tree_of_all_kinds() -> Local {
    let large = content::bytes(7, 300_000);
    let files = [("d/e/f", &b"1"[..]), ("d/empty", b""), ("g", b"2"), ("large", &large)];
    let local = Local::directory(&files);
    let at = |name: &str| local.source.join(name);
    fs::create_dir(at("nothing")).unwrap();
    fs::set_permissions(at("d/e/f"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(at("g"), at("d/other")).unwrap();
    fs::hard_link(at("d/e/f"), at("d/e/f2")).unwrap();
    symlink("../g", at("d/link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"end", (1 << 20) - 3).unwrap();
    std::os::unix::fs::chown(at("d"), Some(1234), Some(5678)).unwrap();
    local
}

#[test]
fn v13_a_directory_becomes_the_version_that_an_import_of_it_becomes() {
    let mut local = tree_of_all_kinds();
    local.cairn.cli(&["import", "--mirror", local.path(), "imported"]);
    let done = local.sync(&["--mirror", "--tag", "first"]);
    assert_eq!((&done["tag"], &done["changed"]), (&"first".into(), &true.into()));
    assert_eq!(counts(&done, ["declared", "added", "changed"]), [9, 9, 0]);
    let imported = local.cairn.json(&["show", "imported/1"]);
    assert_eq!(done["version"]["hash"], imported["hash"]);
    let differences =
        tree::differences(&tree::read(&local.source), &tree::read(&local.cairn.versions("lib/1")));
    assert!(differences.is_empty(), "{differences:?}");

    // Changed, it is still what an import makes of it.
    fs::remove_file(local.source.join("d/other")).unwrap();
    write(&local.source, &[("d/e/f", b"3"), ("new/file", b"4")]);
    fs::remove_dir(local.source.join("nothing")).unwrap();
    local.cairn.cli(&["import", "--mirror", local.path(), "imported"]);
    for repository in ["lib", "fresh"] {
        let printed = local.cairn.cli(&["sync", repository, "origin", "--mirror", "--json"]);
        let imported = local.cairn.json(&["show", "imported/2"]);
        assert_eq!(result(&printed)["version"]["hash"], imported["hash"], "{repository}");
    }
    local.cairn.stop();
    fsck::check_store(&local.cairn.store());
}

#[test]
fn v2_what_did_not_change_makes_no_version_and_is_not_read() {
    let local = tree_of_all_kinds();
    let done = local.sync(&["--mirror"]);
    assert_eq!(done["version"]["number"], 1);
    // A file that changed just before it was read is read once more.
    wait::until("nothing is read any more", || {
        let done = local.sync(&["--mirror"]);
        assert_eq!((&done["changed"], &done["version"]["number"]), (&false.into(), &1.into()));
        assert_eq!(counts(&done, ["declared", "unchanged", "failed"])[0], 9);
        assert_eq!(counts(&done, ["added", "changed", "removed", "fetched"]), [0; 4]);
        local.cairn.log().contains("5 not read")
    });
    let printed = local.cairn.cli(&["sync", "lib", "origin"]);
    assert!(printed.starts_with("no change to lib/1: 9 files declared"), "{printed}");
    assert_eq!(local.sync(&["--dry-run", "--mirror"])["changed"], false);
    // Only attributes, and only of a directory.
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(local.source.join("d/e"), mode).unwrap();
    let planned = local.sync(&["--dry-run"]);
    assert_eq!((&planned["changed"], events(&planned)), (&true.into(), vec!["changed d/e".into()]));
    assert_eq!(local.sync(&[])["version"]["number"], 2);
    let made = fs::metadata(local.cairn.versions("lib/2/d/e")).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
}

#[test]
fn v1_a_mirror_has_exactly_what_the_directory_has_and_an_addition_at_least() {
    let files = [("a", &b"1"[..]), ("d/b", b"2"), ("d/c", b"3"), ("e/f/g", b"4"), ("h", b"5")];
    let local = Local::directory(&files);
    local.sync(&["--mirror"]);
    let area = local.cairn.area("lib", "own@latest");
    write(&area, &[("own/x", b"x"), ("own/y", b"y")]);
    local.cairn.publish("lib", "own@latest").unwrap();
    fs::remove_file(local.source.join("d/b")).unwrap();
    fs::remove_dir_all(local.source.join("e")).unwrap();
    write(&local.source, &[("a", b"changed"), ("d/new", b"6")]);
    let blobs = local.cairn.pool();
    let planned = local.sync(&["--mirror", "--dry-run", "--max-delete", "100%"]);
    let expected = [
        "changed .",
        "changed a",
        "changed d",
        "removed d/b",
        "added d/new",
        "removed e",
        "removed own",
    ];
    assert_eq!(events(&planned), expected);
    assert_eq!(counts(&planned, ["added", "changed", "removed", "unchanged"]), [1, 1, 4, 2]);
    assert_eq!(planned["version"]["number"], 2);
    assert_eq!(local.cairn.pool(), blobs, "a dry run stores nothing");

    let done = local.sync(&[]);
    assert_eq!(counts(&done, ["added", "changed", "removed"]), [1, 1, 0]);
    let mut all = map(&files);
    all.extend(map(&[("a", b"changed"), ("d/new", b"6"), ("own/x", b"x"), ("own/y", b"y")]));
    assert_eq!(local.version(3), all);
    let done = local.sync(&["--mirror"]);
    assert_eq!(counts(&done, ["added", "changed", "removed"]), [0, 0, 4]);
    let rest = [("a", &b"changed"[..]), ("d/c", b"3"), ("d/new", b"6"), ("h", b"5")];
    assert_eq!(local.version(4), map(&rest));
    assert!(
        !local.cairn.versions("lib/4/e").exists() && !local.cairn.versions("lib/4/own").exists()
    );
}

#[test]
fn v1_what_is_in_the_way_of_another_kind_goes() {
    let local = Local::directory(&[("a", b"1"), ("d/x", b"2"), ("d/y", b"3")]);
    for (how, number) in [("--additive", 1), ("--mirror", 3)] {
        local.sync(&[how, "--max-delete", "100%"]);
        let turned = |name: &str| local.source.join(name);
        fs::remove_file(turned("a")).unwrap();
        fs::remove_dir_all(turned("d")).unwrap();
        write(&local.source, &[("a/z", b"4"), ("d", b"5")]);
        let planned = local.sync(&[how, "--dry-run"]);
        let done = local.sync(&[how, "--max-delete", "100%"]);
        for done in [&planned, &done] {
            assert_eq!(counts(done, ["added", "changed", "removed"]), [2, 0, 3], "{how}");
        }
        assert_eq!(local.version(number + 1), map(&[("a/z", b"4"), ("d", b"5")]));
        fs::remove_dir_all(turned("a")).unwrap();
        fs::remove_file(turned("d")).unwrap();
        write(&local.source, &[("a", b"1"), ("d/x", b"2"), ("d/y", b"3")]);
    }
}

#[test]
fn v1_a_subpath_is_the_root_of_the_version() {
    let local = Local::directory(&[("a", b"1"), ("d/b", b"2"), ("d/e/f", b"3"), ("d2", b"4")]);
    symlink("d", local.source.join("link")).unwrap();
    let done = local.sync_from("origin/d", &["--mirror"]);
    assert_eq!(done["declared_file_count"], 2);
    assert_eq!(local.version(1), map(&[("b", b"2"), ("e/f", b"3")]));
    assert_eq!(local.sync_from("origin/d/e", &[])["added_file_count"], 1);
    assert_eq!(local.version(2), map(&[("b", b"2"), ("e/f", b"3"), ("f", b"3")]));
    for (below, part) in
        [("none", "No such file"), ("a", "Not a directory"), ("link", "Not a directory")]
    {
        let (status, message) = local.sync_fails(&format!("origin/{below}"), &[]);
        assert_eq!(status, 1, "{message}");
        assert!(message.contains(part) && message.contains(below), "{message}");
    }
    assert!(!local.cairn.versions("lib/3").exists());
}

#[test]
fn v3_directories_and_contents_that_the_store_has_are_not_stored_again() {
    let local = Local::directory(&[("d/a", b"1"), ("d/e/b", b"2"), ("c", b"3")]);
    local.cairn.cli(&["import", local.path(), "other"]);
    let done = local.sync(&["--mirror"]);
    assert_eq!(counts(&done, ["added", "reused", "fetched"]), [3, 3, 0]);
    assert_eq!(done["fetched_bytes"], 0);
    write(&local.source, &[("d/new", b"4")]);
    let done = local.sync(&["--mirror"]);
    assert_eq!(counts(&done, ["added", "reused", "fetched", "unchanged"]), [1, 0, 1, 3]);
    assert_eq!(done["fetched_bytes"], 1);
}

#[test]
fn v8_a_sync_of_a_directory_is_a_job_that_goes_on_by_itself() {
    let local = Local::directory(&[("a", b"1")]);
    let job = local.cairn.json(&["sync", "lib", "origin", "--detach"]);
    assert_eq!((&job["remote"], &job["detached"]), (&"origin".into(), &true.into()));
    let number = job["job"].to_string();
    let done = result(&local.cairn.cli(&["wait", "--job", &number, "--json"]));
    assert_eq!((&done["changed"], &done["version"]["number"]), (&true.into(), &1.into()));
    assert_eq!(local.version(1), map(&[("a", b"1")]));
    fs::remove_dir_all(&local.source).unwrap();
    local.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    let output = local.cairn.run(&["wait", "--job", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn v13_a_place_is_a_path_or_a_url_and_what_a_test_says_of_it() {
    let local = Local::directory(&[("d/a", b"1"), ("d/b", b"2")]);
    let cairn = &local.cairn;
    let add = |name: &str, place: &str, directory: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(["remote", "add", name, "directory", place, "--json"]);
        let output =
            command.env("CAIRN_STORE", cairn.store()).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let added: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        added[0]["url"].as_str().unwrap().to_owned()
    };
    let top = fs::canonicalize(&local.source).unwrap();
    let wanted = format!("file://{}/d", top.display());
    symlink("d", local.source.join("link")).unwrap();
    for (name, place, directory) in [
        ("r1", wanted.as_str(), "/"),
        ("r2", "d", local.path()),
        ("r3", "../tree/d/../d/", local.path()),
        ("r4", "link/../d", local.path()),
    ] {
        assert_eq!(add(name, place, directory.as_ref()), wanted, "{place}");
    }
    let found: serde_json::Value =
        serde_json::from_str(&cairn.cli(&["remote", "test", "r2", "--json"])).unwrap();
    let notes = ["it is read by the daemon; files that did not change are not read again"];
    let expected = serde_json::json!({
        "remote": "r2", "usable": true, "failure": null, "declared_file_count": 2,
        "has_sizes": null, "conditional": null, "ranges": null, "creates_once": null,
        "lists_at_once": null, "notes": notes,
    });
    assert_eq!(found, expected);
    assert!(cairn.cli(&["remote", "test", "r2"]).starts_with("yes  holds 2 files\n"));
    assert!(cairn.cli(&["remote", "list"]).contains(&wanted));
    fs::remove_dir_all(&local.source).unwrap();
    let output = cairn.run(&["remote", "test", "r2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"), "{output:?}");
}

#[test]
fn v13_a_store_without_a_daemon_syncs_as_well() {
    let cairn = Cairn::unmounted();
    let local = Local::directory_on(cairn, &[("a", b"1")]);
    assert_eq!(local.sync(&["--mirror"])["version"]["number"], 1);
    assert_eq!(local.sync(&["--mirror"])["changed"], false);
}
