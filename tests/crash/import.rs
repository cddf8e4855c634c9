//! An import that is killed at each durable step, without a daemon and with one: there is the version
//! that it was to publish, or nothing, not even the repository that was made for it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::step::spread;
use support::cairn::binary;
use support::{Cairn, content, fsck, wait};

const FAULT: &str = "CAIRN_FAULT";

/// A directory with some small files and one that is large.
fn source(cairn: &Cairn) -> PathBuf {
    let source = cairn.scratch().join("source");
    fs::create_dir(&source).unwrap();
    for (index, size) in [10, 5_000, 3_000_000].into_iter().enumerate() {
        fs::write(source.join(index.to_string()), content::bytes(index as u64, size)).unwrap();
    }
    source
}

/// Imports into a repository that is not there, with a fault.
fn import(cairn: &Cairn, source: &PathBuf, fault: &str) -> Output {
    let mut command = Command::new(binary());
    command.arg("import").arg(source).arg("new").env("CAIRN_STORE", cairn.store());
    command.env("XDG_CACHE_HOME", cairn.scratch().join("cache"));
    command.env(FAULT, fault).stdin(Stdio::null()).output().unwrap()
}

/// The number of versions of each repository.
fn repositories(cairn: &Cairn) -> Vec<(String, u64)> {
    let listed = cairn.json(&["list"]);
    let entries = listed.as_array().unwrap().iter();
    entries
        .map(|entry| {
            let versions = cairn.json(&["versions", entry["repository"].as_str().unwrap()]);
            let count = versions.as_array().unwrap().len() as u64;
            (entry["repository"].as_str().unwrap().to_owned(), count)
        })
        .collect()
}

fn killed_at_each_step(kind: &str) {
    let counted = Cairn::unmounted();
    let record = counted.scratch().join("steps");
    let fault = format!("count:{}", record.display());
    assert!(import(&counted, &source(&counted), &fault).status.success());
    let total = fs::read_to_string(&record).unwrap().lines().count();
    assert!(total > 5, "{total} durable steps are too few to be true");
    let mut published = 0;
    for step in spread(total, 12) {
        let cairn = Cairn::unmounted();
        cairn.cli(&["create", "older"]);
        let source = source(&cairn);
        let output = import(&cairn, &source, &format!("{kind}:{step}"));
        fsck::check_store(&cairn.store());
        let found = repositories(&cairn);
        let older = ("older".to_owned(), 0);
        let whole = [("new".to_owned(), 1), older.clone()];
        assert!(found == [older] || found == whole, "{kind}:{step}: {found:?}, {output:?}");
        published += found.len() - 1;
        cairn.cli(&["import", source.to_str().unwrap(), "new"]);
        assert_eq!(repositories(&cairn), whole, "{kind}:{step}: again");
        fsck::check_clean_store(&cairn.store());
    }
    eprintln!("{kind}: published in {published} runs");
}

#[test]
fn killed_before_a_step_of_an_import_without_daemon() {
    killed_at_each_step("kill");
}

#[test]
fn killed_after_a_step_of_an_import_without_daemon() {
    killed_at_each_step("kill-after");
}

#[test]
fn an_import_whose_daemon_is_killed_leaves_no_repository_unless_somebody_uses_it() {
    let mut cairn = Cairn::start();
    let mut imports: Vec<_> = ["unused", "policy", "area"]
        .iter()
        .map(|repository| {
            let mut command = Command::new(binary());
            command.args(["import", "-", repository]).env("CAIRN_STORE", cairn.store());
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for repository in ["unused", "policy", "area"] {
        wait::until("the import has begun", || cairn.staging(repository).exists());
    }
    cairn.cli(&["policy", "policy", "--keep-unreleased", "3"]);
    fs::create_dir(cairn.staging("area/work")).unwrap();
    cairn.cli(&["create", "older"]);
    cairn.kill9();
    for import in &mut imports {
        import.kill().unwrap();
        import.wait().unwrap();
    }
    cairn.mount();
    let found: Vec<String> = repositories(&cairn).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["area", "older", "policy"]);
    assert!(cairn.log().contains("unused was made for an import that was killed"));
    cairn.restart();
    assert_eq!(repositories(&cairn).len(), 3, "what was used stays");
}

#[test]
fn a_repository_that_is_brought_back_after_a_failed_import_stays() {
    let mut cairn = Cairn::start();
    let bad = cairn.scratch().join("bad.tar");
    fs::write(&bad, [b'x'; 4096]).unwrap();
    cairn.cli_fails(&["import", bad.to_str().unwrap(), "new"]);
    assert!(!cairn.staging("new").exists());
    cairn.cli(&["undelete", "new"]);
    cairn.crash();
    assert_eq!(repositories(&cairn), [("new".to_owned(), 0)]);
}
