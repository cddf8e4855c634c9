//! A disk without room, or a daemon without descriptors, for a while: what was accepted into memory
//! before stays there, is asked for before the daemon goes, and is saved once there is room (H4, R3).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::disk::Disk;
use support::check::errno_of;
use support::{Cairn, content, errno, fsck, scale, wait};

const DISK_BYTES: u64 = 160 << 20;

/// As much as one file may have in memory, or a little less.
const BUFFER_BYTES: usize = 900_000;

fn new_bytes() -> Vec<u8> {
    content::bytes(2, BUFFER_BYTES)
}

/// A disk without a free byte, and a file that was replaced by one that is in memory only.
struct Full {
    disk: Disk,
    cairn: Cairn,
    filler: PathBuf,
    file: PathBuf,
}

impl Full {
    fn new() -> Self {
        let disk = Disk::small(DISK_BYTES);
        let cairn = Cairn::start_in(&disk.at);
        let file = cairn.area("lib", "draft").join("file");
        fs::write(&file, "old").unwrap();
        File::open(&file).unwrap().sync_all().unwrap();
        let mut filler = PathBuf::new();
        wait::until("the disk is full before the new content is saved", || {
            fs::remove_file(&filler).ok();
            wait::until("there is room", || !is_nearly_full(&disk));
            let draft = file.with_extension("new");
            let mut new = File::create(&draft).unwrap();
            // Open, it is not sealed; and nothing else saves it for a second.
            new.write_all(&new_bytes()).unwrap();
            filler = disk.fill();
            fs::rename(draft, &file).unwrap();
            match new.sync_all() {
                Ok(()) => false,
                Err(error) => errno_of(&error) == Errno::NOSPC,
            }
        });
        Self { disk, cairn, filler, file }
    }

    fn unmount(&self, options: &[&str]) -> Output {
        let mnt = self.cairn.mnt();
        self.cairn.run(&[&["unmount"], options, &[mnt.to_str().unwrap()]].concat())
    }

    #[track_caller]
    fn is_refused(&self) {
        let output = self.unmount(&[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "the new content is in memory only");
        assert!(said.contains("lib/draft/file") && said.contains("--force"), "{said}");
    }

    /// Whatever became of the daemon: the old or the new content, and nothing else.
    fn mounted_again(mut self) -> Vec<u8> {
        fs::remove_file(&self.filler).unwrap();
        self.cairn.mount();
        let found = fs::read(&self.file).unwrap();
        assert!(!self.file.with_extension("new").exists() || found == b"old");
        self.cairn.stop();
        fsck::check_store(&self.cairn.store());
        drop(self.cairn);
        drop(self.disk);
        found
    }
}

/// Whether new content goes to the disk at once, and not into memory first.
fn is_nearly_full(disk: &Disk) -> bool {
    let space = rustix::fs::statvfs(&disk.at).unwrap();
    space.f_bavail * space.f_frsize < 80 << 20
}

#[test]
fn h4_an_unmount_is_refused_as_long_as_it_would_lose_something() {
    let mut full = Full::new();
    full.is_refused();
    full.is_refused();
    assert!(fs::read(&full.file).unwrap() == new_bytes(), "it is served on");
    assert_eq!(errno(File::open(&full.file).unwrap().sync_all()), Errno::NOSPC);
    fs::remove_file(&full.filler).unwrap();
    wait::until("there is room", || full.unmount(&[]).status.success());
    assert!(full.cairn.wait_for_exit().success(), "{}", full.cairn.log());
    full.disk.fill();
    assert!(full.mounted_again() == new_bytes());
}

#[test]
fn h4_a_forced_unmount_gives_up_what_cannot_be_saved_and_leaves_the_old() {
    let mut full = Full::new();
    full.is_refused();
    let output = full.unmount(&["--force"]);
    assert!(output.status.success(), "{output:?}");
    let status = full.cairn.wait_for_exit();
    assert!(!status.success(), "something was lost");
    assert!(full.cairn.log().contains("lib/draft/file"), "{}", full.cairn.log());
    assert_eq!(full.mounted_again(), b"old");
}

#[test]
fn h4_a_daemon_that_is_stopped_with_unsaved_content_says_what_it_lost() {
    let mut full = Full::new();
    full.cairn.signal(Signal::TERM);
    // It hopes for room meanwhile; whoever has no patience says so again.
    wait::until("it hopes", || {
        full.cairn.signal(Signal::TERM);
        full.cairn.exit_status().is_some_and(|status| {
            assert!(!status.success(), "something was lost: {status}");
            true
        })
    });
    assert!(full.cairn.log().contains("lib/draft/file"), "{}", full.cairn.log());
    assert_eq!(full.mounted_again(), b"old");
}

#[test]
fn h4_room_that_comes_while_a_daemon_stops_saves_everything() {
    let mut full = Full::new();
    full.cairn.signal(Signal::TERM);
    fs::remove_file(&full.filler).unwrap();
    let status = full.cairn.wait_for_exit();
    assert!(status.success(), "{status}\n{}", full.cairn.log());
    full.disk.fill();
    assert!(full.mounted_again() == new_bytes());
}

#[test]
fn h4_a_crash_with_unsaved_content_leaves_the_old() {
    let mut full = Full::new();
    full.cairn.kill9_and_unmount();
    assert_eq!(full.mounted_again(), b"old");
}

/// What an area was told that it has: its files by number with the seed and length of their content.
type Accepted = Vec<(u64, usize)>;

/// Writes one file more; on a full disk it must be refused for that reason.
fn write_one(area: &Path, accepted: &mut Accepted, seed: u64, length: usize) -> bool {
    let path = area.join(seed.to_string());
    let write = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&content::bytes(seed, length))?;
        // Every third one is synced, some are closed without.
        if seed.is_multiple_of(3) { file.sync_all() } else { Ok(()) }
    };
    match write() {
        Ok(()) => accepted.push((seed, length)),
        Err(error) => {
            assert_eq!(errno_of(&error), Errno::NOSPC, "{}", path.display());
            // What a refused call left of it is nobody's.
            fs::remove_file(&path).unwrap();
            return false;
        }
    }
    true
}

