//! The log of a daemon: who may write it, what is in it, how it is rotated

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::toy::require_mounting;
use support::cairn::binary;

/// A store with a mount point; what is mounted is unmounted at the end.
struct Store {
    home: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        require_mounting();
        let store = Self { home: tempfile::tempdir().unwrap() };
        fs::create_dir(store.mount_point()).unwrap();
        assert!(store.run(&["init", store.path().to_str().unwrap()]).status.success());
        store
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("store")
    }

    fn mount_point(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.env("CAIRN_STORE", self.path()).env_remove("CAIRN_LOG").args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The command line that mounts it, with options.
    fn mount(&self, options: &[&str]) -> Command {
        let mut command = self.command(&["mount"]);
        command.args(options).arg(self.path()).arg(self.mount_point());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("daemon.log")).unwrap()
    }

    fn daemon(&self) -> String {
        fs::read_to_string(self.path().join("lock")).unwrap().trim().to_owned()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.command(&["unmount", "--lazy"]).arg(self.mount_point()).output().ok();
    }
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Waits until `found` holds of a file's text.
fn wait_for(path: &Path, found: impl Fn(&str) -> bool) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if found(&text) {
            return text;
        }
        assert!(std::time::Instant::now() < deadline, "{}: {text}", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_second_mount_that_fails_leaves_the_first_ones_log_alone() {
    let store = Store::new();
    succeeds(&store.mount(&[]).output().unwrap());
    let before = store.log();
    assert!(before.contains("serving "), "{before}");
    let other = store.home.path().join("other");
    fs::create_dir(&other).unwrap();
    let refused = store.command(&["mount"]).arg(store.path()).arg(&other).output().unwrap();
    // The store cannot be used: 7, as the help says, and not 1.
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hint: "), "{refused:?}");
    // The first daemon may have more to say, the second one has no line.
    let after = store.log();
    assert!(after.starts_with(&before), "{after}");
    assert!(!after.contains(other.to_str().unwrap()), "{after}");
    assert!(!after.contains("in use"), "{after}");
}

#[test]
fn a_level_that_there_is_not_is_refused() {
    let store = Store::new();
    let refused = store.mount(&[]).env("CAIRN_LOG", "verbose").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("CAIRN_LOG=verbose") && errors.contains("debug"), "{errors}");
}

#[test]
fn changes_by_commands_are_lines_with_who_asked_and_sighup_reopens() {
    let store = Store::new();
    succeeds(&store.mount(&["--log-format", "json"]).output().unwrap());
    succeeds(&store.run(&["create", "web"]));
    assert_eq!(store.run(&["tag", "web/v1", "7"]).status.code(), Some(3));
    succeeds(&store.run(&["policy", "web", "--keep-unreleased", "3"]));
    let log = store.path().join("daemon.log");
    let text = wait_for(&log, |text| text.contains("change the policy"));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |text: &str| {
        lines.iter().any(|line| {
            line["level"] == "info" && line["message"].as_str().unwrap().starts_with(text)
        })
    };
    assert!(said("create repository web, by root (pid "), "{text}");
    assert!(said("refused: tag web/7 as v1, by root (pid "), "{text}");
    assert!(said("change the policy of web: keep_unreleased 3, by root (pid "), "{text}");
    assert!(!text.contains("status"), "what only reads is no line: {text}");

    let rotated = store.path().join("daemon.log.1");
    fs::rename(&log, &rotated).unwrap();
    succeeds(&Command::new("kill").args(["-HUP", &store.daemon()]).output().unwrap());
    wait_for(&log, |text| text.contains("SIGHUP"));
    succeeds(&store.run(&["create", "later"]));
    wait_for(&log, |text| text.contains("create repository later"));
    assert!(!fs::read_to_string(&rotated).unwrap().contains("later"));
}

#[test]
fn changes_through_the_mount_and_refused_publications_are_lines_with_the_reason() {
    let store = Store::new();
    succeeds(&store.mount(&[]).output().unwrap());
    let mount = store.mount_point();
    let (staging, tags) = (mount.join("staging/web"), mount.join("tags/web"));
    fs::create_dir(&staging).unwrap();
    let publish = |area: &str| fs::rename(staging.join(area), tags.join(area));
    for area in ["first", "late@1", "second"] {
        fs::create_dir(staging.join(area)).unwrap();
        fs::write(staging.join(area).join("file"), area).unwrap();
        if area != "late@1" {
            publish(area).unwrap();
        }
    }
    // Its base is not the newest version any more.
    publish("late@1").unwrap_err();
    std::os::unix::fs::symlink("1", tags.join("stable")).unwrap();
    fs::rename(tags.join("stable"), tags.join("old")).unwrap();
    fs::remove_file(tags.join("old")).unwrap();
    let log = store.path().join("daemon.log");
    let text = wait_for(&log, |text| text.contains("delete tag web/old"));
    for line in [
        "create repository web, by root (pid ",
        "published web/1 as first, by root",
        "refused: publish web/late@1, by root: ",
        "published web/2 as second, by root",
        "tag web/1 as stable, by root (pid ",
        "rename tag web/stable to old, by root (pid ",
        "delete tag web/old, by root (pid ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let areas = store.run(&["areas"]);
    let areas = String::from_utf8_lossy(&areas.stdout).into_owned();
    assert!(areas.contains("web/late@1 was not published: "), "{areas}");
}
