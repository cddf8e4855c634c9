//! A load of actors that work on the same contents, each in a repository of its own.
//!
//! They use everything that moves bytes or names on the disk: small and large files, synced or not,
//! rewritten, renamed over, published, deleted, collected at once and stored again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::promises::{Bytes, Files, Promises, Shared};
use support::Cairn;
use support::cairn::binary;

/// Actors at work at the same time.
pub(crate) const ACTORS: u64 = 3;

/// Contents that they choose from: few, so that they meet.
pub(crate) const SEEDS: u64 = 8;

/// Sizes of files: buffered, written at once when sealed, and in private files.
pub(crate) const SIZES: [usize; 5] = [100, 5_000, 40_000, 200_000, 1_200_000];

/// Versions that an actor keeps; older ones are deleted.
const KEPT: usize = 2;

/// Called after each answer, with the actor's number.
pub(crate) type OnAnswer = Arc<dyn Fn(u64) + Send + Sync>;

/// The load; ends when asked or when the daemon ends.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

struct Actor {
    number: u64,
    repository: String,
    mnt: PathBuf,
    store: PathBuf,
    promises: Shared,
    on_answer: OnAnswer,
    random: u64,
}

impl Load {
    /// Sets the actors to work. Each has its promises in `all`.
    pub(crate) fn start(cairn: &Cairn, all: &[Shared], on_answer: &OnAnswer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (number, promises) in (0..).zip(all) {
            let mut actor = Actor {
                number,
                repository: repository(number),
                mnt: cairn.mnt(),
                store: cairn.store(),
                promises: Arc::clone(promises),
                on_answer: Arc::clone(on_answer),
                random: number * 7919 + 1,
            };
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || actor.work(&stop)));
        }
        let (store, stopped) = (cairn.store(), Arc::clone(&stop));
        threads.push(std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                cli(&store, &["gc", "--full", "--wait", "--protect", "0"])?;
            }
            Ok(())
        }));
        Self { stop, threads }
    }

    /// Ends it; an actor that was refused something fails the test.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap().expect("nothing was refused");
        }
    }
}

/// The repository of an actor.
pub(crate) fn repository(actor: u64) -> String {
    format!("r{actor}")
}

fn cli(store: &Path, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(binary())
        .args(arguments)
        .env("CAIRN_STORE", store)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(said.into_owned())) }
}

