//! What users who do not own the store may ask by commands: what owner and mode of a repository allow
//! them (R7). Commands of other users run with their ids.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cairn::control::places::PER_USER_MAX;
use support::area::{NOBODY, set_mode};
use support::cairn::binary;
use support::http::Site;
use support::{Cairn, mounts, wait};

const ANN: u32 = 4_001;
const BEN: u32 = 4_002;
const TEAM: u32 = 4_100;

/// Where the daemon listens for others.
fn runtime(cairn: &Cairn) -> PathBuf {
    cairn.scratch().join("run")
}

/// A daemon whose mount is open to others. `ann` is Ann's, `team` (0770) is root's and of the group
/// TEAM, `closed` is root's alone; each has version 1.
fn shared() -> Cairn {
    let mut cairn = Cairn::unmounted();
    cairn.set_arguments(&["-o", "allow_other"]);
    let directory = runtime(&cairn);
    cairn.set_env("CAIRN_RUNTIME_DIR", Some(directory.to_str().unwrap()));
    cairn.mount();
    // The way to the store is open, the store itself is not.
    let home = cairn.store().parent().unwrap().to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    for repository in ["ann", "closed", "team"] {
        let area = cairn.area(repository, "v1");
        fs::write(area.join("f"), "1").unwrap();
        set_mode(&area, 0o755);
        if repository == "ann" {
            chown(area.join("f"), Some(ANN), Some(ANN)).unwrap();
            chown(&area, Some(ANN), Some(ANN)).unwrap();
        }
        cairn.publish(repository, "v1").unwrap();
    }
    chown(cairn.staging("ann"), Some(ANN), Some(ANN)).unwrap();
    chown(cairn.staging("team"), Some(0), Some(TEAM)).unwrap();
    set_mode(&cairn.staging("team"), 0o770);
    set_mode(&cairn.staging("closed"), 0o700);
    cairn
}

/// A program with the ids of a user, in a place that everybody may be in.
fn as_user(cairn: &Cairn, program: &Path, uid: u32, groups: &[u32]) -> Command {
    let list = groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        command.arg(format!("--groups={list}"));
    }
    command.arg(program).env("CAIRN_STORE", cairn.store()).current_dir("/");
    command.env("CAIRN_RUNTIME_DIR", runtime(cairn)).stdin(Stdio::null());
    command
}

fn ask(cairn: &Cairn, uid: u32, groups: &[u32], arguments: &[&str]) -> Output {
    as_user(cairn, Path::new(binary()), uid, groups).args(arguments).output().unwrap()
}

