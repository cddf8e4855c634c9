//! Which events may follow which, and what comes of them.

use super::*;
use crate::bucket::event::{BucketId, Commit, Event, Payload, TagChange};
use crate::bucket::key::{LogName, ObjectKind};
use crate::bucket::log::{Fold, Position};
use crate::bucket::testing::{commit, key, nonce};
use crate::model::hash::ObjectHash;
use crate::model::time::Timestamp;

/// A state, and how many events it has.
struct Folded<F> {
    state: F,
    seq: Seq,
}

impl<F: Fold + Default> Folded<F> {
    fn new() -> Self {
        Self { state: F::default(), seq: Seq::NONE }
    }

    fn put(&mut self, payload: Payload) -> Result<(), Refusal> {
        let id = u8::try_from(self.seq.get()).unwrap() + 100;
        let event = Event {
            bucket: BucketId(nonce(1)),
            log: LogName::Bucket,
            seq: self.seq.next(),
            before: ObjectHash::of(b""),
            nonce: nonce(id),
            time: Timestamp::default(),
            payload,
            signature: Vec::new(),
        };
        self.state.check(&event)?;
        self.seq = event.seq;
        self.state.apply(&event, Position { seq: event.seq, hash: ObjectHash::of(&[id]) });
        Ok(())
    }
}

fn version(number: u64) -> Payload {
    Payload::Commit(Box::new(commit(number, key(ObjectKind::Uses, 1))))
}

fn named(number: u64, name: &str) -> Payload {
    let name = Some(name.parse().unwrap());
    let commit = Commit { name, tagged: true, ..commit(number, key(ObjectKind::Uses, 1)) };
    Payload::Commit(Box::new(commit))
}

fn tag(name: &str, before: u64, target: u64) -> Payload {
    let number = |number| (number > 0).then_some(VersionNumber(number));
    Payload::Tag(TagChange {
        tag: name.parse().unwrap(),
        target: number(target),
        before: number(before),
        protects: true,
    })
}

fn delete(number: u64, force: bool) -> Payload {
    Payload::Delete { number: VersionNumber(number), force }
}

fn flags(number: u64, released: Option<bool>, locked: Option<bool>) -> Payload {
    Payload::Flags { number: VersionNumber(number), released, locked }
}

#[test]
fn numbers_grow_and_are_never_used_again() {
    let mut log = Folded::<RepositoryState>::new();
    log.put(version(3)).unwrap();
    for number in [1, 3] {
        assert!(matches!(log.put(version(number)), Err(Refusal::NumberUsed { .. })));
    }
    log.put(version(5)).unwrap();
    log.put(delete(5, true)).unwrap();
    assert_eq!(log.state.latest().unwrap().commit.number, VersionNumber(3));
    assert!(log.put(version(5)).is_err(), "a deleted number stays used");
    log.put(Payload::Remove).unwrap();
    assert!(log.put(version(5)).is_err(), "so do those of a removed repository");
    log.put(version(6)).unwrap();
    assert_eq!(log.state.versions().len(), 1);
}

#[test]
fn n6_the_name_of_a_commit_is_a_tag_that_was_free() {
    let mut log = Folded::<RepositoryState>::new();
    log.put(named(1, "a")).unwrap();
    assert!(matches!(log.put(named(2, "a")), Err(Refusal::TagMoved { .. })));
    log.put(named(2, "b")).unwrap();
    log.put(delete(1, false)).unwrap();
    assert!(!log.state.tags().contains_key("a".parse::<TagName>().as_ref().unwrap()));
}

#[test]
fn a_tag_names_what_its_author_saw() {
    let mut log = Folded::<RepositoryState>::new();
    log.put(version(1)).unwrap();
    log.put(version(2)).unwrap();
    assert_eq!(log.put(tag("a", 0, 9)), Err(Refusal::NoVersion(VersionNumber(9))));
    log.put(tag("a", 0, 1)).unwrap();
    assert!(matches!(log.put(tag("a", 0, 2)), Err(Refusal::TagMoved { .. })));
    assert!(matches!(log.put(tag("a", 2, 0)), Err(Refusal::TagMoved { .. })));
    log.put(tag("b", 0, 2)).unwrap();
    log.put(tag("a", 1, 2)).unwrap();
    log.put(tag("a", 2, 0)).unwrap();
    assert_eq!(log.state.tags().len(), 1);
}

