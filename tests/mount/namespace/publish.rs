//! H7, H9: publishing by `mv` while files are hashed holds nobody up, and can be ended.
//!
//! Sealers of large files are held at a stop point, which stands for as much content as one likes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use cairn::engine::commit::SEAL_STALL_MAX;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use support::cairn::binary;
use support::{Cairn, content, errno, wait};

/// More than a file in memory may have.
const LARGE: usize = 3 << 20;

/// A daemon whose sealers of large files wait while a file exists.
struct Held {
    cairn: Cairn,
    hold: PathBuf,
}

impl Held {
    fn start() -> Self {
        let mut cairn = Cairn::unmounted();
        let hold = cairn.scratch().join("hold");
        File::create(&hold).unwrap();
        let held = format!("LargeTurn:{}", hold.display());
        cairn.set_env("CAIRN_HOLD", Some(&held));
        cairn.mount();
        Self { cairn, hold }
    }

    /// An area with a closed file that is to be hashed: it was not written in order.
    fn area(&self, name: &str) -> PathBuf {
        let area = self.cairn.area("lib", name);
        let file = File::create(area.join("f")).unwrap();
        let bytes = content::bytes(1, LARGE);
        for half in [LARGE / 2..LARGE, 0..LARGE / 2] {
            file.write_all_at(&bytes[half.clone()], half.start as u64).unwrap();
        }
        area
    }

    fn release(&self) {
        if self.hold.exists() {
            fs::remove_file(&self.hold).unwrap();
        }
    }

    fn check_published(&self, name: &str) {
        let published = fs::read(self.cairn.tags("lib").join(name).join("f")).unwrap();
        assert!(published == content::bytes(1, LARGE));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Starts `mv` and waits until it waits for the daemon.
fn mv(from: &Path, to: &Path) -> Child {
    let mut command = Command::new("mv");
    let child = command.arg(from).arg(to).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/wchan", child.id());
    let waits = || fs::read_to_string(&status).is_ok_and(|place| place.contains("request_wait"));
    // Its other requests are answered at once.
    let mut times = 0;
    wait::until("mv waits", || {
        times = if waits() { times + 1 } else { 0 };
        times == 25
    });
    child
}

/// It ended for the reason that the test is about: a wait for seals ends by itself as well, once nothing
/// has been hashed for [`SEAL_STALL_MAX`].
#[track_caller]
fn assert_before_the_stall(began: Instant) {
    let elapsed = began.elapsed();
    assert!(elapsed < SEAL_STALL_MAX * 3 / 4, "it ended after {elapsed:?}");
}

/// What others do in the mount meanwhile, each in a process that would hang.
fn check_strangers(cairn: &Cairn, round: &str) {
    let line = format!(
        "set -e; ls tags/lib; mkdir staging/lib/{round}; mkdir -p staging/other/{round}/a/b
        echo x > staging/other/{round}/a/f; mv staging/other/{round}/a/f staging/other/{round}/a/b/
        mv staging/other/{round} tags/other/; cat tags/other/{round}/a/b/f; mkdir staging/{round}"
    );
    let mut child =
        Command::new("sh").args(["-c", &line]).current_dir(cairn.mnt()).spawn().unwrap();
    let mut status = None;
    wait::until("others get on", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}

#[test]
fn h7_a_publication_that_waits_for_seals_holds_nobody_up() {
    let held = Held::start();
    let area = held.area("big");
    let mut publisher = mv(&area, &held.cairn.tags("lib"));
    for round in ["one", "two"] {
        check_strangers(&held.cairn, round);
    }
    assert!(publisher.try_wait().unwrap().is_none(), "it waits");
    held.release();
    let output = publisher.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    held.check_published("big");
    assert_eq!(errno(fs::metadata(&area)), Errno::NOENT);
}

#[test]
fn h7_a_publication_that_waits_for_seals_can_be_killed() {
    let held = Held::start();
    for (name, signal) in [("killed", Signal::KILL), ("ended", Signal::TERM)] {
        let area = held.area(name);
        let mut publisher = mv(&area, &held.cairn.tags("lib"));
        let began = Instant::now();
        kill_process(Pid::from_child(&publisher), signal).unwrap();
        let status = publisher.wait().unwrap();
        assert_before_the_stall(began);
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(area.join("f").exists(), "it is not published");
    }
    held.release();
    for name in ["killed", "ended"] {
        fs::rename(held.cairn.staging("lib").join(name), held.cairn.tags("lib").join(name))
            .unwrap();
        held.check_published(name);
    }
}

#[test]
fn h7_a_publication_that_cannot_be_put_off_is_refused_in_time() {
    let held = Held::start();
    let area = held.area("big");
    // No part of its paths is looked up: both begin in the two directories.
    let tags = held.cairn.tags("lib");
    let line = "exec 9< \"$1\"; exec mv big /proc/self/fd/9/";
    let mut command = Command::new("sh");
    command.args(["-c", line, "sh"]).arg(&tags).current_dir(area.parent().unwrap());
    let began = Instant::now();
    let output = command.output().unwrap();
    assert_before_the_stall(began);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("busy"), "{text}");
    let mut reason = [0; 256];
    let length = rustix::fs::getxattr(&area, "user.cairn.error", &mut reason[..]).unwrap();
    let reason = String::from_utf8_lossy(&reason[..length]);
    assert!(reason.contains("still being hashed"), "{reason}");
    held.release();
    fs::rename(&area, tags.join("big")).unwrap();
    held.check_published("big");
}

#[test]
fn h7_a_rename_in_an_area_that_is_committed_does_not_hold_others_up_for_long() {
    let held = Held::start();
    let area = held.area("big");
    for directory in ["one", "two"] {
        fs::create_dir(area.join(directory)).unwrap();
    }
    fs::write(area.join("one/f"), "x").unwrap();
    let mut commit = Command::new(binary());
    commit.arg("--store").arg(held.cairn.store()).args(["commit", "lib/big"]);
    let commit = commit.stdout(Stdio::null()).spawn().unwrap();
    let (mut from, mut to) = (area.join("one/f"), area.join("two/f"));
    wait::until("a rename meets the frozen area", || {
        let moved = fs::rename(&from, &to);
        std::mem::swap(&mut from, &mut to);
        moved.is_err_and(|error| error.raw_os_error() == Some(Errno::BUSY.raw_os_error()))
    });
    check_strangers(&held.cairn, "meanwhile");
    held.release();
    let output = commit.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    held.check_published("big");
}

#[test]
fn r8_a_daemon_ends_although_a_publication_waits_for_a_seal_of_hours() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "sparse");
    File::create(area.join("f")).unwrap().set_len(4 << 40).unwrap();
    let mut publisher = mv(&area, &cairn.tags("lib"));
    cairn.stop();
    assert!(!publisher.wait().unwrap().success());
    cairn.mount();
    assert_eq!(fs::metadata(area.join("f")).unwrap().len(), 4 << 40);
}

