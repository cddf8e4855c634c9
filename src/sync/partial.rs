//! Downloads that are not whole yet, kept so that the next try goes on where this one ended (V7).

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::durable;
use crate::store::error::StoreError;

/// How often who waits for a turn looks whether to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// The fewest bytes per second at which others wait for whoever fetches a content. Behind a slower one they fetch it by
/// themselves: from a better place, as a rule.
const SHARED_BYTES_PER_SECOND: u64 = 64 << 10;

/// What the names of files begin with whose content is named by BLAKE3.
const BLAKE3_PREFIX: &str = "blake3-";

/// How long one that nobody asks for any more is kept.
const KEPT_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The directory of downloads, and who is at which: one at a time fetches a content, over all syncs (V10).
#[derive(Debug)]
pub struct PartialFiles {
    directory: PathBuf,
    fetching: Mutex<HashMap<ContentName, Fetching>>,
    ended: Condvar,
}

/// A content that is being fetched.
#[derive(Debug)]
struct Fetching {
    /// The URL of the remote that it comes from.
    from: String,
    /// Bytes that came.
    came: Arc<AtomicU64>,
}

/// Who waits for a turn, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Waiter<'a> {
    /// The URL of the remote that it would fetch from. What comes from there already would not come sooner.
    pub from: &'a str,
    /// How long it looks on while another remote is slow.
    pub patience: Duration,
    /// Set when it is to stop.
    pub stop: &'a AtomicBool,
}

/// The right to fetch a content, until the store has it.
#[derive(Debug)]
pub struct Turn<'a> {
    files: &'a PartialFiles,
    name: ContentName,
    /// Bytes that came, by which others see whether to wait. `None` for one that fetches beside a slow one: it keeps no file.
    came: Option<Arc<AtomicU64>>,
}

impl Turn<'_> {
    /// Whether what it fetches goes into a file that has a name, which the next turn finds.
    pub fn has_name(&self) -> bool {
        self.came.is_some()
    }

    /// Whether there is something of the content.
    pub fn is_there(&self) -> bool {
        self.came.is_some() && self.files.path(&self.name).exists()
    }

    /// Opens what there is of the content, or begins it.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self) -> io::Result<File> {
        let directory = &self.files.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if self.came.is_none() {
            return tempfile::tempfile_in(directory);
        }
        let path = self.files.path(&self.name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match options.open(&path) {
            // The store was about to take it over, and could not.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::set_permissions(&path, Permissions::from_mode(0o600))?;
                options.open(&path)
            }
            opened => opened,
        }
    }

    /// Where the content is, if it is in a file that has a name.
    pub fn path(&self) -> Option<PathBuf> {
        self.is_there().then(|| self.files.path(&self.name))
    }

    /// Lets go of the name of the content, which is whole, or of no use.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self) -> Result<(), StoreError> {
        if self.is_there() { durable::unlink(&self.files.path(&self.name)) } else { Ok(()) }
    }

    /// Notes that bytes came.
    pub fn note(&self, bytes: usize) {
        if let Some(came) = &self.came {
            came.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.came.is_some() {
            self.files.fetching.lock().remove(&self.name);
            self.files.ended.notify_all();
        }
    }
}

/// Downloads that are not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartialUsage {
    /// How many there are.
    pub count: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
}

