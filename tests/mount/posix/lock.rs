//! flock(2), fcntl(2) locks

use std::fs::File;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, fcntl_lock};

use support::{Area, wait};

#[test]
fn flock_excludes_other_handles() {
    let area = Area::new();
    let path = area.file("f", "x");
    let (first, second) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    first.lock().unwrap();
    assert!(matches!(second.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    first.unlock().unwrap();
    second.try_lock().unwrap();
}

#[test]
fn shared_locks_coexist() {
    let area = Area::new();
    let path = area.file("f", "x");
    let (first, second) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    first.lock_shared().unwrap();
    second.try_lock_shared().unwrap();
    let third = File::open(&path).unwrap();
    assert!(third.try_lock().is_err());
}

#[test]
fn closing_releases() {
    let area = Area::new();
    let path = area.file("f", "x");
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    drop(holder);
    let second = File::open(&path).unwrap();
    wait::until("the lock of a closed file is free", || second.try_lock().is_ok());
}

#[test]
fn another_process_waits_for_the_lock() {
    let area = Area::new();
    let path = area.file("f", "x");
    let holder = File::open(&path).unwrap();
    holder.lock().unwrap();
    let refused = Command::new("flock").arg("-n").arg(&path).arg("true").status().unwrap();
    assert!(!refused.success());
    let mut waiter =
        Command::new("flock").arg(&path).arg("true").stdin(Stdio::null()).spawn().unwrap();
    assert!(waiter.try_wait().unwrap().is_none());
    holder.unlock().unwrap();
    assert!(waiter.wait().unwrap().success());
}

#[test]
fn record_locks_exclude_other_processes() {
    let area = Area::new();
    let path = area.file("f", "x");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    // Perl packs the same lock request in another process.
    let script = "use Fcntl; open(my $f, '+<', $ARGV[0]) or die; \
        my $lock = pack('s s l! l! i', F_WRLCK, 0, 0, 0, 0); \
        exit(fcntl($f, F_SETLK, $lock) ? 0 : 3);";
    let run = || Command::new("perl").args(["-e", script]).arg(&path).status().unwrap();
    assert_eq!(run().code(), Some(3));
    fcntl_lock(&file, FlockOperation::NonBlockingUnlock).unwrap();
    assert_eq!(run().code(), Some(0));
}
