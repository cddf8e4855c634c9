//! `cairn backup` of stores without a daemon: what it refuses, prints and leaves (H25).
#![allow(clippy::disallowed_methods, reason = "what is done by hand is no durable step")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fake::{run, stdout};

/// A store with `web/1`, made of three files.
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
        fs::write(source.join("holes"), vec![0; 3 << 20]).unwrap();
        let store = Self { home };
        stdout(&store.path(), &["init", store.path().to_str().unwrap()]);
        stdout(&store.path(), &["create", "web"]);
        store.import();
        store
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("store")
    }

    fn target(&self) -> PathBuf {
        self.home.path().join("backup")
    }

    fn add(&self, name: &str, content: &str) {
        fs::write(self.home.path().join("source").join(name), content).unwrap();
        self.import();
    }

    fn import(&self) {
        let source = self.home.path().join("source");
        stdout(&self.path(), &["import", source.to_str().unwrap(), "web", "--mirror"]);
    }

    fn back_up(&self) -> Value {
        let target = self.target();
        let printed = stdout(&self.path(), &["backup", target.to_str().unwrap(), "--json"]);
        serde_json::from_str(&printed).unwrap()
    }

    /// A backup that must be refused, with what it says.
    #[track_caller]
    fn refused(&self, target: &Path, code: i32, message: &str) {
        let output = run(&self.path(), &["backup", target.to_str().unwrap()]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(message) && errors.contains("hint: "), "{errors}");
    }
}

fn blob(store: &Path, content: &str) -> PathBuf {
    let name = blake3::hash(content.as_bytes()).to_hex();
    store.join("pool").join(&name[..2]).join(&name[2..])
}

#[track_caller]
fn assert_clean(store: &Path) {
    let printed = stdout(store, &["fsck", "--full"]);
    assert!(printed.ends_with("\nclean\n"), "{printed}");
}

fn tear(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::write(path, "altered!!").unwrap();
}

#[test]
fn a_backup_is_a_store_and_the_next_copies_what_is_new() {
    let store = Store::new();
    let first = store.back_up();
    assert_eq!(
        (&first["copied_blob_count"], &first["version_count"], &first["blob_count"]),
        (&3.into(), &1.into(), &3.into())
    );
    let target = store.target();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o700);
    let names = |path: &Path| {
        let names = fs::read_dir(path).unwrap().map(|name| name.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let whole = ["backup", "catalog.db", "format", "incoming", "lock", "pool", "staging"];
    assert_eq!(names(&target), whole);
    assert_clean(&target);
    let format = |store: &Path| fs::read_to_string(store.join("format")).unwrap();
    assert_eq!(format(&target), format(&store.path()), "a restored store is that store");

    let kept = fs::metadata(blob(&target, "the first")).unwrap();
    store.add("two", "the third");
    stdout(&store.path(), &["tag", "web/stable", "1"]);
    stdout(&store.path(), &["policy", "web", "--keep-unreleased", "7"]);
    stdout(&store.path(), &["quota", "web", "--files", "99"]);
    let second = store.back_up();
    assert_eq!(
        (&second["copied_blob_count"], &second["removed_blob_count"]),
        (&1.into(), &0.into())
    );
    assert_eq!(fs::metadata(blob(&target, "the first")).unwrap().ino(), kept.ino());
    assert_clean(&target);
    for verb in [&["versions", "web"][..], &["tag", "web"], &["policy", "web"], &["quota", "web"]] {
        assert_eq!(stdout(&target, verb), stdout(&store.path(), verb), "{verb:?}");
    }
    stdout(&store.path(), &["tag", "web/stable", "--delete"]);
    stdout(&store.path(), &["delete", "web/1"]);
    stdout(&store.path(), &["gc", "--full", "--wait", "--protect", "0"]);
    let third = store.back_up();
    assert_eq!((&third["copied_blob_count"], &third["removed_blob_count"]), (&0.into(), &1.into()));
    assert!(!blob(&target, "the second").exists());
    assert_clean(&target);
    let holes = fs::metadata(blob(&target, &"\0".repeat(3 << 20))).unwrap();
    assert!(holes.blocks() < 1000, "holes are kept");
    // Of the commands that had it open.
    let left = |name: &String| !["reserve", "catalog.db-wal"].contains(&name.as_str());
    assert_eq!(names(&target).into_iter().filter(left).collect::<Vec<_>>(), whole);
}

#[test]
fn the_line_says_what_was_done() {
    let store = Store::new();
    let printed = stdout(&store.path(), &["backup", store.target().to_str().unwrap()]);
    assert!(printed.starts_with("backed up 1 version: 3 blobs (3.0 MiB) copied, "), "{printed}");
}

#[test]
fn a_directory_in_use_is_refused_and_left_alone() {
    let store = Store::new();
    let other = store.home.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(other.join("mine"), "mine").unwrap();
    store.refused(&other, 2, "neither empty nor a backup");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o7777, 0o755);
    store.refused(&store.path(), 2, "inside the store");
    store.refused(&store.path().join("new"), 2, "inside the store");
    store.refused(&other.join("mine"), 1, "Not a directory");
    let second = Store::new();
    store.refused(&second.path(), 2, "neither empty nor a backup");
    second.back_up();
    store.refused(&second.target(), 2, "a backup of another store");
    assert_clean(&second.target());
}

