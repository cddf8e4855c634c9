//! A thousand edges behind a cache follow a repository: what that costs the bucket, and when all have a version.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::tests::{BUCKET, Publisher, poll, versions};
use super::*;
use crate::bucket::memory::Memory;
use crate::bucket::store::{Created, Listed, StoreError};

const EDGES: u64 = 1000;
const VERSIONS: u64 = 100;

/// Seconds between two polls of an edge, give or take a quarter; also how long the cache keeps a head, and that an
/// object is missing.
const POLL: u64 = 60;

/// Seconds between two versions.
const PAUSE: u64 = 90;

/// An answer, and until when it holds.
type Answer = (u64, Option<Vec<u8>>);

/// What an HTTP cache does: an event is kept for ever, all else for a while.
struct Cache {
    origin: Memory,
    now: AtomicU64,
    kept: Mutex<BTreeMap<String, Answer>>,
    asked: AtomicU64,
    of_origin: AtomicU64,
}

impl ObjectStore for Cache {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let now = self.now.load(Ordering::Relaxed);
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock();
        if let Some((_, bytes)) = kept.get(key).filter(|(until, _)| *until > now) {
            return Ok(bytes.clone());
        }
        self.of_origin.fetch_add(1, Ordering::Relaxed);
        let bytes = self.origin.get(key)?;
        let is_for_ever = bytes.is_some() && key != "head";
        let until = if is_for_ever { u64::MAX } else { now + POLL };
        kept.insert(key.to_owned(), (until, bytes.clone()));
        Ok(bytes)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let end = usize::try_from(range.end).unwrap();
        assert_eq!(range.start, 0);
        Ok(self.get(key)?.map(|bytes| bytes[..end.min(bytes.len())].to_vec()))
    }

    fn head(&self, _: &str) -> Result<Option<Listed>, StoreError> {
        unreachable!("edges do not ask for it")
    }

    fn put(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        unreachable!("edges only read")
    }

    fn put_reader(&self, _: &str, _: &mut dyn Read, _: u64) -> Result<(), StoreError> {
        unreachable!("edges only read")
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created, StoreError> {
        unreachable!("edges only read")
    }

    fn list(
        &self,
        _: &str,
        _: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        unreachable!("edges list nothing")
    }

    fn delete(&self, _: &[String]) -> Result<(), StoreError> {
        unreachable!("edges only read")
    }
}

/// An edge, and when it asks next.
struct Edge {
    follower: Follower,
    next: u64,
    number: u64,
}

#[test]
fn d2_a_thousand_edges_behind_a_cache_cost_the_bucket_a_few_requests_a_minute() {
    let mut publisher = Publisher::new();
    publisher.make("lib");
    let cache = Cache {
        origin: publisher.store.clone(),
        now: AtomicU64::new(0),
        kept: Mutex::default(),
        asked: AtomicU64::new(0),
        of_origin: AtomicU64::new(0),
    };
    let start = |number| Edge { follower: Follower::new(BUCKET), next: number % POLL, number };
    let mut edges: Vec<_> = (0..EDGES).map(start).collect();
    let mut late = vec![0; usize::try_from(VERSIONS).unwrap() + 1];
    let (mut polls, end) = (0_u64, VERSIONS * PAUSE + 4 * POLL);
    for now in 0..end {
        cache.now.store(now, Ordering::Relaxed);
        let number = now / PAUSE + 1;
        if now % PAUSE == 0 && number <= VERSIONS {
            publisher.publish("lib", number);
            publisher.say(&[("=bucket", 1), ("lib", number)]);
        }
        for edge in edges.iter_mut().filter(|edge| edge.next <= now) {
            let before = versions(&edge.follower, "lib").unwrap_or(0);
            poll(&mut edge.follower, &cache, false).unwrap();
            for new in before + 1..=versions(&edge.follower, "lib").unwrap_or(0) {
                let late = &mut late[usize::try_from(new).unwrap()];
                *late = (now - (new - 1) * PAUSE).max(*late);
            }
            // A quarter more or less, other each time.
            edge.next = now + POLL * 3 / 4 + (edge.number * 31 + polls * 17) % (POLL / 2);
            polls += 1;
        }
    }
    let has_all = |edge: &&Edge| versions(&edge.follower, "lib") == Some(VERSIONS);
    assert_eq!(edges.iter().filter(has_all).count() as u64, EDGES);
    let (asked, of_origin) =
        (cache.asked.load(Ordering::Relaxed), cache.of_origin.load(Ordering::Relaxed));
    let (slowest, minutes) = (late.iter().max().unwrap(), end / 60);
    let mean = late.iter().sum::<u64>() / VERSIONS;
    writeln!(
        std::io::stdout(),
        "{EDGES} edges, {VERSIONS} versions in {minutes} minutes: {polls} polls, {asked} requests to the cache, \
         {of_origin} to the bucket; all edges had a version after {mean} s, {slowest} s at most"
    )
    .unwrap();
    // The head once a minute, each event once, and that the next one is missing.
    assert!(of_origin < 3 * VERSIONS + 3 * minutes, "{of_origin}");
    // The head at each poll; each event, that the next one is missing, and what the logs cost at their turns.
    assert!(asked < polls * 3, "{asked} for {polls} polls");
    // The cache's head is a minute old, and the edge asked a moment before, or had heard that the event is missing.
    assert!(*slowest <= 4 * POLL, "{slowest}");
}
