//! Who waits for what, and in which order it is fetched.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::engine::fetcher::READER_PATIENCE;
use crate::lazy::places::Candidate;
use crate::model::hash::BlobHash;

fn flights() -> Flights {
    Flights::new(Weak::new())
}

fn name(content: &[u8]) -> ContentName {
    BlobHash::of(content).into()
}

/// Somebody who wants a content; what it was told can be looked at.
fn join(flights: &mut Flights, content: ContentName, now: Instant) -> Receiver<FetchOutcome> {
    let (send, told) = channel();
    let then: OnFetched = Box::new(move |fetched| send.send(fetched).unwrap());
    let purpose = Purpose::Read(READER_PATIENCE);
    if let Joined::Answered(then, outcome) = flights.join(content, (None, purpose), then, now) {
        then(outcome);
    }
    told
}

#[test]
fn l4_a_content_is_fetched_once_however_many_want_it() {
    let (mut flights, now) = (flights(), Instant::now());
    let (one, other) = (name(b"1"), name(b"2"));
    let told: Vec<_> = (0..200).map(|_| join(&mut flights, one, now)).collect();
    let second = join(&mut flights, other, now);
    assert_eq!(flights.activity(now), Activity { fetching: 2, waiting: 201, failed: 0 });
    assert_eq!((flights.begin(), flights.begin(), flights.begin()), (Some(one), Some(other), None));
    let waiting = flights.end(&one, &Ok(Fetched::Kept), now);
    assert_eq!(waiting.len(), 200);
    waiting.into_iter().for_each(|then| then(Ok(Fetched::Kept)));
    assert!(told.iter().all(|told| told.recv().unwrap().is_ok()));
    assert!(second.try_recv().is_err(), "it waits on");
}

#[test]
fn l4_readers_of_parts_are_told_as_soon_as_their_part_is_here() {
    let (mut flights, now) = (flights(), Instant::now());
    let content = name(b"1");
    let read = |flights: &mut Flights, part: Option<Range<u64>>| {
        let (send, told) = channel();
        let then: OnFetched = Box::new(move |fetched| send.send(fetched).unwrap());
        let purpose = Purpose::Read(READER_PATIENCE);
        assert!(matches!(flights.join(content, (part, purpose), then, now), Joined::Waits));
        told
    };
    let late = read(&mut flights, Some(50..60));
    let early = read(&mut flights, Some(0..10));
    let whole = read(&mut flights, None);
    assert_eq!(flights.begin(), Some(content));
    let (served, next) = flights.next_part(&content, |_| false);
    assert_eq!((served.len(), next), (0, NextPart::Part(50..60)));
    let (served, next) = flights.next_part(&content, |part| part.start < 20);
    assert_eq!(next, NextPart::Part(50..60));
    served.into_iter().for_each(|then| then(Ok(Fetched::Part)));
    assert_eq!(early.try_recv().unwrap(), Ok(Fetched::Part));
    assert!(late.try_recv().is_err() && whole.try_recv().is_err());
    let (served, next) = flights.next_part(&content, |_| true);
    assert_eq!((served.len(), next), (1, NextPart::All));
    assert_eq!(flights.activity(now), Activity { fetching: 1, waiting: 1, failed: 0 });
    assert_eq!(flights.end(&content, &Ok(Fetched::Kept), now).len(), 1);
    // Without anybody who waits it ends, and the next one who wants it begins anew.
    assert_eq!(flights.next_part(&content, |_| true).1, NextPart::Ended);
    let again = read(&mut flights, Some(0..10));
    flights.begin();
    let (served, next) = flights.next_part(&content, |_| true);
    assert_eq!((served.len(), next), (1, NextPart::Ended));
    assert_eq!(flights.activity(now), Activity::default());
    drop(again);
    drop(read(&mut flights, Some(7..8)));
    assert_eq!(flights.begin(), Some(content));
}

#[test]
fn l5_what_could_not_be_had_rests_for_a_while() {
    let (mut flights, now) = (flights(), Instant::now());
    let content = name(b"1");
    drop(join(&mut flights, content, now));
    flights.begin();
    let failed = Err(NotFetched("gone".to_owned()));
    drop(flights.end(&content, &failed, now));
    let told = join(&mut flights, content, now + COOLDOWN / 2);
    assert_eq!(told.recv().unwrap(), failed, "at once");
    assert_eq!(flights.begin(), None);
    let told = join(&mut flights, content, now + COOLDOWN);
    assert!(told.try_recv().is_err());
    assert_eq!(flights.begin(), Some(content), "it is tried again");
}