#[test]
fn h9_a_sparse_file_of_terabytes_keeps_nobody_from_publishing() {
    let cairn = Cairn::start();
    let sparse = cairn.area("one", "sparse").join("f");
    File::create(&sparse).unwrap().set_len(4 << 40).unwrap();
    for (repository, name) in [("two", "other"), ("one", "same")] {
        let area = cairn.area(repository, name);
        let bytes = content::bytes(2, 2_000_000);
        fs::write(area.join("f"), &bytes).unwrap();
        fs::rename(&area, cairn.tags(repository).join(name)).unwrap();
        assert!(fs::read(cairn.tags(repository).join(name).join("f")).unwrap() == bytes);
    }
    assert!(sparse.exists());
}

#[test]
fn h9_a_file_has_a_largest_size() {
    let cairn = Cairn::start_with(&["--max-file-size", "4M"]);
    let area = cairn.area("lib", "a");
    let path = area.join("f");
    let file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    let max = 4 << 20;
    file.set_len(max).unwrap();
    assert_eq!(errno(file.set_len(max + 1)), Errno::FBIG);
    assert_eq!(errno(file.write_at(b"x", max)), Errno::FBIG);
    let allocate = |mode, offset, length| rustix::fs::fallocate(&file, mode, offset, length);
    let none = rustix::fs::FallocateFlags::empty();
    assert_eq!(allocate(none, max - 4096, 8192), Err(Errno::FBIG));
    assert_eq!(fs::metadata(&path).unwrap().len(), max);
    file.write_at(b"x", max - 1).unwrap();
    allocate(none, max - 4096, 4096).unwrap();
    let source = File::options().read(true).open(&path).unwrap();
    let copied =
        rustix::fs::copy_file_range(&source, Some(&mut 0), &file, Some(&mut max.clone()), 1);
    assert_eq!(copied, Err(Errno::FBIG));
    drop((file, source));
    fs::rename(&area, cairn.tags("lib/a")).unwrap();
    assert_eq!(fs::metadata(cairn.versions("lib/1/f")).unwrap().len(), max);
}
