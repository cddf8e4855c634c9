//! Who waits for which content: one fetch for each, however many ask.
//!
//! Pure bookkeeping: no thread, no clock, no network. Whoever calls passes the time, and runs the callbacks that come back
//! after it has let go of the lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use self::rides::Rides;
use self::sources::Asking;
use super::places::{Class, Places};
use super::unkept::Unkept;
use super::{Activity, Lazy};
use crate::engine::fetcher::{FetchOutcome, Fetched, NotFetched, OnFetched, PrefetchId, Purpose};
use crate::model::content_name::ContentName;
use crate::store::catalog::Source;

mod offers;
mod parts;
mod rides;
mod sources;

pub(super) use self::parts::NextPart;
pub(super) use self::sources::PASSING_TIME;

/// A reader waits for so long without a further byte, then it gets an error and the fetch goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Readers who may wait. One more takes the place of the one that has waited longest.
const WAITING_MAX: usize = 4096;

/// How long a content that could not be had is not asked for again.
const COOLDOWN: Duration = Duration::from_secs(10);

/// Contents that are fetched for prefetches at a time, over all remotes. Far fewer than there may be threads, so that
/// readers always find one.
const PREFETCHES_MAX: usize = 64;

/// Failures that are remembered.
const FAILED_MAX: usize = 10_000;

/// What becomes of somebody who asks.
pub(super) enum Joined {
    /// It is called back later.
    Waits,
    /// It is to be told this now.
    Answered(OnFetched, FetchOutcome),
}

struct Waiter {
    number: u64,
    since: Instant,
    /// The bytes that it needs; `None` for all.
    part: Option<Range<u64>>,
    purpose: Purpose,
    then: OnFetched,
}

impl Waiter {
    fn is_reader(&self) -> bool {
        matches!(self.purpose, Purpose::Read(_))
    }

    fn is_of(&self, prefetch: PrefetchId) -> bool {
        self.purpose == Purpose::Prefetch(prefetch)
    }
}

struct Flight {
    class: Class,
    waiters: Vec<Waiter>,
    /// Has its fetch end: it makes way for a reader, nobody wants it any more, or the daemon stops.
    stop: Arc<AtomicBool>,
    /// Bytes that this flight fetched itself: none while it is queued, or while somebody else has the turn.
    came: Arc<AtomicU64>,
    /// The progress at the last look, and since when it has been that.
    seen: (u64, Instant),
    /// Bytes that its requests to a bucket heard, which are not all of this content.
    heard: Arc<AtomicU64>,
    /// The sources that did not have it, and why.
    tried: Vec<(Source, NotFetched)>,
    /// The source that is asked now, if another one is left.
    asking: Option<Asking>,
}

impl Flight {
    fn new(class: Class, now: Instant) -> Self {
        Self {
            class,
            waiters: Vec::new(),
            stop: Arc::default(),
            came: Arc::default(),
            heard: Arc::default(),
            seen: (0, now),
            tried: Vec::new(),
            asking: None,
        }
    }

    /// A count that grows with each byte that comes for it.
    fn progress(&self) -> u64 {
        self.came.load(Ordering::Relaxed).wrapping_add(self.heard.load(Ordering::Relaxed))
    }
}

struct Failed {
    until: Instant,
    reason: NotFetched,
}

/// Contents that are wanted.
pub(super) struct Flights {
    own: Weak<Lazy>,
    flights: BTreeMap<ContentName, Flight>,
    /// Not begun yet, the longest wanted first.
    queue: VecDeque<ContentName>,
    /// The same of what only prefetches want: begun when nothing else is left.
    prefetch_queue: VecDeque<ContentName>,
    /// What is being fetched only for prefetches.
    prefetching: BTreeSet<ContentName>,
    /// Who fetches from which remote, or waits to.
    places: Places,
    failed: BTreeMap<ContentName, Failed>,
    unkept: Unkept,
    rides: Rides,
    waiting: usize,
    next_number: u64,
    workers: usize,
    idle: usize,
    is_watched: bool,
}

