//! Stopping: asked to, by signal, by an unmount from outside, and while files are in use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cairn::cli::unmount::{Asked, UnmountArgs};
use cairn::daemon::{DaemonError, signals};
use cairn::fuse::mount::{self, Force, Method, MountError, MountOptions, MountTable, unmount_path};
use rustix::mount::UnmountFlags;
use rustix::process::{Signal, getpid, kill_process};

use crate::toy::{MountDirectories, Serving, Toy, endless, require_mounting, short};
use support::wait;

fn unmount(place: &MountDirectories, lazy: bool) -> Result<(), DaemonError> {
    let args = UnmountArgs { target: place.target.clone(), lazy, force: false };
    let ask = |store: &Path| {
        assert_eq!(store, place.store);
        Asked::Unreachable
    };
    args.run(|_, _| Ok(()), ask, |_| {}).map(drop)
}

#[test]
fn signals_stop_and_clean_up() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(short()).ready();
    let thread = signals::start(serving.controller.clone(), None).unwrap();
    kill_process(getpid(), Signal::USR1).unwrap();
    while serving.collected.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(place.mounted().len(), 2);
    kill_process(getpid(), Signal::TERM).unwrap();
    serving.join().unwrap();
    drop(thread);
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn an_unmount_from_outside_ends_the_daemon() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(short()).ready();
    unmount_path(&place.target.join("versions"), Force::None).unwrap();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());

    let serving = place.serve(short()).ready();
    unmount_path(&place.target, Force::Detach).unwrap();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn whoever_unmounts_versions_finds_the_rest_mounted() {
    require_mounting();
    let place = MountDirectories::new();
    let versions = Toy::default();
    let ended = Arc::clone(&versions.destroyed);
    let serving = Serving::start(place.plan(), Toy::outer(), versions, endless()).ready();
    unmount_path(&place.target.join("versions"), Force::None).unwrap();
    // The daemon knows of it now, and has all the time for what it must not do.
    wait::until("the session of versions ended", || ended.load(Ordering::SeqCst) == 1);
    for _ in 0..500 {
        assert_eq!(fs::read_to_string(place.target.join("file")).unwrap(), "0");
    }
    assert_eq!(place.mounted(), std::slice::from_ref(&place.target));
    rustix::mount::unmount(&place.target, UnmountFlags::empty()).unwrap();
    serving.join().unwrap();
}

#[test]
fn umount_of_both_finds_both() {
    require_mounting();
    let place = MountDirectories::new();
    for round in 0..15 {
        let serving = place.serve(endless()).ready();
        let output = Command::new("umount").args(["-i", "-R"]).arg(&place.target).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "round {round}: {said}");
        serving.join().unwrap();
        assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    }
}

#[test]
fn another_mount_with_the_same_numbers_is_let_alone() {
    require_mounting();
    let (place, other) = (MountDirectories::new(), MountDirectories::new());
    let mount = |place: &MountDirectories| {
        let options = MountOptions::default();
        mount::mount(&place.target, &place.store, &options, Method::Auto).unwrap().mount
    };
    let entry =
        |place: &MountDirectories| MountTable::read().unwrap().at(&place.target).cloned().unwrap();
    wait::until("the kernel used the numbers of a mount again", || {
        let first = mount(&place);
        let before = entry(&place);
        rustix::mount::unmount(&place.target, UnmountFlags::empty()).unwrap();
        let second = mount(&other);
        let after = entry(&other);
        first.abort();
        first.unmount(Force::Abort).unwrap();
        assert_eq!(other.mounted(), std::slice::from_ref(&other.target));
        assert!(second.exists().unwrap());
        second.unmount(Force::None).unwrap();
        assert_eq!(other.mounted(), Vec::<PathBuf>::new());
        (before.id, before.device) == (after.id, after.device)
    });
}

#[test]
fn a_busy_mount_is_detached_after_the_grace() {
    require_mounting();
    for inner in [true, false] {
        let place = MountDirectories::new();
        let serving = place.serve(short()).ready();
        let name = if inner { "versions/file" } else { "file" };
        let file = File::open(place.target.join(name)).unwrap();
        serving.controller.stop();
        serving.join().unwrap();
        assert_eq!(place.mounted(), Vec::<PathBuf>::new());
        drop(file);
    }
}

#[test]
fn a_second_stop_ends_the_grace() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(endless()).ready();
    let file = File::open(place.target.join("file")).unwrap();
    serving.controller.stop();
    serving.controller.stop();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    drop(file);
}

#[test]
fn a_stop_goes_on_once_the_files_are_closed() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(endless()).ready();
    let file = File::open(place.target.join("versions/file")).unwrap();
    serving.controller.stop();
    assert_eq!(place.mounted().len(), 2);
    drop(file);
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn the_command_refuses_a_busy_mount_and_leaves_it_whole() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(endless()).ready();
    let file = File::open(place.target.join("versions/file")).unwrap();
    let Err(DaemonError::Mount(MountError::Busy { users, .. })) = unmount(&place, false) else {
        panic!("a busy mount was unmounted");
    };
    assert!(users.iter().any(|user| user.pid() == Some(std::process::id())), "{users:?}");
    assert_eq!(fs::read_to_string(place.target.join("versions/file")).unwrap(), "0");
    drop(file);
    unmount(&place, false).unwrap();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    let again = unmount(&place, false).unwrap_err();
    assert!(matches!(again, DaemonError::Mount(MountError::NotMounted(_))), "{again}");
}

#[test]
fn a_lazy_unmount_lets_users_finish() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(endless()).ready();
    let file = File::open(place.target.join("file")).unwrap();
    let before = Instant::now();
    unmount(&place, true).unwrap();
    assert!(before.elapsed() < endless().grace);
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    assert_eq!(std::io::read_to_string(&file).unwrap(), "0");
    drop(file);
    serving.join().unwrap();
}

#[test]
fn a_request_that_is_never_answered_does_not_hold_up_the_stop() {
    require_mounting();
    let place = MountDirectories::new();
    let (sender, parked) = crossbeam_channel::unbounded();
    let outer = Toy { parked: Some(sender), ..Toy::outer() };
    let serving = Serving::start(place.plan(), outer, Toy::default(), short()).ready();
    // A process of its own, since a thread that waits for an answer from its own process cannot
    // even be killed.
    let mut reader = Command::new("cat").arg(place.target.join("file")).spawn().unwrap();
    let reply = parked.recv().unwrap();
    serving.controller.stop();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    // Still nobody has answered: the stop has ended the connection, and with it the wait.
    assert!(!reader.wait().unwrap().success());
    drop(reply);
}
