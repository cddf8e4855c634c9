//! Synchronous writes (O_SYNC, O_DSYNC, RWF_SYNC, RWF_DSYNC): what was answered outlives a crash
//!
//! Through the page cache the kernel sends an FSYNC after each of them; around it, and for all that
//! is not a write, nothing. So every kind of handle is combined with every call.

use std::fs::{self, File};
use std::io::IoSlice;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, copy_file_range, fallocate, sendfile};
use rustix::io::{ReadWriteFlags, pwritev2};
use rustix::mount::{MountFlags, mount_remount};

use support::{Cairn, content};

/// rustix gives `O_SYNC`, which contains it, for this as well.
const DSYNC: OFlags = OFlags::from_bits_retain(0o10000);

/// Bytes of what is copied from.
const SOURCE_BYTES: usize = 70_000;

/// One way of changing an empty file, and what the file holds afterwards.
struct Call {
    name: &'static str,
    /// What it takes besides the ways to open a file that a test goes through.
    flags: OFlags,
    /// A handle that appends can do it.
    appends: bool,
    change: fn(&File, &File),
    expected: fn() -> Vec<u8>,
}

fn source_bytes() -> Vec<u8> {
    content::bytes(7, SOURCE_BYTES)
}

/// Longer than one request.
fn long() -> Vec<u8> {
    content::bytes(8, 2_500_000)
}

const CALLS: [Call; 9] = [
    Call {
        name: "write",
        flags: OFlags::empty(),
        appends: true,
        change: |file, _| file.write_all_at(b"short", 0).unwrap(),
        expected: || b"short".to_vec(),
    },
    Call {
        name: "long write",
        flags: OFlags::empty(),
        appends: true,
        change: |file, _| file.write_all_at(&long(), 0).unwrap(),
        expected: long,
    },
    Call {
        name: "direct write",
        flags: OFlags::DIRECT,
        appends: true,
        change: |file, _| file.write_all_at(&[b'd'; 8192], 0).unwrap(),
        expected: || vec![b'd'; 8192],
    },
    Call {
        name: "sendfile",
        flags: OFlags::empty(),
        appends: false,
        change: |file, source| {
            assert_eq!(sendfile(file, source, Some(&mut 0), 5_000).unwrap(), 5_000);
        },
        expected: || source_bytes()[..5_000].to_vec(),
    },
    Call {
        name: "copy of a whole file",
        flags: OFlags::empty(),
        appends: false,
        change: |file, source| copy(source, 0, file, SOURCE_BYTES),
        expected: source_bytes,
    },
    Call {
        name: "copy of a part",
        flags: OFlags::empty(),
        appends: false,
        change: |file, source| copy(source, 10, file, 3_000),
        expected: || source_bytes()[10..3_010].to_vec(),
    },
    Call {
        name: "fallocate",
        flags: OFlags::empty(),
        appends: true,
        change: |file, _| fallocate(file, FallocateFlags::empty(), 0, 6_000).unwrap(),
        expected: || vec![0; 6_000],
    },
    Call {
        name: "ftruncate",
        flags: OFlags::empty(),
        appends: true,
        change: |file, _| file.set_len(1_234).unwrap(),
        expected: || vec![0; 1_234],
    },
    Call {
        name: "ftruncate of what was written before",
        flags: OFlags::empty(),
        appends: true,
        change: |file, _| {
            file.write_all_at(b"0123456789", 0).unwrap();
            file.set_len(4).unwrap();
        },
        expected: || b"0123".to_vec(),
    },
];

fn copy(from: &File, mut offset: u64, to: &File, length: usize) {
    let mut at = 0;
    while at < length as u64 {
        let left = length - usize::try_from(at).unwrap();
        let copied = copy_file_range(from, Some(&mut offset), to, Some(&mut at), left).unwrap();
        assert!(copied > 0, "the source is long enough");
    }
}

fn open(path: &Path, readable: bool, flags: OFlags) -> File {
    let flags = flags.bits().cast_signed();
    File::options()
        .read(readable)
        .write(true)
        .create_new(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
}

/// Makes every call through a handle of one kind, all at once so that nothing has the time to be
/// written out by itself, kills the daemon, and looks what is there.
fn survives(readable: bool, kind: OFlags) {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let source = area.join("source");
    fs::write(&source, source_bytes()).unwrap();
    let source = File::open(source).unwrap();
    source.sync_all().unwrap();
    let appends = kind.contains(OFlags::APPEND);
    let calls = || CALLS.iter().filter(|call| call.appends || !appends);
    std::thread::scope(|scope| {
        for call in calls() {
            let path = area.join(call.name);
            let source = &source;
            scope.spawn(move || {
                let file = open(&path, readable, kind | call.flags);
                (call.change)(&file, source);
                // Still open when the daemon dies: a close would bring the content out, too.
                std::mem::forget(file);
            });
        }
    });
    cairn.crash();
    for call in calls() {
        let found = fs::read(area.join(call.name)).unwrap_or_default();
        let same = found == (call.expected)();
        assert!(same, "{} through {kind:?}: {} bytes are there", call.name, found.len());
    }
}

#[test]
fn of_handles_that_only_write() {
    for flag in [OFlags::SYNC, DSYNC] {
        survives(false, flag);
        survives(false, flag | OFlags::APPEND);
    }
}

#[test]
fn of_handles_that_read_too() {
    for flag in [OFlags::SYNC, DSYNC] {
        survives(true, flag);
        survives(true, flag | OFlags::APPEND);
    }
}

/// The second writer of a file goes through the page cache, the first around it.
#[test]
fn of_two_writers_of_one_file() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    let path = area.join("f");
    let first = open(&path, false, DSYNC);
    let mut options = File::options();
    let second = options.write(true).custom_flags(DSYNC.bits().cast_signed());
    let second = second.open(&path).unwrap();
    second.write_all_at(b"second", 5).unwrap();
    first.write_all_at(b"first", 0).unwrap();
    cairn.crash();
    drop((first, second));
    assert_eq!(fs::read(&path).unwrap(), b"firstsecond");
}

#[test]
fn of_single_writes_that_ask_for_it() {
    for readable in [false, true] {
        for kind in [OFlags::empty(), OFlags::APPEND, OFlags::DIRECT] {
            let mut cairn = Cairn::start();
            let area = cairn.area("lib", "a");
            let flags = [("dsync", ReadWriteFlags::DSYNC), ("sync", ReadWriteFlags::SYNC)];
            for (name, flag) in flags {
                let file = open(&area.join(name), readable, kind);
                let bytes = vec![b'x'; 8192];
                assert_eq!(pwritev2(&file, &[IoSlice::new(&bytes)], 0, flag).unwrap(), 8192);
                std::mem::forget(file);
            }
            cairn.crash();
            for (name, _) in flags {
                let found = fs::read(area.join(name)).unwrap();
                assert!(found == [b'x'; 8192], "{name}, {kind:?}: {} bytes", found.len());
            }
        }
    }
}

/// The kernel, not the handle, says that such writes are synchronous.
#[test]
fn of_all_writes_where_root_remounted_so() {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "a");
    mount_remount(cairn.mnt(), MountFlags::SYNCHRONOUS, c"").unwrap();
    for (name, readable) in [("w", false), ("rw", true)] {
        let file = open(&area.join(name), readable, OFlags::empty());
        file.write_all_at(b"written", 0).unwrap();
        std::mem::forget(file);
    }
    cairn.crash();
    for name in ["w", "rw"] {
        assert_eq!(fs::read(area.join(name)).unwrap(), b"written", "{name}");
    }
}
