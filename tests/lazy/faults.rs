//! Random reads under random faults, beside what the files are: a read gives the right bytes or an I/O error, and once the
//! remotes are well again everything can be read (L4, L5, L10, L13, H33, H36).
//!
//! `CAIRN_LAZY_HISTORIES` and `CAIRN_LAZY_ROUNDS` make it run longer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use rustix::io::Errno;
use support::check::errno_of;
use support::http::{Answer, Asked, Server, Site};
use support::random::Random;
use support::{Cairn, content, fsck, scale, wait};

const FILES: usize = 40;
const READERS: u64 = 3;
const READS: usize = 8;

/// What each file holds, by its path.
type Files = BTreeMap<String, Vec<u8>>;

fn files(random: &mut Random) -> Files {
    let size = |random: &mut Random, number| match number % 8 {
        0 => random.below(3),
        1..=5 => random.below(60_000),
        6 => random.below(600_000),
        _ => (2 << 20) + random.below(1 << 20),
    };
    (0..FILES)
        .map(|number| {
            let path = format!("d{}/f{number:02}", number % 5);
            let size = size(random, number);
            (path, content::bytes(random.next(), size))
        })
        .collect()
}

/// A site that answers so many percent of all requests for files wrongly, in one way or another.
fn faulty(site: &Site, percent: &Arc<AtomicU32>, seed: u64) -> Server {
    let (site, percent) = (site.clone(), Arc::clone(percent));
    let numbers = AtomicU64::new(seed);
    Server::start(move |asked: &Asked, _| {
        let right = site.answer(asked);
        let mut random = Random::new(numbers.fetch_add(1, Ordering::SeqCst));
        // Neighbouring seeds begin alike.
        random.next();
        let is_right = asked.line.contains("PULP_MANIFEST")
            || random.below(100) >= percent.load(Ordering::SeqCst) as usize;
        if is_right { right.into() } else { wrong(&mut random, &site, asked, right) }
    })
}

fn wrong(random: &mut Random, site: &Site, asked: &Asked, mut right: Vec<u8>) -> Answer {
    let body = right.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let middle = body + random.below(right.len() - body + 1);
    match random.below(8) {
        0 => support::http::answer("404 Not Found", &["Content-Length: 0"], b"").into(),
        1 => support::http::answer("500 Oh", &["Content-Length: 0"], b"").into(),
        2 => Answer::Sticks(right[..middle].to_vec()),
        3 => Answer::Ends(right[..middle].to_vec()),
        4 if middle < right.len() => {
            right[middle] ^= 0x20;
            right.into()
        }
        5 => support::http::whole(&right[body..middle]).into(),
        // The Range is not heard.
        6 => {
            let headers = vec![];
            site.answer(&Asked { line: asked.line.clone(), headers }).into()
        }
        _ => Answer::Sticks(Vec::new()),
    }
}

/// The sum of what the readers met.
#[derive(Default)]
struct Met {
    right: AtomicU64,
    errors: AtomicU64,
}

