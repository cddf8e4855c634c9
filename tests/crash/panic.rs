//! A panic costs the request that met it, or all further changes, but never an answer (R8, R4)

use std::fs::{self, File};
use std::io;
use std::io::Write;
use std::sync::mpsc;

use rustix::io::Errno;

use support::check::errno_of;
use support::{Cairn, errno, fsck, wait};

const PANIC: &str = "CAIRN_PANIC";

fn panicking(place: &str, at: u32) -> Cairn {
    let mut cairn = Cairn::unmounted();
    cairn.set_env(PANIC, Some(&format!("{place}:{at}")));
    cairn
}

fn has_panicked(cairn: &Cairn, place: &str) -> bool {
    cairn.log().contains(&format!("CAIRN_PANIC asks for it at {place}"))
}

/// Runs `body` on a thread and fails when it does not come back.
fn returns<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = mpsc::channel();
    std::thread::spawn(move || sender.send(body()));
    let result = result.recv_timeout(wait::PATIENCE);
    result.unwrap_or_else(|error| panic!("{what} does not come back: {error}"))
}

/// Repeats `step` until it fails, which must be with EIO.
fn until_refused(mut step: impl FnMut(u32) -> io::Result<()>) {
    let (mut number, began) = (0, std::time::Instant::now());
    let refused = loop {
        number += 1;
        assert!(began.elapsed() < wait::PATIENCE, "the panic never came");
        if let Err(error) = step(number) {
            break error;
        }
    };
    assert_eq!(errno_of(&refused), Errno::IO);
}

/// Stops the daemon although its store may refuse changes, and mounts again without the fault.
fn restart(cairn: &mut Cairn) {
    cairn.stop();
    cairn.set_env(PANIC, None);
    cairn.mount();
}

#[test]
fn one_request_fails_and_the_mount_goes_on() {
    type Step = fn(&std::path::Path, u32) -> io::Result<()>;
    let steps: [(&str, Step); 8] = [
        ("create", |area, n| File::create(area.join(format!("new{n}"))).map(drop)),
        ("mkdir", |area, n| fs::create_dir(area.join(format!("dir{n}")))),
        ("write", |area, _| fs::write(area.join("file"), "x")),
        ("rename", |area, n| {
            fs::write(area.join("from"), "x")?;
            fs::rename(area.join("from"), area.join(format!("to{n}")))
        }),
        ("setattr", |area, n| support::area::try_set_mode(area, 0o700 + n % 8)),
        ("setxattr", |area, _| {
            let none = rustix::fs::XattrFlags::empty();
            Ok(rustix::fs::setxattr(area, "user.x", b"x", none)?)
        }),
        ("opendir", |area, _| fs::read_dir(area)?.try_for_each(|entry| entry.map(drop))),
        ("fsync", |area, _| File::create(area.join("synced"))?.sync_all()),
    ];
    for (place, step) in steps {
        // Late enough that the mount is usable: looking at that takes a few requests.
        let mut cairn = panicking(place, 300);
        cairn.mount();
        let area = cairn.area("lib", "v1");
        until_refused(|number| step(&area, number));
        assert!(has_panicked(&cairn, place), "{place}\n{}", cairn.log());
        step(&area, 100_000).unwrap();
        fs::write(area.join("last"), "after the panic").unwrap();
        cairn.publish("lib", "v1").unwrap();
        restart(&mut cairn);
        assert_eq!(fs::read(cairn.versions("lib/1/last")).unwrap(), b"after the panic");
        cairn.stop();
        fsck::check_store(&cairn.store());
    }
}

#[test]
fn what_the_kernel_asks_again_is_answered_then() {
    // A lookup of a name that it had, and what it reads ahead.
    for place in ["lookup", "read"] {
        let mut cairn = panicking(place, 300);
        cairn.mount();
        let area = cairn.area("lib", "v1");
        let mut number = 0;
        wait::until("the panic comes", || {
            number += 1;
            let path = area.join(format!("file{number}"));
            let read = || -> io::Result<Vec<u8>> {
                fs::write(&path, "text")?;
                rustix::fs::fadvise(File::open(&path)?, 0, None, rustix::fs::Advice::DontNeed)?;
                fs::read(&path)
            };
            match read() {
                Ok(text) => assert_eq!(text, b"text"),
                Err(error) => assert_eq!(errno_of(&error), Errno::IO),
            }
            number % 100 == 0 && has_panicked(&cairn, place)
        });
        fs::write(area.join("file"), "x").unwrap();
        cairn.publish("lib", "v1").unwrap();
        cairn.stop();
        fsck::check_clean_store(&cairn.store());
    }
}

