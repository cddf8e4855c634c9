//! A reclaim that is killed, or whose disk fails, at each durable step: nothing is lost that is not to be had again, and the
//! store needs no repair (R1, L12).

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::cairn::binary;
use support::{Cairn, fsck, scale};

use crate::shared::{FILES, Origin};

/// A store of which all content was read, and the daemon's remote.
fn read() -> Origin {
    let mut origin = Origin::new();
    for (path, bytes) in FILES {
        assert_eq!(fs::read(origin.cairn.versions("lib/1").join(path)).unwrap(), *bytes);
    }
    origin.cairn.stop();
    origin
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Reclaims with a fault, without a daemon.
fn reclaim(store: &Path, fault: &str) -> Output {
    let mut command = Command::new(binary());
    command.args(["reclaim", "--json"]).env("CAIRN_STORE", store).env("CAIRN_FAULT", fault);
    command.stdin(Stdio::null()).output().unwrap()
}

fn check(store: &Path, fault: &str, output: &Output) {
    fsck::check_store(store);
    let mut cairn = Cairn::over(store);
    // Whatever became absent comes again, and what did not is there.
    cairn.cli(&["prefetch", "lib"]);
    cairn.mount();
    for (path, bytes) in FILES {
        assert_eq!(
            fs::read(cairn.versions("lib/1").join(path)).unwrap(),
            *bytes,
            "{fault}: {output:?}"
        );
    }
    cairn.cli(&["gc", "--full", "--wait"]);
    cairn.stop();
    fsck::check_clean_store(store);
}

fn at_each_step(kind: &str) {
    let origin = read();
    let home = origin.cairn.store().with_file_name("copies");
    fs::create_dir(&home).unwrap();
    let (record, counted) = (home.join("steps"), home.join("counted"));
    copy(&origin.cairn.store(), &counted);
    let output = reclaim(&counted, &format!("count:{}", record.display()));
    assert!(output.status.success(), "{output:?}");
    let total = fs::read_to_string(&record).unwrap().lines().count();
    assert!(total >= 6, "{total} durable steps are too few to be true");
    let wanted = scale("CAIRN_TEST_CRASHES", 8) as usize;
    let stride = if wanted == 0 { 1 } else { total.div_ceil(wanted) };
    for step in (1..=total).step_by(stride) {
        let store = home.join(step.to_string());
        copy(&origin.cairn.store(), &store);
        let fault = format!("{kind}:{step}");
        let output = reclaim(&store, &fault);
        check(&store, &fault, &output);
        fs::remove_dir_all(store).unwrap();
    }
}

#[test]
fn killed_before_a_step_of_a_reclaim() {
    at_each_step("kill");
}

#[test]
fn killed_after_a_step_of_a_reclaim() {
    at_each_step("kill-after");
}

#[test]
fn the_disk_fails_at_a_step_of_a_reclaim() {
    at_each_step("eio");
}

#[test]
fn the_disk_is_full_at_a_step_of_a_reclaim() {
    at_each_step("enospc");
}