#[test]
fn a_backup_that_was_worked_in_is_not_replaced() {
    let store = Store::new();
    store.back_up();
    let (target, source) = (store.target(), store.home.path().join("source"));
    stdout(&target, &["stage", "web/work"]);
    store.refused(&target, 5, "a staging area, work");
    stdout(&target, &["discard", "web/work"]);
    store.back_up();
    // A version of the same number and other content, then one that the store is yet to make.
    fs::write(source.join("own"), "of the backup").unwrap();
    stdout(&target, &["import", source.to_str().unwrap(), "web"]);
    store.refused(&target, 5, "a version of its own, web/2");
    store.add("own", "of the store");
    store.refused(&target, 5, "a version of its own, web/2");
    let again = store.home.path().join("again");
    stdout(&store.path(), &["backup", again.to_str().unwrap()]);
    stdout(&again, &["create", "lib"]);
    store.refused(&again, 5, "a repository, lib");
}

#[test]
fn a_store_restored_from_a_backup_goes_on_with_it() {
    let store = Store::new();
    store.back_up();
    let lost = store.home.path().join("lost");
    fs::rename(store.path(), lost).unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").args([store.target(), store.path()]).status();
    assert!(copied.unwrap().success());
    store.add("two", "after the loss");
    let report = store.back_up();
    assert_eq!((&report["copied_blob_count"], &report["version_count"]), (&1.into(), &2.into()));
    assert_clean(&store.target());
}

#[test]
fn symlinks_in_the_directory_lead_nowhere() {
    let store = Store::new();
    store.back_up();
    let target = store.target();
    let victim = store.home.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let place = blob(&target, "the first");
    fs::remove_file(&place).unwrap();
    fs::write(victim.join("file"), "the First").unwrap();
    symlink(victim.join("file"), &place).unwrap();
    store.back_up();
    assert_eq!(fs::read(victim.join("file")).unwrap(), b"the First");
    assert_eq!(fs::read(&place).unwrap(), b"the first");
    assert_clean(&target);

    for name in ["pool", "incoming", "catalog.db"] {
        fs::rename(target.join(name), victim.join(name)).unwrap();
        symlink(victim.join(name), target.join(name)).unwrap();
        store.refused(&target, 1, "is not what a backup has there");
        fs::remove_file(target.join(name)).unwrap();
        fs::rename(victim.join(name), target.join(name)).unwrap();
    }
    let fan_out = place.parent().unwrap();
    fs::rename(fan_out, victim.join("fan_out")).unwrap();
    symlink(victim.join("fan_out"), fan_out).unwrap();
    store.refused(&target, 1, "is not what a backup has there");
}

#[test]
fn what_is_damaged_is_reported_and_a_good_copy_is_kept() {
    let store = Store::new();
    store.back_up();
    store.add("three", "the third");
    store.add("four", "the fourth");
    for content in ["the first", "the third"] {
        tear(&blob(&store.path(), content));
    }
    fs::remove_file(blob(&store.path(), "the fourth")).unwrap();
    let target = store.target();
    let output = run(&store.path(), &["backup", target.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(8), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["damaged_blob_count"], &report["copied_blob_count"]),
        (&2.into(), &0.into())
    );
    let listed = report["damaged_blobs"].to_string();
    assert!(listed.contains(&blake3::hash(b"the third").to_hex()[..]), "{listed}");
    assert!(listed.contains("missing") && listed.contains("not what was stored"), "{listed}");
    assert_eq!(fs::read(blob(&target, "the first")).unwrap(), b"the first");
    // The backup says what it lacks, and the next one has it.
    let lost = run(&target, &["fsck"]);
    assert_eq!(lost.status.code(), Some(10));
    assert!(String::from_utf8_lossy(&lost.stdout).contains("three"));
    run(&store.path(), &["fsck", "--full", "--repair"]);
    store.add("again", "again");
    let report = store.back_up();
    assert_eq!(
        (&report["damaged_blob_count"], &report["copied_blob_count"]),
        (&0.into(), &3.into())
    );
    assert_clean(&target);
}

#[test]
fn what_was_left_by_an_interrupted_run_is_not_believed() {
    let store = Store::new();
    store.back_up();
    store.add("three", "the third");
    let target = store.target();
    let place = blob(&target, "the third");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, "the thirD").unwrap();
    fs::create_dir(target.join("draft.1")).unwrap();
    fs::write(target.join("draft.1/catalog.db"), "half").unwrap();
    fs::write(target.join("incoming/half"), "half").unwrap();
    let report = store.back_up();
    assert_eq!(report["copied_blob_count"], 1);
    assert_eq!(fs::read(&place).unwrap(), b"the third");
    assert_clean(&target);
    assert!(!target.join("draft.1").exists() && !target.join("incoming/half").exists());
    // Of one that had come far, what is right stays.
    fs::remove_file(target.join("format")).unwrap();
    assert_eq!(store.back_up()["copied_blob_count"], 0);
    assert_clean(&target);
}