impl Flights {
    pub(super) fn new(own: Weak<Lazy>) -> Self {
        Self {
            own,
            flights: BTreeMap::new(),
            queue: VecDeque::new(),
            prefetch_queue: VecDeque::new(),
            prefetching: BTreeSet::new(),
            places: Places::default(),
            failed: BTreeMap::new(),
            unkept: Unkept::default(),
            rides: Rides::default(),
            waiting: 0,
            next_number: 0,
            workers: 0,
            idle: 0,
            is_watched: false,
        }
    }

    pub(super) fn own(&self) -> Option<Arc<Lazy>> {
        self.own.upgrade()
    }

    /// Somebody wants a content, or a part of it.
    pub(super) fn join(
        &mut self,
        content: ContentName,
        (part, purpose): (Option<Range<u64>>, Purpose),
        then: OnFetched,
        now: Instant,
    ) -> Joined {
        if let Some(failed) = self.failed.get(&content) {
            if now < failed.until {
                return Joined::Answered(then, Err(failed.reason.clone()));
            }
            self.failed.remove(&content);
        }
        if let Some(bytes) = self.unkept.get(&content, now) {
            return Joined::Answered(then, Ok(Fetched::Unkept(bytes)));
        }
        let is_reader = matches!(purpose, Purpose::Read(_));
        if is_reader {
            self.promote(&content, now);
            // Others have waited for so long in vain: whoever asks again, as the kernel does for one page, waits for no more.
            if let Some(flight) = self.flights.get(&content)
                && now.saturating_duration_since(flight.seen.1) >= PATIENCE
                && flight.progress() == flight.seen.0
            {
                let reason = format!("no byte came for {} s", PATIENCE.as_secs());
                return Joined::Answered(then, Err(NotFetched(reason)));
            }
        }
        let crowded = if is_reader { self.make_room() } else { None };
        self.next_number += 1;
        let waiter = Waiter { number: self.next_number, since: now, part, purpose, then };
        let flight = self.flights.entry(content).or_insert_with(|| {
            let (class, queue) = match is_reader {
                true => (Class::Read, &mut self.queue),
                false => (Class::Prefetch, &mut self.prefetch_queue),
            };
            queue.push_back(content);
            Flight::new(class, now)
        });
        flight.waiters.push(waiter);
        self.waiting += usize::from(is_reader);
        match crowded {
            Some(oldest) => {
                let reason = format!("{WAITING_MAX} others wait for content, too");
                Joined::Answered(oldest, Err(NotFetched(reason)))
            }
            None => Joined::Waits,
        }
    }

    /// Somebody reads what only prefetches wanted so far: it is first from now on, and nobody has waited for it yet.
    fn promote(&mut self, content: &ContentName, now: Instant) {
        let Some(flight) = self.flights.get_mut(content) else { return };
        if flight.class == Class::Read {
            return;
        }
        flight.class = Class::Read;
        flight.seen = (flight.progress(), now);
        self.prefetching.remove(content);
        let queued = self.prefetch_queue.len();
        self.prefetch_queue.retain(|other| other != content);
        if self.prefetch_queue.len() < queued || self.places.promote(content) {
            self.queue.push_back(*content);
        }
    }

    /// Takes the reader away who has waited longest, if there are too many.
    fn make_room(&mut self) -> Option<OnFetched> {
        if self.waiting < WAITING_MAX {
            return None;
        }
        let (content, _) = self
            .flights
            .iter()
            .filter_map(|(content, flight)| {
                let reader = flight.waiters.iter().find(|waiter| waiter.is_reader())?;
                Some((*content, reader.number))
            })
            .min_by_key(|(_, number)| *number)?;
        let flight = self.flights.get_mut(&content)?;
        let reader = flight.waiters.iter().position(Waiter::is_reader)?;
        self.waiting -= 1;
        Some(flight.waiters.remove(reader).then)
    }

