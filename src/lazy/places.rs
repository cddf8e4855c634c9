//! Places at remotes: how many contents are fetched from each at a time, who waits for that, and which remotes rest.
//!
//! Each remote has places of its own, so that one that is silent holds up nobody who reads from another (L14). One that
//! could not be reached rests: it is asked after the others for a while (L5). Prefetches leave a quarter of the places to
//! readers, and where a reader finds none free, a prefetch makes way for it (H39).
//!
//! A place that comes free is offered to who waits for it, and kept until that one enters. One that needs it no more says so
//! ([`Places::decline`]), and the next in line is offered it: nobody else would wake those behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::model::content_name::ContentName;
use crate::model::name::RemoteName;

/// How long a remote that could not be reached is asked after all others.
const REST_TIME: Duration = Duration::from_secs(30);

/// Of so many places at a remote, one is left to readers.
const PLACES_PER_FREE_ONE: u32 = 4;

/// A remote that has a content, and how many contents may be fetched from it at a time.
pub(super) type Candidate = (RemoteName, u32);

/// Who wants a content: readers come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody waits for it.
    Read,
    /// Nobody but a prefetch does.
    Prefetch,
}

/// What came of asking for a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It has one at the candidate of this index.
    At(usize),
    /// There is none. The prefetch of that content is to make way.
    Waits(Option<ContentName>),
}

#[derive(Default)]
struct Remote {
    /// As the remote's settings were at the last look.
    places: u32,
    taken: u32,
    /// What prefetches have places for.
    prefetched: BTreeSet<ContentName>,
    /// Those of them that were told to make way.
    make_way: BTreeSet<ContentName>,
    /// Contents that wait for a place, the first first.
    waiting: VecDeque<ContentName>,
    /// The same of prefetches.
    waiting_prefetches: VecDeque<ContentName>,
    /// Who was offered a place that came free, and has not entered yet.
    offered: BTreeMap<ContentName, Class>,
    rests_until: Option<Instant>,
}

impl Remote {
    fn is_forgotten(&self, now: Instant) -> bool {
        let nobody_waits = self.waiting.is_empty() && self.waiting_prefetches.is_empty();
        self.taken == 0 && self.offered.is_empty() && nobody_waits && !self.rests(now)
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Whether there is a place that nobody has, and that was offered to nobody who comes first: a reader takes what was
    /// offered to a prefetch.
    fn has_place(&self, class: Class) -> bool {
        let comes_first = |offered: &&Class| class == Class::Prefetch || **offered == Class::Read;
        let offered = self.offered.values().filter(comes_first).count();
        (self.taken as usize) + offered < self.places as usize
            && match class {
                Class::Read => true,
                Class::Prefetch => {
                    let free = self.places.div_ceil(PLACES_PER_FREE_ONE);
                    let most = self.places.saturating_sub(free).max(1) as usize;
                    self.waiting.is_empty() && self.prefetched.len() < most
                }
            }
    }

    fn take(&mut self, content: ContentName, class: Class) {
        self.taken += 1;
        if class == Class::Prefetch {
            self.prefetched.insert(content);
        }
    }

    /// Offers a free place to who is next: what a reader has waited for the longest, or else a prefetch.
    fn offer(&mut self) -> Option<ContentName> {
        for class in [Class::Read, Class::Prefetch] {
            if !self.has_place(class) {
                continue;
            }
            let line = match class {
                Class::Read => &mut self.waiting,
                Class::Prefetch => &mut self.waiting_prefetches,
            };
            if let Some(next) = line.pop_front() {
                self.offered.insert(next, class);
                return Some(next);
            }
        }
        None
    }

    /// A prefetch that has a place and was not told yet to make way.
    fn to_make_way(&self) -> Option<ContentName> {
        self.prefetched.difference(&self.make_way).next().copied()
    }
}

/// The places at all remotes.
#[derive(Default)]
pub(super) struct Places {
    remotes: BTreeMap<RemoteName, Remote>,
    /// Who was offered a place that another one left to them, and was not told so yet.
    woken: Vec<ContentName>,
}

impl Places {
    /// Takes a place at the first remote of `candidates` that has one free, and returns its index. Remotes that rest are
    /// tried after all others. Where no remote has a free place the content waits in line, and [`Places::leave`] returns
    /// it once a place is given back.
    pub(super) fn enter(
        &mut self,
        content: ContentName,
        class: Class,
        candidates: &[Candidate],
        now: Instant,
    ) -> Entered {
        let declined = self.forget_offers(&content);
        let entered = self.take_place(content, class, candidates, now);
        self.offer_again(&declined);
        self.remotes.retain(|_, remote| !remote.is_forgotten(now));
        entered
    }

