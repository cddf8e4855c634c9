//! The disk fails, or is full: what callers hear, what goes on, and that nothing acknowledged is lost
//! (R3, R4).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::io::Errno;
use tempfile::TempDir;

use crate::check::check;
use crate::disk::{Disk, Failure};
use crate::promises::{Bytes, Promises};
use crate::volume::{Kind, Volume, isolate, pretend_reboot};
use support::{Cairn, content, errno, fsck, wait};

/// A store on a disk of its own.
struct Home {
    cairn: Cairn,
    volume: Volume,
    disk: Disk,
    blank: TempDir,
}

impl Home {
    fn new(kind: Kind, megabytes: u64) -> Self {
        isolate();
        let blank = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        kind.format(&blank.path().join("blank"), megabytes);
        let disk = Disk::attach(&blank.path().join("blank"));
        let volume = Volume::mount(kind, &disk.file());
        let mut cairn = Cairn::over(&volume.path().join("store"));
        cairn.init();
        cairn.mount();
        Self { cairn, volume, disk, blank }
    }

    /// One version, and a synced file in an area.
    fn fill(&self) -> Promises {
        let cairn = &self.cairn;
        let mut promises = Promises::default();
        let published = Bytes { seed: 1, length: 40_000 };
        fs::write(cairn.area("r0", "v1").join("f"), published.make()).unwrap();
        cairn.publish("r0", "v1").unwrap();
        promises.published.insert("v1".to_owned(), [("f".into(), published)].into());
        let synced = Bytes { seed: 2, length: 1_200_000 };
        write_synced(&cairn.area("r0", "kept").join("f"), synced).unwrap();
        promises.files.insert("r0/kept/f".into(), vec![Some(synced)]);
        promises
    }

    fn assert_readable(&self) {
        let found = fs::read(self.cairn.versions("r0/1/f")).unwrap();
        assert!(found == content::bytes(1, 40_000), "the version reads as before");
        let found = fs::read(self.cairn.staging("r0/kept/f")).unwrap();
        assert!(found == content::bytes(2, 1_200_000), "the area reads as before");
    }
}

fn write_synced(path: &Path, bytes: Bytes) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&bytes.make())?;
    file.sync_all()
}

/// After a flush that failed nobody is told that anything was kept, until a restart (R4).
fn flushes_fail(kind: Kind, failure: Failure, megabytes: u64) {
    let mut home = Home::new(kind, megabytes);
    let promises = home.fill();
    home.disk.fail(failure);
    let cairn = &home.cairn;
    let bytes = Bytes { seed: 3, length: 40_000 };
    let synced = errno(write_synced(&cairn.staging("r0/kept/late"), bytes));
    assert_eq!(synced, Errno::IO, "fsync");
    assert!(home.disk.failed() > 0, "the disk was asked");
    // From here on the store takes nothing, and says so; what it has can be read.
    assert_eq!(errno(File::create(cairn.staging("r0/kept/more"))), Errno::IO, "create");
    assert_eq!(errno(fs::create_dir(cairn.staging("r0/other"))), Errno::IO, "mkdir of an area");
    assert_eq!(errno(cairn.publish("r0", "kept")), Errno::IO, "commit");
    let said = cairn.cli_fails(&["tag", "r0/t", "1"]);
    // XFS itself ends when it cannot write its log, now or a moment later: then a command does not even find the store.
    let is_gone = kind == Kind::Xfs && said.contains("Input/output error");
    assert!(is_gone || said.contains("restart the daemon"), "{said}");
    if kind != Kind::Xfs {
        cairn.cli(&["status"]);
        home.assert_readable();
    }
    home.cairn.kill9_and_unmount();
    // The disk is repaired; what it had not flushed is gone.
    let image = home.blank.path().join("image");
    home.disk.surface().image(&image, crate::disk::Loss::All);
    home.disk.fail(Failure::None);
    pretend_reboot();
    let volume = Volume::mount(kind, &image);
    check(&volume.path().join("store"), &[promises]);
}

#[test]
fn flushes_on_ext4() {
    flushes_fail(Kind::Ext4, Failure::Flushes, 128);
}

#[test]
fn writes_on_ext4() {
    flushes_fail(Kind::Ext4, Failure::Writes, 128);
}

