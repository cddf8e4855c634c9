//! A daemon that is stopped for a while, or for good: nothing is lost, nobody waits for ever (R8)

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;

use support::cairn::binary;
use support::check::errno_of;
use support::{Cairn, content, errno, fsck, wait};

/// Longer than any grace that a held daemon could mistake for patience.
const HELD: Duration = Duration::from_secs(3);

fn hold(cairn: &Cairn) {
    cairn.signal(Signal::STOP);
    wait::until("the daemon is stopped", || {
        is_state(&fs::read_to_string(format!("/proc/{}/stat", cairn.pid())).unwrap(), 'T')
    });
}

/// Whether the state of a thread or process in its `stat` is `state` (proc(5)).
fn is_state(stat: &str, state: char) -> bool {
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(state))
}

fn held_for_a_while() {
    assert!(!wait::within(HELD, || false));
}

/// Runs the binary; fails when it does not end.
fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).args(paths).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = wait::within(wait::PATIENCE, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
    }
    assert!(ended, "cairn {arguments:?} hangs");
    child.wait_with_output().unwrap()
}

/// Writes files from `first` on until `count` are there or one fails.
fn writes(area: &Path, count: u64) -> JoinHandle<io::Result<()>> {
    let area = area.to_owned();
    std::thread::spawn(move || {
        (0..count).try_for_each(|n| {
            let mut file = File::create(area.join(n.to_string()))?;
            file.write_all(&content::bytes(n, 3000))
        })
    })
}

#[test]
fn held_for_a_while_it_loses_nothing() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    let writer = writes(&area, 3000);
    wait::until("it writes", || area.join("200").exists());
    hold(&cairn);
    held_for_a_while();
    cairn.signal(Signal::CONT);
    writer.join().unwrap().unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn.restart();
    for n in 0..3000 {
        let found = fs::read(cairn.versions("lib/1").join(n.to_string())).unwrap();
        assert!(found == content::bytes(n, 3000), "file {n} differs");
    }
    cairn.stop();
    fsck::check_clean_store(&cairn.store());
}

#[test]
fn a_commit_gives_writers_the_grace_that_the_daemon_was_held_for() {
    let cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    wait::until("the daemon is held within the grace of a commit", || {
        let writer = File::create(area.join("file")).unwrap();
        let (from, to) = (area.clone(), cairn.tags("lib/v1"));
        let (send, thread) = std::sync::mpsc::channel();
        let rename = std::thread::spawn(move || {
            send.send(rustix::thread::gettid()).unwrap();
            fs::rename(from, to)
        });
        let stat = format!("/proc/self/task/{}/stat", thread.recv().unwrap());
        wait::until("the commit waits for the writer", || {
            // An ended thread has no such file: it came to the end of the grace.
            fs::read_to_string(&stat).map_or(true, |stat| !is_state(&stat, 'R'))
        });
        // By the time that this is answered the daemon has also taken up what was asked before.
        cairn.cli(&["status"]);
        hold(&cairn);
        drop(writer);
        held_for_a_while();
        // Held only after the grace: the commit had been refused, and rightly.
        let too_late = rename.is_finished();
        cairn.signal(Signal::CONT);
        let renamed = rename.join().unwrap();
        assert!(too_late || renamed.is_ok(), "{renamed:?}");
        renamed.is_ok()
    });
}

#[test]
fn killed_while_it_is_held_its_clients_get_errors() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    fs::write(area.join("file"), "text").unwrap();
    cairn.publish("lib", "v1").unwrap();
    let area = cairn.area("lib", "work");
    let file = File::create(area.join("open")).unwrap();
    let writer = writes(&area, u64::MAX);
    wait::until("it writes", || area.join("50").exists());
    hold(&cairn);
    let listing = std::thread::spawn({
        let path = cairn.tags("");
        move || fs::read_dir(path).map(drop)
    });
    let syncing = std::thread::spawn(move || file.sync_all());
    held_for_a_while();
    cairn.kill9();
    for result in [writer.join(), listing.join(), syncing.join()] {
        let error = errno_of(&result.unwrap().unwrap_err());
        // ENOENT once the guard has taken the mount away.
        let expected = [Errno::NOTCONN, Errno::CONNABORTED, Errno::IO, Errno::NOENT];
        assert!(expected.contains(&error), "{error}");
    }
    cairn.mount();
    assert_eq!(fs::read(cairn.versions("lib/1/file")).unwrap(), b"text");
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn a_held_mount_is_detached_lazily_and_not_otherwise() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    let mut file = File::create(area.join("file")).unwrap();
    hold(&cairn);
    let refused = run(&["unmount"], &[&cairn.mnt()]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("does not answer") && message.contains("--lazy"), "{message}");
    let second = run(&["mount"], &[&cairn.store(), &cairn.mnt()]);
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && message.contains("does not answer"), "{message}");

    let store = format!("--store={}", cairn.store().display());
    let status = run(&["status", &store], &[]);
    let message = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(!status.status.success() && message.contains("does not answer"), "{message}");

    let detached = run(&["unmount", "--lazy"], &[&cairn.mnt()]);
    assert!(detached.status.success(), "{detached:?}");
    assert_eq!(fs::read_dir(cairn.mnt()).unwrap().count(), 0, "the mount point is bare");
    cairn.signal(Signal::CONT);
    // Whoever has a file open goes on, and what they write is kept.
    file.write_all(b"written after the detach").unwrap();
    drop(file);
    assert!(cairn.wait_for_exit().success(), "{}", cairn.log());
    cairn.mount();
    let kept = fs::read(cairn.staging("lib/v1/file")).unwrap();
    assert_eq!(kept, b"written after the detach");
}

#[test]
fn busy_files_do_not_keep_it_from_stopping_and_are_saved() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "v1");
    let mut file = File::create(area.join("file")).unwrap();
    file.write_all(b"never closed before the end").unwrap();
    let mut shell = Command::new("sleep").arg("1000").current_dir(&area).spawn().unwrap();
    cairn.stop();
    assert!(cairn.log().contains("is in use by"), "{}", cairn.log());
    let error = errno(file.write_all(b"too late"));
    assert!([Errno::NOTCONN, Errno::CONNABORTED].contains(&error), "{error}");
    cairn.mount();
    let kept = fs::read(cairn.staging("lib/v1/file")).unwrap();
    assert_eq!(kept, b"never closed before the end");
    shell.kill().unwrap();
    shell.wait().unwrap();
}
