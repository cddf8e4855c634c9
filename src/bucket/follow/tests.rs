//! Following with heads that are missing, old, wrong or of the future; rollbacks and forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::bucket::event::Payload;
use crate::bucket::key::{Nonce, ObjectKind};
use crate::bucket::log::Intent;
use crate::bucket::memory::{Fault, Memory, Operation};
use crate::bucket::store::StoreError;
use crate::bucket::testing::{commit, key, nonce};

pub(super) const BUCKET: BucketId = BucketId(Nonce::from_bytes([0xb; 16]));

/// A bucket in memory, and a publisher.
pub(super) struct Publisher {
    pub(super) store: Memory,
    published: u8,
}

impl Publisher {
    pub(super) fn new() -> Self {
        let store = Memory::default();
        format::make(&store, nonce(0xb), &|_| true).unwrap();
        Self { store, published: 0 }
    }

    fn append(&mut self, log: LogName, payload: &Payload) -> Seq {
        self.published += 1;
        let intent = Intent { nonce: nonce(self.published), time: Timestamp::default() };
        let log = Log::new(&self.store, BUCKET, log, &|_| false);
        let done = match log.name() {
            LogName::Bucket => {
                log.append(&mut Cursor::<BucketState>::default(), intent, &mut |_| {
                    Ok::<_, LogError>(Some(payload.clone()))
                })
            }
            LogName::Repository(_) => {
                log.append(&mut Cursor::<RepositoryState>::default(), intent, &mut |_| {
                    Ok::<_, LogError>(Some(payload.clone()))
                })
            }
        };
        done.unwrap().unwrap().seq
    }

    pub(super) fn make(&mut self, name: &str) {
        let payload = Payload::Repository { name: name.parse().unwrap() };
        self.append(LogName::Bucket, &payload);
    }

    pub(super) fn publish(&mut self, name: &str, number: u64) {
        let payload = Payload::Commit(Box::new(commit(number, key(ObjectKind::Uses, 1))));
        self.append(log(name), &payload);
    }

