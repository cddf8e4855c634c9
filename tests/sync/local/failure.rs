//! Directories that cannot be read, whole or in part (V6, V7, V11, H27, H31, R8)

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use support::area::NOBODY;
use support::{Cairn, content, fsck, wait};

use super::{Local, counts, write};
use crate::shared::{files, map, result};

/// A daemon of root that may read what the modes of files give it, and nothing else.
fn without_privileges() -> Cairn {
    let mut cairn = Cairn::unmounted();
    cairn.set_launcher(&["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]);
    cairn.mount();
    cairn
}

/// A mount of a directory at a second place.
struct Bound(PathBuf);

impl Bound {
    fn new(from: &Path, to: PathBuf) -> Self {
        let status = Command::new("mount").arg("--bind").args([from, &to]).status().unwrap();
        assert!(status.success(), "{}", to.display());
        Self(to)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Makes a file or directory somebody else's, closed to all others.
fn close(local: &Local, name: &str) {
    let path = local.source.join(name);
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn open(local: &Local, name: &str) {
    chown(local.source.join(name), Some(0), Some(0)).unwrap();
}

#[test]
fn v6_what_cannot_be_read_means_no_version_unless_it_goes_on() {
    let files = [("a", &b"1"[..]), ("b", b"2"), ("d/x", b"3"), ("d/y", b"4"), ("e/f/g", b"5")];
    let local = Local::directory_on(without_privileges(), &files);
    local.sync(&["--mirror"]);
    write(&local.source, &[("a", b"6"), ("b", b"7"), ("new", b"8"), ("e/f/h", b"9")]);
    fs::hard_link(local.source.join("new"), local.source.join("new2")).unwrap();
    fs::remove_file(local.source.join("d/x")).unwrap();
    for closed in ["b", "new", "e/f"] {
        close(&local, closed);
    }
    let (status, message) = local.sync_fails("origin", &["--mirror"]);
    assert_eq!(status, 1);
    for part in ["b: ", "new: ", "e/f: ", "Permission denied", "3 files of ", "--keep-going"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!local.cairn.versions("lib/2").exists());
    let found = local.cairn.run(&["remote", "test", "origin", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["usable"], false, "{found}");
    assert!(found["notes"].to_string().contains("e/f: "), "{found}");

    let done = local.sync(&["--mirror", "--keep-going"]);
    assert_eq!(counts(&done, ["failed", "changed", "removed", "added"]), [4, 1, 1, 0]);
    let failed: Vec<_> =
        done["events"].as_array().unwrap().iter().map(|event| event["path"].clone()).collect();
    assert_eq!(failed, ["b", "e/f", "new", "new2"]);
    // What failed is not added, and not removed either, nor is what is below it.
    let kept = [("a", &b"6"[..]), ("b", b"2"), ("d/y", b"4"), ("e/f/g", b"5")];
    assert_eq!(local.version(2), map(&kept));
    for closed in ["b", "new", "e/f"] {
        open(&local, closed);
    }
    local.sync(&["--mirror"]);
    let all = [
        ("a", &b"6"[..]),
        ("b", b"7"),
        ("d/y", b"4"),
        ("e/f/g", b"5"),
        ("e/f/h", b"9"),
        ("new", b"8"),
        ("new2", b"8"),
    ];
    assert_eq!(local.version(3), map(&all));
}

#[test]
fn v6_a_directory_keeps_what_could_not_be_read_although_the_store_knows_the_rest() {
    let local = Local::directory_on(without_privileges(), &[("d/a", b"1"), ("z", b"2")]);
    // The store has a directory that is as `d` seems to be once `d/b` is left out.
    local.cairn.cli(&["import", local.path(), "other"]);
    write(&local.source, &[("d/b", b"3")]);
    local.sync(&["--mirror"]);
    fs::remove_file(local.source.join("d/b")).unwrap();
    write(&local.source, &[("d/b", b"4")]);
    let before = fs::metadata(local.cairn.versions("other/1/d")).unwrap().modified().unwrap();
    fs::File::open(local.source.join("d")).unwrap().set_modified(before).unwrap();
    close(&local, "d/b");
    let done = local.sync(&["--mirror", "--keep-going"]);
    assert_eq!(counts(&done, ["failed", "removed"]), [1, 0]);
    assert_eq!(local.version(2), map(&[("d/a", b"1"), ("d/b", b"3"), ("z", b"2")]));
}

#[test]
fn h27_a_path_that_is_gone_or_empty_makes_no_version() {
    let local = Local::directory(&[("a", b"1"), ("d/b", b"2")]);
    local.sync(&["--mirror"]);
    let aside = local.cairn.scratch().join("aside");
    fs::rename(&local.source, &aside).unwrap();
    for options in [&[][..], &["--mirror", "--keep-going"], &["--mirror", "--dry-run"]] {
        let (status, message) = local.sync_fails("origin", options);
        assert_eq!(status, 1);
        assert!(message.contains("No such file") && message.contains("mounted"), "{message}");
    }
    // As a directory on which nothing is mounted.
    fs::create_dir(&local.source).unwrap();
    let (status, message) = local.sync_fails("origin", &["--mirror", "--max-delete", "100%"]);
    assert_eq!(status, 1);
    assert!(message.contains("has nothing in it"), "{message}");
    fs::remove_dir(&local.source).unwrap();
    fs::write(&local.source, "no directory").unwrap();
    let (status, message) = local.sync_fails("origin", &[]);
    assert_eq!(status, 1);
    assert!(message.contains("Not a directory"), "{message}");
    assert!(!local.cairn.versions("lib/2").exists());
    local.cairn.cli_fails(&["sync", "other", "origin"]);
    assert!(
        !local.cairn.staging("other").exists(),
        "a repository that was made for it goes with it"
    );
}

#[test]
fn v11_a_mirror_that_would_remove_more_than_half_is_refused() {
    let files = [("a", &b"1"[..]), ("d/b", b"2"), ("d/c", b"3")];
    let local = Local::directory(&files);
    local.sync(&["--mirror"]);
    fs::remove_dir_all(local.source.join("d")).unwrap();
    let (status, message) = local.sync_fails("origin", &["--mirror"]);
    assert_eq!(status, 1);
    assert!(
        message.contains("remove 2 of the 3 files") && message.contains("--max-delete"),
        "{message}"
    );
    local.sync_fails("origin", &["--mirror", "--max-delete", "1"]);
    assert_eq!(local.version(1), map(&files));
    assert_eq!(local.sync(&["--mirror", "--dry-run"])["removed_file_count"], 2);
    assert!(!local.cairn.versions("lib/2").exists());
    local.sync(&["--mirror", "--max-delete", "2"]);
    assert_eq!(local.version(2), map(&[("a", b"1")]));
}

#[test]
fn v7_a_kill_while_it_is_read_leaves_no_version() {
    let mut local = Local::directory(&[("a", b"1"), ("d/b", b"2")]);
    // Reading it takes a while: each of its zeros is hashed.
    fs::File::create(local.source.join("long")).unwrap().set_len(1 << 40).unwrap();
    let job = |local: &Local| local.cairn.json(&["jobs"])[0].clone();
    local.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("it is read", || job(&local)["stage"] == "fetch");
    local.cairn.crash();
    assert!(!local.cairn.versions("lib").exists());
    // A cancelled one ends in the middle of the file as well.
    local.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("it is read", || job(&local)["stage"] == "fetch");
    local.cairn.cli(&["jobs", "--cancel", "1"]);
    assert_eq!(job(&local)["state"], "cancelled");
    fs::remove_file(local.source.join("long")).unwrap();
    local.sync(&["--mirror"]);
    assert_eq!(local.version(1), map(&[("a", b"1"), ("d/b", b"2")]));
    local.cairn.stop();
    fsck::check_store(&local.cairn.store());
}

#[test]
fn v7_a_kill_before_the_commit_leaves_no_version() {
    let mut local = Local::directory(&[("a", b"1"), ("d/b", b"2")]);
    let hold = local.cairn.scratch().join("hold");
    fs::write(&hold, "").unwrap();
    local.cairn.stop();
    local.cairn.set_env("CAIRN_HOLD", Some(&format!("Building:{}", hold.display())));
    local.cairn.mount();
    local.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("all is stored, and the commit has begun", || {
        local.cairn.json(&["jobs"])[0]["stage"] == "publish"
    });
    local.cairn.kill9();
    fs::remove_file(&hold).unwrap();
    local.cairn.mount();
    assert!(!local.cairn.versions("lib").exists());
    local.sync(&[]);
    assert_eq!(local.version(1), map(&[("a", b"1"), ("d/b", b"2")]));
    local.cairn.stop();
    fsck::check_store(&local.cairn.store());
}

#[test]
fn r8_the_mount_of_the_store_itself_is_not_even_looked_at() {
    let local = Local::directory(&[("a", b"1")]);
    local.sync(&[]);
    let cairn = &local.cairn;
    let around = cairn.scratch().join("around");
    write(&around, &[("beside", b"2"), ("own/covered", b"3")]);
    let _bound = Bound::new(&cairn.versions(""), around.join("own"));
    let places = [
        cairn.mnt(),
        cairn.versions("lib/1"),
        cairn.staging(""),
        cairn.versions("lib/1/a"),
        around,
    ];
    for (number, place) in places.iter().enumerate() {
        let (name, repository) = (format!("own{number}"), format!("copy{number}"));
        let kind = if place.ends_with("a") { "archive" } else { "directory" };
        cairn.cli(&["remote", "add", &name, kind, place.to_str().unwrap()]);
        let message = cairn.cli_fails(&["sync", &repository, &name]);
        assert!(message.contains("leads into the mount of this store"), "{name}: {message}");
        assert!(!cairn.staging(&repository).exists());
    }
    // What is beside the mount can be had.
    let done = result(&cairn.cli(&["sync", "copy", "own4", "--keep-going", "--json"]));
    assert_eq!(done["events"][0]["path"], "own", "{done}");
    assert_eq!(files(&cairn.versions("copy/1")), map(&[("beside", b"2")]));
    // Nor is the store itself read.
    cairn.cli(&["remote", "add", "store", "directory", cairn.store().to_str().unwrap()]);
    let message = cairn.cli_fails(&["sync", "copy", "store"]);
    assert!(message.contains("cairn's own store"), "{message}");
}

/// A daemon that stops after it has copied a large file of the source until the file `hold` is gone.
fn holding_large(local: &mut Local) -> PathBuf {
    let hold = local.cairn.scratch().join("hold");
    fs::write(&hold, "").unwrap();
    local.cairn.stop();
    local.cairn.set_env("CAIRN_HOLD", Some(&format!("LargeCopied:{}", hold.display())));
    local.cairn.mount();
    hold
}

/// Waits until the daemon has copied a file of so many bytes.
fn wait_copied(local: &Local, bytes: u64) {
    let incoming = local.cairn.store().join("incoming");
    wait::until("the large file was copied", || {
        let files =
            fs::read_dir(&incoming).unwrap().filter_map(|entry| entry.unwrap().metadata().ok());
        files.into_iter().any(|file| file.len() == bytes)
    });
}

#[test]
fn v6_a_large_file_that_changes_while_it_is_copied_is_read_again_or_left_out() {
    let large = content::bytes(7, 300_000);
    let mut local = Local::directory(&[("a", b"1"), ("large", b"as it was"), ("z", b"2")]);
    local.sync(&["--mirror"]);
    write(&local.source, &[("a", b"3"), ("large", &large)]);
    let path = local.source.join("large");
    // Reading it takes a while: each of its zeros is hashed.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(128 << 20).unwrap();
    let append = || {
        let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        (&file).write_all(b"!").unwrap();
    };
    for (options, is_published) in
        [(&["--mirror"][..], false), (&["--mirror", "--keep-going"], true)]
    {
        let hold = holding_large(&mut local);
        let size = fs::metadata(&path).unwrap().len();
        let ended = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            let sync = scope.spawn(|| {
                let output =
                    local.cairn.run(&[&["sync", "lib", "origin", "--json"], options].concat());
                ended.store(true, Ordering::Relaxed);
                output
            });
            wait_copied(&local, size);
            append();
            fs::remove_file(&hold).unwrap();
            // From now on it changes all the time.
            while !ended.load(Ordering::Relaxed) {
                append();
            }
            sync.join().unwrap()
        });
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.success(), is_published, "{out} {err}");
        let said = format!("{out}{err}");
        assert!(said.contains("it changed while it was read, twice"), "{out} {err}");
        assert_eq!(local.cairn.versions("lib/2").exists(), is_published);
    }
    let kept = [("a", &b"3"[..]), ("large", b"as it was"), ("z", b"2")];
    assert_eq!(local.version(2), map(&kept), "it keeps the content that it had");

    // What changes once is read again.
    let hold = holding_large(&mut local);
    let size = fs::metadata(&path).unwrap().len();
    let done = std::thread::scope(|scope| {
        let sync = scope.spawn(|| local.sync(&["--mirror"]));
        wait_copied(&local, size);
        append();
        fs::remove_file(&hold).unwrap();
        sync.join().unwrap()
    });
    assert_eq!(counts(&done, ["changed", "fetched", "failed"]), [1, 1, 0]);
    assert_eq!(done["fetched_bytes"], size + 1);
    assert_eq!(local.version(3)["large"], fs::read(&path).unwrap());
    local.cairn.stop();
    fsck::check_store(&local.cairn.store());
}