#[test]
fn work_in_the_background_goes_on_or_is_repeated() {
    for place in
        ["seal", "build", "invalidate", "account", "sweep", "scrub", "control", "on-commit"]
    {
        let mut cairn = panicking(place, 1);
        cairn.set_arguments(&["--on-commit", "true", "--scrub-period", "1s"]);
        cairn.mount();
        let area = cairn.area("lib", "v1");
        fs::write(area.join("file"), "text").unwrap();
        let published = cairn.publish("lib", "v1");
        if let Err(error) = published {
            assert_eq!((place, errno_of(&error)), ("build", Errno::IO));
            fs::write(area.join("more"), "the area has thawed").unwrap();
            cairn.publish("lib", "v1").unwrap();
        }
        let first = cairn.run(&["gc", "--full", "--wait"]);
        let may_fail = ["control", "account", "sweep"].contains(&place);
        assert!(first.status.success() || may_fail, "{place}: {first:?}");
        cairn.cli(&["gc", "--full", "--wait"]);
        wait::until("the panic has come", || has_panicked(&cairn, place));
        let area = cairn.area("lib", "v2");
        fs::write(area.join("file"), "more text").unwrap();
        cairn.publish("lib", "v2").unwrap();
        restart(&mut cairn);
        assert_eq!(fs::read(cairn.versions("lib/1/file")).unwrap(), b"text", "{place}");
        assert_eq!(fs::read(cairn.versions("lib/2/file")).unwrap(), b"more text", "{place}");
        cairn.stop();
        fsck::check_store(&cairn.store());
    }
}

/// A store with version 1 of `lib`, whose daemon will panic at `place`.
fn published(place: &str, at: u32) -> Cairn {
    let mut cairn = Cairn::unmounted();
    cairn.mount();
    let area = cairn.area("lib", "v1");
    fs::write(area.join("file"), "text").unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn.stop();
    cairn.set_env(PANIC, Some(&format!("{place}:{at}")));
    cairn.mount();
    cairn
}

/// What a poisoned store still does and what it refuses, and that a restart heals it.
fn is_poisoned(mut cairn: Cairn, place: &str) {
    assert!(has_panicked(&cairn, place), "{place}\n{}", cairn.log());
    assert_eq!(fs::read(cairn.versions("lib/1/file")).unwrap(), b"text");
    assert_eq!(errno(fs::create_dir(cairn.staging("other"))), Errno::IO, "{place}");
    let area = cairn.staging("lib/draft");
    assert_eq!(errno(File::create(area.join("refused"))), Errno::IO, "{place}");
    let message = cairn.cli_fails(&["create", "other"]);
    assert!(message.contains("refuses changes"), "{place}: {message}");
    assert!(cairn.cli(&["versions", "lib"]).contains('1'));
    restart(&mut cairn);
    fs::write(cairn.staging("lib/draft/after"), "x").unwrap();
    cairn.publish("lib", "draft").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/1/file")).unwrap(), b"text");
    assert_eq!(fs::read(cairn.versions("lib/2/kept")).unwrap(), b"kept", "{place}");
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn the_metadata_thread_poisons_the_store_and_answers_all_who_wait() {
    for (place, at) in [("metadata", 60), ("journal", 20), ("sync", 20), ("namespace", 300)] {
        let cairn = published(place, at);
        let area = cairn.area("lib", "draft");
        fs::write(area.join("kept"), "kept").unwrap();
        File::open(area.join("kept")).unwrap().sync_all().unwrap();
        // Several wait at once, for different things, when it happens.
        let fsyncs = [1, 2].map(|name| {
            let path = area.join(format!("fsync{name}"));
            std::thread::spawn(move || {
                until_refused(|_| {
                    let mut file = File::create(&path)?;
                    file.write_all(b"x")?;
                    file.sync_all()
                });
            })
        });
        let staging = cairn.staging("");
        returns("mkdir of repositories", move || {
            until_refused(|number| fs::create_dir(staging.join(format!("{place}{number}"))));
        });
        returns("fsync", move || fsyncs.map(|thread| thread.join().unwrap()));
        is_poisoned(cairn, place);
    }
}

#[test]
fn what_waits_for_a_commit_that_never_ends_is_answered() {
    let cairn = published("commit", 1);
    let area = cairn.area("lib", "draft");
    fs::write(area.join("kept"), "kept").unwrap();
    File::open(area.join("kept")).unwrap().sync_all().unwrap();
    // Some of these meet the frozen area and wait for the commit.
    let writer = std::thread::spawn({
        let area = area.clone();
        move || until_refused(|number| fs::create_dir(area.join(format!("dir{}", number % 500))))
    });
    let (from, to) = (area, cairn.tags("lib/draft"));
    let renamed = returns("the commit", move || fs::rename(from, to));
    assert_eq!(errno(renamed), Errno::IO);
    returns("a change of the area", move || writer.join().unwrap());
    is_poisoned(cairn, "commit");
}
