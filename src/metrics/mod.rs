//! What is counted while the daemon works: plain atomics, without a form and without a reader.
//!
//! The code that does something counts it here, and those that show the numbers give them names and a form: `web::metrics`
//! and, for `cairn top`, the daemon's service.
//! The counters belong to the process, as a daemon serves one store. To count costs one or two atomic additions, and to time
//! an operation two looks at the clock. Nothing here has a label that somebody else chooses (H58).

#![cfg_attr(
    not(feature = "net"),
    allow(dead_code, unused_imports, reason = "only the web face and remotes count some of them")
)]

mod operation;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use operation::{Operation, named, operations, timed};

/// Upper bounds of the times that are told apart, in microseconds; each is four times the one before.
pub(crate) const BOUNDS_US: [u64; 11] =
    [10, 40, 160, 640, 2_560, 10_240, 40_960, 163_840, 655_360, 2_621_440, 10_485_760];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts so many more.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something took how long.
#[derive(Debug)]
pub(crate) struct Times {
    /// By the bounds, and one for all that took longer.
    buckets: [Counter; BOUNDS_US.len() + 1],
    nanoseconds: Counter,
}

impl Times {
    const fn new() -> Self {
        Self {
            buckets: [const { Counter::new() }; BOUNDS_US.len() + 1],
            nanoseconds: Counter::new(),
        }
    }

    /// Counts one that took so long.
    pub(crate) fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[bucket].add(1);
        self.nanoseconds.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many fell between each bound and the one before; the last ones are those beyond all bounds.
    pub(crate) fn buckets(&self) -> [u64; BOUNDS_US.len() + 1] {
        std::array::from_fn(|index| self.buckets[index].get())
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    /// How long all took together.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.get())
    }
}

/// The counters of this process, by what they count.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Closed files that became blobs.
    pub(crate) sealed_files: Counter,
    /// Those of them whose content the store had already.
    pub(crate) known_files: Counter,
    /// Closed files that could not be stored, each try counted.
    pub(crate) seal_failures: Counter,
    /// Versions that were published.
    pub(crate) commits: Counter,
    /// Collections that ended.
    pub(crate) collections: Counter,
    /// Things that failed in collections and were left out.
    pub(crate) collection_errors: Counter,
    /// Blobs that collections removed.
    pub(crate) freed_blobs: Counter,
    /// Their bytes.
    pub(crate) freed_bytes: Counter,
    /// Versions that policies deleted.
    pub(crate) expired_versions: Counter,
    /// Files that syncs fetched.
    pub(crate) fetched_files: Counter,
    /// Bytes that syncs fetched.
    pub(crate) fetched_bytes: Counter,
    /// Files that syncs could not have.
    pub(crate) fetch_failures: Counter,
    /// Pages of directories that were found in memory.
    pub(crate) tree_hits: Counter,
    /// Pages of directories that were read from the catalog.
    pub(crate) tree_misses: Counter,
    /// Answers of the web face, by the first digit of the status.
    pub(crate) answers: [Counter; 6],
    /// Bytes that clients of the web face took.
    pub(crate) sent_bytes: Counter,
    /// Connections that the web face ended because they did nothing, or too little.
    pub(crate) ended_connections: Counter,
    /// How long it took until an answer of the web face began.
    pub(crate) answer_times: Times,
}

/// All of them.
pub(crate) static COUNTERS: Counters = Counters {
    sealed_files: Counter::new(),
    known_files: Counter::new(),
    seal_failures: Counter::new(),
    commits: Counter::new(),
    collections: Counter::new(),
    collection_errors: Counter::new(),
    freed_blobs: Counter::new(),
    freed_bytes: Counter::new(),
    expired_versions: Counter::new(),
    fetched_files: Counter::new(),
    fetched_bytes: Counter::new(),
    fetch_failures: Counter::new(),
    tree_hits: Counter::new(),
    tree_misses: Counter::new(),
    answers: [const { Counter::new() }; 6],
    sent_bytes: Counter::new(),
    ended_connections: Counter::new(),
    answer_times: Times::new(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_between_bounds() {
        let times = Times::new();
        for us in [0, 10, 11, 700, 20_000_000] {
            times.add(Duration::from_micros(us));
        }
        assert_eq!(times.buckets(), [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((times.count(), times.total().as_micros()), (5, 20_000_721));
    }
}
