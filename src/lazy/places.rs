//! Places at remotes: how many contents are fetched from each at a time, who waits for that, and which remotes rest.
//!
//! Each remote has places of its own, so that one that is silent holds up nobody who reads from another (L14). One that
//! could not be reached rests: it is asked after the others for a while (L5).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::digest::Sha256;
use crate::model::name::RemoteName;

/// How long a remote that could not be reached is asked after all others.
const REST_TIME: Duration = Duration::from_secs(30);

/// A remote that has a content, and how many contents may be fetched from it at a time.
pub(super) type Candidate = (RemoteName, u32);

#[derive(Default)]
struct Remote {
    taken: u32,
    /// Contents that wait for a place, the first first.
    waiting: VecDeque<Sha256>,
    rests_until: Option<Instant>,
}

impl Remote {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.taken == 0 && self.waiting.is_empty() && !self.rests(now)
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

/// The places at all remotes.
#[derive(Default)]
pub(super) struct Places(BTreeMap<RemoteName, Remote>);

impl Places {
    /// Takes a place at the first candidate that has one, and says which that is. Those that rest come last. Where none
    /// has a place the content waits at the first: [`Places::leave`] gives it back.
    pub(super) fn enter(
        &mut self,
        digest: Sha256,
        candidates: &[Candidate],
        now: Instant,
    ) -> Option<usize> {
        self.0.retain(|_, remote| !remote.is_forgotten(now));
        let rests = |index: &usize| {
            self.0.get(&candidates[*index].0).is_some_and(|remote| remote.rests(now))
        };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by_key(rests);
        for index in &order {
            let (name, places) = &candidates[*index];
            let remote = self.0.entry(name.clone()).or_default();
            if remote.taken < *places {
                remote.taken += 1;
                return Some(*index);
            }
        }
        let (name, _) = &candidates[*order.first()?];
        self.0.entry(name.clone()).or_default().waiting.push_back(digest);
        None
    }

    /// Gives a place back. Returns the content that has waited longest for one there.
    pub(super) fn leave(
        &mut self,
        name: &RemoteName,
        was_reached: bool,
        now: Instant,
    ) -> Option<Sha256> {
        let remote = self.0.get_mut(name)?;
        remote.taken = remote.taken.saturating_sub(1);
        remote.rests_until = (!was_reached).then(|| now + REST_TIME);
        remote.waiting.pop_front()
    }

    /// Nobody waits any more.
    pub(super) fn give_up(&mut self) {
        self.0.values_mut().for_each(|remote| remote.waiting.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(names: &[&str]) -> Vec<Candidate> {
        names.iter().map(|name| (name.parse().unwrap(), 2)).collect()
    }

    #[test]
    fn l14_each_remote_has_places_of_its_own() {
        let (mut places, now) = (Places::default(), Instant::now());
        let (one, other) = (candidates(&["one"]), candidates(&["other"]));
        let digests = [b"1", b"2", b"3", b"4"].map(|content| Sha256::of(content));
        assert_eq!(
            digests.map(|digest| places.enter(digest, &one, now)),
            [Some(0), Some(0), None, None]
        );
        assert_eq!(places.enter(digests[0], &other, now), Some(0));
        let both = candidates(&["one", "other"]);
        assert_eq!(places.enter(digests[0], &both, now), Some(1), "who has a place is asked");
        assert_eq!(places.leave(&one[0].0, true, now), Some(digests[2]), "who waited longest");
        assert_eq!(places.leave(&one[0].0, true, now), Some(digests[3]));
        assert_eq!(places.leave(&one[0].0, true, now), None);
        assert_eq!(places.enter(digests[0], &one, now), Some(0));
    }

    #[test]
    fn l5_a_remote_that_was_not_reached_is_asked_last_for_a_while() {
        let (mut places, now) = (Places::default(), Instant::now());
        let (both, digest) = (candidates(&["down", "up"]), Sha256::of(b"1"));
        assert_eq!(places.enter(digest, &both, now), Some(0));
        places.leave(&both[0].0, false, now);
        assert_eq!(places.enter(digest, &both, now), Some(1));
        assert_eq!(
            places.enter(digest, &both[..1], now),
            Some(0),
            "but it is asked where no other is"
        );
        places.leave(&both[0].0, false, now);
        assert_eq!(places.enter(digest, &both, now + REST_TIME), Some(0));
        places.leave(&both[0].0, true, now + REST_TIME);
        assert_eq!(places.enter(digest, &both, now + REST_TIME), Some(0), "it was reached");
    }
}
