//! Mounting, unmounting, and what is left when the daemon dies

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::io::Errno;
use rustix::process::Signal;

use support::area::{NOBODY, set_mode};
use support::cairn::binary;
use support::{Cairn, check, errno, mounts, wait};

fn run(arguments: &[&Path]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn mount_returns_when_usable_and_unmount_when_gone() {
    let cairn = Cairn::unmounted();
    let (store, mnt) = (cairn.store(), cairn.mnt());
    for round in 0..3 {
        succeeds(&run(&["mount".as_ref(), &store, &mnt]));
        assert!(cairn.is_usable(), "at once, without waiting");
        let name = format!("repo{round}");
        fs::create_dir(cairn.staging(&name)).unwrap();
        assert_eq!(fs::read_dir(cairn.versions("")).unwrap().count(), round + 1);
        succeeds(&run(&["unmount".as_ref(), &mnt]));
        assert!(mounts::below(&mnt).is_empty());
        assert_eq!(fs::read_dir(&mnt).unwrap().count(), 0);
    }
}

#[test]
fn sigterm_and_sigint_stop_cleanly() {
    let mut cairn = Cairn::start();
    for signal in [Signal::TERM, Signal::INT] {
        fs::create_dir_all(cairn.staging("lib")).unwrap();
        cairn.signal(signal);
        let status = cairn.wait_for_exit();
        assert!(status.success(), "{status}");
        assert!(mounts::below(&cairn.mnt()).is_empty());
        cairn.mount();
        assert!(cairn.staging("lib").is_dir());
    }
}

#[test]
fn a_busy_mount_does_not_hang_the_stop() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    fs::write(area.join("f"), "x").unwrap();
    let file = File::open(area.join("f")).unwrap();
    let directory = File::open(cairn.versions("")).unwrap();
    cairn.stop();
    // An error, not a hang, for those who still hold something of it.
    assert!(file.sync_all().is_err() || file.metadata().is_ok());
    drop((file, directory));
    cairn.mount();
    assert_eq!(fs::read(area.join("f")).unwrap(), b"x");
}

#[test]
fn a_dead_mount_gives_errors_and_the_next_mount_cleans_it_up() {
    let mut cairn = Cairn::start();
    fs::create_dir(cairn.staging("lib")).unwrap();
    for _ in 0..2 {
        // Or it would take the mount away.
        cairn.kill_guard();
        cairn.kill9();
        let dead = [Errno::NOTCONN, Errno::CONNABORTED, Errno::NOENT, Errno::IO];
        check::one_of(fs::read_dir(cairn.staging("lib")), &dead);
        cairn.mount();
        fs::create_dir_all(cairn.staging("lib")).unwrap();
    }
    assert_eq!(mounts::below(&cairn.mnt()).len(), 2, "no mount is left below the new ones");
}

#[test]
fn unmount_removes_a_dead_mount_too() {
    let mut cairn = Cairn::start();
    cairn.kill_guard();
    cairn.kill9();
    succeeds(&run(&["unmount".as_ref(), &cairn.mnt()]));
    assert!(mounts::below(&cairn.mnt()).is_empty());
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    let cairn = Cairn::start();
    let other = cairn.scratch().join("other");
    fs::create_dir(&other).unwrap();
    let output = run(&["mount".as_ref(), &cairn.store(), &other]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains(&cairn.pid().to_string()), "{message}");
    assert!(mounts::below(&other).is_empty());
    assert!(cairn.is_usable());
}

#[test]
fn impossible_mount_points_are_refused() {
    let cairn = Cairn::unmounted();
    let store = cairn.store();
    let file = cairn.scratch().join("file");
    fs::write(&file, "").unwrap();
    for mnt in [cairn.scratch().join("none"), file, store.clone(), store.join("pool")] {
        let output = run(&["mount".as_ref(), &store, &mnt]);
        assert!(!output.status.success(), "{}", mnt.display());
        assert!(!output.stderr.is_empty());
        assert!(mounts::below(&mnt).is_empty());
    }
    succeeds(&run(&["mount".as_ref(), &store, &cairn.mnt()]));
    succeeds(&run(&["unmount".as_ref(), &cairn.mnt()]));
}

#[test]
fn unmount_of_something_else_is_refused() {
    let cairn = Cairn::unmounted();
    let output = run(&["unmount".as_ref(), &cairn.mnt()]);
    assert!(!output.status.success() && !output.stderr.is_empty());
}

