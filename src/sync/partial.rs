//! Downloads that are not whole yet, kept so that the next try goes on where this one ended (V7).

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::model::digest::Sha256;
use crate::model::time::Timestamp;
use crate::store::durable;
use crate::store::error::StoreError;

/// How often who waits for a turn looks whether to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// How long one that nobody asks for any more is kept.
const KEPT_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The directory of downloads, and who is at which: one at a time fetches a content, over all syncs (V10).
#[derive(Debug)]
pub struct PartialFiles {
    directory: PathBuf,
    fetching: Mutex<HashSet<Sha256>>,
    ended: Condvar,
}

/// The right to fetch a content, until the store has it.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    files: &'a PartialFiles,
    sha256: Sha256,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.files.fetching.lock().remove(&self.sha256);
        self.files.ended.notify_all();
    }
}

impl PartialFiles {
    /// Below that directory, which is made when the first file is.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, fetching: Mutex::default(), ended: Condvar::new() }
    }

    /// Takes the turn to fetch a content, once nobody else is at it; `None` when it is to stop before. The store may
    /// have the content by then.
    pub(super) fn turn(&self, sha256: Sha256, stop: &AtomicBool) -> Option<Turn<'_>> {
        let mut fetching = self.fetching.lock();
        while !fetching.insert(sha256) {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            self.ended.wait_for(&mut fetching, STOP_INTERVAL);
        }
        Some(Turn { files: self, sha256 })
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        self.directory.join(sha256.to_string())
    }

    /// Whether there is something of that content.
    pub(super) fn is_there(&self, turn: &Turn<'_>) -> bool {
        self.path(&turn.sha256).exists()
    }

    /// Opens what there is of a content, or begins it.
    pub(super) fn open(&self, turn: &Turn<'_>) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(self.path(&turn.sha256))
    }

    /// Lets go of the name of a content that is whole, or of no use.
    pub(super) fn remove(&self, turn: &Turn<'_>) -> Result<(), StoreError> {
        if self.is_there(turn) { durable::unlink(&self.path(&turn.sha256)) } else { Ok(()) }
    }

    /// Removes what nobody has asked for in a week.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn remove_old(&self, now: Timestamp) -> Result<(), StoreError> {
        let look = || StoreError::io("look at", &self.directory);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(look())?,
        };
        for entry in entries {
            let entry = entry.map_err(look())?;
            let modified = entry.metadata().map_err(look())?.mtime();
            let age = now.seconds.saturating_sub(modified);
            let name = entry.file_name();
            let sha256: Option<Sha256> = name.to_str().and_then(|name| name.parse().ok());
            let is_in_use = sha256.is_some_and(|sha256| self.fetching.lock().contains(&sha256));
            if age > KEPT_SECONDS && !is_in_use {
                durable::unlink(&entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn turn<'a>(files: &'a PartialFiles, content: &[u8]) -> Turn<'a> {
        files.turn(Sha256::of(content), &GO_ON).unwrap()
    }

    #[test]
    fn v10_a_content_is_fetched_by_one_at_a_time() {
        let files = PartialFiles::new("/nonexistent".into());
        let first = turn(&files, b"a");
        let _other = turn(&files, b"b");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| drop(turn(&files, b"a")));
            let stop = AtomicBool::new(true);
            assert!(files.turn(Sha256::of(b"a"), &stop).is_none(), "it is to stop");
            drop(first);
            // Whether it came before or after the end of the first, it has its turn.
            second.join().unwrap();
        });
    }

    #[test]
    fn what_nobody_asks_for_goes_after_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let files = PartialFiles::new(directory.path().join("partial"));
        let now = Timestamp::now();
        files.remove_old(now).unwrap();
        let mine = turn(&files, b"a");
        drop(files.open(&mine).unwrap());
        let later = Timestamp::new(now.seconds + KEPT_SECONDS + 60, 0).unwrap();
        files.remove_old(later).unwrap();
        assert!(files.is_there(&mine), "somebody is at it");
        drop(mine);
        files.remove_old(now).unwrap();
        let mine = turn(&files, b"a");
        assert!(files.is_there(&mine));
        drop(mine);
        files.remove_old(later).unwrap();
        let mine = turn(&files, b"a");
        assert!(!files.is_there(&mine));
        files.remove(&mine).unwrap();
    }
}
