//! Syncs that are killed: no version, and the next one fetches the rest only (V7, R1)

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn::model::digest::Sha256;
use rustix::process::{Pid, Signal, kill_process};

use crate::shared::{Synced, map};
use support::http::{Answer, Server, Site};
use support::{content, fsck, wait};

/// A site of which one file sticks half-way, until it is let go.
fn sticking(files: &[(&str, &[u8])], name: &'static str) -> (Synced, Arc<AtomicBool>) {
    let site = Site::of(files);
    let (inner, free) = (site.clone(), Arc::new(AtomicBool::new(false)));
    let is_free = Arc::clone(&free);
    let server = Server::start(move |asked, _| {
        let answer = inner.answer(asked);
        if !asked.line.contains(name) || is_free.load(Ordering::Relaxed) {
            return Answer::Ends(answer);
        }
        Answer::Sticks(answer[..answer.len() / 2].to_vec())
    });
    (Synced::with(site, server), free)
}

fn started(synced: &Synced) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(["sync", "lib", "origin"]).env("CAIRN_STORE", synced.cairn.store());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Bytes of downloads that are not whole.
fn partial_bytes(synced: &Synced) -> u64 {
    let Ok(entries) = std::fs::read_dir(synced.cairn.store().join("partial")) else { return 0 };
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Starts a sync of a small file and a large one, of which half has come, ends it by `end`, and syncs again.
fn ended(end: impl FnOnce(&mut Synced, &mut Child)) {
    let large = content::bytes(1, 6 << 20);
    let files: [(&str, &[u8]); 2] = [("large", &large), ("small", b"small")];
    let (mut synced, free) = sticking(&files, "/large");
    let mut running = started(&synced);
    wait::until("half of it came, and the small one is stored", || {
        partial_bytes(&synced) > 2 << 20 && synced.cairn.cli(&["status"]).contains("1 blob")
    });
    end(&mut synced, &mut running);
    assert!(!running.wait().unwrap().success());
    assert!(!synced.cairn.versions("lib/1").exists());
    free.store(true, Ordering::Relaxed);
    let done = synced.sync(&[]);
    assert_eq!(synced.version(1), map(&files));
    assert!(done["fetched_bytes"].as_u64().unwrap() < 4 << 20, "it went on where it was: {done}");
    assert_eq!(synced.asked_for("/small"), 1);
    assert_eq!(partial_bytes(&synced), 0);
    synced.cairn.stop();
    fsck::check_store(&synced.cairn.store());
}

#[test]
fn v7_a_daemon_that_is_killed_leaves_no_version_and_the_next_one_goes_on() {
    ended(|synced, _| synced.cairn.crash());
}

#[test]
fn v7_a_command_that_is_interrupted_takes_its_sync_with_it() {
    ended(|synced, running| {
        let id = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
        kill_process(id, Signal::INT).unwrap();
        wait::until("the sync has ended", || !synced.cairn.staging("lib").exists());
    });
}

#[test]
fn a_daemon_that_stops_does_not_wait_for_a_remote() {
    ended(|synced, _| synced.cairn.restart());
}

#[test]
fn v7_a_download_that_came_whole_is_not_asked_for_again_without_a_declared_size() {
    let large = content::bytes(3, 1 << 20);
    let synced = Synced::new(&[("large", &large)]);
    let partial = synced.cairn.store().join("partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join(Sha256::of(&large).to_string()), &large).unwrap();
    let done = synced.sync(&[]);
    assert_eq!((&done["fetched_bytes"], synced.asked_for("/large")), (&0.into(), 0));
    assert_eq!(synced.version(1), map(&[("large", &large)]));
    assert_eq!(partial_bytes(&synced), 0);
}