#[test]
fn writes_on_xfs() {
    flushes_fail(Kind::Xfs, Failure::Writes, 400);
}

/// The disk is gone: nobody hangs, and the daemon ends when told to.
#[test]
fn the_disk_is_gone() {
    let mut home = Home::new(Kind::Ext4, 128);
    let promises = home.fill();
    let cold = home.cairn.versions("r0/1/f");
    home.disk.fail(Failure::All);
    let bytes = Bytes { seed: 3, length: 40_000 };
    let path = home.cairn.staging("r0/kept/late");
    assert_eq!(errno(write_synced(&path, bytes)), Errno::IO, "fsync");
    // Cached or not: it is right, or it is EIO.
    match fs::read(&cold) {
        Ok(found) => assert!(found == content::bytes(1, 40_000)),
        Err(error) => assert_eq!(errno(Err::<(), _>(error)), Errno::IO),
    }
    home.cairn.cli(&["status"]);
    home.cairn.signal(rustix::process::Signal::TERM);
    home.cairn.wait_for_exit();
    let image = home.blank.path().join("image");
    home.disk.surface().image(&image, crate::disk::Loss::All);
    home.disk.fail(Failure::None);
    pretend_reboot();
    let volume = Volume::mount(Kind::Ext4, &image);
    check(&volume.path().join("store"), &[promises]);
}

/// Somebody else's file takes all the room: writers hear ENOSPC, a commit is refused, deletions and
/// collection go on, and with the room everything else does.
fn others_fill_it(kind: Kind, megabytes: u64) {
    let mut home = Home::new(kind, megabytes);
    home.fill();
    let cairn = &home.cairn;
    fs::write(cairn.area("r0", "v2").join("f"), content::bytes(7, 3_000_000)).unwrap();
    cairn.publish("r0", "v2").unwrap();
    let ready = cairn.area("r0", "ready");
    for index in 0..200 {
        fs::write(ready.join(index.to_string()), content::bytes(100 + index, 20_000)).unwrap();
    }
    let stranger = home.volume.path().join("stranger");
    fill_up(&stranger);
    let full = (0..50).find_map(|index| {
        let path = cairn.staging(format!("r0/kept/more{index}"));
        write_synced(&path, Bytes { seed: 50 + index, length: 1_200_000 }).err()
    });
    assert_eq!(errno(full.map_or(Ok(()), Err)), Errno::NOSPC, "a writer");
    home.assert_readable();
    match cairn.publish("r0", "ready") {
        Ok(()) => {}
        Err(error) => assert_eq!(errno(Err::<(), _>(error)), Errno::NOSPC, "commit"),
    }
    // The reserve is for this.
    cairn.cli(&["delete", "--force", "r0/v1"]);
    cairn.cli(&["gc", "--wait", "--protect", "0"]);
    fs::remove_file(&stranger).unwrap();
    wait::until("there is room", || {
        write_synced(&cairn.staging("r0/kept/late"), Bytes { seed: 9, length: 300_000 }).is_ok()
    });
    if cairn.staging("r0/ready").exists() {
        wait::until("it is published", || cairn.publish("r0", "ready").is_ok());
    }
    for index in 0..200 {
        let found = fs::read(cairn.tags("r0/ready").join(index.to_string())).unwrap();
        assert!(found == content::bytes(100 + index, 20_000), "file {index}");
    }
    let found = fs::read(cairn.tags("r0/v2/f")).unwrap();
    assert!(found == content::bytes(7, 3_000_000), "the version from before");
    let found = fs::read(cairn.staging("r0/kept/f")).unwrap();
    assert!(found == content::bytes(2, 1_200_000), "the file synced before");
    home.cairn.stop();
    fsck::check_store(&home.cairn.store());
}

/// Takes every block.
fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    for chunk in [1 << 20, 1 << 16, 1 << 12] {
        let bytes = content::bytes(1, chunk);
        while file.write_all(&bytes).is_ok() {}
        // Until the allocation is done the kernel only guesses how much room there is.
        drop(file.sync_all());
    }
}

#[test]
fn others_fill_ext4() {
    others_fill_it(Kind::Ext4, 64);
}

#[test]
fn others_fill_xfs() {
    others_fill_it(Kind::Xfs, 400);
}
