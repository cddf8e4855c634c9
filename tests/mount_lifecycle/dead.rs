//! A daemon that was killed leaves two dead mounts; the next one cleans them up.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cairn::cli::unmount::{Asked, UnmountArgs};
use cairn::fuse::mount::{Force, Method, MountOptions, MountPlan, unmount_path};
use rustix::io::Errno;

use crate::toy::{MountDirectories, Serving, Toy, endless, require_mounting, short};
use support::wait;

/// Tells the child what to mount where.
const CHILD: &str = "CAIRN_TEST_CHILD";

/// What this process is to mount, if it is a child.
pub(crate) fn child_plan() -> Option<MountPlan> {
    let root = std::env::var_os(CHILD).map(PathBuf::from)?;
    let (target, store) = (root.join("m nt"), root.join("st ore"));
    Some(MountPlan::prepare(&target, &store, MountOptions::default(), Method::Auto).unwrap())
}

/// Serves for ever: the child of [`kill_a_daemon`].
#[test]
fn child_serves_until_it_is_killed() {
    let Some(plan) = child_plan() else {
        return;
    };
    let serving = Serving::start(plan, Toy::outer(), Toy::default(), endless()).ready();
    // Standard error tells the parent: standard output is the test harness's.
    eprint!("!");
    serving.join().unwrap();
}

/// Starts for ever: it waits for the place of versions, which it does not answer for.
#[test]
fn child_starts_until_it_is_killed() {
    let Some(plan) = child_plan() else {
        return;
    };
    let (sender, asked) = crossbeam_channel::unbounded();
    let outer = Toy { silent: Some(sender), ..Toy::outer() };
    let serving = Serving::start(plan, outer, Toy::default(), endless());
    asked.recv().unwrap();
    eprint!("!");
    serving.join().unwrap();
}

/// Starts a test of this program as a daemon at `place`, and waits for its sign.
pub(crate) fn start_child(place: &MountDirectories, test: &str) -> Child {
    start_child_with(place, test, &[])
}

/// As [`start_child`], with variables.
pub(crate) fn start_child_with(
    place: &MountDirectories,
    test: &str,
    variables: &[(&str, &str)],
) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, place.root().canonicalize().unwrap())
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut text = Vec::new();
    while !text.contains(&b'!') {
        let mut byte = [0];
        stderr
            .read_exact(&mut byte)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&text)));
        text.extend(byte);
    }
    child
}

/// Leaves the mounts of a daemon that was killed at `place`.
fn kill_a_daemon(place: &MountDirectories) {
    let mut child = start_child(place, "dead::child_serves_until_it_is_killed");
    // What a user does with it stays in the kernel's caches, which makes the mount look alive.
    std::fs::metadata(place.target.join("versions/file")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(place.mounted().len(), 2);
}

#[test]
fn one_that_is_killed_while_it_starts_ends_and_hangs_nobody() {
    require_mounting();
    let place = MountDirectories::new();
    let mut child = start_child(&place, "dead::child_starts_until_it_is_killed");
    child.kill().unwrap();
    let ended = wait::within(wait::PATIENCE, || child.try_wait().unwrap().is_some());
    if !ended {
        // Or others would hang who ask each mount.
        unmount_path(&place.target, Force::Abort).unwrap();
    }
    assert!(ended, "it waits for its own answer");
    let error = std::fs::metadata(place.target.join("versions")).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOTCONN));
    let serving = place.serve(short()).ready();
    serving.controller.stop();
    serving.join().unwrap();
}

#[test]
fn the_next_mount_cleans_up() {
    require_mounting();
    let place = MountDirectories::new();
    kill_a_daemon(&place);
    let busy = std::fs::File::open(place.target.join("versions"));
    let serving = place.serve(short()).ready();
    assert_eq!(std::fs::read_to_string(place.target.join("versions/file")).unwrap(), "0");
    assert_eq!(place.mounted().len(), 2);
    serving.controller.stop();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    drop(busy);
}

#[test]
fn a_mount_elsewhere_cleans_up_too() {
    require_mounting();
    let place = MountDirectories::new();
    kill_a_daemon(&place);
    let other = place.root().join("other");
    std::fs::create_dir(&other).unwrap();
    let options = MountOptions::default();
    MountPlan::prepare(&other, &place.store, options, Method::Auto).unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn another_stores_dead_mount_is_cleaned_from_the_mount_point() {
    require_mounting();
    let place = MountDirectories::new();
    kill_a_daemon(&place);
    let store = place.root().join("another");
    std::fs::create_dir(&store).unwrap();
    let options = MountOptions::default();
    cairn::fuse::mount::preflight(&place.target, &store, &options).unwrap();
    assert_eq!(place.mounted().len(), 2, "the preflight changes nothing");
    MountPlan::prepare(&place.target, &store, options, Method::Auto).unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn the_unmount_command_cleans_up() {
    require_mounting();
    let place = MountDirectories::new();
    kill_a_daemon(&place);
    let args = UnmountArgs { target: place.target.clone(), lazy: false, force: false };
    args.run(|_, _| Ok(()), |_| -> Asked { panic!("nobody is there to ask") }, |_| {}).unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}