impl PartialFiles {
    /// Below that directory, which is made when the first file is.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, fetching: Mutex::default(), ended: Condvar::new() }
    }

    /// Takes the turn to fetch a content, once nobody else is at it, or another remote is too slow at it; `None` when it
    /// is to stop before. The store may have the content by then.
    pub fn turn(&self, name: ContentName, waiter: Waiter<'_>) -> Option<Turn<'_>> {
        let mut fetching = self.fetching.lock();
        let mut watched: Option<(Arc<AtomicU64>, u64, Instant)> = None;
        loop {
            let Some(Fetching { from, came }) = fetching.get(&name) else {
                let came = Arc::new(AtomicU64::new(0));
                let ours = Fetching { from: waiter.from.to_owned(), came: Arc::clone(&came) };
                fetching.insert(name, ours);
                return Some(Turn { files: self, name, came: Some(came) });
            };
            if waiter.stop.load(Ordering::Relaxed) {
                return None;
            }
            let bytes = came.load(Ordering::Relaxed);
            match &mut watched {
                Some((same, before, since)) if Arc::ptr_eq(same, came) => {
                    let waited = since.elapsed();
                    if waited >= waiter.patience && from != waiter.from {
                        if is_slow(bytes - *before, waited) {
                            return Some(Turn { files: self, name, came: None });
                        }
                        (*before, *since) = (bytes, Instant::now());
                    }
                }
                _ => watched = Some((Arc::clone(came), bytes, Instant::now())),
            }
            self.ended.wait_for(&mut fetching, STOP_INTERVAL.min(waiter.patience));
        }
    }

    /// The partial file of a content. For a declared SHA-256 it is called like the digest alone, because earlier releases named
    /// their partial files so and this one continues them; for a BLAKE3 the digest comes after `blake3-`.
    fn path(&self, name: &ContentName) -> PathBuf {
        self.directory.join(match name {
            ContentName::Sha256(digest) => digest.to_string(),
            ContentName::Blake3(blob) => format!("{BLAKE3_PREFIX}{blob}"),
        })
    }

    fn name(file: &Path) -> Option<ContentName> {
        let file = file.file_name()?.to_str()?;
        match file.strip_prefix(BLAKE3_PREFIX) {
            Some(blob) => blob.parse::<BlobHash>().ok().map(ContentName::from),
            None => file.parse::<Sha256>().ok().map(ContentName::from),
        }
    }

    /// What there is of downloads.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn usage(&self) -> Result<PartialUsage, StoreError> {
        let mut usage = PartialUsage::default();
        for (_, found) in self.list()? {
            usage.add(&found);
        }
        Ok(usage)
    }

    /// Removes what nobody has asked for in a week.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn remove_old(&self, now: Timestamp) -> Result<(), StoreError> {
        self.free(now.seconds.saturating_sub(KEPT_SECONDS)).map(drop)
    }

    /// Removes what nobody fetches now, and nobody has fetched since a time in seconds since 1970. Says what that was.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file not be removed.
    pub fn free(&self, since: i64) -> Result<PartialUsage, StoreError> {
        self.each_unused(since, durable::unlink)
    }

    /// What [`PartialFiles::free`] would remove.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn unused(&self, since: i64) -> Result<PartialUsage, StoreError> {
        self.each_unused(since, |_| Ok(()))
    }

    /// Bytes on the disk of downloads whose content is named by BLAKE3: they are parts of what buckets have, which readers use.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn part_bytes(&self) -> Result<u64, StoreError> {
        let bytes = |(path, found): &(PathBuf, Metadata)| {
            matches!(Self::name(path), Some(ContentName::Blake3(_))).then(|| found.blocks() * 512)
        };
        Ok(self.list()?.iter().filter_map(bytes).sum())
    }

    /// Removes such downloads that nobody fetches now until so many bytes are free, those first to which nothing was added for the
    /// longest time. Returns how many bytes that freed.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file not be removed.
    pub fn free_parts(&self, bytes: u64) -> Result<u64, StoreError> {
        let mut parts = self.list()?;
        parts.retain(|(path, _)| matches!(Self::name(path), Some(ContentName::Blake3(_))));
        parts.sort_by_key(|(path, found)| (found.mtime(), found.mtime_nsec(), path.clone()));
        let mut freed = PartialUsage::default();
        for part in parts {
            if freed.bytes >= bytes {
                break;
            }
            self.use_unused(part, &mut freed, &mut durable::unlink)?;
        }
        Ok(freed.bytes)
    }

    fn each_unused(
        &self,
        since: i64,
        mut what: impl FnMut(&Path) -> Result<(), StoreError>,
    ) -> Result<PartialUsage, StoreError> {
        let mut unused = PartialUsage::default();
        for (path, found) in self.list()? {
            if found.mtime() <= since {
                self.use_unused((path, found), &mut unused, &mut what)?;
            }
        }
        Ok(unused)
    }

    /// Does something to a download, unless somebody fetches it now, and counts it.
    fn use_unused(
        &self,
        (path, found): (PathBuf, Metadata),
        unused: &mut PartialUsage,
        what: &mut dyn FnMut(&Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // As long as this has the turn, nobody begins to go on with it. It is not waited for.
        let stop = AtomicBool::new(true);
        let turn = Self::name(&path).map(|name| {
            let waiter = Waiter { from: "", patience: Duration::MAX, stop: &stop };
            self.turn(name, waiter)
        });
        if !matches!(turn, Some(None)) && path.exists() {
            what(&path)?;
            unused.add(&found);
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<(PathBuf, Metadata)>, StoreError> {
        let look = || StoreError::io("look at", &self.directory);
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(look())?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(look())?;
            match entry.metadata() {
                Ok(metadata) => found.push((entry.path(), metadata)),
                // It came to its end meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(look()(error)),
            }
        }
        Ok(found)
    }
}

impl PartialUsage {
    fn add(&mut self, file: &Metadata) {
        self.count += 1;
        self.bytes += file.blocks() * 512;
    }
}

fn is_slow(bytes: u64, waited: Duration) -> bool {
    u128::from(bytes) * 1000 < u128::from(SHARED_BYTES_PER_SECOND) * waited.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(content: &[u8]) -> ContentName {
        BlobHash::of(content).into()
    }

    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// Longer than a test takes.
    const PATIENCE: Duration = Duration::from_secs(600);

    fn waiter(from: &str, patience: Duration) -> Waiter<'_> {
        Waiter { from, patience, stop: &GO_ON }
    }

    fn turn<'a>(files: &'a PartialFiles, content: &[u8]) -> Turn<'a> {
        files.turn(name(content), waiter("one", PATIENCE)).unwrap()
    }

    #[test]
    fn v10_a_content_is_fetched_by_one_at_a_time() {
        let files = PartialFiles::new("/nonexistent".into());
        let first = turn(&files, b"a");
        let _other = turn(&files, b"b");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| drop(turn(&files, b"a")));
            let stop = AtomicBool::new(true);
            assert!(
                files.turn(name(b"a"), Waiter { stop: &stop, ..waiter("two", PATIENCE) }).is_none(),
                "it is to stop"
            );
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
        drop(mine.open().unwrap());
        let later = Timestamp::new(now.seconds + KEPT_SECONDS + 60, 0).unwrap();
        files.remove_old(later).unwrap();
        assert!(mine.is_there(), "somebody is at it");
        drop(mine);
        files.remove_old(now).unwrap();
        let mine = turn(&files, b"a");
        assert!(mine.is_there());
        drop(mine);
        files.remove_old(later).unwrap();
        let mine = turn(&files, b"a");
        assert!(!mine.is_there());
        mine.remove().unwrap();
    }

    #[test]
    fn v10_nobody_waits_for_one_who_is_slow() {
        let directory = tempfile::tempdir().unwrap();
        let files = PartialFiles::new(directory.path().join("partial"));
        let slow = turn(&files, b"a");
        slow.note(10);
        let patience = Duration::from_millis(10);
        let beside = files.turn(name(b"a"), waiter("two", patience)).unwrap();
        assert!(!slow.is_there());
        drop(slow.open().unwrap());
        assert!(slow.is_there() && !beside.is_there(), "it has a file of its own");
        drop(beside.open().unwrap());
        beside.remove().unwrap();
        drop(beside);
        assert!(slow.is_there(), "the slow one goes on");
        assert!(
            is_slow(65_535, Duration::from_secs(1)) && !is_slow(65_536, Duration::from_secs(1))
        );
    }

    #[test]
    fn l15_parts_are_freed_beginning_with_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let files = PartialFiles::new(directory.path().join("partial"));
        assert_eq!((files.part_bytes().unwrap(), files.free_parts(1).unwrap()), (0, 0));
        let declared = ContentName::from(Sha256::of(b"d"));
        let (a, b, c) = (name(b"a"), name(b"b"), name(b"c"));
        for (number, part) in [declared, b, c, a].iter().enumerate() {
            drop(files.turn(*part, waiter("one", PATIENCE)).unwrap().open().unwrap());
            fs::write(files.path(part), vec![1; 8192]).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1000 + number as u64);
            File::options().write(true).open(files.path(part)).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(files.part_bytes().unwrap(), 3 * 8192);
        let fetched = turn(&files, b"b");
        assert_eq!(files.free_parts(1).unwrap(), 8192);
        let there = [declared, a, b, c].map(|part| files.path(&part).exists());
        assert_eq!(there, [true, true, true, false], "b is being fetched, and c is older than a");
        drop(fetched);
        assert_eq!(files.free_parts(u64::MAX).unwrap(), 2 * 8192);
        assert!(files.path(&declared).exists());
    }

    #[test]
    fn what_nobody_fetches_is_counted_and_freed() {
        let directory = tempfile::tempdir().unwrap();
        let files = PartialFiles::new(directory.path().join("partial"));
        assert_eq!(files.usage().unwrap(), PartialUsage::default());
        let mine = turn(&files, b"a");
        for content in [&b"a"[..], b"b"] {
            let path = files.path(&name(content));
            drop(mine.open().unwrap());
            fs::write(path, content).unwrap();
        }
        assert_eq!(files.usage().unwrap().count, 2);
        let now = Timestamp::now().seconds;
        assert_eq!(files.free(now - 600).unwrap().count, 0, "they are young");
        assert_eq!(files.unused(now + 600).unwrap().count, 1);
        assert_eq!(files.free(now + 600).unwrap().count, 1, "one is being fetched");
        assert!(mine.is_there());
        drop(mine);
        assert_eq!(files.free(now + 600).unwrap().count, 1);
        assert_eq!(files.usage().unwrap(), PartialUsage::default());
    }
}