    fn take_place(
        &mut self,
        content: ContentName,
        class: Class,
        candidates: &[Candidate],
        now: Instant,
    ) -> Entered {
        let rests = |index: &usize| {
            self.remotes.get(&candidates[*index].0).is_some_and(|remote| remote.rests(now))
        };
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by_key(rests);
        for index in &order {
            let (name, places) = &candidates[*index];
            let remote = self.remotes.entry(name.clone()).or_default();
            remote.places = *places;
            if remote.has_place(class) {
                remote.take(content, class);
                return Entered::At(*index);
            }
        }
        let names = || order.iter().map(|index| &candidates[*index].0);
        let would_make_way = |name: &&RemoteName| {
            class == Class::Read
                && self.remotes.get(*name).is_some_and(|at| at.to_make_way().is_some())
        };
        let Some(name) = names().find(would_make_way).or_else(|| names().next()) else {
            return Entered::Waits(None);
        };
        let remote = self.remotes.entry(name.clone()).or_default();
        match class {
            Class::Prefetch => {
                remote.waiting_prefetches.push_back(content);
                Entered::Waits(None)
            }
            Class::Read => {
                remote.waiting.push_back(content);
                let makes_way = remote.to_make_way();
                remote.make_way.extend(makes_way);
                Entered::Waits(makes_way)
            }
        }
    }

    /// A content needs no place any more: those that it was offered are offered to the next in line.
    pub(super) fn decline(&mut self, content: &ContentName) {
        let declined = self.forget_offers(content);
        self.offer_again(&declined);
    }

    /// Who was offered a place since the last time that somebody asked, because another one did not take it.
    pub(super) fn take_woken(&mut self) -> Vec<ContentName> {
        std::mem::take(&mut self.woken)
    }

    /// Takes all offers to a content back. Returns the remotes that made them.
    fn forget_offers(&mut self, content: &ContentName) -> Vec<RemoteName> {
        let made = self
            .remotes
            .iter_mut()
            .filter_map(|(name, remote)| remote.offered.remove(content).map(|_| name.clone()));
        made.collect()
    }

    fn offer_again(&mut self, remotes: &[RemoteName]) {
        for name in remotes {
            let next = self.remotes.get_mut(name).and_then(Remote::offer);
            self.woken.extend(next);
        }
    }

    /// Gives the place of a content back. Returns the one that is next to have a place there: what a reader has waited for
    /// the longest, or else a prefetch.
    pub(super) fn leave(
        &mut self,
        name: &RemoteName,
        content: &ContentName,
        was_reached: bool,
        now: Instant,
    ) -> Option<ContentName> {
        let remote = self.remotes.get_mut(name)?;
        remote.taken = remote.taken.saturating_sub(1);
        remote.prefetched.remove(content);
        remote.make_way.remove(content);
        remote.rests_until = (!was_reached).then(|| now + REST_TIME);
        remote.offer()
    }

    /// Somebody reads what only a prefetch wanted. Says whether the content waited for a place: now it does not.
    pub(super) fn promote(&mut self, content: &ContentName) -> bool {
        let mut waited = false;
        for remote in self.remotes.values_mut() {
            remote.prefetched.remove(content);
            remote.make_way.remove(content);
            if let Some(class) = remote.offered.get_mut(content) {
                *class = Class::Read;
            }
            let before = remote.waiting_prefetches.len();
            remote.waiting_prefetches.retain(|waiting| waiting != content);
            waited |= remote.waiting_prefetches.len() < before;
        }
        waited
    }

    /// These contents need no place of their own. Returns those that waited for one.
    pub(super) fn withdraw(&mut self, contents: &BTreeSet<ContentName>) -> BTreeSet<ContentName> {
        let mut waited = BTreeSet::new();
        for remote in self.remotes.values_mut() {
            for line in [&mut remote.waiting, &mut remote.waiting_prefetches] {
                waited.extend(line.iter().filter(|content| contents.contains(content)).copied());
                line.retain(|content| !contents.contains(content));
            }
        }
        waited
    }

