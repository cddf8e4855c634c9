//! Starting, serving, and starts that fail.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn::daemon::{DaemonError, Timing};
use cairn::fuse::mount::{Method, MountError, MountPlan, MountTable, VersionsPlacement};
use cairn::vfs::invalidation::{Forget, Invalidation, Invalidator};
use fuser::FileType;

use crate::toy::{FILE, MountDirectories, Serving, Toy, require_mounting, short};

#[test]
fn both_filesystems_answer_and_a_stop_leaves_nothing() {
    require_mounting();
    let place = MountDirectories::new();
    let (outer, versions) = (Toy::outer(), Toy::default());
    versions.digit.store(7, Ordering::SeqCst);
    let destroyed = [Arc::clone(&outer.destroyed), Arc::clone(&versions.destroyed)];
    let serving = Serving::start(place.plan(), outer, versions, short()).ready();

    assert_eq!(fs::read_to_string(place.target.join("file")).unwrap(), "0");
    assert_eq!(fs::read_to_string(place.target.join("versions/file")).unwrap(), "7");
    let error = fs::File::create(place.target.join("versions/x")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(place.mounted(), [place.target.join("versions"), place.target.clone()]);
    let table = MountTable::read().unwrap();
    let entry = table.at(&place.target).unwrap();
    assert_eq!(entry.kind, "fuse.cairn");
    assert!(entry.options.contains("nosuid,nodev"), "{}", entry.options);

    serving.controller.collect();
    serving.controller.stop();
    let collected = Arc::clone(&serving.collected);
    serving.join().unwrap();
    assert_eq!(collected.load(Ordering::SeqCst), 1);
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    assert!(destroyed.iter().all(|count| count.load(Ordering::SeqCst) == 1));
}

#[test]
fn a_start_that_fails_half_way_leaves_nothing() {
    require_mounting();
    let place = MountDirectories::new();
    let file = Toy { versions: Some(FileType::RegularFile), ..Toy::default() };
    let broken = Toy { broken: true, ..Toy::default() };
    let broken_outer = Toy { broken: true, ..Toy::outer() };
    for (name, outer, versions) in [
        ("no place for versions", Toy::default(), Toy::default()),
        ("versions is a file", file, Toy::default()),
        ("the outer handshake fails", broken_outer, Toy::default()),
        ("the inner handshake fails", Toy::outer(), broken),
    ] {
        let error = Serving::start(place.plan(), outer, versions, short()).join().unwrap_err();
        eprintln!("{name}: {error}");
        assert_eq!(place.mounted(), Vec::<PathBuf>::new(), "{name}");
    }
    // The place is as good as new.
    let serving = place.serve(short()).ready();
    serving.controller.stop();
    serving.join().unwrap();
}

#[test]
fn a_mount_that_hangs_is_given_up_and_its_thread_freed() {
    require_mounting();
    let place = MountDirectories::new();
    let (sender, _asked) = crossbeam_channel::unbounded();
    let outer = Toy { silent: Some(sender), ..Toy::outer() };
    let destroyed = Arc::clone(&outer.destroyed);
    let timing = Timing { mount: Duration::from_millis(200), ..short() };
    let error = Serving::start(place.plan(), outer, Toy::default(), timing).join().unwrap_err();
    assert!(matches!(error, DaemonError::Slow(_)), "{error}");
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    // The connection has ended, although nobody answered the kernel's question.
    assert_eq!(destroyed.load(Ordering::SeqCst), 1);
}

#[test]
fn versions_can_be_mounted_beside() {
    require_mounting();
    let place = MountDirectories::new();
    let beside = place.root().canonicalize().unwrap().join("m nt.versions");
    let versions = VersionsPlacement::Beside(beside.clone());
    let plan = MountPlan { versions, ..place.plan() };
    let serving = Serving::start(plan, Toy::default(), Toy::default(), short()).ready();
    assert_eq!(fs::read_to_string(beside.join("file")).unwrap(), "0");
    assert_eq!(place.mounted(), [beside.clone(), place.target.clone()]);
    serving.controller.stop();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
    assert!(!beside.exists());
}

#[test]
fn fusermount3_mounts_the_same() {
    require_mounting();
    let place = MountDirectories::new();
    let options = "allow_other,noexec".parse().unwrap();
    let plan = MountPlan::prepare(&place.target, &place.store, options, Method::Helper).unwrap();
    let serving = Serving::start(plan, Toy::outer(), Toy::default(), short()).ready();
    assert_eq!(fs::read_to_string(place.target.join("versions/file")).unwrap(), "0");
    assert_eq!(place.mounted(), [place.target.join("versions"), place.target.clone()]);
    let table = MountTable::read().unwrap();
    assert!(table.at(&place.target).unwrap().options.contains("noexec"));
    serving.controller.stop();
    serving.join().unwrap();
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn a_symlink_that_came_after_the_check_is_not_followed() {
    require_mounting();
    let place = MountDirectories::new();
    let plan = place.plan();
    let elsewhere = place.root().canonicalize().unwrap().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::remove_dir(&place.target).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place.target).unwrap();
    let error = Serving::start(plan, Toy::outer(), Toy::default(), short()).join().unwrap_err();
    assert!(error.to_string().contains("cannot mount on"), "{error}");
    assert_eq!(place.mounted(), Vec::<PathBuf>::new());
}

#[test]
fn a_living_mount_is_not_mounted_over() {
    require_mounting();
    let place = MountDirectories::new();
    let serving = place.serve(short()).ready();
    for (target, store) in [
        (&place.target, &place.store),
        (&place.target.join("versions"), &place.store),
        (&place.target, &place.root().to_owned()),
    ] {
        let options = "nonempty".parse().unwrap();
        let error = MountPlan::prepare(target, store, options, Method::Auto).unwrap_err();
        let expected =
            matches!(error, MountError::AlreadyMounted { .. } | MountError::InsideStore { .. });
        assert!(expected, "{error}");
    }
    serving.controller.stop();
    serving.join().unwrap();
}

#[test]
fn the_kernel_forgets_before_the_reply_is_sent() {
    require_mounting();
    let place = MountDirectories::new();
    let versions = Toy::default();
    let digit = Arc::clone(&versions.digit);
    let serving = Serving::start(place.plan(), Toy::outer(), versions, short()).ready();
    let file = fs::File::open(place.target.join("versions/file")).unwrap();
    let read = || {
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, 0).unwrap();
        byte
    };
    assert_eq!(&read(), b"0");
    digit.store(5, Ordering::SeqCst);
    assert_eq!(&read(), b"0", "the page is cached");
    for forget in [
        Forget::Attributes { ino: FILE },
        Forget::Expired { parent: 1, name: b"file".to_vec() },
        Forget::Expired { parent: 1, name: b"never seen".to_vec() },
        Forget::Name { parent: 1, name: b"file".to_vec() },
        Forget::Name { parent: 1, name: b"never seen".to_vec() },
        Forget::Content { ino: FILE },
    ] {
        let (sender, told) = crossbeam_channel::bounded(1);
        let keeps_page = !matches!(forget, Forget::Content { .. });
        serving.invalidator.submit(Invalidation {
            versions: vec![forget],
            staging: Vec::new(),
            then: Box::new(move || sender.send(()).unwrap()),
        });
        told.recv().unwrap();
        assert_eq!(&read() == b"0", keeps_page);
    }
    drop(file);
    serving.controller.stop();
    serving.join().unwrap();
}
