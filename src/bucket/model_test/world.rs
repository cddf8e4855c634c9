//! One history: a store, actors that come and go, and what is counted.

use std::sync::Arc;
use std::time::Duration;

use corosensei::{Coroutine, CoroutineResult};
use parking_lot::Mutex;

use super::PublisherRule;
use super::actors;
use super::checker::Checker;
use super::edges;
use super::random::Random;
use super::seat::Seat;
use crate::bucket::event::BucketId;
use crate::bucket::follow::Follower;
use crate::bucket::format;
use crate::bucket::key::Nonce;
use crate::bucket::memory::Memory;
use crate::model::name::RepoName;

/// Actors at a time.
const ACTORS_MAX: usize = 5;

/// What happened, counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Played {
    pub(super) calls: u64,
    pub(super) events: u64,
    pub(super) versions: u64,
    pub(super) deleted: u64,
    pub(super) crashes: u64,
    pub(super) lost: u64,
    pub(super) late: u64,
    pub(super) stale: u64,
    pub(super) edges: u64,
    pub(super) violation: Option<String>,
    pub(super) trace: Vec<String>,
}

impl Played {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, one) in [
            (&mut self.calls, other.calls),
            (&mut self.events, other.events),
            (&mut self.versions, other.versions),
            (&mut self.deleted, other.deleted),
            (&mut self.crashes, other.crashes),
            (&mut self.lost, other.lost),
            (&mut self.late, other.late),
            (&mut self.stale, other.stale),
            (&mut self.edges, other.edges),
        ] {
            *sum += one;
        }
    }
}

/// What all actors share.
pub(super) struct Shared {
    pub(super) memory: Memory,
    pub(super) bucket: BucketId,
    pub(super) random: Mutex<Random>,
    pub(super) counts: Mutex<Played>,
    pub(super) left_out: Option<PublisherRule>,
    /// Pushes that were told to have been published.
    pub(super) acknowledged: Mutex<Vec<(RepoName, String)>>,
    /// Edges that rest, with what they have read.
    pub(super) edges: Mutex<Vec<Follower>>,
    checker: Mutex<Checker>,
    is_shown: bool,
    numbers: Mutex<u128>,
}

impl Shared {
    /// Adds to what is shown of the history.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.is_shown {
            self.counts.lock().trace.push(line());
        }
    }

    /// A number that was never drawn before.
    pub(super) fn nonce(&self) -> Nonce {
        let mut numbers = self.numbers.lock();
        *numbers += 1;
        Nonce::from_bytes(numbers.to_be_bytes())
    }

    /// Looks at the store after the object of that key was created.
    pub(super) fn created(&self, key: &str) {
        let looked = self.checker.lock().after_creation(key);
        looked.unwrap_or_else(|violation| self.violated(violation));
    }

    /// Looks at the store after objects were deleted.
    pub(super) fn deleted(&self, keys: &[String]) {
        let looked = self.checker.lock().after_deletion(keys);
        looked.unwrap_or_else(|violation| self.violated(violation));
    }

    /// Ends the history.
    pub(super) fn violated(&self, violation: String) {
        self.counts.lock().violation.get_or_insert(violation);
    }
}

/// One history.
pub(super) struct World {
    shared: Arc<Shared>,
    actors: Vec<Coroutine<(), (), ()>>,
}

impl World {
    pub(super) fn new(seed: u64, left_out: Option<PublisherRule>, is_shown: bool) -> Self {
        let memory = Memory::default();
        let bucket = format::make(&memory, Nonce::from_bytes([0xb; 16]), &|_| true)
            .expect("a store without faults");
        let shared = Shared {
            checker: Mutex::new(Checker::new(memory.clone(), bucket)),
            memory,
            bucket,
            random: Mutex::new(Random::new(seed)),
            counts: Mutex::new(Played::default()),
            left_out,
            acknowledged: Mutex::new(Vec::new()),
            edges: Mutex::new(Vec::new()),
            is_shown,
            numbers: Mutex::new(0),
        };
        Self { shared: Arc::new(shared), actors: Vec::new() }
    }

    fn chance(&self, of_hundred: usize) -> bool {
        self.shared.random.lock().percent(of_hundred)
    }

    fn below(&self, end: usize) -> usize {
        self.shared.random.lock().below(end)
    }

    /// Plays it to its end or to the first violation.
    pub(super) fn play(mut self) -> Played {
        let steps = 300 + self.below(900);
        let mut turn = 0;
        for step in 0..steps {
            if self.actors.len() < ACTORS_MAX && self.chance(30) {
                self.begin();
            }
            if self.chance(5) {
                self.land();
            }
            if self.chance(5) {
                let time = self.below(5) as u64;
                self.shared.memory.advance(Duration::from_secs(time));
            }
            if self.actors.is_empty() {
                continue;
            }
            // Half of the time one actor goes on for a while, as long as the others stand.
            let is_next = self.chance(50) || step % 25 == 0;
            if is_next || turn >= self.actors.len() {
                turn = self.below(self.actors.len());
            }
            let crashes = self.shared.random.lock().below(150) == 0;
            if crashes {
                self.shared.note(|| "CRASH".to_owned());
                self.shared.counts.lock().crashes += 1;
                drop(self.actors.swap_remove(turn));
            } else if let CoroutineResult::Return(()) = self.actors[turn].resume(()) {
                drop(self.actors.swap_remove(turn));
            }
            if self.shared.counts.lock().violation.is_some() {
                break;
            }
        }
        self.end()
    }

    fn begin(&mut self) {
        let shared = Arc::clone(&self.shared);
        let kind = self.below(100);
        self.actors.push(Coroutine::new(move |yielder, ()| {
            let seat = Seat::new(yielder, shared);
            match kind {
                0..50 => actors::publish(&seat),
                50..80 => actors::collect(&seat),
                80..84 => actors::abandon(&seat),
                84..90 => edges::follow(&seat),
                90..93 => edges::tell(&seat),
                _ => actors::read(&seat),
            }
        }));
    }

    /// Lets a late write land.
    fn land(&self) {
        let late = self.shared.memory.late_writes();
        if late > 0 {
            let key = self.shared.memory.land(self.below(late));
            self.shared.note(|| format!("a late write of {key} landed"));
            self.shared.created(&key);
        }
    }

    fn end(mut self) -> Played {
        self.actors.clear();
        let mut checker = self.shared.checker.lock();
        let mut played = self.shared.counts.lock().clone();
        if played.violation.is_none() {
            let acknowledged = self.shared.acknowledged.lock();
            played.violation = checker.check_end(&acknowledged).err();
        }
        if played.violation.is_none() {
            let (rested, shared) = (std::mem::take(&mut *self.shared.edges.lock()), &self.shared);
            let is_as_logged = |edge: &Follower| checker.check_edge(edge);
            let checked = edges::check_end(rested, &shared.memory, shared.bucket, &is_as_logged);
            match checked {
                Ok(edges) => played.edges = edges,
                Err(violation) => played.violation = Some(violation),
            }
        }
        played.events = checker.events();
        played.versions = checker.versions();
        played
    }
}
