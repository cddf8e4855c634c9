//! Random histories of publishers, collectors and readers of one bucket, over the code that is used (H47).
//!
//! Each actor is a coroutine that lets others go first at its calls of the store, so any order of calls happens, and
//! any of them may be the last: a crash. Answers are lost, writes land late, lists show the past. After each change of
//! the store it is looked whether
//!
//! - a live version needs a key that is not there,
//! - one push was published twice,
//! - a reader within its grace misses what it may still read,
//!
//! and at the end whether a push that was acknowledged is in the log, and whether all who folded a log came to the
//! same state, the edges among them, whatever heads told them (H48). A rule that is left out must be missed:
//! otherwise the histories would not show that it is needed.
//!
//! `CAIRN_BUCKET_MODEL=SECONDS` plays for as long; `CAIRN_BUCKET_SEED=N` plays that one history and shows it.

mod actors;
mod checker;
mod edges;
mod random;
mod seat;
mod world;

use std::io::Write as _;
use std::time::{Duration, Instant};

use self::world::{Played, World};
use crate::bucket::rules::{Rule, leave_out};

/// Histories that are played in any case, also on a machine that is busy with other things.
const HISTORIES_MIN: u64 = 20;

/// How long the short form plays.
const SHORT: Duration = Duration::from_secs(8);

/// Histories in which a missing rule must be missed.
const HISTORIES_MAX: u64 = 5_000;

/// A rule that belongs to publishers, who are played here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublisherRule {
    /// What a publisher uploaded itself may be condemned as well.
    OwnUploads,
    /// A publisher looks each time whether the version whose keys it takes over is still live.
    Inherited,
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output");
}

#[test]
fn h47_no_history_loses_what_a_live_version_needs() {
    if let Some(seed) = variable("CAIRN_BUCKET_SEED") {
        let played = World::new(seed, None, true).play();
        say(&played.trace.join("\n"));
        assert_eq!(played.violation, None);
        return;
    }
    let time = variable("CAIRN_BUCKET_MODEL").map_or(SHORT, Duration::from_secs);
    let begun = Instant::now();
    let (mut histories, mut sum) = (0_u64, Played::default());
    while histories < HISTORIES_MIN || begun.elapsed() < time {
        let played = World::new(histories, None, false).play();
        assert_eq!(
            played.violation, None,
            "history {histories}: CAIRN_BUCKET_SEED={histories} shows it"
        );
        histories += 1;
        sum.add(&played);
    }
    say(&format!(
        "{histories} histories: {} calls, {} events, {} versions, {} keys deleted, {} crashes, {} lost answers, \
         {} late writes, {} old lists, {} edges",
        sum.calls,
        sum.events,
        sum.versions,
        sum.deleted,
        sum.crashes,
        sum.lost,
        sum.late,
        sum.stale,
        sum.edges
    ));
    assert!(sum.deleted > 0 && sum.versions > 0 && sum.crashes > 0 && sum.late > 0, "{sum:?}");
    assert!(sum.edges > histories, "edges that had followed before the end: {sum:?}");
}

/// Plays until a violation is found, and says which.
fn violation(rule: Option<Rule>, of_publisher: Option<PublisherRule>) -> String {
    leave_out(rule);
    for seed in 0..HISTORIES_MAX {
        let played = World::new(seed, of_publisher, false).play();
        if let Some(violation) = played.violation {
            leave_out(None);
            say(&format!("found in history {seed}: {violation}"));
            return violation;
        }
    }
    panic!("{HISTORIES_MAX} histories without {rule:?} {of_publisher:?} show no violation");
}

#[test]
fn h45_a_nonce_for_each_try_publishes_twice() {
    let found = violation(Some(Rule::NonceOfIntent), None);
    assert!(found.contains("twice"), "{found}");
}

#[test]
fn h47_barriers_before_their_mark_lose_content() {
    violation(Some(Rule::MarkBeforeBarriers), None);
}

#[test]
fn h47_a_decision_that_can_be_replaced_loses_content() {
    violation(Some(Rule::FirstDecision), None);
}

#[test]
fn h47_a_new_repository_that_ignores_older_marks_loses_content() {
    violation(Some(Rule::MarksBeforeRepository), None);
}

#[test]
fn h47_keys_of_undecided_marks_that_are_used_are_lost() {
    violation(Some(Rule::UndecidedMarks), None);
}

#[test]
fn h47_a_sentence_without_a_look_at_the_barriers_loses_content() {
    violation(Some(Rule::NeedsAtBarrier), None);
}

#[test]
fn h47_own_uploads_that_are_not_looked_at_are_lost() {
    violation(None, Some(PublisherRule::OwnUploads));
}

#[test]
fn h47_inherited_keys_that_are_not_looked_at_anew_are_lost() {
    violation(None, Some(PublisherRule::Inherited));
}