    /// Whether one more fetching thread (up to `workers_max`) and the watching thread must be started. Both are counted as started.
    pub(super) fn needs(&mut self, workers_max: usize) -> (bool, bool) {
        let needs_worker = self.ready() > self.idle && self.workers < workers_max;
        self.workers += usize::from(needs_worker);
        let needs_watch = !self.flights.is_empty() && !self.is_watched;
        self.is_watched |= needs_watch;
        (needs_worker, needs_watch)
    }

    pub(super) fn worker_ends(&mut self) {
        self.workers -= 1;
    }

    /// A thread that fetches has nothing to do, or looks again whether it has.
    pub(super) fn rests(&mut self, rests: bool) {
        match rests {
            true => self.idle += 1,
            false => self.idle -= 1,
        }
    }

    /// Whether there is a content to fetch.
    pub(super) fn is_wanted(&self) -> bool {
        self.ready() > 0
    }

    /// Contents that may be begun now.
    fn ready(&self) -> usize {
        let prefetches = PREFETCHES_MAX.saturating_sub(self.prefetching.len());
        self.queue.len() + self.prefetch_queue.len().min(prefetches)
    }

    pub(super) fn watch_ends(&mut self) {
        self.is_watched = false;
    }

    /// The next content to fetch: what somebody reads, or else what a prefetch wants.
    pub(super) fn begin(&mut self) -> Option<ContentName> {
        if let Some(content) = self.queue.pop_front() {
            return Some(content);
        }
        while self.prefetching.len() < PREFETCHES_MAX {
            let content = self.prefetch_queue.pop_front()?;
            if self.flights.get(&content).is_some_and(|flight| !flight.waiters.is_empty()) {
                self.prefetching.insert(content);
                return Some(content);
            }
            self.flights.remove(&content);
            self.needs_no_place(&content);
        }
        None
    }

    /// Is set when the fetch of a content is to end.
    pub(super) fn stop(&self, content: &ContentName) -> Arc<AtomicBool> {
        let stop = self.flights.get(content).map(|flight| Arc::clone(&flight.stop));
        stop.unwrap_or_else(|| Arc::new(AtomicBool::new(true)))
    }

    /// The fetch of a content ended before it was done: it made way, or a prefetch was abandoned. It is begun again if
    /// somebody wants it.
    pub(super) fn put_back(&mut self, content: ContentName) {
        self.prefetching.remove(&content);
        self.needs_no_place(&content);
        let Some(flight) = self.flights.get_mut(&content) else { return };
        match flight.class {
            Class::Read => self.queue.push_back(content),
            Class::Prefetch if flight.waiters.is_empty() => {
                self.flights.remove(&content);
                return;
            }
            Class::Prefetch => self.prefetch_queue.push_front(content),
        }
        flight.stop = Arc::default();
    }

    /// Nobody waits any more for what a prefetch wanted. Returns who did.
    pub(super) fn abandon(&mut self, prefetch: PrefetchId) -> Vec<OnFetched> {
        let mut left = Vec::new();
        let mut unwanted = Vec::new();
        for (content, flight) in &mut self.flights {
            let before = left.len();
            left.extend(flight.waiters.extract_if(.., |waiter| waiter.is_of(prefetch)));
            let is_unwanted = flight.class == Class::Prefetch && flight.waiters.is_empty();
            if left.len() > before && is_unwanted {
                flight.stop.store(true, Ordering::SeqCst);
                unwanted.push(*content);
            }
        }
        for content in unwanted {
            // What is under way ends, and then it is put back.
            if !self.prefetching.contains(&content) {
                self.prefetch_queue.retain(|other| *other != content);
                self.places.promote(&content);
                self.flights.remove(&content);
                self.needs_no_place(&content);
            }
        }
        left.into_iter().map(|waiter| waiter.then).collect()
    }

