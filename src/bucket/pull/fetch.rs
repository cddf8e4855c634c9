//! Contents and pages of a bucket: asked for by ranges, several at a time.
//!
//! Where a place does not have what an index says, the other indexes are asked (H51).

use std::io::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::content::{GAP_BYTES, RANGE_BYTES_MAX, fetch_entries, fetch_whole, span};
use crate::bucket::index::{Indexes, Location, Place};
use crate::bucket::key::ObjectKey;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{TransferError, Watch};
use crate::model::hash::BlobHash;

/// Requests at a time.
const REQUESTS: usize = 8;

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
            && matches!(location.place, Place::Own { .. })
        {
            return self.fetch_large(name, location);
        }
        let came = fetch_entries(self.store, self.watch, &task.entries)?;
        for ((name, _), content) in task.entries.iter().zip(came) {
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
            if matches!(location.place, Place::Own { .. }) || location.key == *failed {
                continue;
            }
            let tried = fetch_entries(self.store, self.watch, &[(*name, location)]);
            match tried.map(|mut contents| contents.pop()) {
                Ok(Some(Ok(content))) => return self.receiver.take(name, &content),
                Err(TransferError::Stopped) => return Err(TransferError::Stopped),
                Ok(Some(Err(other))) | Err(other) => log::warn!("{other}"),
                Ok(None) => {}
            }
        }
        Err(error)
    }

    fn fetch_large(&self, name: &BlobHash, location: &Location) -> Result<(), TransferError> {
        match self.fetch_large_of(self.store, name, location) {
            Err(error) if error.may_be_of_cache() => match self.store.past_caches() {
                Some(fresh) => {
                    log::warn!("{error}; asking again, past caches");
                    self.fetch_large_of(&*fresh, name, location)
                }
                None => Err(error),
            },
            fetched => fetched,
        }
    }

    fn fetch_large_of(
        &self,
        store: &dyn ObjectStore,
        name: &BlobHash,
        location: &Location,
    ) -> Result<(), TransferError> {
        let mut file = self.receiver.large(name)?;
        let start = (0, blake3::Hasher::new());
        let take = &mut |bytes: &[u8]| file.write_all(bytes);
        let length = fetch_whole(store, self.watch, (name, location), start, take)?;
        self.receiver.take_large(name, length, file)
    }
}

/// Which ranges are to be asked for.
fn plan(mut places: Vec<(BlobHash, Location)>) -> Vec<Task> {
    let place = |location: &Location| span(location).unwrap_or((0, location.object_bytes));
    places.sort_by_key(|(name, location)| (location.key, place(location).0, *name));
    places.dedup_by_key(|(name, _)| *name);
    let mut tasks: Vec<Task> = Vec::new();
    for (name, location) in places {
        let (from, to) = place(&location);
        let joined = tasks.last_mut().filter(|task| {
            matches!(location.place, Place::Entry { .. })
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