    /// Everybody who waits for a place, to ask once more: who was next may have needed none.
    pub(super) fn ask_again(&mut self) -> Vec<ContentName> {
        let lines = self
            .remotes
            .values_mut()
            .flat_map(|remote| remote.waiting.drain(..).chain(remote.waiting_prefetches.drain(..)));
        lines.collect()
    }

    /// Nobody waits any more.
    pub(super) fn give_up(&mut self) {
        for remote in self.remotes.values_mut() {
            remote.waiting.clear();
            remote.waiting_prefetches.clear();
            remote.offered.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::BlobHash;

    fn name(content: &[u8]) -> ContentName {
        BlobHash::of(content).into()
    }

    fn candidates(names: &[&str], places: u32) -> Vec<Candidate> {
        names.iter().map(|name| (name.parse().unwrap(), places)).collect()
    }

    fn contents<const N: usize>() -> [ContentName; N] {
        std::array::from_fn(|number| name(&number.to_le_bytes()))
    }

    const WAITS: Entered = Entered::Waits(None);

    #[test]
    fn l14_each_remote_has_places_of_its_own() {
        let (mut places, now) = (Places::default(), Instant::now());
        let (one, other) = (candidates(&["one"], 2), candidates(&["other"], 2));
        let contents = contents::<4>();
        let mut read =
            |content, candidates: &[_]| places.enter(content, Class::Read, candidates, now);
        let entered = contents.map(|content| read(content, &one));
        assert_eq!(entered, [Entered::At(0), Entered::At(0), WAITS, WAITS]);
        assert_eq!(read(contents[0], &other), Entered::At(0));
        let both = candidates(&["one", "other"], 2);
        assert_eq!(read(contents[0], &both), Entered::At(1), "who has a place is asked");
        let mut leave = |content| places.leave(&one[0].0, content, true, now);
        assert_eq!(leave(&contents[0]), Some(contents[2]), "who waited longest");
        assert_eq!(leave(&contents[1]), Some(contents[3]));
        for content in &contents[2..] {
            assert_eq!(places.enter(*content, Class::Read, &one, now), Entered::At(0));
        }
        assert_eq!(places.leave(&one[0].0, &contents[2], true, now), None);
        assert_eq!(places.enter(contents[0], Class::Read, &one, now), Entered::At(0));
    }

    #[test]
    fn l5_a_remote_that_was_not_reached_is_asked_last_for_a_while() {
        let (mut places, now) = (Places::default(), Instant::now());
        let (both, [content]) = (candidates(&["down", "up"], 2), contents());
        let enter = |places: &mut Places, candidates: &[_], now| {
            places.enter(content, Class::Read, candidates, now)
        };
        assert_eq!(enter(&mut places, &both, now), Entered::At(0));
        places.leave(&both[0].0, &content, false, now);
        assert_eq!(enter(&mut places, &both, now), Entered::At(1));
        let alone = enter(&mut places, &both[..1], now);
        assert_eq!(alone, Entered::At(0), "but it is asked where no other is");
        places.leave(&both[0].0, &content, false, now);
        assert_eq!(enter(&mut places, &both, now + REST_TIME), Entered::At(0));
        places.leave(&both[0].0, &content, true, now + REST_TIME);
        assert_eq!(enter(&mut places, &both, now + REST_TIME), Entered::At(0), "it was reached");
    }

    /// Whoever is next must take the place. One that no longer needs it and is not removed would keep all behind it waiting.
    #[test]
    fn l12_what_comes_along_with_another_waits_for_no_place() {
        let (mut places, now) = (Places::default(), Instant::now());
        let one = candidates(&["one"], 1);
        let [first, second, third, fourth] = contents();
        for content in [first, second, third, fourth] {
            places.enter(content, Class::Prefetch, &one, now);
        }
        assert_eq!(places.withdraw(&[first, second, third].into()), [second, third].into());
        assert_eq!(places.leave(&one[0].0, &first, true, now), Some(fourth));
    }

    #[test]
    fn h39_prefetches_leave_places_to_readers() {
        for (all, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (16, 12)] {
            let (mut places, now) = (Places::default(), Instant::now());
            let one = candidates(&["one"], all);
            let ahead = contents::<20>();
            let entered =
                ahead.map(|content| places.enter(content, Class::Prefetch, &one, now) != WAITS);
            assert_eq!(entered.iter().filter(|entered| **entered).count(), most, "{all}");
            for number in 0..20_u32 {
                let entered = places.enter(name(b"read"), Class::Read, &one, now) == Entered::At(0);
                assert_eq!(entered, (number as usize) < all as usize - most, "{all} {number}");
            }
        }
    }

    #[test]
    fn h39_a_prefetch_makes_way_for_a_reader_and_waits_behind_all_of_them() {
        let (mut places, now) = (Places::default(), Instant::now());
        let one = candidates(&["one"], 1);
        let [ahead, next, first, second] = contents();
        let mut enter = |content, class| places.enter(content, class, &one, now);
        assert_eq!(enter(ahead, Class::Prefetch), Entered::At(0));
        assert_eq!(enter(next, Class::Prefetch), WAITS);
        assert_eq!(enter(first, Class::Read), Entered::Waits(Some(ahead)));
        assert_eq!(enter(second, Class::Read), WAITS, "it was told already");
        assert_eq!(places.leave(&one[0].0, &ahead, true, now), Some(first));
        assert_eq!(places.enter(ahead, Class::Prefetch, &one, now), WAITS, "a reader waits");
        assert_eq!(places.enter(first, Class::Read, &one, now), Entered::At(0));
        assert_eq!(places.leave(&one[0].0, &first, true, now), Some(second));
        assert_eq!(places.enter(second, Class::Read, &one, now), Entered::At(0));
        assert_eq!(places.leave(&one[0].0, &second, true, now), Some(next));
    }

    /// One that was offered a place and does not take it must not keep those behind it waiting.
    #[test]
    fn h39_a_place_that_is_not_taken_is_offered_to_the_next() {
        let (mut places, now) = (Places::default(), Instant::now());
        let (one, other) = (candidates(&["one"], 1), candidates(&["other"], 1));
        let [had, first, second, third, ahead] = contents();
        places.enter(had, Class::Read, &one, now);
        for content in [first, second, third] {
            assert_eq!(places.enter(content, Class::Read, &one, now), WAITS);
        }
        assert_eq!(places.enter(ahead, Class::Prefetch, &one, now), WAITS);
        assert_eq!(places.leave(&one[0].0, &had, true, now), Some(first));
        // It is kept for that one.
        assert_eq!(places.enter(had, Class::Prefetch, &one, now), WAITS);
        places.decline(&first);
        assert_eq!(places.take_woken(), [second]);
        // The next finds a place elsewhere.
        assert_eq!(places.enter(second, Class::Read, &other, now), Entered::At(0));
        assert_eq!(places.take_woken(), [third]);
        places.decline(&third);
        assert_eq!(places.take_woken(), [ahead]);
        // A reader need not wait for a prefetch that was offered the place.
        assert_eq!(places.enter(third, Class::Read, &one, now), Entered::At(0));
        assert_eq!(places.enter(ahead, Class::Prefetch, &one, now), WAITS);
        assert_eq!(places.take_woken(), []);
        assert_eq!(places.leave(&one[0].0, &third, true, now), Some(had), "who waited longest");
        places.decline(&had);
        assert_eq!(places.take_woken(), [ahead]);
        places.decline(&ahead);
        assert_eq!(
            (places.take_woken(), places.enter(first, Class::Read, &one, now)),
            (vec![], Entered::At(0))
        );
    }

    #[test]
    fn h39_what_somebody_reads_is_a_prefetch_no_more() {
        let (mut places, now) = (Places::default(), Instant::now());
        let one = candidates(&["one"], 1);
        let [ahead, next, other] = contents();
        places.enter(ahead, Class::Prefetch, &one, now);
        places.enter(next, Class::Prefetch, &one, now);
        assert!(!places.promote(&ahead), "it has a place");
        assert!(places.promote(&next) && !places.promote(&next));
        assert_eq!(places.enter(other, Class::Read, &one, now), WAITS, "nobody makes way");
        assert_eq!(places.leave(&one[0].0, &ahead, true, now), Some(other));
    }
}
