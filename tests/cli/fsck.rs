//! `cairn fsck` on stores without a daemon, damaged by hand: what it prints and how it exits.
#![allow(clippy::disallowed_methods, reason = "the damage is no durable step")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::fake::{run, serve, stdout};

/// Exit codes of what was found (`cairn fsck --help`).
const REPAIRED: i32 = 9;
const DAMAGED: i32 = 10;

/// A store with `web/1`, made of two files.
struct Store {
    home: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("source");
        fs::create_dir_all(source.join("dir")).unwrap();
        fs::write(source.join("dir/one"), "the first").unwrap();
        fs::write(source.join("two"), "the second").unwrap();
        let store = Self { home };
        store.succeed(&["init", store.path().to_str().unwrap()]);
        store.succeed(&["create", "web"]);
        store.import();
        store
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("store")
    }

    fn import(&self) {
        let source = self.home.path().join("source");
        self.succeed(&["import", source.to_str().unwrap(), "web"]);
    }

    fn blob(&self, content: &str) -> PathBuf {
        let name = blake3::hash(content.as_bytes()).to_hex();
        self.path().join("pool").join(&name[..2]).join(&name[2..])
    }

    fn succeed(&self, args: &[&str]) {
        let output = run(&self.path(), args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }

    /// Runs `cairn fsck` and returns what it prints.
    #[track_caller]
    fn fsck(&self, args: &[&str], code: i32) -> String {
        let args: Vec<&str> = ["fsck"].iter().chain(args).copied().collect();
        let output = run(&self.path(), &args);
        let printed = text(&output.stdout);
        assert_exit(&output, code, &printed);
        printed
    }
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, printed: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{printed}\n{errors}");
    assert_eq!(errors, "");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn tear(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::write(path, "the firsT").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn a_clean_store_is_said_to_be_clean() {
    let store = Store::new();
    assert!(store.fsck(&[], 0).ends_with("\nclean\n"));
    let printed = store.fsck(&["--full"], 0);
    assert!(
        printed.starts_with("checked 2 blobs (19 B hashed) and 2 directory pages in "),
        "{printed}"
    );
}

#[test]
fn damage_is_told_by_version_and_path_and_heals() {
    let store = Store::new();
    tear(&store.blob("the first"));
    store.fsck(&["--fast"], 0);
    let printed = store.fsck(&["--full"], DAMAGED);
    assert!(printed.contains("its content was altered\n  lost    web/1: dir/one\n"), "{printed}");
    assert!(printed.contains("marked: storing the content again heals it"), "{printed}");
    let printed = store.fsck(&["--full", "--repair"], DAMAGED);
    assert!(printed.contains("storing the content again heals it"), "{printed}");
    assert!(store.fsck(&[], DAMAGED).contains("it is marked damaged"));
    store.import();
    store.fsck(&["--full"], 0);
}

#[test]
fn what_was_repaired_is_told_once() {
    let store = Store::new();
    let stray = store.path().join("pool/stray");
    fs::write(&stray, "").unwrap();
    let printed = store.fsck(&[], 0);
    assert!(printed.contains("leftover  ") && printed.contains("1 harmless leftover"), "{printed}");
    let printed = store.fsck(&["--repair"], REPAIRED);
    assert!(printed.contains("repaired  "), "{printed}");
    assert!(!stray.exists());
    store.fsck(&["--repair"], 0);
}

#[test]
fn a_blob_that_others_could_change_is_told_and_repaired() {
    let store = Store::new();
    let (one, two) = (store.blob("the first"), store.blob("the second"));
    let outside = store.home.path().join("outside");
    fs::set_permissions(&one, fs::Permissions::from_mode(0o644)).unwrap();
    fs::hard_link(&two, &outside).unwrap();
    let printed = store.fsck(&["--fast"], DAMAGED);
    assert!(printed.contains("can be written to: the mode of its file is 0644"), "{printed}");
    assert!(printed.contains("has another name outside the store"), "{printed}");
    assert!(store.fsck(&["--repair"], REPAIRED).contains("\n2 repaired, 0 left"));
    assert!(store.fsck(&["--full"], 0).ends_with("\nclean\n"));
    assert_eq!(fs::read(outside).unwrap(), b"the second");
}

#[test]
fn a_wrong_charge_is_told_and_repaired() {
    let store = Store::new();
    let catalog = rusqlite::Connection::open(store.path().join("catalog.db")).unwrap();
    catalog.execute("UPDATE versions SET charge_bytes = 1", []).unwrap();
    drop(catalog);
    let printed = store.fsck(&[], DAMAGED);
    let expected = "version web/1 adds 19 bytes in 2 files to what its repository uses; \
                    recorded: 1 byte in 2 files";
    assert!(printed.contains(expected), "{printed}");
    store.fsck(&["--repair"], REPAIRED);
    store.fsck(&["--full"], 0);
}

#[test]
fn counts_can_be_rebuilt_alone() {
    let store = Store::new();
    fs::write(store.path().join("pool/stray"), "").unwrap();
    let catalog = rusqlite::Connection::open(store.path().join("catalog.db")).unwrap();
    catalog.execute("UPDATE blobs SET refs = refs + 1", []).unwrap();
    drop(catalog);
    assert!(store.fsck(&[], DAMAGED).contains("has 1 reference, 2 are recorded"));
    let printed = store.fsck(&["--rebuild-counts"], REPAIRED);
    assert!(printed.contains("2 repaired, 0 left, 1 harmless leftover"), "{printed}");
    store.fsck(&[], 0);
}

#[test]
fn programs_read_lines_of_json() {
    let store = Store::new();
    fs::remove_file(store.blob("the second")).unwrap();
    let printed = store.fsck(&["--json"], DAMAGED);
    let lines: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["kind"], "blob");
    assert_eq!(lines[0]["outcome"], "left");
    assert_eq!(lines[0]["lost"][0]["place"], "web/1");
    assert_eq!(lines[0]["lost"][0]["path"], "two");
    assert_eq!(
        (&lines[1]["left_count"], &lines[1]["checked_blob_count"]),
        (&Value::from(1), &Value::from(2))
    );
}

#[test]
fn a_store_that_no_engine_can_start_on_is_checked() {
    let store = Store::new();
    let catalog = rusqlite::Connection::open(store.path().join("catalog.db")).unwrap();
    catalog.execute("UPDATE repositories SET name = 'a/b'", []).unwrap();
    drop(catalog);
    assert_eq!(run(&store.path(), &["list"]).status.code(), Some(1));
    assert!(store.fsck(&["--repair"], DAMAGED).contains("DAMAGED   table repositories: row 1 a/b"));
}

#[test]
fn a_check_changes_nothing() {
    let store = Store::new();
    fs::write(store.path().join("incoming/half"), "").unwrap();
    store.fsck(&["--full"], 0);
    assert!(store.path().join("incoming/half").exists());
}

#[test]
fn a_daemon_is_asked_where_there_is_one() {
    let running = serve();
    let output = run(running.store.path(), &["fsck", "--repair"]);
    let printed = text(&output.stdout);
    assert_exit(&output, REPAIRED, &printed);
    assert!(printed.starts_with("repaired  a count\n"), "{printed}");
    assert_eq!(stdout(running.store.path(), &["fsck"]).lines().last(), Some("clean"));
}
