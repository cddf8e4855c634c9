//! `kill -9` of the daemon after content was stored and before the commit, with a collector that protects nothing (V7, V9, H31)

use std::fs;

use serde_json::Value;
use support::http::{Answer, Server, Site};
use support::{fsck, wait};

use crate::shared::{Synced, map};

const FILES: [(&str, &[u8]); 3] = [("a", b"1"), ("b", b"2"), ("c", b"3")];

/// The last job of the daemon.
fn job(synced: &Synced) -> Value {
    let jobs = synced.cairn.json(&["jobs"]);
    jobs.as_array().unwrap().last().cloned().unwrap_or_default()
}

/// Two whole runs: what one run has chosen to remove, the next one has removed.
fn collect(synced: &Synced) {
    for _ in 0..2 {
        synced.cairn.cli(&["gc", "--full", "--wait", "--protect", "0"]);
    }
}

fn checked(mut synced: Synced) {
    assert_eq!(synced.version(1), map(&FILES));
    assert!(!synced.cairn.versions("lib/2").exists());
    synced.cairn.stop();
    fsck::check_store(&synced.cairn.store());
}

#[test]
fn v7_a_kill_while_the_rest_is_fetched_costs_the_rest() {
    let site = Site::of(&FILES);
    let gate = tempfile::NamedTempFile::new().unwrap();
    let (inner, held) = (site.clone(), gate.path().to_owned());
    let server = Server::start(move |asked, _| match asked.line.contains("/c ") && held.exists() {
        true => Answer::Sticks(Vec::new()),
        false => Answer::Ends(inner.answer(asked)),
    });
    let mut synced = Synced::with(site, server);
    let stored = |synced: &Synced, count: &str| {
        job(synced)[count] == 2 && synced.cairn.cli(&["status"]).contains("2 blobs")
    };
    synced.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("two files are stored", || stored(&synced, "fetched_file_count"));
    collect(&synced);
    assert!(stored(&synced, "fetched_file_count"), "what a sync stored stays while it runs");
    synced.cairn.crash();
    assert!(!synced.cairn.versions("lib").exists());
    synced.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("both are used again", || stored(&synced, "reused_file_count"));
    collect(&synced);
    drop(gate);
    // The server still holds that one connection: the job is ended, and what it holds is let go of.
    synced.cairn.cli(&["jobs", "--cancel", "1"]);
    synced.sync(&[]);
    assert_eq!(
        ["/a", "/b"].map(|path| synced.asked_for(path)),
        [1, 1],
        "only the rest was fetched"
    );
    checked(synced);
}

#[test]
fn v7_a_kill_before_the_commit_costs_no_fetch() {
    let mut synced = Synced::new(&FILES);
    let hold = synced.cairn.scratch().join("hold");
    fs::write(&hold, "").unwrap();
    synced.cairn.stop();
    synced.cairn.set_env("CAIRN_HOLD", Some(&format!("Building:{}", hold.display())));
    synced.cairn.mount();
    synced.cairn.cli(&["sync", "lib", "origin", "--detach"]);
    wait::until("all is stored, and the commit has begun", || job(&synced)["stage"] == "publish");
    collect(&synced);
    synced.cairn.kill9();
    fs::remove_file(&hold).unwrap();
    synced.cairn.mount();
    assert!(!synced.cairn.versions("lib").exists());
    let done = synced.sync(&[]);
    assert_eq!((&done["reused_file_count"], &done["fetched_file_count"]), (&3.into(), &0.into()));
    checked(synced);
}
