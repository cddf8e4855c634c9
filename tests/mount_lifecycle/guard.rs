//! The guard: whatever the end of a daemon, nobody hangs, no dead mount is left, and no other mount is
//! touched (R8, H8, H60).

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn::fuse::guard::{Charge, Guard, Watch};
use cairn::fuse::mount::{self, MountPlan, MountTable};
use cairn::vfs::invalidation::{Forget, Invalidation, Invalidator};
use rustix::process::{Pid, Signal, kill_process};
use support::cairn::{binary, guard_of};
use support::{Cairn, mounts, wait};

use crate::dead::{child_plan, start_child, start_child_with};
use crate::toy::{FILE, MountDirectories, Serving, Toy, endless, require_mounting};

/// How often a daemon is killed at the instant of a notification; `scripts/soak guard` asks for more.
const ROUNDS: &str = "CAIRN_GUARD_ROUNDS";

/// Tells the child which of its filesystems has the file that is read, or to hand content over.
const PART: &str = "CAIRN_TEST_PART";

fn guard(plan: &MountPlan) -> Guard {
    let charge = Charge {
        source: plan.source().into(),
        targets: [plan.target.clone(), plan.versions_target()].map(Into::into).into(),
        log: None,
        log_format: "text".to_owned(),
    };
    Guard::start(Path::new(binary()), charge).unwrap()
}

/// Serves, has a notification wait for a page that a READ holds, and waits to be killed.
#[test]
fn child_is_killed_while_it_notifies() {
    let Some(plan) = child_plan() else { return };
    let part = std::env::var(PART).unwrap();
    let of_versions = part != "outer";
    let (sender, parked) = crossbeam_channel::unbounded();
    let silent = Toy { parked: Some(sender), ..Toy::default() };
    let (outer, versions) = if of_versions {
        (Toy::outer(), silent)
    } else {
        (Toy { parked: silent.parked, ..Toy::outer() }, Toy::default())
    };
    let guard = guard(&plan);
    let state = guard.state();
    let target = plan.target.clone();
    let serving = Serving::guarded(plan, outer, versions, endless(), Some(guard)).ready();
    assert_eq!(state.get(), Watch::Ends);
    let file = target.join(if of_versions { "versions/file" } else { "file" });
    let reader = Command::new("cat").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    fs::write(target.with_file_name("reader"), reader.unwrap().id().to_string()).unwrap();
    let reply = parked.recv().unwrap();
    if part == "store" {
        let pages = serving.invalidator.version_pages(state);
        let store = move || pages.store(FILE, b"0");
        std::thread::Builder::new().name("store".to_owned()).spawn(store).unwrap();
        wait::until("content waits to be handed over", || is_stuck("store"));
    } else {
        let forget = vec![Forget::Content { ino: FILE }];
        let (versions, staging) =
            if of_versions { (forget, Vec::new()) } else { (Vec::new(), forget) };
        serving.invalidator.submit(Invalidation::silent(versions, staging));
        wait::until("the notification waits in the kernel", || is_stuck("invalidate"));
    }
    eprint!("!");
    serving.join().unwrap();
    drop(reply);
}

/// Whether a thread of this process waits where no signal reaches it.
fn is_stuck(thread: &str) -> bool {
    fs::read_dir("/proc/self/task").unwrap().flatten().any(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.contains(&format!("({thread}) D "))
    })
}

/// Serves with a guard until it is killed.
#[test]
fn child_serves_with_a_guard() {
    let Some(plan) = child_plan() else { return };
    let guard = guard(&plan);
    let serving =
        Serving::guarded(plan, Toy::outer(), Toy::default(), endless(), Some(guard)).ready();
    eprint!("!");
    serving.join().unwrap();
}

/// Starts with a guard until it is killed: it waits for the place of versions, for which it does not answer.
#[test]
fn child_starts_with_a_guard() {
    let Some(plan) = child_plan() else { return };
    let (sender, asked) = crossbeam_channel::unbounded();
    let outer = Toy { silent: Some(sender), ..Toy::outer() };
    let guard = guard(&plan);
    let serving = Serving::guarded(plan, outer, Toy::default(), endless(), Some(guard));
    asked.recv().unwrap();
    eprint!("!");
    serving.join().unwrap();
}

