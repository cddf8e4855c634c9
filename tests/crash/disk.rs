//! The disk under a store goes away: errors, no hang, and nothing lost when it comes back (R3, R8)

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use rustix::process::Signal;

use support::area::hash_of;
use support::{Cairn, content, fsck, wait};

/// The least that mkfs.xfs takes; the file is sparse.
const IMAGE_BYTES: u64 = 300 << 20;

/// `XFS_IOC_GOINGDOWN` without a flush of the log, as `xfs_io -x -c shutdown` does it. But that asks
/// every mount of the machine for its size before, and other tests have mounts that do not answer.
const SHUT_DOWN: &str = r#"
    open(my $directory, "<", $ARGV[0]) or die "$!";
    my $flags = pack("L", 2);
    ioctl($directory, 0x8004587d, $flags) or die "$!";
"#;

/// A filesystem in a file. It is unmounted, whatever state it is in, when this is dropped.
pub(crate) struct Disk {
    _home: tempfile::TempDir,
    image: PathBuf,
    pub(crate) at: PathBuf,
}

impl Disk {
    fn new() -> Self {
        Self::with("mkfs.xfs -q \"$1\"", IMAGE_BYTES)
    }

    /// An ext4 of that size, all of it for everybody.
    pub(crate) fn small(bytes: u64) -> Self {
        Self::with("mkfs.ext4 -q -m 0 \"$1\"", bytes)
    }

    fn with(make: &str, bytes: u64) -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (image, at) = (home.path().join("image"), home.path().join("disk"));
        File::create(&image).unwrap().set_len(bytes).unwrap();
        shell(make, &[&image]);
        fs::create_dir(&at).unwrap();
        let disk = Self { _home: home, image, at };
        disk.mount();
        disk
    }

    fn mount(&self) {
        // A loop device of its own, which goes with the mount.
        shell("mount -o loop \"$1\" \"$2\"", &[&self.image, &self.at]);
    }

    /// Everything fails with EIO from now on, as if the device was pulled out.
    fn fail(&self) {
        shell(&format!("perl -e '{SHUT_DOWN}' \"$1\""), &[&self.at]);
    }

    /// Leaves no byte free, until the returned file is removed. Nearly all is taken in one step, before
    /// a daemon can do much.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.at.join("filler");
        let file = File::options().append(true).create(true).open(&filler).unwrap();
        let space = rustix::fs::statvfs(&self.at).unwrap();
        let free = space.f_bavail * space.f_frsize;
        // What is there between two looks at it may be less; the rest is written.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free).ok();
        for piece in [1 << 16, 512] {
            let piece = vec![1; piece];
            while (&file).write_all(&piece).is_ok() {}
        }
        filler
    }

    /// Paths lead to it no more; what is open stays.
    fn detach(&self) {
        shell("umount --lazy \"$1\"", &[&self.at]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mounted = || {
            let table = fs::read_to_string("/proc/self/mounts").unwrap();
            table.lines().any(|line| line.contains(&*self.at.to_string_lossy()))
        };
        if mounted() {
            self.detach();
        }
    }
}

fn shell(line: &str, paths: &[&Path]) {
    let status = Command::new("sh").args(["-c", line, "sh"]).args(paths).status().unwrap();
    assert!(status.success(), "{line}: {status} (this test needs root, xfsprogs, loop devices)");
}

/// Runs everything that a user may try; each must come back. What promises durability must not: the
/// disk is gone.
fn everything_is_refused(cairn: &Cairn) {
    assert_eq!(everything_returns(cairn), Vec::<&str>::new(), "was acknowledged");
}

