//! Logs that are followed, appended to, rolled back and forked.

use super::*;
use crate::bucket::fold::RepositoryState;
use crate::bucket::key::{ObjectKey, ObjectKind};
use crate::bucket::memory::{Fault, Memory, Operation};
use crate::bucket::testing::{commit, intent, key, nonce};
use crate::model::id::VersionNumber;

type State = Cursor<RepositoryState>;

fn name() -> LogName {
    LogName::Repository("gcc".parse().unwrap())
}

fn log(store: &dyn ObjectStore) -> Log<'_> {
    Log::new(store, BucketId(nonce(0xb)), name(), &|tries| tries < 20)
}

fn uses(number: u8) -> ObjectKey {
    key(ObjectKind::Uses, number)
}

/// Publishes the next version, whatever that is.
fn publish(store: &dyn ObjectStore, number: u8) -> Result<Option<Position>, LogError> {
    publish_with(store, &mut State::default(), number)
}

fn publish_with(
    store: &dyn ObjectStore,
    cursor: &mut State,
    number: u8,
) -> Result<Option<Position>, LogError> {
    log(store).append(cursor, intent(number), &mut |cursor: &State| {
        let next = cursor.state().highest().0 + 1;
        Ok(Some(Payload::Commit(Box::new(commit(next, uses(number))))))
    })
}

fn read(store: &dyn ObjectStore) -> Result<State, LogError> {
    let mut cursor = State::default();
    log(store).follow(&mut cursor).map(|()| cursor)
}

fn versions(cursor: &State) -> Vec<(u64, ObjectKey)> {
    let versions = cursor.state().versions().iter();
    versions.map(|(number, version)| (number.0, version.commit.uses)).collect()
}

#[test]
fn d3_events_take_the_next_number_and_are_read_in_order() {
    let store = Memory::default();
    for number in 1..=3 {
        let at = publish(&store, number).unwrap().unwrap();
        assert_eq!(at.seq.get(), u64::from(number));
    }
    let cursor = read(&store).unwrap();
    assert_eq!(versions(&cursor), [(1, uses(1)), (2, uses(2)), (3, uses(3))]);
    assert_eq!(cursor.published(nonce(2)).unwrap().seq.get(), 2);
    assert_eq!(store.keys()[0], "log/gcc/0000000000000001");
    let mut behind = State::default();
    let second = Seq::new(2).unwrap();
    log(&store).follow_to(&mut behind, second).unwrap();
    assert_eq!(behind.position().seq, second);
    log(&store).follow(&mut behind).unwrap();
    assert_eq!(behind.state(), cursor.state());
    assert_eq!(behind.position(), cursor.position());
}

#[test]
fn h45_a_lost_answer_is_settled_by_the_same_bytes() {
    for faults in [
        vec![Fault::AnswerLost],
        vec![Fault::Lost],
        vec![Fault::Lost, Fault::Lost, Fault::AnswerLost],
        vec![Fault::Late, Fault::Lost],
        vec![Fault::AnswerLost, Fault::AnswerLost],
    ] {
        let store = Memory::default();
        let mut left = faults.clone();
        left.reverse();
        let bad = store.with_faults(Box::new(move |operation| match operation {
            Operation::Create(_) => left.pop().unwrap_or(Fault::None),
            _ => Fault::None,
        }));
        let at = publish(&bad, 1).unwrap().unwrap();
        while store.late_writes() > 0 {
            store.land(0);
        }
        let cursor = read(&store).unwrap();
        assert_eq!((versions(&cursor).len(), cursor.position()), (1, at), "{faults:?}");
    }
}

#[test]
fn h45_a_number_that_somebody_else_took_is_looked_at_anew() {
    let store = Memory::default();
    let other = store.clone();
    let mut is_first = true;
    // The answer is lost, and what comes first is another's event.
    let bad = store.with_faults(Box::new(move |operation| match operation {
        Operation::Create(_) if std::mem::take(&mut is_first) => {
            publish(&other, 9).unwrap();
            Fault::Late
        }
        _ => Fault::None,
    }));
    assert_eq!(publish(&bad, 1).unwrap().unwrap().seq.get(), 2);
    store.land(0);
    assert_eq!(versions(&read(&store).unwrap()), [(1, uses(9)), (2, uses(1))]);
}

