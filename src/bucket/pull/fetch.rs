//! Contents and pages of a bucket: asked for by ranges, several at a time, and compared with their names.
//!
//! What an index says of a place is only a proposal (H51). Where a place does not have what was said, the other indexes are
//! asked, and nothing is handed on whose bytes do not hash to its name.

use std::io::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::bucket::index::{Indexes, Location, Place};
use crate::bucket::key::ObjectKey;
use crate::bucket::pack::unpack;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{TransferError, Watch, add, store_error};
use crate::model::hash::BlobHash;

/// Requests at a time.
const REQUESTS: usize = 8;

/// Entries that are no further apart are asked for together: the bytes between them cost less than a request.
const GAP_BYTES: u64 = 64 << 10;

/// Bytes of one request.
const RANGE_BYTES_MAX: u64 = 8 << 20;

/// Who gets what came, on the threads that fetch. All of it has its name.
pub(super) trait Receiver: Sync {
    /// A file for a large content that comes in pieces.
    type Large: Write;

    /// Makes such a file.
    fn large(&self, name: &BlobHash) -> Result<Self::Large, TransferError>;

    /// Takes the file, once all came.
    fn take_large(
        &self,
        name: &BlobHash,
        bytes: u64,
        file: Self::Large,
    ) -> Result<(), TransferError>;

    /// Takes an entry of a pack.
    fn take(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError>;
}

/// A range of a pack, with the entries in it, or an object of one content.
struct Task {
    key: ObjectKey,
    start: u64,
    end: u64,
    entries: Vec<(BlobHash, Location)>,
}

/// Fetches contents; each is in the indexes.
pub(super) struct Fetcher<'a, R> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) watch: &'a Watch<'a>,
    pub(super) indexes: &'a Indexes,
    pub(super) receiver: &'a R,
}

