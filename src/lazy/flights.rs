//! Who waits for which content: one fetch for each, however many ask.
//!
//! Pure bookkeeping: no thread, no clock, no network. Whoever calls passes the time, and runs the callbacks that come back
//! after it has let go of the lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::places::{Candidate, Places};
use super::{Activity, Lazy};
use crate::engine::fetcher::{NotFetched, OnFetched};
use crate::model::digest::Sha256;
use crate::model::name::RemoteName;
use crate::store::catalog::SourceRow;

/// A reader waits for so long without a further byte, then it gets an error and the fetch goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Readers who may wait. One more takes the place of the one that has waited longest.
const WAITING_MAX: usize = 4096;

/// How long a content that could not be had is not asked for again.
const COOLDOWN: Duration = Duration::from_secs(10);

/// Failures that are remembered.
const FAILED_MAX: usize = 10_000;

/// What becomes of somebody who asks.
pub(super) enum Joined {
    /// It is called back later.
    Waits,
    /// It is to be told this now.
    Refused(OnFetched, NotFetched),
}

struct Waiter {
    number: u64,
    since: Instant,
    /// How long it waits, however fast bytes come.
    patience: Duration,
    then: OnFetched,
}

struct Flight {
    waiters: Vec<Waiter>,
    /// Bytes that this flight fetched itself: none while it is queued, or while somebody else has the turn.
    came: Arc<AtomicU64>,
    /// The count at the last look, and since when it has been that.
    seen: (u64, Instant),
    /// The sources that did not have it, and why.
    tried: Vec<(SourceRow, NotFetched)>,
}

struct Failed {
    until: Instant,
    reason: NotFetched,
}

/// Contents that are wanted.
pub(super) struct Flights {
    own: Weak<Lazy>,
    flights: BTreeMap<Sha256, Flight>,
    /// Not begun yet, the longest wanted first.
    queue: VecDeque<Sha256>,
    /// Who fetches from which remote, or waits to.
    places: Places,
    failed: BTreeMap<Sha256, Failed>,
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
            places: Places::default(),
            failed: BTreeMap::new(),
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

    /// Somebody wants a content.
    pub(super) fn join(
        &mut self,
        digest: Sha256,
        patience: Duration,
        then: OnFetched,
        now: Instant,
    ) -> Joined {
        if let Some(failed) = self.failed.get(&digest) {
            if now < failed.until {
                return Joined::Refused(then, failed.reason.clone());
            }
            self.failed.remove(&digest);
        }
        // Others have waited for so long in vain: whoever asks again, as the kernel does for one page, waits for no more.
        if let Some(flight) = self.flights.get(&digest)
            && now.saturating_duration_since(flight.seen.1) >= PATIENCE
            && flight.came.load(Ordering::Relaxed) == flight.seen.0
        {
            let reason = format!("no byte came for {} s", PATIENCE.as_secs());
            return Joined::Refused(then, NotFetched(reason));
        }
        let crowded = self.make_room();
        self.next_number += 1;
        let waiter = Waiter { number: self.next_number, since: now, patience, then };
        let flight = self.flights.entry(digest).or_insert_with(|| {
            self.queue.push_back(digest);
            Flight { waiters: Vec::new(), came: Arc::default(), seen: (0, now), tried: Vec::new() }
        });
        flight.waiters.push(waiter);
        self.waiting += 1;
        match crowded {
            Some(oldest) => {
                let reason = format!("{WAITING_MAX} others wait for content, too");
                Joined::Refused(oldest, NotFetched(reason))
            }
            None => Joined::Waits,
        }
    }

    /// Takes the reader away who has waited longest, if there are too many.
    fn make_room(&mut self) -> Option<OnFetched> {
        if self.waiting < WAITING_MAX {
            return None;
        }
        let (digest, _) = self
            .flights
            .iter()
            .filter_map(|(digest, flight)| Some((*digest, flight.waiters.first()?.number)))
            .min_by_key(|(_, number)| *number)?;
        let flight = self.flights.get_mut(&digest)?;
        self.waiting -= 1;
        Some(flight.waiters.remove(0).then)
    }