#[test]
fn h45_what_was_not_settled_is_not_published_twice() {
    let store = Memory::default();
    let mut faults = vec![Fault::Late];
    let bad = store.with_faults(Box::new(move |operation| match operation {
        Operation::Create(_) => faults.pop().unwrap_or(Fault::Lost),
        _ => Fault::None,
    }));
    let mut cursor = State::default();
    let error = publish_with(&bad, &mut cursor, 1).unwrap_err();
    assert!(matches!(error, LogError::Unsettled { .. }), "{error}");
    assert!(error.to_string().contains("Try again"), "{error}");
    store.land(0);
    let at = publish_with(&store, &mut cursor, 1).unwrap().unwrap();
    assert_eq!(at.seq.get(), 1);
    assert_eq!(publish_with(&store, &mut cursor, 1).unwrap(), Some(at));
    assert_eq!(versions(&read(&store).unwrap()), [(1, uses(1))]);
}

#[test]
fn an_event_that_breaks_a_rule_is_neither_published_nor_read() {
    let store = Memory::default();
    publish(&store, 1).unwrap();
    let wrong = |_: &State| Ok(Some(Payload::Commit(Box::new(commit(1, uses(2))))));
    let result: Result<_, LogError> =
        log(&store).append(&mut State::default(), intent(2), &mut { wrong });
    assert!(matches!(result, Err(LogError::Refused { .. })), "{result:?}");
    assert_eq!(store.keys().len(), 1);
    // Somebody whose program has other rules publishes it all the same.
    let mut event = Event::decode(&store.get(&store.keys()[0]).unwrap().unwrap()).unwrap();
    event.before = read(&store).unwrap().position().hash;
    event.seq = event.seq.next();
    store.put(&name().key(event.seq), &event.encode().unwrap()).unwrap();
    let error = read(&store).unwrap_err();
    assert!(matches!(error, LogError::NotAllowed { .. }), "{error}");
}

#[test]
fn h48_an_older_log_is_a_rollback() {
    let store = Memory::default();
    publish(&store, 1).unwrap();
    let seen = publish(&store, 2).unwrap().unwrap();
    log(&store).seen(seen).verify_seen().unwrap();
    log(&store).seen(seen).follow(&mut State::default()).unwrap();
    store.delete(&[name().key(seen.seq)]).unwrap();
    for error in [
        log(&store).seen(seen).follow(&mut State::default()).unwrap_err(),
        log(&store).seen(seen).verify_seen().unwrap_err(),
    ] {
        assert!(matches!(error, LogError::Rollback { .. }), "{error}");
        assert!(error.to_string().contains("rolled back"), "{error}");
    }
}

#[test]
fn h48_another_event_at_a_known_number_is_a_fork() {
    let (store, other) = (Memory::default(), Memory::default());
    publish(&store, 1).unwrap();
    let mut cursor = read(&store).unwrap();
    let seen = publish(&store, 2).unwrap().unwrap();
    publish(&other, 1).unwrap();
    publish(&other, 7).unwrap();
    publish(&other, 8).unwrap();
    for error in [
        log(&other).seen(seen).follow(&mut cursor).unwrap_err(),
        log(&other).seen(seen).verify_seen().unwrap_err(),
        // A mirror that has the second event of one and the third of the other.
        {
            let third = name().key(Seq::new(3).unwrap());
            store.put(&third, &other.get(&third).unwrap().unwrap()).unwrap();
            log(&store).follow(&mut cursor).unwrap_err()
        },
    ] {
        assert!(matches!(error, LogError::Fork { .. }), "{error}");
        assert!(error.to_string().contains("forked"), "{error}");
    }
}

#[test]
fn events_of_other_places_and_damaged_ones_end_the_reading() {
    let store = Memory::default();
    publish(&store, 1).unwrap();
    let first = name().key(Seq::NONE.next());
    let bytes = store.get(&first).unwrap().unwrap();
    let elsewhere = Log::new(&store, BucketId(nonce(0xc)), name(), &|_| false);
    let error = elsewhere.follow(&mut State::default()).unwrap_err();
    assert!(matches!(error, LogError::Foreign { .. }), "{error}");
    let copied = LogName::Repository("other".parse().unwrap());
    store.put(&copied.key(Seq::NONE.next()), &bytes).unwrap();
    let elsewhere = Log::new(&store, BucketId(nonce(0xb)), copied, &|_| false);
    let error = elsewhere.follow(&mut State::default()).unwrap_err();
    assert!(matches!(error, LogError::Foreign { .. }), "{error}");
    store.put(&first, &bytes[..bytes.len() - 1]).unwrap();
    let error = read(&store).unwrap_err();
    assert!(matches!(error, LogError::Unreadable { .. }), "{error}");
}