impl<R: Receiver> Fetcher<'_, R> {
    /// Fetches them all. `missing` makes an error of a name that no index has.
    pub(super) fn run(
        &self,
        names: impl Iterator<Item = BlobHash>,
        missing: impl Fn(BlobHash) -> TransferError,
    ) -> Result<(), TransferError> {
        let mut places = Vec::new();
        for name in names {
            let (_, location) = self.indexes.find(&name).next().ok_or_else(|| missing(name))?;
            places.push((name, location));
        }
        let tasks = plan(places);
        let threads = REQUESTS.min(tasks.len());
        let (send, receive) = crossbeam_channel::unbounded();
        for task in tasks {
            // There is room without a bound, and the receiver is here.
            send.send(task).unwrap_or_default();
        }
        drop(send);
        let has_failed = AtomicBool::new(false);
        let work = || {
            let done = receive.iter().try_for_each(|task| {
                if has_failed.load(Ordering::Relaxed) { Ok(()) } else { self.fetch(&task) }
            });
            done.inspect_err(|_| has_failed.store(true, Ordering::Relaxed))
        };
        let Some(threads) = NonZero::new(threads) else { return Ok(()) };
        thread::scope(|scope| {
            let mut started = Vec::new();
            for _ in 1..threads.get() {
                let builder = thread::Builder::new().name("download".to_owned());
                // If the system has no more threads, those that there are fetch everything.
                started.extend(builder.spawn_scoped(scope, work));
            }
            let mut result = work();
            for thread in started {
                match thread.join() {
                    Ok(done) => result = result.and(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }

    fn fetch(&self, task: &Task) -> Result<(), TransferError> {
        if let [(name, location)] = &task.entries[..]
            && location.place == Place::Whole
        {
            return self.fetch_large(name, location);
        }
        let came = self.range(&task.key, task.start, task.end);
        for (name, location) in &task.entries {
            let content = match &came {
                Ok(bytes) => entry(name, location, task.start, bytes),
                Err(TransferError::Store(error)) => return Err(error.clone().into()),
                Err(TransferError::Stopped) => return Err(TransferError::Stopped),
                Err(error) => Err(lies(&task.key, name, error.to_string())),
            };
            match content {
                Ok(content) => self.receiver.take(name, &content)?,
                Err(error) => self.fetch_elsewhere(name, &task.key, error)?,
            }
        }
        Ok(())
    }

    /// Tries the other places that an entry is said to be at.
    fn fetch_elsewhere(
        &self,
        name: &BlobHash,
        failed: &ObjectKey,
        error: TransferError,
    ) -> Result<(), TransferError> {
        for (_, location) in self.indexes.find(name) {
            let Place::Entry { offset, stored_bytes, .. } = location.place else { continue };
            if location.key == *failed {
                continue;
            }
            let start = u64::from(offset);
            let tried = self
                .range(&location.key, start, start + u64::from(stored_bytes))
                .and_then(|bytes| entry(name, &location, start, &bytes));
            match tried {
                Ok(content) => return self.receiver.take(name, &content),
                Err(TransferError::Stopped) => return Err(TransferError::Stopped),
                Err(other) => log::warn!("{other}"),
            }
        }
        Err(error)
    }

    fn range(&self, key: &ObjectKey, start: u64, end: u64) -> Result<Vec<u8>, TransferError> {
        self.watch.check()?;
        let found = self.store.get_range(&key.to_string(), start..end);
        let found = found.map_err(|error| store_error(self.watch, error))?;
        let bytes = found.ok_or(TransferError::MissingObject(*key))?;
        add(&self.watch.tally().moved_bytes, bytes.len() as u64);
        self.watch.keep_pace(bytes.len())?;
        Ok(bytes)
    }

    fn fetch_large(&self, name: &BlobHash, location: &Location) -> Result<(), TransferError> {
        let mut file = self.receiver.large(name)?;
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        while done < location.object_bytes {
            let end = location.object_bytes.min(done + RANGE_BYTES_MAX);
            let bytes = self.range(&location.key, done, end)?;
            if bytes.len() as u64 != end - done {
                return Err(lies(&location.key, name, "it is shorter".to_owned()));
            }
            hasher.update(&bytes);
            file.write_all(&bytes).map_err(TransferError::local)?;
            done = end;
        }
        if BlobHash::from(hasher.finalize()) != *name {
            let reason = "its bytes are not those of its name".to_owned();
            return Err(lies(&location.key, name, reason));
        }
        self.receiver.take_large(name, done, file)
    }
}

fn lies(key: &ObjectKey, name: &BlobHash, reason: String) -> TransferError {
    TransferError::Lies { key: *key, name: *name, reason }
}

/// An entry out of the bytes of a pack from `start` on.
fn entry(
    name: &BlobHash,
    location: &Location,
    start: u64,
    bytes: &[u8],
) -> Result<Vec<u8>, TransferError> {
    let Place::Entry { offset, stored_bytes, bytes: length } = location.place else {
        return Err(lies(&location.key, name, "it is no pack".to_owned()));
    };
    let from = usize::try_from(u64::from(offset) - start).unwrap_or(usize::MAX);
    let stored = usize::try_from(stored_bytes).unwrap_or(usize::MAX);
    let to = from.saturating_add(stored);
    let stored =
        bytes.get(from..to).ok_or_else(|| lies(&location.key, name, "it is shorter".to_owned()))?;
    unpack(name, length, stored).map_err(|error| lies(&location.key, name, error.to_string()))
}

/// Which ranges are to be asked for.
fn plan(mut places: Vec<(BlobHash, Location)>) -> Vec<Task> {
    let start = |location: &Location| match location.place {
        Place::Entry { offset, .. } => u64::from(offset),
        Place::Whole => 0,
    };
    places.sort_by_key(|(name, location)| (location.key, start(location), *name));
    places.dedup_by_key(|(name, _)| *name);
    let mut tasks: Vec<Task> = Vec::new();
    for (name, location) in places {
        let from = start(&location);
        let to = match location.place {
            Place::Entry { stored_bytes, .. } => from + u64::from(stored_bytes),
            Place::Whole => location.object_bytes,
        };
        let joined = tasks.last_mut().filter(|task| {
            location.place != Place::Whole
                && task.key == location.key
                && from <= task.end.saturating_add(GAP_BYTES)
                && to.saturating_sub(task.start) <= RANGE_BYTES_MAX
        });
        match joined {
            Some(task) => {
                task.end = task.end.max(to);
                task.entries.push((name, location));
            }
            None => {
                let entries = vec![(name, location)];
                tasks.push(Task { key: location.key, start: from, end: to, entries });
            }
        }
    }
    tasks
}
