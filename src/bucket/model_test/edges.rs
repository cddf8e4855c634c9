//! Edges of the model test, and heads that lie to them.

use super::seat::Seat;
use crate::bucket::event::BucketId;
use crate::bucket::follow::{Follower, Poll, TURN};
use crate::bucket::head;
use crate::bucket::key::{LogName, Seq};
use crate::bucket::log::Position;
use crate::bucket::signature::Signatures;
use crate::bucket::store::{ObjectStore, StoreError};
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// Polls of an edge before it rests.
const POLLS: usize = 6;

fn poll(follower: &mut Follower, store: &dyn ObjectStore, is_asked: bool) -> Result<(), String> {
    let polled = follower.poll(&Poll {
        store,
        signatures: Signatures::NONE,
        is_asked,
        now: Timestamp::default(),
        is_wanted: &|_| true,
        seen: &|_| Position::START,
        seen_own: &|| Position::START,
        is_urgent: &|_| false,
    });
    polled.map_err(|error| error.to_string())?;
    match follower.alarms().next() {
        None => Ok(()),
        Some((name, alarm)) => Err(format!("an alarm of {name:?}: {}", alarm.message)),
    }
}

/// Lets an edge poll a few times: one that rested before, or a new one. A crash in the middle drops the edge with all that
/// it had read, so the next one begins anew.
pub(super) fn follow(seat: &Seat<'_>) {
    let rested = seat.shared.edges.lock().pop();
    let mut follower = rested.unwrap_or_else(|| Follower::new(seat.shared.bucket));
    for _ in 0..POLLS {
        let is_asked = seat.shared.random.lock().percent(10);
        if let Err(error) = poll(&mut follower, seat, is_asked) {
            return seat.shared.violated(format!("an edge could not follow: {error}"));
        }
        seat.pause();
    }
    seat.shared.edges.lock().push(follower);
}

/// Writes a head that may be true or old, is of the future, or is none.
pub(super) fn tell(seat: &Seat<'_>) {
    let (chosen, number) = {
        let mut random = seat.shared.random.lock();
        (random.below(100), random.below(30) as u64)
    };
    let name: RepoName = ["a", "b", "c", "d"][chosen % 4].parse().expect("a name");
    let log = if chosen % 5 == 0 { LogName::Bucket } else { LogName::Repository(name) };
    let seq = match chosen {
        0..40 => Seq::new(number).expect("a small number"),
        40..60 => Seq::MAX,
        // Its answer may be lost, which is nobody's trouble.
        _ => return drop(seat.put("head", b"{\"format\":1")),
    };
    let mut ends = |_: Option<&head::Head>| Ok::<_, StoreError>(vec![(log.clone(), seq)]);
    drop(head::update(seat, seat.shared.bucket, &mut ends));
}

/// Returns what is wrong with an edge at the end of a history, if anything is. Every edge must know what all logs say after
/// as many polls as it takes until each log had its turn.
pub(super) fn check_end(
    mut edges: Vec<Follower>,
    store: &dyn ObjectStore,
    bucket: BucketId,
    is_as_logged: &dyn Fn(&Follower) -> Result<(), String>,
) -> Result<u64, String> {
    edges.push(Follower::new(bucket));
    for edge in &mut edges {
        for _ in 0..2 * TURN {
            poll(edge, store, false)?;
        }
        is_as_logged(edge)?;
    }
    Ok(edges.len() as u64)
}