    /// Whether one more fetching thread (up to `workers_max`) and the watching thread must be started. Both are counted as started.
    pub(super) fn needs(&mut self, workers_max: usize) -> (bool, bool) {
        let needs_worker = self.queue.len() > self.idle && self.workers < workers_max;
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
        !self.queue.is_empty()
    }

    pub(super) fn watch_ends(&mut self) {
        self.is_watched = false;
    }

    /// The next content to fetch.
    pub(super) fn begin(&mut self) -> Option<Sha256> {
        self.queue.pop_front()
    }

    /// The sources of a content that were tried, and why they did not have it.
    pub(super) fn tried(&self, digest: &Sha256) -> &[(SourceRow, NotFetched)] {
        self.flights.get(digest).map_or(&[], |flight| &flight.tried)
    }

    /// A source does not have a content.
    pub(super) fn note_tried(&mut self, digest: &Sha256, source: SourceRow, reason: NotFetched) {
        if let Some(flight) = self.flights.get_mut(digest) {
            flight.tried.push((source, reason));
        }
    }

    /// Takes a place at a remote for a content. Where none has one, the content comes up again as soon as there is.
    pub(super) fn enter(
        &mut self,
        digest: Sha256,
        candidates: &[Candidate],
        now: Instant,
    ) -> Option<usize> {
        self.places.enter(digest, candidates, now)
    }

    /// Gives a place back, of a remote that was reached or not.
    pub(super) fn leave(&mut self, remote: &RemoteName, was_reached: bool, now: Instant) {
        self.queue.extend(self.places.leave(remote, was_reached, now));
    }

    /// Where bytes that come of a content are counted.
    pub(super) fn came(&self, digest: &Sha256) -> Arc<AtomicU64> {
        self.flights.get(digest).map(|flight| Arc::clone(&flight.came)).unwrap_or_default()
    }

    /// A fetch has ended. Returns who is to be told.
    pub(super) fn end(
        &mut self,
        digest: &Sha256,
        outcome: &Result<(), NotFetched>,
        now: Instant,
    ) -> Vec<OnFetched> {
        if let Err(reason) = outcome {
            self.failed.retain(|_, failed| now < failed.until);
            if self.failed.len() < FAILED_MAX {
                let failed = Failed { until: now + COOLDOWN, reason: reason.clone() };
                self.failed.insert(*digest, failed);
            }
        }
        let waiters = self.flights.remove(digest).map(|flight| flight.waiters).unwrap_or_default();
        self.waiting -= waiters.len();
        waiters.into_iter().map(|waiter| waiter.then).collect()
    }

    /// The readers who have waited too long, and whether nothing is left to watch; then the watching thread ends.
    pub(super) fn late(&mut self, now: Instant) -> (Vec<(OnFetched, NotFetched)>, bool) {
        let mut late = Vec::new();
        for flight in self.flights.values_mut() {
            let came = flight.came.load(Ordering::Relaxed);
            if came != flight.seen.0 {
                flight.seen = (came, now);
            }
            let silent = now.saturating_duration_since(flight.seen.1) >= PATIENCE;
            let waited = |waiter: &Waiter| now.saturating_duration_since(waiter.since);
            let is_late = |waiter: &mut Waiter| {
                waited(waiter) >= waiter.patience || silent && waited(waiter) >= PATIENCE
            };
            let what = if silent { "nothing came" } else { "it is still being fetched" };
            for waiter in flight.waiters.extract_if(.., is_late) {
                let reason = format!("{what} for {} s", waited(&waiter).as_secs());
                late.push((waiter.then, NotFetched(reason)));
            }
        }
        self.waiting -= late.len();
        let is_last = self.flights.is_empty();
        if is_last {
            self.is_watched = false;
        }
        (late, is_last)
    }

