//! A backup that is killed, or whose disk fails, at each durable step: the store is as it was, the
//! directory is the old backup or the new one, and the next run completes it (H25).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cairn::store::Store;

use crate::step::spread;
use support::cairn::binary;
use support::{Cairn, content, fsck};

const FAULT: &str = "CAIRN_FAULT";

/// A store, and a backup of an earlier state of it.
struct Scene {
    cairn: Cairn,
    /// What the directory is before each run; missing for a first backup.
    before: Option<PathBuf>,
    target: PathBuf,
}

/// The versions in a store; none in what is no store yet.
fn versions(store: &Path) -> Option<Vec<u64>> {
    if !store.join("format").exists() {
        return None;
    }
    let store = Store::open(store).unwrap();
    let mut numbers = Vec::new();
    let rows = store.catalog.snapshots().latest().unwrap();
    rows.versions(&mut |row| numbers.push(row.unwrap().number.0)).unwrap();
    Some(numbers)
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

impl Scene {
    fn new(has_earlier: bool) -> Self {
        let mut cairn = Cairn::start();
        let publish = |cairn: &Cairn, number: u64| {
            let area = cairn.area("lib", &format!("v{number}"));
            for (index, size) in [10, 5_000, 300_000].into_iter().enumerate() {
                let bytes = content::bytes(number * 10 + index as u64, size);
                fs::write(area.join(format!("f{index}")), bytes).unwrap();
            }
            fs::write(area.join("same"), "same").unwrap();
            cairn.publish("lib", &format!("v{number}")).unwrap();
        };
        publish(&cairn, 1);
        publish(&cairn, 2);
        let home = cairn.store().with_file_name("backups");
        fs::create_dir(&home).unwrap();
        let (before, target) = (home.join("before"), home.join("target"));
        if has_earlier {
            cairn.cli(&["backup", before.to_str().unwrap()]);
        }
        publish(&cairn, 3);
        cairn.cli(&["delete", "lib/1"]);
        cairn.cli(&["gc", "--full", "--wait", "--protect", "0"]);
        let open = cairn.area("lib", "open@latest");
        fs::write(open.join("f0"), content::bytes(99, 2_000_000)).unwrap();
        cairn.stop();
        Self { cairn, before: has_earlier.then_some(before), target }
    }

    /// Sets the directory back and backs up with a fault.
    fn back_up(&self, fault: &str) -> Output {
        if self.target.exists() {
            fs::remove_dir_all(&self.target).unwrap();
        }
        if let Some(before) = &self.before {
            copy(before, &self.target);
        }
        let mut command = Command::new(binary());
        command.arg("backup").arg(&self.target).env("CAIRN_STORE", self.cairn.store());
        command.env(FAULT, fault).stdin(Stdio::null()).output().unwrap()
    }

    fn steps(&self) -> usize {
        let record = self.target.with_file_name("steps");
        let output = self.back_up(&format!("count:{}", record.display()));
        assert!(output.status.success(), "{output:?}");
        let steps = fs::read_to_string(&record).unwrap().lines().count();
        fs::remove_file(record).unwrap();
        steps
    }

    fn check(&self, fault: &str, output: &Output) {
        let (old, new) = (self.before.as_ref().map(|_| vec![1, 2]), Some(vec![2, 3]));
        if self.target.exists() {
            let found = versions(&self.target);
            assert!(found == old || found == new, "{fault}: {found:?}");
            assert!(!output.status.success() || found == new, "{fault}: success");
            if found.is_some() {
                fsck::check_store(&self.target);
            }
        }
        self.cairn.cli(&["backup", self.target.to_str().unwrap()]);
        assert_eq!(versions(&self.target), new, "{fault}: again");
        fsck::check_clean_store(&self.target);
        // The next daemon sweeps what the copy of the catalog left.
        fsck::check_store(&self.cairn.store());
    }
}

fn at_each_step(kind: &str, default: u32) {
    for has_earlier in [false, true] {
        let scene = Scene::new(has_earlier);
        let total = scene.steps();
        assert!(total > 20, "{total} durable steps are too few to be true");
        let steps = spread(total, default);
        eprintln!("{kind}: {} of {total} steps of a backup", steps.len());
        for step in steps {
            let fault = format!("{kind}:{step}");
            let output = scene.back_up(&fault);
            // A step that fails by itself, as the mkdir of what is there, is never after itself.
            assert!(kind != "kill" || output.status.code().is_none(), "{fault}");
            scene.check(&fault, &output);
        }
    }
}

#[test]
fn killed_before_a_step_of_a_backup() {
    at_each_step("kill", 12);
}

#[test]
fn killed_after_a_step_of_a_backup() {
    at_each_step("kill-after", 12);
}

#[test]
fn the_disk_fails_at_a_step_of_a_backup() {
    at_each_step("eio", 12);
}

#[test]
fn the_disk_is_full_at_a_step_of_a_backup() {
    at_each_step("enospc", 12);
}
