//! A full disk: writers are told, nothing old is lost, and deletions still run and free it (R3).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use support::{Cairn, content, errno, wait};

const DISK_BYTES: u64 = 96 << 20;

/// A small file system of its own in a directory.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Self {
        fs::create_dir(at).unwrap();
        let size = format!("size={DISK_BYTES},mode=0755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at).status();
        assert!(mounted.unwrap().success(), "this test needs root: it mounts a tmpfs");
        Self(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status().unwrap();
        if !std::thread::panicking() {
            assert!(unmounted.success(), "the small disk stays mounted");
        }
    }
}

fn write(path: &Path, seed: u64, size: usize) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(&content::bytes(seed, size))?;
    file.sync_all()
}

#[test]
fn deletions_and_collection_free_a_full_disk() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = scratch.path().join("disk");
    let _disk = SmallDisk::mount(&at);
    let cairn = Cairn::start_in(&at);
    for version in 1..=4_u64 {
        let area = cairn.area("lib", &format!("v{version}"));
        write(&area.join("f"), version, 10 << 20).unwrap();
        cairn.publish("lib", &format!("v{version}")).unwrap();
    }
    let area = cairn.area("lib", "work");
    let mut written: u64 = 100;
    let full = loop {
        match write(&area.join(written.to_string()), written, 4 << 20) {
            Ok(()) => written += 1,
            Err(error) => break errno(Err::<(), _>(error)),
        }
        assert!(written < 200, "the disk never gets full");
    };
    assert_eq!(full, Errno::NOSPC);
    for version in 1..=4_u64 {
        let found = fs::read(cairn.versions(format!("lib/{version}/f"))).unwrap();
        assert!(found == content::bytes(version, 10 << 20), "version {version}");
    }
    cairn.cli(&["delete", "lib/1-2"]);
    let mut freed = 0;
    wait::until("the space of both is back", || {
        // Whether it comes to its end depends on how full the disk is: the first ones make room.
        let run = cairn.run(&["gc", "--wait", "--protect", "0", "--json"]);
        let run: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        freed += run["freed_bytes"].as_u64().unwrap();
        freed >= 20 << 20
    });
    for number in 100..written {
        let found = fs::read(area.join(number.to_string())).unwrap();
        assert!(found == content::bytes(number, 4 << 20), "what was fsynced: {number}");
    }
    fs::remove_file(area.join(written.to_string())).unwrap();
    // Writers hear that there is room at the latest when what waits has been written.
    wait::until("there is room", || write(&area.join("last"), 7, 8 << 20).is_ok());
    cairn.publish("lib", "work").unwrap();
    assert!(fs::read(cairn.versions("lib/5/last")).unwrap() == content::bytes(7, 8 << 20));
}

/// Takes all the room that is left, as somebody else would.
fn fill(disk: &Path) {
    let mut file = fs::File::options().create(true).append(true).open(disk.join("other")).unwrap();
    let mut chunk = &[1_u8; 1 << 20][..];
    while !chunk.is_empty() {
        match file.write(chunk) {
            Ok(0) => chunk = &chunk[..chunk.len() / 2],
            Ok(_) => {}
            Err(error) => {
                assert_eq!(errno(Err::<(), _>(error)), Errno::NOSPC);
                chunk = &chunk[..chunk.len() / 2];
            }
        }
    }
}

fn free_bytes(disk: &Path) -> u64 {
    let space = rustix::fs::statvfs(disk).unwrap();
    space.f_bavail * space.f_frsize
}

/// A small disk with versions of 8 MiB each.
fn with_versions(at: &Path, count: u64) -> Cairn {
    let cairn = Cairn::start_in(at);
    for version in 1..=count {
        let area = cairn.area("lib", &format!("v{version}"));
        write(&area.join("f"), version, 8 << 20).unwrap();
        cairn.publish("lib", &format!("v{version}")).unwrap();
    }
    cairn
}

#[test]
fn a_disk_that_others_fill_to_the_last_byte_lets_versions_be_deleted() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = scratch.path().join("disk");
    let _disk = SmallDisk::mount(&at);
    let mut cairn = with_versions(&at, 4);
    let reserve = cairn.store().join("reserve");
    for round in 1..=3_u64 {
        cairn.stop();
        // Neither a reserve nor a free byte is left, whatever a start or a stop lets go.
        drop(fs::remove_file(&reserve));
        for start in 0..3 {
            fill(&at);
            assert_eq!(free_bytes(&at), 0);
            cairn.mount();
            let found = fs::read(cairn.versions(format!("lib/{round}/f"))).unwrap();
            assert!(found == content::bytes(round, 8 << 20));
            fill(&at);
            if start == 1 {
                cairn.kill9_and_unmount();
            } else {
                cairn.stop();
            }
        }
        cairn.mount();
        cairn.cli(&["delete", &format!("lib/{round}")]);
        let run = cairn.json(&["gc", "--wait", "--protect", "0"]);
        assert_eq!(run["freed_bytes"], 8 << 20, "round {round}: {run}");
        cairn.restart();
        assert!(!cairn.versions(format!("lib/{round}")).exists());
        assert!(free_bytes(&at) > 0, "the space of round {round} is back");
    }
    assert!(fs::read(cairn.versions("lib/4/f")).unwrap() == content::bytes(4, 8 << 20));
    fs::remove_file(at.join("other")).unwrap();
    let is_whole = || fs::metadata(&reserve).is_ok_and(|found| found.len() == 8 << 20);
    wait::until("the reserve is back", is_whole);
    write(&cairn.area("lib", "last").join("f"), 9, 8 << 20).unwrap();
    cairn.publish("lib", "last").unwrap();
}

#[test]
fn the_reserve_grows_with_the_room_that_comes_back() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = scratch.path().join("disk");
    let _disk = SmallDisk::mount(&at);
    let mut cairn = with_versions(&at, 1);
    let reserve = cairn.store().join("reserve");
    cairn.stop();
    fs::remove_file(&reserve).unwrap();
    fill(&at);
    cairn.mount();
    assert!(!reserve.exists());
    let other = fs::File::options().write(true).open(at.join("other")).unwrap();
    other.set_len(other.metadata().unwrap().len() - (9 << 20)).unwrap();
    let length = || fs::metadata(&reserve).map_or(0, |found| found.len());
    wait::until("a part of the room is set aside", || length() > 0);
    assert!((1 << 20..=3 << 20).contains(&length()), "{}", length());
    drop(other);
    fs::remove_file(at.join("other")).unwrap();
    wait::until("the reserve is whole", || length() == 8 << 20);
}

#[test]
fn the_collection_at_start_leaves_the_reserve_to_whoever_deletes() {
    use std::os::unix::fs::MetadataExt;
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = scratch.path().join("disk");
    let _disk = SmallDisk::mount(&at);
    let mut cairn = with_versions(&at, 3);
    let reserve = cairn.store().join("reserve");
    // Protected for now, and garbage for a daemon that protects nothing.
    cairn.cli(&["delete", "lib/1"]);
    cairn.stop();
    let inode = fs::metadata(&reserve).unwrap().ino();
    cairn.set_arguments(&["--protect", "0"]);
    fill(&at);
    cairn.mount();
    wait::until("the first collection has made room", || free_bytes(&at) >= 8 << 20);
    assert_eq!(fs::metadata(&reserve).unwrap().ino(), inode, "the room in the log did");
    cairn.cli(&["delete", "lib/2"]);
    cairn.cli(&["gc", "--wait"]);
    assert!(free_bytes(&at) >= 16 << 20);
}