impl Actor {
    fn work(&mut self, stop: &AtomicBool) -> io::Result<()> {
        fs::create_dir(self.staging(&self.repository))?;
        fs::create_dir(self.staging(&self.repository).join("kept"))?;
        for round in 1.. {
            self.change_kept(round)?;
            self.publish(round)?;
            self.delete_oldest()?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(())
    }

    fn staging(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mnt.join("staging").join(path)
    }

    fn next(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % below
    }

    fn some_bytes(&mut self) -> Bytes {
        let length = SIZES[usize::try_from(self.next(SIZES.len() as u64)).unwrap()];
        Bytes { seed: self.next(SEEDS), length }
    }

    /// Changes what is promised, without an answer of the daemon.
    fn note(&self, change: impl FnOnce(&mut Promises)) {
        change(&mut self.promises.lock());
    }

    /// Changes what is promised, after an answer.
    fn answered(&self, change: impl FnOnce(&mut Promises)) {
        let mut promises = self.promises.lock();
        change(&mut promises);
        promises.answers += 1;
        drop(promises);
        (self.on_answer)(self.number);
    }

    /// In an area that stays open, files are synced, replaced, and changed in place.
    fn change_kept(&mut self, round: u64) -> io::Result<()> {
        let kept = PathBuf::from(&self.repository).join("kept");
        for index in 0..3 {
            let path = kept.join(format!("f{index}"));
            let bytes = self.some_bytes();
            match (round + index) % 3 {
                0 => self.rewrite(&path, bytes)?,
                1 => self.replace(&path, bytes)?,
                _ => self.remove_and_store(&path, bytes)?,
            }
        }
        Ok(())
    }

    /// Writes over a file, from its first byte on, and syncs it while it is open.
    fn rewrite(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        self.note(|promises| drop(promises.files.remove(path)));
        let mut file = File::create(self.staging(path))?;
        file.write_all(&bytes.make())?;
        file.sync_all()?;
        self.answered(|promises| drop(promises.files.insert(path.into(), vec![Some(bytes)])));
        // The close seals it: what the sync brought to the disk moves into the pool.
        drop(file);
        Ok(())
    }

    /// Writes beside a file, syncs that, renames it over, and syncs the directory.
    fn replace(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        let draft = path.with_extension("draft");
        // That it is gone was promised of the one before.
        self.note(|promises| drop(promises.files.remove(&draft)));
        let mut file = File::create(self.staging(&draft))?;
        file.write_all(&bytes.make())?;
        file.sync_all()?;
        drop(file);
        self.answered(|promises| {
            promises.files.insert(draft.clone(), vec![Some(bytes)]);
        });
        self.note(|promises| {
            promises.files.insert(draft.clone(), vec![Some(bytes), None]);
            if let Some(may_be) = promises.files.get_mut(path) {
                may_be.push(Some(bytes));
            }
        });
        fs::rename(self.staging(&draft), self.staging(path))?;
        File::open(self.staging(path).parent().unwrap())?.sync_all()?;
        self.answered(|promises| {
            promises.files.insert(draft.clone(), vec![None]);
            promises.files.insert(path.into(), vec![Some(bytes)]);
        });
        Ok(())
    }

    /// Removes a file for good, then writes another in its place that nobody syncs at once.
    fn remove_and_store(&self, path: &Path, bytes: Bytes) -> io::Result<()> {
        self.note(|promises| {
            if let Some(may_be) = promises.files.get_mut(path) {
                may_be.push(None);
            }
        });
        match fs::remove_file(self.staging(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        File::open(self.staging(path).parent().unwrap())?.sync_all()?;
        self.answered(|promises| drop(promises.files.insert(path.into(), vec![None])));
        self.note(|promises| drop(promises.files.remove(path)));
        fs::write(self.staging(path), bytes.make())?;
        // Closed: it is sealed, and may be synced after that.
        if bytes.seed.is_multiple_of(2) {
            File::open(self.staging(path))?.sync_all()?;
            self.answered(|promises| drop(promises.files.insert(path.into(), vec![Some(bytes)])));
        }
        Ok(())
    }

    /// Publishes an area with files of its own; some of them are synced before.
    fn publish(&mut self, round: u64) -> io::Result<()> {
        let area = PathBuf::from(&self.repository).join(format!("v{round}"));
        fs::create_dir(self.staging(&area))?;
        fs::create_dir(self.staging(&area).join("d"))?;
        let mut files = Files::new();
        for index in 0..5 {
            let bytes = self.some_bytes();
            let name = PathBuf::from(format!("d/f{index}"));
            let mut file = File::create(self.staging(&area).join(&name))?;
            file.write_all(&bytes.make())?;
            if index == 0 {
                file.sync_all()?;
                let path = area.join(&name);
                self.answered(|promises| drop(promises.files.insert(path, vec![Some(bytes)])));
            }
            files.insert(name, bytes);
        }
        let tag = format!("v{round}");
        self.note(|promises| promises.asked = Some((tag.clone(), files.clone())));
        fs::rename(self.staging(&area), self.mnt.join("tags").join(&self.repository).join(&tag))?;
        self.answered(|promises| {
            promises.asked = None;
            promises.files.retain(|path, _| !path.starts_with(&area));
            promises.published.insert(tag, files);
        });
        Ok(())
    }

    fn delete_oldest(&self) -> io::Result<()> {
        let mut promises = self.promises.lock();
        if promises.published.len() <= KEPT {
            return Ok(());
        }
        let number = |tag: &String| tag[1..].parse::<u64>().unwrap();
        let oldest = promises.published.keys().min_by_key(|tag| number(tag)).unwrap().clone();
        promises.deleting = Some(oldest.clone());
        drop(promises);
        cli(&self.store, &["delete", &format!("{}/{oldest}", self.repository)])?;
        self.answered(|promises| {
            promises.deleting = None;
            promises.published.remove(&oldest);
            promises.deleted.push(oldest);
        });
        Ok(())
    }
}
