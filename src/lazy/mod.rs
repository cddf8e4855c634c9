//! Lazy content: what a version names and the store does not have is fetched when somebody reads it (L4).
//!
//! Whoever needs a content asks [`Lazy`] and is called back; nobody's thread waits for the network but those here. All who
//! ask for one content share one fetch. It is handed to nobody before its bytes were compared with the name and are in the pool; from
//! then on it is an ordinary blob. Where the disk has no room for it, small content is handed to readers all the same, and
//! forgotten after a moment (H37). After a failure the
//! next requests for that content fail at once for ten seconds.
//!
//! Small contents of a bucket are back to back in packs. What is absent and comes right after a content that is read comes with the
//! same request ([`windows`]), and who wants it meanwhile waits for that request.
//!
//! Of a large content of a bucket those parts come first that somebody reads, if its object has what verifies them ([`parts`]). It
//! stays absent until all of it is here.
//!
//! Readers come first (H39): what only a prefetch wants is begun when no reader waits for a thread or a place, and its fetch
//! ends early, keeping what came, when a reader finds no place at the remote.
//!
//! This room must not know who reads, nor what a mount is.

mod bucket;
mod cache;
mod fetch;
mod fetch_parts;
mod flights;
mod object;
mod parts;
mod places;
mod unkept;
mod windows;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::engine::Engine;
use crate::engine::fetcher::{Fetcher, NotFetched, OnFetched, PrefetchId, Purpose};
use crate::model::content_name::ContentName;
use crate::model::name::RemoteName;
use crate::sync::PartialFiles;
use crate::sys::panics;
use cache::Cache;
use fetch::Access;
use flights::{Flights, Joined};
use parts::KnownParts;
use windows::Windows;

/// Contents that are fetched at a time, over all remotes.
const FETCHES_MAX: usize = 256;

/// Contents that are fetched at a time from one remote, where its settings allow as many connections. Far below
/// [`FETCHES_MAX`], so that it takes many silent remotes to hold up readers of another.
const FETCHES_PER_REMOTE_MAX: u32 = 16;

/// Content of at most so many bytes is handed to readers where the disk has no room to keep it (H37).
const UNKEPT_BYTES_MAX: usize = 4 << 20;

/// How many of those are fetched at a time.
const UNKEPT_MAX: usize = 16;

/// How long a thread waits for the next content before it ends.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How often the watching thread looks for readers who have waited too long.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How a remote is asked, with the settings that it was made of.
type KnownAccess = (String, Access);

/// Fetches the content that a store lacks.
pub struct Lazy {
    engine: Weak<Engine>,
    partial_files: Arc<PartialFiles>,
    flights: Mutex<Flights>,
    /// There is something to do, or it is to stop.
    changed: Condvar,
    accesses: Mutex<HashMap<RemoteName, KnownAccess>>,
    windows: Mutex<Windows>,
    known_parts: Mutex<KnownParts>,
    /// Buckets of which something was not where it was noted to be.
    moved: Mutex<BTreeSet<RemoteName>>,
    /// Contents under way that are not going to be kept.
    unkept: AtomicUsize,
    cache: Cache,
    stop: AtomicBool,
}

impl std::fmt::Debug for Lazy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy").finish_non_exhaustive()
    }
}

/// What is going on, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Contents that are fetched or wait for their turn.
    pub fetching: u64,
    /// Readers who wait.
    pub waiting: u64,
    /// Contents that could not be had a short time ago.
    pub failed: u64,
}