/// Runs everything that a user may try; each must come back. Returns what promises durability and was
/// acknowledged.
fn everything_returns(cairn: &Cairn) -> Vec<&'static str> {
    type Attempt = Box<dyn FnOnce() -> io::Result<()> + Send>;
    let area = cairn.staging("lib/draft");
    let path = |name: &str| area.join(name);
    let (large, synced, directory, open) = (path("l"), path("s"), path("d"), path("open"));
    let (old, other) = (cairn.versions("lib/1/file"), cairn.staging("other"));
    let (from, to) = (area.clone(), cairn.tags("lib/draft"));
    let attempts: Vec<(&'static str, Attempt)> = vec![
        ("write", Box::new(move || fs::write(large, content::bytes(9, 5 << 20)))),
        (
            "fsync",
            Box::new(move || {
                let file = File::create(synced)?;
                file.write_all_at(b"x", 0)?;
                file.sync_all()
            }),
        ),
        ("mkdir", Box::new(move || fs::create_dir(directory))),
        ("read an area", Box::new(move || fs::read(open).map(drop))),
        ("read a version", Box::new(move || fs::read(old).map(drop))),
        ("repository", Box::new(move || fs::create_dir(other))),
        ("commit", Box::new(move || fs::rename(from, to))),
    ];
    let mut promised = Vec::new();
    for (name, attempt) in attempts {
        let (sender, result) = mpsc::channel();
        std::thread::spawn(move || sender.send(attempt()));
        let result = result.recv_timeout(wait::PATIENCE);
        let result = result.unwrap_or_else(|_| panic!("{name} hangs\n{}", cairn.log()));
        // What needs no disk may succeed.
        if ["fsync", "commit"].contains(&name) && result.is_ok() {
            promised.push(name);
        }
    }
    for verb in ["status", "list"] {
        let output = cairn.run(&[verb]);
        assert!(output.status.code().is_some(), "{output:?}");
    }
    promised
}

fn filled(cairn: &Cairn) {
    for number in 1..=2 {
        let name = format!("v{number}");
        let area = cairn.area("lib", &name);
        fs::write(area.join("file"), content::bytes(number, 100_000)).unwrap();
        cairn.publish("lib", &name).unwrap();
    }
    let area = cairn.area("lib", "draft");
    fs::write(area.join("open"), "staged").unwrap();
    wait::until("the file is sealed", || hash_of(&area.join("open")).is_some());
    File::open(area.join("open")).unwrap().sync_all().unwrap();
}

fn is_whole(cairn: &mut Cairn) {
    cairn.mount();
    for number in 1..=2 {
        let found = fs::read(cairn.versions(format!("lib/{number}/file"))).unwrap();
        assert!(found == content::bytes(number, 100_000));
    }
    assert_eq!(fs::read(cairn.staging("lib/draft/open")).unwrap(), b"staged");
    fs::write(cairn.staging("lib/draft/more"), "x").unwrap();
    cairn.publish("lib", "draft").unwrap();
    cairn.stop();
    fsck::check_store(&cairn.store());
}

/// The daemon ends when asked. What it had in memory only is lost with the disk, so it may end with
/// an error.
fn ends(cairn: &mut Cairn) {
    cairn.signal(Signal::TERM);
    cairn.wait_for_exit();
}

#[test]
fn a_disk_that_fails_is_an_error_and_comes_back_whole() {
    let disk = Disk::new();
    let mut cairn = Cairn::start_in(&disk.at);
    filled(&cairn);
    disk.fail();
    everything_is_refused(&cairn);
    ends(&mut cairn);
    disk.detach();
    disk.mount();
    is_whole(&mut cairn);
}