/// Five areas on a disk that is full for a while: each writer is told so and nothing else, commits
/// are refused for that reason, and all goes on by itself once there is room.
#[test]
fn h4_five_areas_on_a_disk_that_stays_full_lose_nothing_and_go_on() {
    let rounds = u64::from(scale("CAIRN_TEST_FULL_ROUNDS", 4));
    let disk = Disk::small(DISK_BYTES);
    let room = disk.at.join("room");
    let taken = File::create(&room).unwrap();
    rustix::fs::fallocate(&taken, rustix::fs::FallocateFlags::empty(), 0, 60 << 20).unwrap();
    let mut cairn = Cairn::start_in(&disk.at);
    let areas: Vec<PathBuf> = (0..5).map(|n| cairn.area(&format!("r{n}"), "draft")).collect();
    let lengths = [900, 40_000, BUFFER_BYTES, 3_000_000];
    let length = |seed: u64| lengths[usize::try_from(seed % 4).unwrap()];
    let fill = |area: &PathBuf, first: u64| {
        let mut accepted = Accepted::new();
        for seed in first.. {
            // Large ones do not fit long before small ones do not.
            if !write_one(area, &mut accepted, seed, length(seed)) && length(seed) <= 40_000 {
                return accepted;
            }
        }
        accepted
    };
    let mut accepted: Vec<Accepted> = std::thread::scope(|scope| {
        let fill = &fill;
        let writers: Vec<_> = areas.iter().map(|area| scope.spawn(move || fill(area, 0))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let filler = disk.fill();
    for round in 1..=rounds {
        for (number, area) in areas.iter().enumerate() {
            for seed in 0..4 {
                let seed = round * 1_000_000 + seed;
                write_one(area, &mut accepted[number], seed, length(seed));
            }
        }
    }
    // What is set aside may do for the rows of some.
    let publish = |number: usize| match cairn.publish(&format!("r{number}"), "draft") {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(errno_of(&error), Errno::NOSPC, "r{number}");
            false
        }
    };
    let published: Vec<bool> = (0..5).map(publish).collect();
    fs::remove_file(filler).unwrap();
    drop(taken);
    fs::remove_file(room).unwrap();
    for number in (0..5).filter(|number| !published[*number]) {
        wait::until("it is published", || publish(number));
    }
    cairn.restart();
    for (number, accepted) in accepted.iter().enumerate() {
        for (seed, length) in accepted {
            let found = fs::read(cairn.versions(format!("r{number}/1/{seed}"))).unwrap();
            assert!(found == content::bytes(*seed, *length), "r{number}/{seed}");
        }
        let count = fs::read_dir(cairn.versions(format!("r{number}/1"))).unwrap().count();
        assert_eq!(count, accepted.len(), "nothing else is there");
    }
    assert!(!cairn.log().contains("refuses changes"), "{}", cairn.log());
    cairn.stop();
    fsck::check_store(&cairn.store());
}

/// `cp -r` of more than fits, then `rm -rf`: both by the programs themselves.
#[test]
fn r3_what_was_copied_past_the_end_of_the_disk_is_removed_deleted_and_collected() {
    let disk = Disk::small(100 << 20);
    let mut cairn = Cairn::start_in(&disk.at);
    let old = cairn.area("lib", "old");
    fs::write(old.join("file"), content::bytes(0, 20 << 20)).unwrap();
    cairn.publish("lib", "old").unwrap();
    let source = cairn.scratch().join("source");
    let bytes = |n: u64| content::bytes(n + 1, 900 + usize::try_from(n * 7919 % 39_000).unwrap());
    for number in 0..4000 {
        let directory = source.join((number / 100).to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), bytes(number)).unwrap();
    }
    let area = cairn.area("lib", "draft");
    let copy = Command::new("cp").arg("-r").arg(&source).arg(&area).output().unwrap();
    let said = String::from_utf8_lossy(&copy.stderr).into_owned();
    assert!(said.contains("No space left on device") && !said.contains("Input/output"), "{said}");
    let place = |number: u64| area.join(format!("source/{}/{number}", number / 100));
    let complains = |number: u64| {
        let (file, directory) = (format!("/{number}'"), format!("/source/{}'", number / 100));
        said.contains(&file) || said.contains(&directory)
    };
    let kept: Vec<u64> = (0..4000).filter(|number| !complains(*number)).collect();
    for number in &kept {
        assert!(fs::read(place(*number)).unwrap() == bytes(*number), "{number}");
    }
    // While nothing is free: half of it goes, then a version.
    for directory in 0..20 {
        let path = area.join(format!("source/{directory}"));
        let removed = Command::new("rm").arg("-rf").arg(&path).output().unwrap();
        assert!(removed.status.success() && !path.exists(), "{removed:?}");
    }
    cairn.cli(&["delete", "lib/1", "--force"]);
    cairn.cli(&["gc", "--protect", "0", "--wait"]);
    wait::until("there is room", || {
        let file = File::create(area.join("last")).unwrap();
        match (&file).write_all(b"new").and_then(|()| file.sync_all()) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(errno_of(&error), Errno::NOSPC, "{error}");
                false
            }
        }
    });
    cairn.restart();
    for number in kept.iter().filter(|number| **number >= 2000) {
        assert!(fs::read(place(*number)).unwrap() == bytes(*number), "{number} after a restart");
    }
    cairn.publish("lib", "draft").unwrap();
    cairn.cli(&["gc", "--protect", "0", "--wait"]);
    cairn.stop();
    fsck::check_store(&cairn.store());
}