    /// Bytes that have come of what a prefetch waits for.
    pub(super) fn came_for(&self, prefetch: PrefetchId) -> u64 {
        let wanted = self.prefetching.iter().filter_map(|content| self.flights.get(content));
        let wanted = wanted.filter(|flight| flight.waiters.iter().any(|it| it.is_of(prefetch)));
        wanted.map(|flight| flight.came.load(Ordering::Relaxed)).sum()
    }

    /// Whether nobody but a prefetch wants a content.
    pub(super) fn is_prefetch(&self, content: &ContentName) -> bool {
        self.flights.get(content).is_some_and(|flight| flight.class == Class::Prefetch)
    }

    /// Where bytes that come of a content are counted.
    pub(super) fn came(&self, content: &ContentName) -> Arc<AtomicU64> {
        self.flights.get(content).map(|flight| Arc::clone(&flight.came)).unwrap_or_default()
    }

    /// A fetch has ended. Returns who is to be told.
    pub(super) fn end(
        &mut self,
        content: &ContentName,
        outcome: &FetchOutcome,
        now: Instant,
    ) -> Vec<OnFetched> {
        if let Ok(Fetched::Unkept(bytes)) = outcome {
            self.unkept.put(*content, Arc::clone(bytes), now);
        }
        if let Err(reason) = outcome {
            self.failed.retain(|_, failed| now < failed.until);
            if self.failed.len() < FAILED_MAX {
                let failed = Failed { until: now + COOLDOWN, reason: reason.clone() };
                self.failed.insert(*content, failed);
            }
        }
        self.prefetching.remove(content);
        self.needs_no_place(content);
        let waiters = self.flights.remove(content).map(|flight| flight.waiters).unwrap_or_default();
        self.waiting -= waiters.iter().filter(|waiter| waiter.is_reader()).count();
        waiters.into_iter().map(|waiter| waiter.then).collect()
    }

    /// The readers who have waited too long, and whether nothing is left to watch; then the watching thread ends.
    pub(super) fn late(&mut self, now: Instant) -> (Vec<(OnFetched, NotFetched)>, bool) {
        let mut late = Vec::new();
        for flight in self.flights.values_mut() {
            let progress = flight.progress();
            if progress != flight.seen.0 {
                flight.seen = (progress, now);
            }
            flight.pass_over(now);
            let silent = now.saturating_duration_since(flight.seen.1) >= PATIENCE;
            let waited = |waiter: &Waiter| now.saturating_duration_since(waiter.since);
            let is_late = |waiter: &mut Waiter| match waiter.purpose {
                Purpose::Read(patience) => {
                    waited(waiter) >= patience || silent && waited(waiter) >= PATIENCE
                }
                Purpose::Prefetch(_) => false,
            };
            let what = if silent { "nothing came" } else { "it is still being fetched" };
            for waiter in flight.waiters.extract_if(.., is_late) {
                let reason = format!("{what} for {} s", waited(&waiter).as_secs());
                late.push((waiter.then, NotFetched(reason)));
            }
        }
        self.waiting -= late.len();
        self.unkept.expire(now);
        let is_last = self.flights.is_empty() && self.unkept.is_empty();
        if is_last {
            self.is_watched = false;
        }
        (late, is_last)
    }

    /// Everybody who waits; nothing more is begun.
    pub(super) fn give_up(&mut self) -> Vec<OnFetched> {
        self.queue.clear();
        self.prefetch_queue.clear();
        self.prefetching.clear();
        self.places.give_up();
        self.rides.clear();
        self.waiting = 0;
        let flights = std::mem::take(&mut self.flights);
        flights.values().for_each(|flight| flight.stop.store(true, Ordering::SeqCst));
        flights.into_values().flat_map(|flight| flight.waiters).map(|waiter| waiter.then).collect()
    }

    pub(super) fn activity(&self, now: Instant) -> Activity {
        let failed = self.failed.values().filter(|failed| now < failed.until);
        Activity {
            fetching: self.flights.len() as u64,
            waiting: self.waiting as u64,
            failed: failed.count() as u64,
        }
    }
}

#[cfg(test)]
mod tests;
