//! Contents that come along: what is near another content in a pack comes with the same request.
//!
//! Whoever fetches a content claims those near it. Who wants one of these meanwhile waits, as for any flight, but no thread and
//! no place is taken for it: when the request has ended it is here, or it is begun as if nobody had claimed it.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Class, Flights};
use crate::engine::fetcher::{Fetched, OnFetched};
use crate::model::content_name::ContentName;

/// What is claimed.
#[derive(Default)]
pub(super) struct Rides {
    claimed: BTreeSet<ContentName>,
    /// The claimed contents that somebody waits for. No queue has them and no thread works on them, so the end of the claim must
    /// wake those who wait.
    aside: BTreeSet<ContentName>,
}

impl Rides {
    pub(super) fn clear(&mut self) {
        self.aside.clear();
    }
}

impl Flights {
    /// A thread is about to fetch a content: claims it, and those of `near` that nobody has claimed, which are returned. `None`
    /// where another thread has claimed this one: then it comes along there.
    pub(in crate::lazy) fn claim(
        &mut self,
        own: ContentName,
        near: &[ContentName],
    ) -> Option<BTreeSet<ContentName>> {
        if !self.rides.claimed.insert(own) {
            self.prefetching.remove(&own);
            self.rides.aside.insert(own);
            self.needs_no_place(&own);
            return None;
        }
        let free = near.iter().filter(|name| !self.rides.claimed.contains(name));
        let taken: BTreeSet<ContentName> = free.copied().collect();
        if taken.is_empty() {
            return Some(taken);
        }
        self.rides.claimed.extend(&taken);
        let waited = self.places.withdraw(&taken);
        self.rides.aside.extend(waited);
        for queue in [&mut self.queue, &mut self.prefetch_queue] {
            let aside = &mut self.rides.aside;
            queue.retain(|name| {
                let comes_along = taken.contains(name);
                if comes_along {
                    aside.insert(*name);
                }
                !comes_along
            });
        }
        taken.iter().for_each(|name| self.needs_no_place(name));
        Some(taken)
    }

    /// A claimed content is in the store. Returns who is to be told.
    pub(in crate::lazy) fn came_along(
        &mut self,
        name: &ContentName,
        now: Instant,
    ) -> Vec<OnFetched> {
        self.rides.claimed.remove(name);
        self.rides.aside.remove(name);
        self.end(name, &Ok(Fetched::Kept), now)
    }

    /// Claimed contents did not come, or are no matter of the claim any more: whoever wants one has it begun.
    pub(in crate::lazy) fn give_back(&mut self, names: impl IntoIterator<Item = ContentName>) {
        for name in names {
            self.rides.claimed.remove(&name);
            if !self.rides.aside.remove(&name) {
                continue;
            }
            let Some(flight) = self.flights.get(&name) else { continue };
            match flight.class {
                Class::Read => self.queue.push_back(name),
                Class::Prefetch if flight.waiters.is_empty() => drop(self.flights.remove(&name)),
                Class::Prefetch => self.prefetch_queue.push_front(name),
            }
        }
        for name in self.places.ask_again() {
            match self.flights.get(&name).map(|flight| flight.class) {
                Some(Class::Read) => self.queue.push_back(name),
                Some(Class::Prefetch) => self.prefetch_queue.push_back(name),
                None => {}
            }
        }
    }
}