    /// Everybody who waits; nothing more is begun.
    pub(super) fn give_up(&mut self) -> Vec<OnFetched> {
        self.queue.clear();
        self.places.give_up();
        self.waiting = 0;
        let flights = std::mem::take(&mut self.flights);
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
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::engine::fetcher::READER_PATIENCE;

    fn flights() -> Flights {
        Flights::new(Weak::new())
    }

    /// Somebody who wants a content; what it was told can be looked at.
    fn join(
        flights: &mut Flights,
        digest: Sha256,
        now: Instant,
    ) -> Receiver<Result<(), NotFetched>> {
        let (send, told) = channel();
        let then: OnFetched = Box::new(move |fetched| send.send(fetched).unwrap());
        if let Joined::Refused(then, reason) = flights.join(digest, READER_PATIENCE, then, now) {
            then(Err(reason));
        }
        told
    }

    #[test]
    fn l4_a_content_is_fetched_once_however_many_want_it() {
        let (mut flights, now) = (flights(), Instant::now());
        let (one, other) = (Sha256::of(b"1"), Sha256::of(b"2"));
        let told: Vec<_> = (0..200).map(|_| join(&mut flights, one, now)).collect();
        let second = join(&mut flights, other, now);
        assert_eq!(flights.activity(now), Activity { fetching: 2, waiting: 201, failed: 0 });
        assert_eq!(
            (flights.begin(), flights.begin(), flights.begin()),
            (Some(one), Some(other), None)
        );
        let waiting = flights.end(&one, &Ok(()), now);
        assert_eq!(waiting.len(), 200);
        waiting.into_iter().for_each(|then| then(Ok(())));
        assert!(told.iter().all(|told| told.recv().unwrap().is_ok()));
        assert!(second.try_recv().is_err(), "it waits on");
    }

    #[test]
    fn l5_what_could_not_be_had_rests_for_a_while() {
        let (mut flights, now) = (flights(), Instant::now());
        let digest = Sha256::of(b"1");
        drop(join(&mut flights, digest, now));
        flights.begin();
        let failed = Err(NotFetched("gone".to_owned()));
        drop(flights.end(&digest, &failed, now));
        let told = join(&mut flights, digest, now + COOLDOWN / 2);
        assert_eq!(told.recv().unwrap(), failed, "at once");
        assert_eq!(flights.begin(), None);
        let told = join(&mut flights, digest, now + COOLDOWN);
        assert!(told.try_recv().is_err());
        assert_eq!(flights.begin(), Some(digest), "it is tried again");
    }

    #[test]
    fn l14_a_reader_without_progress_gets_an_error_and_the_fetch_goes_on() {
        let (mut flights, now) = (flights(), Instant::now());
        let digest = Sha256::of(b"1");
        let told = join(&mut flights, digest, now);
        let came = flights.came(&digest);
        assert!(flights.late(now + PATIENCE / 2).0.is_empty());
        came.fetch_add(1, Ordering::Relaxed);
        assert!(flights.late(now + PATIENCE).0.is_empty(), "a byte came");
        let later = join(&mut flights, digest, now + PATIENCE);
        let (late, is_last) = flights.late(now + PATIENCE * 2);
        assert!(!is_last);
        for (then, reason) in late {
            then(Err(reason));
        }
        assert!(told.recv().unwrap().is_err());
        assert!(later.recv().unwrap().is_err());
        assert!(flights.end(&digest, &Ok(()), now).is_empty());
        assert!(flights.late(now).1, "nothing is left to watch");
    }

    #[test]
    fn a_reader_is_not_kept_for_ever_by_a_trickle() {
        let (mut flights, now) = (flights(), Instant::now());
        let digest = Sha256::of(b"1");
        let told = join(&mut flights, digest, now);
        let came = flights.came(&digest);
        let mut at = now;
        while at < now + READER_PATIENCE {
            came.fetch_add(1, Ordering::Relaxed);
            flights.late(at);
            at += PATIENCE / 2;
        }
        for (then, reason) in flights.late(at).0 {
            then(Err(reason));
        }
        assert!(told.recv().unwrap().is_err());
    }

    #[test]
    fn too_many_readers_cost_the_oldest_its_place() {
        let (mut flights, now) = (flights(), Instant::now());
        let first = join(&mut flights, Sha256::of(b"first"), now);
        let others: Vec<_> = (1..WAITING_MAX)
            .map(|n| join(&mut flights, Sha256::of(&n.to_le_bytes()), now))
            .collect();
        assert!(first.try_recv().is_err());
        let last = join(&mut flights, Sha256::of(b"last"), now);
        assert!(first.recv().unwrap().is_err());
        assert!(last.try_recv().is_err() && others.iter().all(|told| told.try_recv().is_err()));
        assert_eq!(flights.give_up().len(), WAITING_MAX);
    }
}