/// Lets the daemon open so many files more, give or take those that it closes.
fn allow_descriptors(cairn: &Cairn, more: usize) {
    let pid = i32::try_from(cairn.pid()).ok().and_then(Pid::from_raw);
    let open = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", cairn.pid())).exists();
    // The limit is one of numbers, and the lowest that is free is given next.
    let mut free = (0..).filter(|number| !open(number));
    let (current, maximum) = (free.nth(more), getrlimit(Resource::Nofile).maximum);
    prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// No descriptor is left: nothing can be sealed or saved, and nothing is lost.
fn without_descriptors(end: impl FnOnce(&mut Cairn)) {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "draft");
    let file = area.join("file");
    fs::write(&file, "old").unwrap();
    File::open(&file).unwrap().sync_all().unwrap();
    let other = cairn.area("lib", "other");
    fs::write(other.join("large"), content::bytes(4, 3_000_000)).unwrap();
    File::open(other.join("large")).unwrap().sync_all().unwrap();
    let old = File::open(&file).unwrap();
    let new = File::create(area.join("new")).unwrap();
    allow_descriptors(&cairn, 0);
    // Its row is out of date, and its content in the store.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(errno(old.sync_all()), Errno::NFILE);
    // What is on disk of an area goes once the removal of its rows is there, too.
    fs::remove_file(other.join("large")).unwrap();
    fs::remove_dir(&other).unwrap();
    wait::until("a sync for it has failed", || cairn.log().contains("obsolete files stay"));
    (&new).write_all(&new_bytes()).unwrap();
    assert_eq!(errno(new.sync_all()), Errno::NFILE);
    drop(new);
    fs::rename(area.join("new"), &file).unwrap();
    assert!(fs::read(&file).unwrap() == new_bytes());
    assert!(cairn.publish("lib", "draft").is_err(), "its content cannot be hashed into the pool");
    end(&mut cairn);
}