#[test]
fn a_number_that_may_not_be_read_is_absent_where_earlier_ones_can_be() {
    let store = Memory::default();
    publish(&store, 1).unwrap();
    let inner = store.clone();
    let no_list = move |operation: Operation<'_>| match operation {
        Operation::Get(key) if !inner.has(key) => {
            Fault::Fails(StoreError::new(StoreErrorKind::Refused, "403"))
        }
        _ => Fault::None,
    };
    let reader = store.with_faults(Box::new(no_list.clone()));
    assert_eq!(versions(&read(&reader).unwrap()).len(), 1);
    let empty = store.with_faults(Box::new(move |operation| match operation {
        Operation::Get(_) | Operation::Head(_) => {
            Fault::Fails(StoreError::new(StoreErrorKind::Refused, "403"))
        }
        _ => Fault::None,
    }));
    assert!(matches!(read(&empty), Err(LogError::Store { .. })));
}

#[test]
fn positions_have_a_text_form() {
    let store = Memory::default();
    let at = publish(&store, 1).unwrap().unwrap();
    assert_eq!(at.to_string().parse::<Position>(), Ok(at));
    for bad in ["", "1", "x:00", "1:zz", &format!("{}:{}", u64::MAX, at.hash)] {
        assert!(bad.parse::<Position>().is_err(), "{bad}");
    }
}

#[test]
fn d3_publishers_of_different_things_do_not_hinder_each_other() {
    use crate::bucket::event::TagChange;
    let store = Memory::default();
    publish(&store, 1).unwrap();
    let tag = |name: &str, before| {
        Payload::Tag(TagChange {
            tag: name.parse().unwrap(),
            target: Some(VersionNumber(1)),
            before,
            protects: true,
        })
    };
    let put = |number, payload: Payload, cursor: &mut State| {
        let decide = &mut |_: &State| Ok(Some(payload.clone()));
        log(&store).append::<_, LogError>(cursor, intent(number), decide)
    };
    let (mut one, mut other) = (read(&store).unwrap(), read(&store).unwrap());
    put(2, tag("a", None), &mut one).unwrap();
    put(3, tag("b", None), &mut other).unwrap();
    let error = put(4, tag("b", None), &mut one).unwrap_err();
    assert!(error.to_string().contains("was changed meanwhile"), "{error}");
    put(5, tag("b", Some(VersionNumber(1))), &mut one).unwrap();
    assert_eq!(read(&store).unwrap().state().tags().len(), 2);
}

#[test]
fn h49_what_a_cache_keeps_damaged_or_missing_is_asked_for_past_it() {
    let (origin, cache) = (Memory::default(), Memory::default());
    for number in 1..=4 {
        publish(&origin, number).unwrap();
    }
    let seen = read(&origin).unwrap().position();
    for key in origin.keys() {
        cache.put(&key, &origin.get(&key).unwrap().unwrap()).unwrap();
    }
    cache.put(&name().key(Seq::new(2).unwrap()), b"<html>").unwrap();
    cache.delete(&[name().key(seen.seq)]).unwrap();
    assert!(matches!(read(&cache), Err(LogError::Unreadable { .. })));
    assert!(log(&cache).seen(seen).verify_seen().is_err());
    let cache = cache.before(&origin);
    // What nobody has seen may be missing for a while.
    assert_eq!(read(&cache).unwrap().position().seq.get(), 3);
    let mut cursor = State::default();
    log(&cache).seen(seen).follow(&mut cursor).unwrap();
    assert_eq!(cursor.position(), seen);
    log(&cache).seen(seen).verify_seen().unwrap();
    // What is wrong there as well stays an error.
    origin.put(&name().key(Seq::new(2).unwrap()), b"<html>").unwrap();
    assert!(matches!(read(&cache), Err(LogError::Unreadable { .. })));
}