#[test]
fn l14_a_reader_without_progress_gets_an_error_and_the_fetch_goes_on() {
    let (mut flights, now) = (flights(), Instant::now());
    let content = name(b"1");
    let told = join(&mut flights, content, now);
    let came = flights.came(&content);
    assert!(flights.late(now + PATIENCE / 2).0.is_empty());
    came.fetch_add(1, Ordering::Relaxed);
    assert!(flights.late(now + PATIENCE).0.is_empty(), "a byte came");
    let later = join(&mut flights, content, now + PATIENCE);
    let (late, is_last) = flights.late(now + PATIENCE * 2);
    assert!(!is_last);
    for (then, reason) in late {
        then(Err(reason));
    }
    assert!(told.recv().unwrap().is_err());
    assert!(later.recv().unwrap().is_err());
    assert!(flights.end(&content, &Ok(Fetched::Kept), now).is_empty());
    assert!(flights.late(now).1, "nothing is left to watch");
}

#[test]
fn a_reader_is_not_kept_for_ever_by_a_trickle() {
    let (mut flights, now) = (flights(), Instant::now());
    let content = name(b"1");
    let told = join(&mut flights, content, now);
    let came = flights.came(&content);
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
    let first = join(&mut flights, name(b"first"), now);
    let others: Vec<_> =
        (1..WAITING_MAX).map(|n| join(&mut flights, name(&n.to_le_bytes()), now)).collect();
    assert!(first.try_recv().is_err());
    let last = join(&mut flights, name(b"last"), now);
    assert!(first.recv().unwrap().is_err());
    assert!(last.try_recv().is_err() && others.iter().all(|told| told.try_recv().is_err()));
    assert_eq!(flights.give_up().len(), WAITING_MAX);
}

/// A prefetch that wants a content.
fn prefetch(flights: &mut Flights, content: ContentName, now: Instant) -> Receiver<FetchOutcome> {
    let (send, told) = channel();
    let then: OnFetched = Box::new(move |fetched| send.send(fetched).unwrap());
    let joined = flights.join(content, (None, Purpose::Prefetch(PREFETCH)), then, now);
    assert!(matches!(joined, Joined::Waits));
    told
}

const PREFETCH: PrefetchId = PrefetchId(1);

/// The only remote, which has one place.
fn candidates() -> [Candidate; 1] {
    [("one".parse().unwrap(), 1)]
}

#[test]
fn h39_what_somebody_reads_is_begun_before_all_that_is_prefetched() {
    let (mut flights, now) = (flights(), Instant::now());
    let [ahead, next, read] = [b"1", b"2", b"3"].map(|content| name(content));
    let told = prefetch(&mut flights, ahead, now);
    let second = prefetch(&mut flights, next, now);
    let first = join(&mut flights, read, now);
    assert_eq!(flights.activity(now), Activity { fetching: 3, waiting: 1, failed: 0 });
    // Much later somebody reads one of them: for that reader the wait begins now.
    let reader = join(&mut flights, next, now + PATIENCE * 2);
    let order = [flights.begin(), flights.begin(), flights.begin(), flights.begin()];
    assert_eq!(order, [Some(read), Some(next), Some(ahead), None]);
    for (then, reason) in flights.late(now + PATIENCE * 2).0 {
        then(Err(reason));
    }
    assert!(told.try_recv().is_err() && second.try_recv().is_err(), "a prefetch is never late");
    assert!(first.recv().unwrap().is_err() && reader.try_recv().is_err());
    flights
        .end(&next, &Ok(Fetched::Kept), now)
        .into_iter()
        .for_each(|then| then(Ok(Fetched::Kept)));
    assert!(reader.recv().unwrap().is_ok() && second.recv().unwrap().is_ok(), "one fetch");
}

#[test]
fn h39_a_prefetch_makes_way_and_goes_on_afterwards() {
    let (mut flights, now) = (flights(), Instant::now());
    let [ahead, read] = [b"1", b"2"].map(|content| name(content));
    let [(one, _)] = candidates();
    drop(prefetch(&mut flights, ahead, now));
    assert_eq!(flights.begin(), Some(ahead));
    assert_eq!(flights.enter(ahead, &candidates(), now), Some(0));
    let stop = flights.stop(&ahead);
    let told = join(&mut flights, read, now);
    assert_eq!(flights.begin(), Some(read));
    assert_eq!(flights.enter(read, &candidates(), now), None);
    assert!(stop.load(Ordering::SeqCst), "it is to end");
    flights.leave(&one, &ahead, true, now);
    flights.put_back(ahead);
    assert!(!flights.stop(&ahead).load(Ordering::SeqCst));
    assert_eq!(flights.begin(), Some(read));
    assert_eq!(flights.enter(read, &candidates(), now), Some(0));
    assert_eq!(flights.begin(), Some(ahead));
    assert_eq!(flights.enter(ahead, &candidates(), now), None, "no place is left");
    flights.leave(&one, &read, true, now);
    flights
        .end(&read, &Ok(Fetched::Kept), now)
        .into_iter()
        .for_each(|then| then(Ok(Fetched::Kept)));
    assert!(told.recv().unwrap().is_ok());
    assert_eq!(flights.begin(), Some(ahead));
}