#[test]
fn h4_a_daemon_without_descriptors_goes_on_once_it_has_some() {
    without_descriptors(|cairn| {
        allow_descriptors(cairn, 1000);
        let file = cairn.staging("lib/draft/file");
        wait::until("it is synced", || File::open(&file).unwrap().sync_all().is_ok());
        // An area goes once its rows are on disk.
        cairn.publish("lib", "draft").unwrap();
        assert!(fs::read(cairn.versions("lib/1/file")).unwrap() == new_bytes());
        wait::until("the area's directory is removed", || {
            fs::read_dir(cairn.store().join("staging")).unwrap().next().is_none()
        });
        assert!(!cairn.log().contains("refuses changes"), "{}", cairn.log());
        cairn.stop();
        fsck::check_store(&cairn.store());
    });
}

#[test]
fn h4_a_daemon_that_dies_without_descriptors_leaves_the_old() {
    without_descriptors(|cairn| {
        cairn.kill9_and_unmount();
        cairn.mount();
        assert_eq!(fs::read(cairn.staging("lib/draft/file")).unwrap(), b"old");
        cairn.stop();
        fsck::check_store(&cairn.store());
    });
}

/// Nothing gets into the pool, since each link or each write there fails with EIO.
fn seals_fail(step: &str) {
    let mut cairn = Cairn::start();
    let area = cairn.area("lib", "draft");
    let names = ["small", "large"];
    let lengths = [BUFFER_BYTES, 3_000_000];
    for name in names {
        fs::write(area.join(name), "old").unwrap();
        File::open(area.join(name)).unwrap().sync_all().unwrap();
    }
    cairn.stop();
    cairn.set_env("CAIRN_FAULT", Some(&format!("eio-at:{step}")));
    cairn.mount();
    let new = |length| content::bytes(3, length);
    for (name, length) in names.into_iter().zip(lengths) {
        fs::write(area.join("new"), new(length)).unwrap();
        fs::rename(area.join("new"), area.join(name)).unwrap();
    }
    let refused = cairn.publish("lib", "draft");
    assert_eq!(errno(refused), Errno::IO);
    let check = |cairn: &Cairn, may_be_old: bool| {
        for (name, length) in names.into_iter().zip(lengths) {
            let found = fs::read(cairn.staging("lib/draft").join(name)).unwrap();
            assert!(found == new(length) || may_be_old && found == b"old", "{step}: {name}");
        }
    };
    check(&cairn, false);
    // What cannot be sealed can be saved where it is.
    for name in names {
        File::open(area.join(name)).unwrap().sync_all().unwrap();
    }
    cairn.kill9_and_unmount();
    cairn.mount();
    check(&cairn, false);
    cairn.stop();
    cairn.set_env("CAIRN_FAULT", None);
    cairn.mount();
    check(&cairn, false);
    cairn.publish("lib", "draft").unwrap();
    cairn.stop();
    fsck::check_store(&cairn.store());
}

#[test]
fn h4_seals_that_fail_with_eio_lose_nothing() {
    seals_fail("link");
    seals_fail("write");
}