    pub(super) fn say(&self, promised: &[(&str, u64)]) {
        let logs: Vec<_> = promised.iter().map(|(n, seq)| format!(r#""{n}":{seq}"#)).collect();
        let text = format!(r#"{{"format":1,"id":"{BUCKET}","logs":{{{}}}}}"#, logs.join(","));
        self.store.put("head", text.as_bytes()).unwrap();
    }
}

fn log(name: &str) -> LogName {
    LogName::Repository(name.parse().unwrap())
}

fn repository(name: &str) -> RepoName {
    name.parse().unwrap()
}

pub(super) fn poll(
    follower: &mut Follower,
    store: &dyn ObjectStore,
    is_asked: bool,
) -> Result<(), FollowError> {
    poll_seen(follower, store, is_asked, Position::START)
}

fn poll_seen(
    follower: &mut Follower,
    store: &dyn ObjectStore,
    is_asked: bool,
    seen: Position,
) -> Result<(), FollowError> {
    follower.poll(&Poll {
        store,
        signatures: Signatures::NONE,
        is_asked,
        now: Timestamp::default(),
        is_wanted: &|name| name.as_str() != "unwanted",
        seen: &|_| seen,
        seen_own: &|| Position::START,
        is_urgent: &|_| false,
    })
}

pub(super) fn versions(follower: &Follower, name: &str) -> Option<u64> {
    let cursor = follower.repository(&repository(name))?;
    Some(cursor.state().highest().0)
}

/// How many polls it takes until an edge knows a version.
fn polls_until(follower: &mut Follower, store: &dyn ObjectStore, name: &str, number: u64) -> u64 {
    for polls in 1..=TURN {
        poll(follower, store, false).unwrap();
        if versions(follower, name) == Some(number) {
            return polls;
        }
    }
    panic!("{name}/{number} was missed for {TURN} polls");
}

/// The bucket with the requests that are made of it counted.
fn counted(store: &Memory) -> (Memory, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let store = store.with_faults(Box::new(move |_: Operation<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
        Fault::None
    }));
    (store, count)
}

#[test]
fn d2_a_poll_of_a_bucket_without_news_is_one_request() {
    let mut one = Publisher::new();
    for name in ["a", "b", "c", "unwanted"] {
        one.make(name);
        one.publish(name, 1);
    }
    one.say(&[("=bucket", 4), ("a", 1), ("b", 1), ("c", 1), ("unwanted", 1)]);
    let (store, count) = counted(&one.store);
    let mut edge = Follower::new(BUCKET);
    poll(&mut edge, &store, false).unwrap();
    assert_eq!(edge.take_moved(), ["a", "b", "c"].map(repository));
    assert_eq!(edge.repository_count(), 3);
    assert!(versions(&edge, "unwanted").is_none());
    // Each log has its turn once in ten polls: the event that was read last, and the one after it.
    count.store(0, Ordering::Relaxed);
    for _ in 0..TURN {
        poll(&mut edge, &store, false).unwrap();
    }
    let turns = 1 + 2 * 4;
    assert_eq!(count.load(Ordering::Relaxed), TURN + turns);
    assert!(edge.take_moved().is_empty());
    one.publish("b", 2);
    one.say(&[("=bucket", 4), ("a", 1), ("b", 2), ("c", 1)]);
    poll(&mut edge, &store, false).unwrap();
    assert_eq!((edge.take_moved(), versions(&edge, "b")), (vec![repository("b")], Some(2)));
}

#[test]
fn h48_a_head_that_is_missing_old_or_wrong_delays_and_breaks_nothing() {
    let mut one = Publisher::new();
    one.make("a");
    one.publish("a", 1);
    let mut edge = Follower::new(BUCKET);
    // Missing: each log is looked at.
    assert_eq!(polls_until(&mut edge, &one.store, "a", 1), 1);
    one.publish("a", 2);
    assert_eq!(polls_until(&mut edge, &one.store, "a", 2), 1);
    // It says nothing of the log.
    one.say(&[("=bucket", 1)]);
    one.publish("a", 3);
    assert_eq!(polls_until(&mut edge, &one.store, "a", 3), 1);
    // Older than what was read.
    one.say(&[("=bucket", 1), ("a", 1)]);
    one.publish("a", 4);
    polls_until(&mut edge, &one.store, "a", 4);
    poll(&mut edge, &one.store, false).unwrap();
    assert_eq!(versions(&edge, "a"), Some(4), "it does not go back");
    // Of the future, of another kind, and none of a bucket.
    for number in 5..=7 {
        match number {
            5 => one.say(&[("=bucket", 900), ("a", 9_999_999_999_999_999)]),
            6 => one.store.put("head", b"\xff").unwrap(),
            _ => one.say(&[]),
        }
        one.publish("a", number);
        polls_until(&mut edge, &one.store, "a", number);
    }
    assert_eq!(edge.alarms().count(), 0);
    // Somebody asks.
    one.say(&[("=bucket", 1), ("a", 1)]);
    one.make("b");
    one.publish("b", 1);
    one.publish("a", 8);
    poll(&mut edge, &one.store, true).unwrap();
    assert_eq!((versions(&edge, "a"), versions(&edge, "b")), (Some(8), Some(1)));
}

#[test]
fn h48_what_a_head_promises_in_vain_is_looked_for_a_few_times() {
    let mut one = Publisher::new();
    one.make("a");
    one.publish("a", 1);
    one.say(&[("=bucket", 1), ("a", 77)]);
    let (store, count) = counted(&one.store);
    let mut edge = Follower::new(BUCKET);
    for _ in 0..TURN {
        poll(&mut edge, &store, false).unwrap();
    }
    count.store(0, Ordering::Relaxed);
    for _ in 0..2 * TURN {
        poll(&mut edge, &store, false).unwrap();
    }
    // Head, its turn and that of the bucket.
    assert_eq!(count.load(Ordering::Relaxed), 2 * (TURN + 2 + 3));
    one.publish("a", 2);
    polls_until(&mut edge, &store, "a", 2);
}

#[test]
fn h48_a_rollback_and_a_fork_are_alarms_and_other_logs_go_on() {
    let mut one = Publisher::new();
    for name in ["a", "b"] {
        one.make(name);
        one.publish(name, 1);
        one.publish(name, 2);
    }
    let mut edge = Follower::new(BUCKET);
    poll(&mut edge, &one.store, false).unwrap();
    edge.take_moved();
    let key = log("a").key(Seq::new(2).unwrap());
    let event = one.store.get(&key).unwrap().unwrap();
    one.store.delete(std::slice::from_ref(&key)).unwrap();
    one.publish("b", 3);
    for _ in 0..TURN {
        poll(&mut edge, &one.store, false).unwrap();
    }
    assert_eq!((versions(&edge, "a"), versions(&edge, "b")), (None, Some(3)));
    assert_eq!(edge.take_moved(), [repository("b")]);
    let (name, alarm) = edge.alarms().next().unwrap();
    assert!(name == Some(&repository("a")) && alarm.message.contains("rolled back"), "{alarm:?}");
    // The cache that was behind has caught up.
    one.store.put(&key, &event).unwrap();
    for _ in 0..TURN {
        poll(&mut edge, &one.store, false).unwrap();
    }
    assert_eq!((edge.alarms().count(), versions(&edge, "a")), (0, Some(2)));
    // Another history.
    one.store.delete(&[key]).unwrap();
    let payload =
        Payload::Commit(Box::new(commit(7, super::super::testing::key(ObjectKind::Uses, 9))));
    one.append(log("a"), &payload);
    for _ in 0..TURN {
        poll(&mut edge, &one.store, false).unwrap();
    }
    let (_, alarm) = edge.alarms().next().unwrap();
    assert!(alarm.message.contains("forked"), "{alarm:?}");
    assert!(edge.take_moved().is_empty());
}

#[test]
fn h48_whoever_asks_for_news_is_told_of_a_rollback_at_once() {
    let mut one = Publisher::new();
    one.make("a");
    one.publish("a", 1);
    let mut edge = Follower::new(BUCKET);
    poll(&mut edge, &one.store, false).unwrap();
    one.store.delete(&[log("a").key(Seq::new(1).unwrap())]).unwrap();
    poll(&mut edge, &one.store, false).unwrap();
    assert_eq!(edge.alarms().count(), 0, "it is not the turn of that log");
    poll(&mut edge, &one.store, true).unwrap();
    assert_eq!(edge.alarms().count(), 1);
}

#[test]
fn h48_what_an_earlier_run_saw_is_looked_for_after_a_restart() {
    let mut one = Publisher::new();
    one.make("a");
    one.publish("a", 1);
    let mut edge = Follower::new(BUCKET);
    poll(&mut edge, &one.store, false).unwrap();
    let seen = edge.repository(&repository("a")).unwrap().position();
    let beyond = Position { seq: seen.seq.next(), ..seen };
    let mut again = Follower::new(BUCKET);
    poll_seen(&mut again, &one.store, false, beyond).unwrap();
    assert!(again.alarms().next().unwrap().1.message.contains("rolled back"));
    assert_eq!((versions(&again, "a"), again.take_moved()), (None, vec![]));
    let mut again = Follower::new(BUCKET);
    poll_seen(&mut again, &one.store, false, seen).unwrap();
    assert_eq!(versions(&again, "a"), Some(1));
}

#[test]
fn h48_another_bucket_at_the_same_place_is_noticed() {
    let one = Publisher::new();
    let mut edge = Follower::new(BucketId(nonce(0xc)));
    let error = poll(&mut edge, &one.store, false).unwrap_err();
    assert!(matches!(error, FollowError::OtherBucket { .. }), "{error}");
    one.store.delete(&["cairn.json".to_owned()]).unwrap();
    let error = poll(&mut edge, &one.store, true).unwrap_err();
    assert!(matches!(error, FollowError::Format(FormatFileError::Missing)), "{error}");
}

#[test]
fn d2_a_store_that_fails_loses_no_event() {
    let mut one = Publisher::new();
    for name in ["a", "b"] {
        one.make(name);
        one.publish(name, 1);
    }
    let mut left = 0;
    let mut edge = Follower::new(BUCKET);
    for fails in 0..12 {
        let mut calls = 0;
        let bad = one.store.with_faults(Box::new(move |_| {
            calls += 1;
            let error = || StoreError::new(StoreErrorKind::Temporary, "no route");
            if calls > fails { Fault::Fails(error()) } else { Fault::None }
        }));
        left += u32::from(poll(&mut edge, &bad, true).is_err());
    }
    assert!(left > 3, "{left} failed");
    poll(&mut edge, &one.store, false).unwrap();
    assert_eq!((versions(&edge, "a"), versions(&edge, "b")), (Some(1), Some(1)));
    assert_eq!(edge.take_moved(), ["a", "b"].map(repository));
}
