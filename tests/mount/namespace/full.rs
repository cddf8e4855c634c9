//! A full disk: writers are told, nothing old is lost, and deletions still run and free it (R3).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use crate::common::{Cairn, content, errno, wait};

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