#[track_caller]
fn answer(cairn: &Cairn, uid: u32, groups: &[u32], arguments: &[&str]) -> String {
    let output = ask(cairn, uid, groups, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", cairn.log());
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refusal(cairn: &Cairn, uid: u32, groups: &[u32], arguments: &[&str]) -> String {
    let output = ask(cairn, uid, groups, arguments);
    assert_eq!(output.status.code(), Some(6), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// An area of that user with one file.
#[track_caller]
fn area(cairn: &Cairn, uid: u32, groups: &[u32], name: &str) -> PathBuf {
    let area = cairn.staging(name);
    let line = "mkdir \"$1\" && echo 2 > \"$1\"/f";
    let mut command = as_user(cairn, Path::new("sh"), uid, groups);
    let made = command.args(["-c", line, "sh"]).arg(&area).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    area
}

#[test]
fn the_owner_of_a_repository_commits_waits_and_compares() {
    let cairn = shared();
    area(&cairn, ANN, &[], "ann/work@latest");
    assert!(answer(&cairn, ANN, &[], &["areas", "ann"]).contains("work"));
    answer(&cairn, ANN, &[], &["commit", "ann/work", "-m", "of Ann"]);
    let shown = answer(&cairn, ANN, &[], &["show", "ann/2"]);
    assert!(shown.contains("of Ann"), "{shown}");
    assert!(answer(&cairn, ANN, &[], &["diff", "ann/1", "ann/2"]).contains('f'));
    let waited = answer(&cairn, ANN, &[], &["wait", "ann", "--after", "1"]);
    assert!(waited.contains('2'), "{waited}");

    // A merge with what came between.
    area(&cairn, ANN, &[], "ann/other@1");
    let stale = ask(&cairn, ANN, &[], &["commit", "ann/other"]);
    assert_eq!(stale.status.code(), Some(5), "{stale:?}");
    fs::rename(cairn.staging("ann/other@1/f"), cairn.staging("ann/other@1/g")).unwrap();
    let conflict = ask(&cairn, ANN, &[], &["commit", "ann/other", "--onto-latest"]);
    assert_eq!(conflict.status.code(), Some(5), "{conflict:?}");
    let third = cairn.staging("ann/third@1");
    let line = "mkdir \"$1\" && echo 3 > \"$1\"/new";
    let made =
        as_user(&cairn, Path::new("sh"), ANN, &[]).args(["-c", line, "sh"]).arg(&third).status();
    assert!(made.unwrap().success());
    answer(&cairn, ANN, &[], &["commit", "ann/third", "--onto-latest"]);
    assert_eq!(fs::read_to_string(cairn.versions("ann/3/f")).unwrap(), "2\n");
    assert_eq!(fs::read_to_string(cairn.versions("ann/3/new")).unwrap(), "3\n");
}

#[test]
fn the_owner_hears_which_files_are_open() {
    let cairn = shared();
    let area = area(&cairn, ANN, &[], "ann/work");
    let open = fs::File::create(area.join("still-open")).unwrap();
    let busy = ask(&cairn, ANN, &[], &["commit", "ann/work"]);
    assert_eq!(busy.status.code(), Some(4), "{busy:?}");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("still-open"), "{busy:?}");
    drop(open);
    answer(&cairn, ANN, &[], &["commit", "ann/work", "--wait"]);
}

#[test]
fn supplementary_groups_count_and_others_are_refused() {
    let cairn = shared();
    area(&cairn, BEN, &[7, TEAM], "team/work");
    for arguments in [&["versions", "team"][..], &["commit", "team/work"], &["wait", "team"]] {
        let refused = refusal(&cairn, ANN, &[7], arguments);
        assert!(refused.contains("permission denied: the repository `team`"), "{refused}");
    }
    answer(&cairn, BEN, &[7, TEAM], &["commit", "team/work"]);
    assert!(answer(&cairn, BEN, &[7, TEAM], &["versions", "team"]).contains('2'));
    // A comparison names what is in closed directories: it is the owner's.
    refusal(&cairn, BEN, &[TEAM], &["diff", "team/1", "team/2"]);
    refusal(&cairn, ANN, &[], &["commit", "closed/work"]);
}

#[test]
fn a_listing_has_what_its_reader_may_read() {
    let cairn = shared();
    cairn.area("closed", "hidden");
    cairn.area("ann", "seen");
    for (uid, groups, seen) in [
        (ANN, &[][..], &["ann"][..]),
        (BEN, &[TEAM][..], &["ann", "team"][..]),
        (0, &[][..], &["ann", "closed", "team"][..]),
    ] {
        let listed = answer(&cairn, uid, groups, &["list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let names: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["repository"].as_str().unwrap())
            .collect();
        assert_eq!(names, seen, "of {uid}");
    }
    let areas = answer(&cairn, ANN, &[], &["areas"]);
    assert!(areas.contains("seen") && !areas.contains("hidden"), "{areas}");
    assert!(answer(&cairn, 0, &[], &["areas"]).contains("hidden"));
}

#[test]
fn what_is_the_store_owners_stays_so() {
    let cairn = shared();
    for arguments in [
        &["status"][..],
        &["create", "mine"],
        &["delete", "ann/1"],
        &["tag", "ann/1", "mine"],
        &["policy", "ann", "--keep-unreleased", "1"],
        &["quota", "ann", "--bytes", "1"],
        &["gc"],
        &["fsck"],
        &["du"],
        &["export", "closed/1", "/nowhere"],
        &["backup", "/nowhere"],
        &["discard", "ann/work"],
    ] {
        let output = ask(&cairn, ANN, &[], arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
    }
    let stopped = ask(&cairn, ANN, &[], &["unmount", cairn.mnt().to_str().unwrap()]);
    assert!(!stopped.status.success(), "{stopped:?}");
    assert_eq!(cairn.json(&["versions", "ann"]).as_array().unwrap().len(), 1);
}

#[test]
fn who_works_in_a_mount_of_roots_need_not_name_the_store() {
    let cairn = shared();
    let area = area(&cairn, ANN, &[], "ann/work");
    let mut command = as_user(&cairn, Path::new(binary()), ANN, &[]);
    command.env_remove("CAIRN_STORE").current_dir(area.parent().unwrap());
    let output = command.args(["commit", "ann/work"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(cairn.versions("ann/2/f").exists());
}

#[test]
fn a_mount_that_is_closed_to_others_has_no_door_for_them() {
    let mut cairn = Cairn::unmounted();
    let directory = runtime(&cairn);
    cairn.set_env("CAIRN_RUNTIME_DIR", Some(directory.to_str().unwrap()));
    cairn.mount();
    assert!(!directory.exists());
    let refused = refusal(&cairn, ANN, &[], &["list"]);
    assert!(refused.contains("permission denied on the store"), "{refused}");
}

#[test]
fn a_directory_that_others_can_write_to_is_not_used() {
    let mut cairn = Cairn::unmounted();
    cairn.set_arguments(&["-o", "allow_other"]);
    let directory = runtime(&cairn);
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    cairn.set_env("CAIRN_RUNTIME_DIR", Some(directory.to_str().unwrap()));
    cairn.mount();
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    assert!(cairn.log().contains("only the store's owner and root are served by commands"));
}

#[test]
fn the_door_for_others_is_gone_after_a_stop_and_back_after_a_kill() {
    let mut cairn = shared();
    let sockets = |cairn: &Cairn| fs::read_dir(runtime(cairn)).unwrap().count();
    assert_eq!(sockets(&cairn), 1);
    cairn.crash();
    assert_eq!(sockets(&cairn), 1);
    answer(&cairn, ANN, &[], &["versions", "ann"]);
    cairn.stop();
    assert_eq!(sockets(&cairn), 0);
    refusal(&cairn, ANN, &[], &["versions", "ann"]);
}

#[test]
fn a_stranger_who_takes_all_places_keeps_nobody_else_out() {
    let cairn = shared();
    let mut waiting = Vec::new();
    wait::until("the stranger has no place left", || {
        let is_refused = ask(&cairn, NOBODY, &[], &["versions", "ann"]).status.code() == Some(4);
        if !is_refused {
            // One more: the last one may have met the question that was just asked.
            let mut command = as_user(&cairn, Path::new(binary()), NOBODY, &[]);
            command.args(["wait", "ann", "--after", "99"]);
            waiting.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        }
        is_refused
    });
    assert!(waiting.len() >= PER_USER_MAX);
    cairn.cli(&["status"]);
    answer(&cairn, ANN, &[], &["versions", "ann"]);
    for command in &mut waiting {
        command.kill().unwrap();
        command.wait().unwrap();
    }
    wait::until("there are places again", || {
        ask(&cairn, NOBODY, &[], &["versions", "ann"]).status.success()
    });
}

#[test]
fn a_command_in_another_process_namespace_is_answered() {
    let cairn = shared();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", binary(), "list"])
        .env("CAIRN_STORE", cairn.store())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // The other way round, the daemon sees no process of such a peer, and its id is 0.
    let mut inner = Cairn::unmounted();
    inner.set_launcher(&["unshare", "--pid", "--fork", "--kill-child=TERM"]);
    inner.spawn();
    wait::until("the mount is usable", || inner.is_usable());
    let made = inner.run(&["create", "lib"]);
    assert!(made.status.success(), "{made:?}\n{}", inner.log());
    assert!(inner.staging("lib").exists());
    assert!(inner.log().contains("create repository lib"), "{}", inner.log());
    // It ends with the program that has made its namespace.
    inner.kill9();
    wait::until("it has unmounted", || mounts::below(&inner.mnt()).is_empty());
}

/// R7: a job is shown to those who may read its repository, and is for those alone who could have begun it.
#[test]
fn jobs_of_a_repository_are_shown_to_who_may_read_it_and_ended_by_the_owner_of_the_store() {
    let site = Site::of(&[("secret/name", b"1")]);
    site.take("secret/name");
    let (cairn, server) = (shared(), site.serve());
    cairn.cli(&["remote", "add", "origin", "sums", &server.url("/")]);
    for repository in ["ann", "closed", "team"] {
        cairn.cli_fails(&["sync", repository, "origin"]);
    }
    let listed = |uid, groups: &[u32]| -> Vec<String> {
        let text = answer(&cairn, uid, groups, &["jobs", "--json"]);
        assert!(!text.contains("secret"), "{text}");
        let jobs: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        jobs.iter().map(|job| job["repository"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(BEN, &[]), ["ann"]);
    assert_eq!(listed(BEN, &[TEAM]), ["ann", "team"]);
    for arguments in [&["jobs", "--cancel", "1"][..], &["wait", "--job", "1"]] {
        refusal(&cairn, ANN, &[], arguments);
    }
    assert!(cairn.cli(&["jobs", "--json"]).contains("secret/name"));
}

/// A prefetch fetches what its caller may read, as the kernel decides it, and says nothing of the rest.
#[cfg(feature = "net")]
#[test]
fn l12_a_prefetch_fetches_what_its_caller_may_read() {
    let cairn = shared();
    let site = Site::default();
    site.set_manifest(&[("a", b"first"), ("dir/b", b"second"), ("secret/c", b"third")]);
    let server = site.serve();
    let url = server.url("/");
    cairn.cli(&["remote", "add", "origin", "manifest", &url, "--policy", "on_demand"]);
    cairn.cli(&["sync", "lib", "origin"]);
    let area = cairn.area("lib", "modes@1");
    set_mode(&area.join("a"), 0o600);
    set_mode(&area.join("secret"), 0o700);
    cairn.publish("lib", "modes@1").unwrap();
    let asked = server.asked().len();
    let printed = answer(&cairn, BEN, &[], &["prefetch", "lib/2"]);
    assert_eq!(printed, "lib/2: fetched 6 B in 1 file, 0 of 1 file there already\n");
    for target in ["lib/2/a", "lib/2/secret", "lib/2/secret/c", "closed", "team"] {
        let message = refusal(&cairn, BEN, &[], &["prefetch", target]);
        assert!(message.contains("permission denied"), "{message}");
    }
    assert_eq!(server.asked().len(), asked + 1);
    answer(&cairn, BEN, &[TEAM], &["prefetch", "team"]);
    assert!(answer(&cairn, BEN, &[], &["prefetch", "lib/1/a"]).contains("fetched 5 B"));
    // Why something cannot be had is for the store's owner.
    site.take("secret/c");
    let output = ask(&cairn, BEN, &[], &["prefetch", "lib/1"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("secret/c: it cannot be had now") && !errors.contains("http"));
    assert_eq!(ask(&cairn, BEN, &[], &["reclaim"]).status.code(), Some(6));
}