fn has_ended(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.map_or(true, |status| status.contains("State:\tZ"))
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn killed(mut child: Child, place: &MountDirectories) {
    child.kill().unwrap();
    wait::until("the daemon ends", || child.try_wait().unwrap().is_some());
    wait::until("the mounts are gone", || place.mounted().is_empty());
}

#[test]
fn r8_h60_a_daemon_that_is_killed_while_it_notifies_ends_and_hangs_nobody() {
    require_mounting();
    let rounds: usize = std::env::var(ROUNDS).map_or(6, |rounds| rounds.parse().unwrap());
    let place = MountDirectories::new();
    let another = MountDirectories::new();
    let neighbour = another.serve(endless()).ready();
    for round in 0..rounds {
        let part = ["versions", "outer", "store"][round % 3];
        let test = "guard::child_is_killed_while_it_notifies";
        let child = start_child_with(&place, test, &[(PART, part)]);
        let reader = fs::read_to_string(place.target.with_file_name("reader")).unwrap();
        let guard = guard_of(child.id());
        killed(child, &place);
        wait::until("the reader gets an error", || has_ended(reader.parse().unwrap()));
        wait::until("the guard ends", || has_ended(guard));
    }
    assert_eq!(fs::read_to_string(another.target.join("versions/file")).unwrap(), "0");
    neighbour.controller.stop();
    neighbour.join().unwrap();
}

#[test]
fn r8_one_that_is_killed_while_it_starts_leaves_no_mount() {
    require_mounting();
    let place = MountDirectories::new();
    let child = start_child(&place, "guard::child_starts_with_a_guard");
    killed(child, &place);
}

#[test]
fn h60_the_next_mount_with_the_same_numbers_is_let_alone() {
    require_mounting();
    let place = MountDirectories::new();
    let numbers = || {
        let table = MountTable::read().unwrap();
        let numbers = |target: &Path| table.at(target).map(|entry| (entry.id, entry.device));
        (numbers(&place.target), numbers(&place.target.join("versions")))
    };
    wait::until("the kernel used the numbers of both mounts again", || {
        let mut child = start_child(&place, "guard::child_serves_with_a_guard");
        let guard = guard_of(child.id());
        let before = numbers();
        // It comes too late.
        signal(guard, Signal::STOP);
        child.kill().unwrap();
        child.wait().unwrap();
        mount::clean_dead_mounts(|entry| entry.source == place.store).unwrap();
        let next = place.serve(endless()).ready();
        let after = numbers();
        signal(guard, Signal::CONT);
        wait::until("the guard ends", || has_ended(guard));
        assert_eq!(place.mounted().len(), 2);
        assert_eq!(fs::read_to_string(place.target.join("versions/file")).unwrap(), "0");
        next.controller.stop();
        next.join().unwrap();
        before == after
    });
}

#[test]
fn r8_a_killed_daemon_leaves_no_mount_and_the_next_one_serves() {
    let mut cairn = Cairn::start();
    for _ in 0..3 {
        let guard = cairn.guard();
        cairn.kill9_and_unmount();
        wait::until("the guard ends", || has_ended(guard));
        assert!(fs::read_dir(cairn.mnt()).unwrap().next().is_none(), "the bare mount point");
        cairn.mount();
        // And at once, while the guard may be at work.
        cairn.crash();
        assert_eq!(mounts::below(&cairn.mnt()).len(), 2);
    }
    cairn.stop();
}

#[test]
fn h60_the_guard_goes_with_its_daemon_however_that_ends() {
    let mut cairn = Cairn::unmounted();
    let ends: [(&str, &[&str]); 4] = [
        ("SIGTERM", &["sh", "-c", "kill $(tr -dc 0-9 <\"$1\"/lock)", "sh"]),
        ("umount", &["sh", "-c", "umount -i -R \"$2\"", "sh"]),
        (
            "fusermount3",
            &["sh", "-c", "fusermount3 -u \"$2\"/versions; fusermount3 -u \"$2\"", "sh"],
        ),
        ("unmount", &["sh", "-c", "\"$3\" unmount \"$2\"", "sh"]),
    ];
    for (how, command) in ends {
        cairn.mount();
        let guard = cairn.guard();
        let mut end = Command::new(command[0]);
        end.args(&command[1..]).args([&cairn.store(), &cairn.mnt()]).arg(binary());
        assert!(end.status().unwrap().success(), "{how}");
        assert!(cairn.wait_for_exit().success(), "{how}");
        assert!(has_ended(guard), "{how}: the daemon does not wait for its guard");
        assert!(mounts::below(&cairn.mnt()).is_empty(), "{how}");
        assert!(!cairn.log().contains("WARN"), "{how}: {}", cairn.log());
    }
}

#[test]
fn h60_a_daemon_whose_guard_was_killed_goes_on() {
    let mut cairn = Cairn::start();
    assert_eq!(cairn.json(&["status"])["guard"], "ends");
    let first = cairn.guard();
    // What ends daemons by mistake does not reach it.
    for mild in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1] {
        signal(first, mild);
    }
    assert_eq!(cairn.guard(), first);
    cairn.kill_guard();
    wait::until("the status says it", || cairn.json(&["status"])["guard"].is_null());
    assert!(cairn.cli(&["status"]).contains("guard     none"));
    cairn.area("lib", "work");
    assert!(cairn.log().contains("the guard has ended"), "{}", cairn.log());
    cairn.stop();
    cairn.mount();
    assert_eq!(cairn.json(&["status"])["guard"], "ends");
    cairn.stop();
}

#[test]
fn h60_the_guard_has_nothing_open_and_is_told_from_its_daemon() {
    let cairn = Cairn::start();
    let guard = PathBuf::from(format!("/proc/{}", cairn.guard()));
    assert_eq!(fs::read_link(guard.join("cwd")).unwrap(), Path::new("/"));
    let opened = || -> Vec<(PathBuf, FileType)> {
        let descriptors = fs::read_dir(guard.join("fd")).unwrap().flatten();
        let look = |path: PathBuf| {
            Some((fs::read_link(&path).ok()?, fs::metadata(&path).ok()?.file_type()))
        };
        descriptors.filter_map(|descriptor| look(descriptor.path())).collect()
    };
    wait::until("it was told of both mounts", || opened().len() == 6);
    for (target, kind) in opened() {
        let expected = kind.is_socket()
            || target == Path::new("/dev/null")
            || (target.ends_with("abort") && kind.is_file());
        assert!(expected, "{}", target.display());
    }
    let command = fs::read_to_string(guard.join("cmdline")).unwrap();
    assert_eq!(command, format!("cairn-guard\0{}\0", cairn.mnt().display()));
    let stat = fs::read_to_string(guard.join("stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(Some(session), guard.file_name().and_then(|name| name.to_str()));
}
