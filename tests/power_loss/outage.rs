//! The power goes while the store is at work.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::check::{check, start_and_kill};
use crate::disk::{Disk, Loss, Surface};
use crate::history::{ACTORS, Load, OnAnswer};
use crate::promises::{Promises, Shared};
use crate::volume::{Kind, Volume, isolate, pretend_reboot};
use support::{Cairn, scale, wait};

/// Images checked for each filesystem, unless `CAIRN_TEST_OUTAGES` says how many.
const OUTAGES: u32 = 24;

/// Images that wait for their check: the load waits then.
const WAITING_MAX: usize = 4;

/// Requests of the disk between two images, at most.
const REQUESTS_BETWEEN: u64 = 60;

/// Answers between two images, at most.
const ANSWERS_BETWEEN: u64 = 4;

/// The disk as it was when the power went, with what had been promised just before.
struct Outage {
    image: PathBuf,
    loss: Loss,
    promises: Vec<Promises>,
}

/// Takes images until there are enough. Its lock is taken after the disk's.
struct Camera {
    directory: PathBuf,
    promises: Vec<Shared>,
    state: Mutex<CameraState>,
    images: Sender<Outage>,
    enough: AtomicBool,
}

struct CameraState {
    taken: u32,
    wanted: u32,
    random: u64,
    next_request: u64,
    answers: u64,
}

impl Camera {
    fn take(&self, surface: &Surface) {
        let mut state = self.state.lock();
        if state.taken == state.wanted {
            self.enough.store(true, Ordering::Relaxed);
            return;
        }
        state.taken += 1;
        let image = self.directory.join(state.taken.to_string());
        let loss = match state.taken % 4 {
            0 | 1 => Loss::All,
            2 => Loss::Some(random(&mut state.random)),
            _ => Loss::Nothing,
        };
        // First what is promised, then the image: a promise is never newer than it.
        let promises = self.promises.iter().map(|one| one.lock().clone()).collect();
        surface.image(&image, loss);
        drop(state);
        // A check that failed ends the test, there.
        if self.images.send(Outage { image, loss, promises }).is_err() {
            self.enough.store(true, Ordering::Relaxed);
        }
    }

    /// Called before each request of the disk.
    fn at_request(&self, surface: &Surface, number: u64) {
        let mut state = self.state.lock();
        if number < state.next_request {
            return;
        }
        state.next_request = number + 1 + random(&mut state.random) % REQUESTS_BETWEEN;
        drop(state);
        self.take(surface);
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 8
}

fn check_images(kind: Kind, images: &Receiver<Outage>) -> u32 {
    let mut checked = 0;
    for outage in images {
        let answers: u64 = outage.promises.iter().map(|one| one.answers).sum();
        eprintln!("image {}: {:?}, {answers} answers", checked + 1, outage.loss);
        let volume = Volume::mount(kind, &outage.image);
        let store = volume.path().join("store");
        if checked % 2 == 1 {
            start_and_kill(&store);
        }
        check(&store, &outage.promises);
        drop(volume);
        std::fs::remove_file(outage.image).unwrap();
        checked += 1;
    }
    checked
}

/// Plays the load on a disk and checks images of it.
fn survives(kind: Kind, megabytes: u64) {
    isolate();
    let wanted = scale("CAIRN_TEST_OUTAGES", OUTAGES);
    let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let blank = home.path().join("blank");
    kind.format(&blank, megabytes);
    let disk = Arc::new(Disk::attach(&blank));
    let volume = Volume::mount(kind, &disk.file());
    let mut cairn = Cairn::over(&volume.path().join("store"));
    cairn.init();
    // The collector runs all the time.
    cairn.set_env("CAIRN_LOG", Some("warn"));
    cairn.mount();
    pretend_reboot();
    let (images, to_check) = bounded(WAITING_MAX);
    let checks = std::thread::spawn(move || check_images(kind, &to_check));
    let promises: Vec<Shared> = (0..ACTORS).map(|_| Shared::default()).collect();
    let camera = Arc::new(Camera {
        directory: home.path().to_owned(),
        promises: promises.clone(),
        state: Mutex::new(CameraState {
            taken: 0,
            wanted,
            random: u64::from(scale("CAIRN_TEST_SEED", 4711)),
            next_request: 0,
            answers: 0,
        }),
        images,
        enough: AtomicBool::new(false),
    });
    let watching = Arc::clone(&camera);
    disk.watch(Some(Box::new(move |surface, number| watching.at_request(surface, number))));
    let answered = Arc::clone(&camera);
    let answering = Arc::clone(&disk);
    let on_answer: OnAnswer = Arc::new(move |_| {
        let mut state = answered.state.lock();
        state.answers += 1;
        let due = state.answers.is_multiple_of(ANSWERS_BETWEEN);
        drop(state);
        if due {
            answered.take(&answering.surface());
        }
    });
    let load = Load::start(&cairn, &promises, &on_answer);
    wait::within(Duration::MAX, || camera.enough.load(Ordering::Relaxed) || checks.is_finished());
    disk.watch(None);
    load.stop();
    drop((camera, on_answer));
    let checked = checks.join().expect("what was acknowledged is there");
    assert_eq!(checked, wanted, "images checked");
    cairn.stop();
    drop(volume);
}

#[test]
fn of_ext4() {
    survives(Kind::Ext4, 256);
}

#[test]
fn of_xfs() {
    survives(Kind::Xfs, 400);
}