impl Met {
    fn read(&self, path: &Path, body: &[u8], random: &mut Random) {
        let from = random.below(body.len() + 1);
        let length = random.below(body.len() - from + 1);
        let mut buffer = vec![0; length];
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut buffer, from as u64));
        match read {
            Ok(()) => {
                assert!(buffer == body[from..from + length], "wrong bytes of {}", path.display());
                self.right.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => {
                assert_eq!(errno_of(&error), Errno::IO, "{}", path.display());
                self.errors.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn read_some(&self, version: &Path, files: &Files, mut random: Random) {
        let paths: Vec<_> = files.keys().collect();
        for _ in 0..READS {
            let path = *random.pick(&paths);
            self.read(&version.join(path), &files[path], &mut random);
        }
    }
}

/// Changes a part of a file of the area, on disk when it returns; what cannot be fetched stays.
fn change(area: &Path, files: &mut Files, random: &mut Random) {
    let paths: Vec<_> = files.keys().cloned().collect();
    let path = random.pick(&paths);
    let body = files.get_mut(path).unwrap();
    match File::options().read(true).write(true).open(area.join(path)) {
        Ok(file) => {
            let from = random.below(body.len() + 1);
            let bytes = random.next().to_le_bytes();
            file.write_all_at(&bytes, from as u64).unwrap();
            file.sync_all().unwrap();
            body.resize(body.len().max(from + bytes.len()), 0);
            body[from..from + bytes.len()].copy_from_slice(&bytes);
        }
        Err(error) => assert_eq!(errno_of(&error), Errno::IO, "{path}"),
    }
}

/// What an administrator or another job does meanwhile.
fn disturb(cairn: &Cairn, random: &mut Random) {
    let policy = *random.pick(&["on_demand", "streamed"]);
    let remote = *random.pick(&["one", "two"]);
    // A prefetch fails where files cannot be had.
    match random.below(6) {
        0 => drop(cairn.cli(&["reclaim", "--keep", "1M"])),
        1 => drop(cairn.cli(&["reclaim"])),
        2 => drop(cairn.run(&["prefetch", &format!("lib/1/d{}", random.below(5))])),
        3 => drop(cairn.cli(&["remote", "set", remote, "--policy", policy])),
        4 => drop(cairn.cli(&["gc", "--full", "--wait", "--protect", "0"])),
        _ => drop(cairn.cli(&["fsck"])),
    }
}

fn compare(directory: &Path, files: &Files) {
    for (path, body) in files {
        let at = directory.join(path);
        wait::until(&format!("{} can be read", at.display()), || match fs::read(&at) {
            Ok(read) => {
                assert!(read == *body, "wrong bytes of {}", at.display());
                true
            }
            Err(error) => {
                assert_eq!(errno_of(&error), Errno::IO, "{path}");
                false
            }
        });
    }
}

/// A daemon with two remotes of the same files, and versions of them: `lib/1`.
struct World {
    cairn: Cairn,
    area: PathBuf,
    percent: Arc<AtomicU32>,
    _servers: [Server; 2],
}

fn world(files: &Files, random: &mut Random) -> World {
    let site = Site::default();
    let listed: Vec<(&str, &[u8])> =
        files.iter().map(|(path, body)| (path.as_str(), &body[..])).collect();
    site.set_manifest(&listed);
    let percent = Arc::new(AtomicU32::new(0));
    let servers = [(); 2].map(|()| faulty(&site, &percent, random.next() >> 20));
    let cairn = Cairn::start_with(&["--cache-size", "3M"]);
    for (name, server) in ["one", "two"].iter().zip(&servers) {
        let url = server.url("/");
        let mut add = vec!["remote", "add", name, "manifest", &url, "--policy", "streamed"];
        add.extend(["--idle-timeout", "1s", "--connect-timeout", "1s"]);
        cairn.cli(&add);
        cairn.cli(&["sync", "lib", name]);
    }
    let area = cairn.area("lib", "work@1");
    World { cairn, area, percent, _servers: servers }
}

fn history(seed: u64, rounds: usize) -> Met {
    let mut random = Random::new(seed);
    let files = files(&mut random);
    let mut changed = files.clone();
    let World { mut cairn, area, percent, _servers } = world(&files, &mut random);
    let version = cairn.versions("lib/1");
    let met = Met::default();
    for _ in 0..rounds {
        percent.store(*random.pick(&[0, 30, 60, 95]), Ordering::SeqCst);
        thread::scope(|scope| {
            for _ in 0..READERS {
                let (met, version, files) = (&met, &version, &files);
                let mut own = Random::new(random.next());
                own.next();
                scope.spawn(move || met.read_some(version, files, own));
            }
            disturb(&cairn, &mut random);
            change(&area, &mut changed, &mut random);
        });
        match random.below(8) {
            0 => cairn.restart(),
            1 => cairn.crash(),
            _ => {}
        }
    }
    percent.store(0, Ordering::SeqCst);
    compare(&version, &files);
    compare(&area, &changed);
    cairn.publish("lib", "work@1").unwrap();
    compare(&cairn.versions("lib/2"), &changed);
    cairn.cli(&["prefetch", "lib/1"]);
    cairn.cli(&["fsck", "--full"]);
    cairn.stop();
    fsck::check_store(&cairn.store());
    met
}

#[test]
fn l5_no_fault_of_a_remote_gives_a_reader_a_wrong_byte() {
    let rounds = scale("CAIRN_LAZY_ROUNDS", 4) as usize;
    let (mut right, mut errors) = (0, 0);
    for seed in 1..=u64::from(scale("CAIRN_LAZY_HISTORIES", 1)) {
        let met = history(seed, rounds);
        right += met.right.into_inner();
        errors += met.errors.into_inner();
    }
    assert!(right > errors, "{right} right reads, {errors} errors");
}