#[test]
fn n11_what_is_protected_is_not_deleted() {
    let mut log = Folded::<RepositoryState>::new();
    for number in 1..=4 {
        log.put(version(number)).unwrap();
    }
    log.put(flags(1, None, Some(true))).unwrap();
    log.put(flags(2, Some(true), None)).unwrap();
    log.put(tag("a", 0, 3)).unwrap();
    for (number, force) in [(1, false), (1, true), (2, false), (3, false), (4, false)] {
        let refused = log.put(delete(number, force));
        assert!(matches!(refused, Err(Refusal::Protected { .. })), "{number} {refused:?}");
    }
    assert!(log.put(Payload::Remove).is_err(), "one is locked");
    for number in [2, 3, 4] {
        log.put(delete(number, true)).unwrap();
        let gone = log.put(flags(number, None, Some(true)));
        assert_eq!(gone, Err(Refusal::NoVersion(VersionNumber(number))));
        assert_eq!(log.put(tag("b", 0, number)), gone);
        assert_eq!(log.put(delete(number, true)), gone);
    }
    log.put(flags(1, None, Some(false))).unwrap();
    log.put(Payload::Remove).unwrap();
    assert!(log.state.versions().is_empty() && log.state.tags().is_empty());
}

#[test]
fn h47_drafts_are_needs_until_they_end() {
    let mut log = Folded::<RepositoryState>::new();
    let uses = |number| key(ObjectKind::Uses, number);
    log.put(Payload::Draft { uses: uses(7) }).unwrap();
    log.put(Payload::Draft { uses: uses(8) }).unwrap();
    assert_eq!(log.state.uses().count(), 2);
    let ended = Commit { draft: Some(nonce(100)), ..commit(1, uses(7)) };
    log.put(Payload::Commit(Box::new(ended))).unwrap();
    log.put(Payload::DraftEnd { draft: nonce(101) }).unwrap();
    log.put(Payload::DraftEnd { draft: nonce(101) }).unwrap();
    assert_eq!(log.state.uses().collect::<Vec<_>>(), [uses(7)]);
}

#[test]
fn h47_the_first_decision_on_a_mark_counts() {
    let mut log = Folded::<BucketState>::new();
    let keys = |number| key(ObjectKind::Keys, number);
    let name = |name: &str| name.parse().unwrap();
    log.put(Payload::Repository { name: name("a") }).unwrap();
    log.put(Payload::Mark { candidates: keys(1) }).unwrap();
    log.put(Payload::Repository { name: name("b") }).unwrap();
    log.put(Payload::Repository { name: name("a") }).unwrap();
    let mark = nonce(101);
    let before = log.state.made_before(log.state.mark(mark).unwrap().at.seq);
    assert_eq!(before.map(ToString::to_string).collect::<Vec<_>>(), ["a"]);
    assert_eq!(log.state.marks_before(&name("a")).count(), 0);
    assert_eq!(log.state.marks_before(&name("b")).count(), 1);
    assert_eq!(log.state.marks_before(&name("c")).count(), 1, "it is still to be made");
    assert!(matches!(log.put(Payload::Abandon { mark: nonce(9) }), Err(Refusal::NoMark(_))));
    log.put(Payload::Sentence { mark, condemned: keys(2) }).unwrap();
    log.put(Payload::Abandon { mark }).unwrap();
    let decision = log.state.mark(mark).unwrap().decision.unwrap();
    assert!(matches!(decision, Decision::Sentence { condemned, .. } if condemned == keys(2)));
}

#[test]
fn each_log_has_its_own_kinds() {
    let mut repository = Folded::<RepositoryState>::new();
    let mut bucket = Folded::<BucketState>::new();
    let mark = Payload::Mark { candidates: key(ObjectKind::Keys, 1) };
    assert!(matches!(repository.put(mark), Err(Refusal::WrongLog("mark"))));
    assert!(matches!(bucket.put(version(1)), Err(Refusal::WrongLog("commit"))));
}