#[test]
fn h39_what_an_abandoned_prefetch_wanted_ends_unless_somebody_reads_it() {
    let (mut flights, now) = (flights(), Instant::now());
    let [runs, read, waits, queued] = [b"1", b"2", b"3", b"4"].map(|content| name(content));
    let told: Vec<_> =
        [runs, read, waits].map(|content| prefetch(&mut flights, content, now)).into();
    assert_eq!(flights.begin(), Some(runs));
    assert_eq!(flights.enter(runs, &candidates(), now), Some(0));
    let reader = join(&mut flights, read, now);
    assert_eq!((flights.begin(), flights.begin()), (Some(read), Some(waits)));
    assert_eq!(flights.enter(waits, &candidates(), now), None);
    drop(prefetch(&mut flights, queued, now));
    let stop = flights.stop(&runs);
    assert_eq!(flights.abandon(PREFETCH).len(), 4);
    assert!(stop.load(Ordering::SeqCst) && !flights.stop(&read).load(Ordering::SeqCst));
    flights.leave(&candidates()[0].0, &runs, true, now);
    flights.put_back(runs);
    assert_eq!(flights.begin(), None, "nobody wants the others");
    assert_eq!(flights.activity(now).fetching, 1);
    flights
        .end(&read, &Ok(Fetched::Kept), now)
        .into_iter()
        .for_each(|then| then(Ok(Fetched::Kept)));
    assert!(reader.recv().unwrap().is_ok());
    drop(told);
}

#[test]
fn l4_what_comes_along_is_fetched_by_nobody_else_and_begun_again_if_it_did_not_come() {
    let (mut flights, now) = (flights(), Instant::now());
    let [own, queued, waits, late] = [b"1", b"2", b"3", b"4"].map(|content| name(content));
    let one = [("one".parse().unwrap(), 1)];
    let told: Vec<_> = [own, waits, queued].map(|it| join(&mut flights, it, now)).into();
    assert_eq!(flights.begin(), Some(own));
    assert_eq!(flights.enter(own, &one, now), Some(0));
    assert_eq!(flights.begin(), Some(waits));
    assert_eq!(flights.enter(waits, &one, now), None, "there is one place");
    let near = flights.claim(own, &[queued, waits, late]).unwrap();
    assert_eq!(near.len(), 3);
    assert_eq!(flights.begin(), None);
    let told_late = join(&mut flights, late, now);
    assert_eq!(flights.begin(), Some(late));
    assert_eq!(flights.claim(late, &[]), None, "it comes along");
    for content in [own, queued] {
        flights.came_along(&content, now).into_iter().for_each(|then| then(Ok(Fetched::Kept)));
    }
    assert!(told[0].try_recv().is_ok() && told[2].try_recv().is_ok());
    assert!(told[1].try_recv().is_err() && told_late.try_recv().is_err());
    flights.give_back(near);
    flights.leave(&one[0].0, &own, true, now);
    let again = [flights.begin(), flights.begin()];
    assert!(again.contains(&Some(waits)) && again.contains(&Some(late)), "{again:?}");
    assert_eq!(flights.begin(), None);
    assert!(flights.claim(late, &[own]).is_some(), "nobody claims it any more");
}

/// Only without a byte, and only where another source is left.
#[test]
fn l5_a_silent_source_is_passed_over() {
    let (mut flights, now, content) = (flights(), Instant::now(), name(b"x"));
    let _told = join(&mut flights, content, now);
    assert_eq!(flights.begin(), Some(content));
    let (stop, heard) = flights.ask(&content, true, now);
    let is_stopped = |stop: &AtomicBool| stop.load(Ordering::SeqCst);
    heard.fetch_add(1, Ordering::Relaxed);
    for (time, stopped) in [(1, false), (2, true)] {
        flights.late(now + PASSING_TIME * time);
        assert_eq!(is_stopped(&stop), stopped, "{time}");
    }
    assert!(flights.was_passed_over(&content) && !flights.was_passed_over(&content));
    let (stop, _) = flights.ask(&content, false, now);
    flights.late(now + PASSING_TIME * 4);
    assert!(!is_stopped(&stop) && !flights.was_passed_over(&content), "it is the last one");
}