impl Lazy {
    /// For this engine. Starts no thread, and asks nobody anything, before the first content is wanted. Content of streamed
    /// remotes is kept up to `cache_bytes_max` bytes, or if that is 0 as long as there is room on the disk.
    pub fn new(
        engine: &Arc<Engine>,
        partial_files: &Arc<PartialFiles>,
        cache_bytes_max: Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            engine: Arc::downgrade(engine),
            partial_files: Arc::clone(partial_files),
            flights: Mutex::new(Flights::new(own.clone())),
            changed: Condvar::new(),
            accesses: Mutex::default(),
            windows: Mutex::default(),
            known_parts: Mutex::default(),
            moved: Mutex::default(),
            unkept: AtomicUsize::new(0),
            cache: Cache::new(cache_bytes_max),
            stop: AtomicBool::new(false),
        })
    }

    /// What is going on now.
    pub fn activity(&self) -> Activity {
        self.flights.lock().activity(Instant::now())
    }

    /// Something was not where a bucket was noted to have it.
    fn note_moved(&self, remote: &RemoteName) {
        self.moved.lock().insert(remote.clone());
    }

    /// Whether something was not where a bucket was noted to have it, since the last time that somebody asked this.
    pub fn take_moved(&self, remote: &RemoteName) -> bool {
        self.moved.lock().remove(remote)
    }

    /// Fetches nothing more: who waits is told so. What came so far is kept for the next run.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let waiting = self.flights.lock().give_up();
        self.changed.notify_all();
        self.cache.stop();
        for then in waiting {
            then(Err(NotFetched("the daemon is stopping".to_owned())));
        }
    }

    /// Fetches contents until there are none for a while.
    fn work(self: &Arc<Self>) {
        loop {
            let Some(content) = self.next() else { return };
            let outcome = match self.engine.upgrade() {
                Some(engine) => panics::contain("a fetch of content", || {
                    panics::point("lazy");
                    self.fetch_one(&engine, content)
                })
                .unwrap_or_else(|panicked| Some(Err(NotFetched(panicked.to_string())))),
                None => Some(Err(NotFetched("the store is closed".to_owned()))),
            };
            // It waits for a place at a remote, or made way for a reader.
            let Some(outcome) = outcome else { continue };
            if let Err(reason) = &outcome {
                log::warn!("content {content} cannot be had: {reason}");
            }
            let mut flights = self.flights.lock();
            let waiting = flights.end(&content, &outcome, Instant::now());
            self.wake_if_wanted(&flights);
            drop(flights);
            for then in waiting {
                then(outcome.clone());
            }
        }
    }

    /// Wakes threads that rest if there is something to do.
    fn wake_if_wanted(&self, flights: &Flights) {
        if flights.is_wanted() {
            self.changed.notify_all();
        }
    }

    /// The next content to fetch; `None` when the thread is to end.
    fn next(&self) -> Option<ContentName> {
        let mut flights = self.flights.lock();
        let until = Instant::now() + IDLE_TIME;
        loop {
            if let Some(content) = flights.begin() {
                return Some(content);
            }
            flights.rests(true);
            let late = self.changed.wait_until(&mut flights, until).timed_out();
            flights.rests(false);
            if self.stop.load(Ordering::SeqCst) || late && !flights.is_wanted() {
                flights.worker_ends();
                return None;
            }
        }
    }

    /// Lets go of readers who have waited for too long, as long as there are any; the fetches go on.
    fn watch(&self) {
        loop {
            let mut flights = self.flights.lock();
            self.changed.wait_for(&mut flights, LOOK_INTERVAL);
            let (late, is_last) = flights.late(Instant::now());
            drop(flights);
            for (then, reason) in late {
                then(Err(reason));
            }
            if is_last {
                return;
            }
        }
    }

    fn start(self: &Arc<Self>, what: &'static str, body: fn(&Arc<Self>)) -> bool {
        let own = Arc::clone(self);
        let spawned = thread::Builder::new().name(what.to_owned()).spawn(move || body(&own));
        spawned.inspect_err(|error| log::warn!("no thread to fetch content: {error}")).is_ok()
    }
}

impl Fetcher for Lazy {
    fn fetch(
        &self,
        content: ContentName,
        part: Option<Range<u64>>,
        purpose: Purpose,
        then: OnFetched,
    ) {
        let mut flights = self.flights.lock();
        if self.stop.load(Ordering::SeqCst) {
            drop(flights);
            return then(Err(NotFetched("the daemon is stopping".to_owned())));
        }
        let joined = flights.join(content, (part, purpose), then, Instant::now());
        let own = flights.own();
        let (needs_worker, needs_watch) = flights.needs(FETCHES_MAX);
        drop(flights);
        // `needs` has counted these threads as running. So they are started even if this reader was refused: otherwise
        // their places would be taken for ever, and at last nothing would be fetched.
        if let Some(own) = own {
            if needs_watch && !own.start("lazy-watch", |own| own.watch()) {
                own.flights.lock().watch_ends();
            }
            if needs_worker && !own.start("lazy-fetch", |own| own.work()) {
                own.flights.lock().worker_ends();
            }
            // Both kinds of threads wait for this.
            self.changed.notify_all();
        }
        match joined {
            Joined::Waits => {}
            Joined::Answered(then, outcome) => then(outcome),
        }
    }

    fn read_part(&self, name: &ContentName, offset: u64, buffer: &mut [u8]) -> bool {
        let parts = self.known_parts.lock().get(name);
        parts.is_some_and(|parts| parts.read(offset, buffer))
    }

    fn came(&self, prefetch: PrefetchId) -> u64 {
        self.flights.lock().came_for(prefetch)
    }

    fn abandon(&self, prefetch: PrefetchId) {
        let waiting = self.flights.lock().abandon(prefetch);
        for then in waiting {
            then(Err(NotFetched("the prefetch has ended".to_owned())));
        }
    }
}