#[test]
fn mounts_are_of_our_type_without_devices_and_set_id() {
    let cairn = Cairn::start();
    let found = mounts::below(&cairn.mnt());
    assert_eq!(found.len(), 2);
    for mount in &found {
        assert_eq!(mount.kind, "fuse.cairn");
        for option in ["nosuid", "nodev"] {
            assert!(mount.options.split(',').any(|found| found == option), "{mount:?}");
        }
    }
    let versions = found.iter().find(|mount| mount.path == cairn.versions("")).unwrap();
    assert!(versions.options.split(',').any(|option| option == "ro"), "{versions:?}");
}

#[test]
fn root_s_mounts_read_ahead_as_much_as_a_request_holds() {
    let cairn = Cairn::start();
    for path in [cairn.mnt(), cairn.mnt().join("versions")] {
        let device = fs::metadata(&path).unwrap().dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        // Containers may not let even root say so.
        let may_set = File::options().write(true).open(&setting).is_ok();
        let expected = if may_set { "1024" } else { "128" };
        assert_eq!(fs::read_to_string(&setting).unwrap().trim(), expected);
    }
}

#[test]
fn read_only_mounts_show_versions_and_refuse_the_rest() {
    let mut cairn = Cairn::start();
    fs::write(cairn.area("lib", "v1").join("f"), "x").unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn.stop();
    let (store, mnt) = (cairn.store(), cairn.mnt());
    succeeds(&run(&["mount".as_ref(), "--read-only".as_ref(), &store, &mnt]));
    assert_eq!(fs::read(cairn.tags("lib/latest/f")).unwrap(), b"x");
    assert_eq!(errno(fs::create_dir(cairn.staging("new"))), Errno::ROFS);
    assert_eq!(errno(fs::remove_file(cairn.tags("lib/v1"))), Errno::ROFS);
    succeeds(&run(&["unmount".as_ref(), &mnt]));
}

#[test]
fn the_root_and_versions_survive_being_looked_at_all_the_time() {
    let cairn = Cairn::start();
    // A failed revalidation of `versions` would detach the inner mount (H17).
    for round in 0..200 {
        fs::create_dir(cairn.staging(format!("r{round}"))).unwrap();
        assert_eq!(fs::read_dir(cairn.mnt()).unwrap().count(), 3);
        assert_eq!(fs::read_dir(cairn.versions("")).unwrap().count(), round + 1);
    }
    assert_eq!(mounts::below(&cairn.mnt()).len(), 2);
}

/// H16: as a user without privileges, through fusermount3.
#[test]
fn a_user_without_privileges_mounts_too() {
    let cairn = Cairn::unmounted();
    let home = cairn.scratch().join("user");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(&home, 0o755);
    // The build directory may be closed to others.
    let program = cairn.scratch().join("cairn");
    fs::copy(binary(), &program).unwrap();
    set_mode(&program, 0o755);
    let output = as_nobody_with_fuse(
        "set -e; cd \"$2\"; mkdir mnt; \"$1\" init store >&2; \"$1\" mount store mnt >&2; \
         trap '\"$1\" unmount mnt >&2; ! grep \"$2\" /proc/self/mountinfo' EXIT; \
         mkdir -p mnt/staging/lib/v1; echo theirs > mnt/staging/lib/v1/f; \
         mv mnt/staging/lib/v1 mnt/tags/lib/; cat mnt/tags/lib/latest/f mnt/versions/lib/1/f; \
         ! touch mnt/versions/lib/1/g 2>/dev/null",
        &[&program, &home],
    );
    succeeds(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "theirs\ntheirs\n", "{output:?}");
}

/// Runs a shell line as nobody, in a mount namespace where anybody may open `/dev/fuse`, as usual
/// on desktops and servers; containers often keep it for root.
fn as_nobody_with_fuse(line: &str, arguments: &[&Path]) -> Output {
    let outer = "set -e; mount -t tmpfs -o dev,mode=755 tmpfs /mnt; mknod /mnt/fuse c 10 229; \
        chmod 666 /mnt/fuse; mount --bind /mnt/fuse /dev/fuse; line=$1; shift; \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$line\" sh \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", outer, "sh", line]).args(arguments).current_dir("/");
    command.output().unwrap()
}

#[test]
fn the_log_names_no_error_in_ordinary_work() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    for index in 0..100 {
        fs::write(area.join(format!("f{index}")), format!("{index}")).unwrap();
    }
    // What runtimes ask of each file they open, and shells of their input.
    let probed = fs::File::open(area.join("f1")).unwrap();
    assert!(!std::io::IsTerminal::is_terminal(&probed));
    let mut fds = [rustix::event::PollFd::new(&probed, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, None).unwrap(), 1);
    drop(probed);
    cairn.publish("lib", "a").unwrap();
    wait::until("the mount is idle", || cairn.is_usable());
    cairn.stop();
    let log = cairn.log();
    for alarm in ["ERROR", "WARN", "panicked"] {
        assert!(!log.contains(alarm), "{log}");
    }
}