/// The store is reached through the descriptor of its directory, so a disk that was only taken out of
/// sight is there all the same. What was promised meanwhile must be there afterwards; what needs
/// another connection to the catalog, which goes by its path, is refused.
#[test]
fn a_detached_disk_keeps_its_promises_and_comes_back_whole() {
    let disk = Disk::new();
    let mut cairn = Cairn::start_in(&disk.at);
    filled(&cairn);
    cairn.restart();
    disk.detach();
    let promised = everything_returns(&cairn);
    ends(&mut cairn);
    disk.mount();
    cairn.mount();
    for number in 1..=2 {
        let found = fs::read(cairn.versions(format!("lib/{number}/file"))).unwrap();
        assert!(found == content::bytes(number, 100_000));
    }
    let published = cairn.versions("lib/3");
    assert!(published.exists() || !promised.contains(&"commit"), "{promised:?}");
    let area = if published.exists() { published } else { cairn.staging("lib/draft") };
    assert_eq!(fs::read(area.join("open")).unwrap(), b"staged");
    if promised.contains(&"fsync") {
        assert_eq!(fs::read(area.join("s")).unwrap(), b"x");
    }
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn a_store_that_was_removed_is_an_error() {
    let mut cairn = Cairn::start();
    filled(&cairn);
    cairn.restart();
    fs::remove_dir_all(cairn.store()).unwrap();
    everything_is_refused(&cairn);
    ends(&mut cairn);
}

/// Writes a file anew and renames it over the old one, as programs do that want either of them.
fn replace(area: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = area.join(format!("{name}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    drop(file);
    fs::rename(draft, area.join(name))
}

/// Replaces files on a full disk, ends the daemon by `end`, and looks at them once there is room.
fn replaced_on_a_full_disk(end: impl FnOnce(&mut Cairn)) {
    let disk = Disk::small(100 << 20);
    let mut cairn = Cairn::start_in(&disk.at);
    let area = cairn.area("lib", "draft");
    let old = |number| content::bytes(number, 500_000);
    let new = |number| {
        let size = [900, 40_000, 700_000][usize::try_from(number % 3).unwrap()];
        content::bytes(number + 100, size)
    };
    for number in 0..9 {
        fs::write(area.join(number.to_string()), old(number)).unwrap();
    }
    wait::until("all is sealed", || {
        (0..9).all(|number: u64| hash_of(&area.join(number.to_string())).is_some())
    });
    // What nobody synced may be lost by a crash, names among it.
    File::open(&area).unwrap().sync_all().unwrap();
    let filler = disk.fill();
    let mut refused = 0;
    for number in 0..9 {
        match replace(&area, &number.to_string(), &new(number)) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the disk was not full");
    end(&mut cairn);
    fs::remove_file(filler).unwrap();
    cairn.mount();
    for number in 0..9 {
        let found = fs::read(area.join(number.to_string())).unwrap();
        assert!(found == old(number) || found == new(number), "{number}: {} bytes", found.len());
    }
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn h4_a_crash_on_a_full_disk_leaves_old_or_new() {
    replaced_on_a_full_disk(Cairn::kill9_and_unmount);
}

#[test]
fn h4_a_stop_on_a_full_disk_leaves_old_or_new() {
    replaced_on_a_full_disk(|cairn| {
        let output = cairn.run(&["unmount", &cairn.mnt().to_string_lossy()]);
        assert!(output.status.success(), "writers were told: {output:?}");
        cairn.wait_for_exit();
    });
}

#[test]
fn r3_a_disk_filled_by_others_is_read_and_deletions_free_it() {
    let disk = Disk::small(160 << 20);
    let mut cairn = Cairn::start_in(&disk.at);
    for number in 1..=2 {
        let name = format!("v{number}");
        let area = cairn.area("lib", &name);
        fs::write(area.join("file"), content::bytes(number, 20 << 20)).unwrap();
        cairn.publish("lib", &name).unwrap();
    }
    cairn.stop();
    disk.fill();
    cairn.cli(&["list"]);
    cairn.mount();
    let found = fs::read(cairn.versions("lib/2/file")).unwrap();
    assert!(found == content::bytes(2, 20 << 20));
    cairn.cli(&["delete", "lib/1", "--force"]);
    cairn.cli(&["gc", "--protect", "0", "--wait"]);
    wait::until("there is room", || fs::create_dir(cairn.staging("lib/more")).is_ok());
    let area = cairn.staging("lib/more");
    fs::write(area.join("file"), content::bytes(3, 4 << 20)).unwrap();
    cairn.publish("lib", "more").unwrap();
}
#[test]
fn r3_a_disk_without_a_free_byte_is_opened_read_and_listed_without_a_write() {
    let (disk, elsewhere) = (Disk::small(160 << 20), tempfile::tempdir().unwrap());
    let mut cairn = Cairn::start_in(&disk.at);
    let area = cairn.area("lib", "v1");
    fs::write(area.join("file"), content::bytes(1, 20 << 20)).unwrap();
    cairn.publish("lib", "v1").unwrap();
    cairn.stop();
    let reserve = cairn.store().join("reserve");
    let filler = disk.fill();
    cairn.cli(&["list"]);
    assert!(reserve.exists(), "looking takes no space that is set aside");
    fs::remove_file(&reserve).unwrap();
    fs::remove_file(&filler).unwrap();
    disk.fill();
    cairn.cli(&["list"]);
    cairn.cli(&["show", "lib/1"]);
    let exported = elsewhere.path().join("exported");
    for arguments in [&["--read-only"][..], &[]] {
        cairn.set_arguments(arguments);
        cairn.mount();
        let found = fs::read(cairn.versions("lib/1/file")).unwrap();
        assert!(found == content::bytes(1, 20 << 20));
        cairn.cli(&["export", "lib/1", &exported.to_string_lossy()]);
        fs::remove_dir_all(&exported).unwrap();
        let refused = fs::create_dir(cairn.staging("lib/draft")).unwrap_err().kind();
        let expected = match arguments {
            [] => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::ReadOnlyFilesystem,
        };
        assert_eq!(refused, expected);
        if !arguments.is_empty() {
            cairn.stop();
        }
    }
    cairn.kill9_and_unmount();
    cairn.mount();
    fs::remove_file(filler).unwrap();
    wait::until("there is room", || fs::create_dir(cairn.staging("lib/draft")).is_ok());
    fs::write(cairn.staging("lib/draft/file"), "new").unwrap();
    cairn.publish("lib", "draft").unwrap();
    assert_eq!(fs::read(cairn.versions("lib/2/file")).unwrap(), b"new");
    cairn.stop();
    fsck::check_store(&cairn.store());
}

/// As `cp -r` does, which goes on after an error. Returns whether no call complained.
fn copied(path: &Path, bytes: &[u8], syncs: bool) -> bool {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        if syncs { file.sync_all() } else { Ok(()) }
    };
    let written: io::Result<()> = write();
    if let Err(error) = &written {
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{}: {error}", path.display());
    }
    written.is_ok()
}

/// Small files are written on past the end of the disk; then the daemon is ended by `end`.
fn copied_to_a_full_disk(end: impl FnOnce(&mut Cairn)) {
    let disk = Disk::small(100 << 20);
    let mut cairn = Cairn::start_in(&disk.at);
    let old = cairn.area("lib", "old");
    fs::write(old.join("file"), content::bytes(0, 30 << 20)).unwrap();
    cairn.publish("lib", "old").unwrap();
    let area = cairn.area("lib", "draft");
    let bytes = |number: u64| {
        content::bytes(number, 900 + usize::try_from(number * 7919 % 39_000).unwrap())
    };
    let files = 0..3500;
    let kept: Vec<u64> = files
        .clone()
        .filter(|n| copied(&area.join(n.to_string()), &bytes(*n), n % 50 == 0))
        .collect();
    assert!(kept.len() < files.count(), "the disk is not full");
    end(&mut cairn);
    cairn.mount();
    for number in &kept {
        let found = fs::read(area.join(number.to_string())).unwrap();
        assert!(found == bytes(*number), "{number}: {} bytes", found.len());
    }
    for number in kept.iter().filter(|number| *number % 2 == 0) {
        fs::remove_file(area.join(number.to_string())).unwrap();
    }
    cairn.cli(&["delete", "lib/1", "--force"]);
    cairn.cli(&["gc", "--protect", "0", "--wait"]);
    wait::until("there is room", || copied(&area.join("last"), b"new", true));
    cairn.publish("lib", "draft").unwrap();
    for number in kept.iter().filter(|number| *number % 2 == 1) {
        let found = fs::read(cairn.versions(format!("lib/2/{number}"))).unwrap();
        assert!(found == bytes(*number), "{number}: {} bytes", found.len());
    }
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn h4_small_files_copied_to_a_full_disk_are_there_or_complained_of_after_a_crash() {
    copied_to_a_full_disk(|cairn| {
        let area = cairn.staging("lib/draft");
        // What nobody synced may be lost by a crash; this has all of it written.
        File::open(area).unwrap().sync_all().unwrap();
        cairn.kill9_and_unmount();
    });
}

#[test]
fn h4_small_files_copied_to_a_full_disk_are_there_or_complained_of_after_a_stop() {
    copied_to_a_full_disk(Cairn::stop);
}
