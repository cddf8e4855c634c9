//! Places at remotes: how a content takes one, and who is begun when one comes free.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Flights;
use crate::lazy::places::{Candidate, Class, Entered};
use crate::model::content_name::ContentName;
use crate::model::name::RemoteName;

impl Flights {
    /// Takes a place at a remote for a content. Where none has one, the content comes up again as soon as there is.
    pub(in crate::lazy) fn enter(
        &mut self,
        content: ContentName,
        candidates: &[Candidate],
        now: Instant,
    ) -> Option<usize> {
        let class = self.flights.get(&content).map_or(Class::Read, |flight| flight.class);
        let entered = self.places.enter(content, class, candidates, now);
        self.begin_woken();
        match entered {
            Entered::At(index) => Some(index),
            Entered::Waits(makes_way) => {
                self.prefetching.remove(&content);
                if let Some(flight) = makes_way.and_then(|other| self.flights.get(&other)) {
                    flight.stop.store(true, Ordering::SeqCst);
                }
                None
            }
        }
    }

    /// Gives the place of a content back, at a remote that was reached or not.
    pub(in crate::lazy) fn leave(
        &mut self,
        remote: &RemoteName,
        content: &ContentName,
        was_reached: bool,
        now: Instant,
    ) {
        if let Some(next) = self.places.leave(remote, content, was_reached, now) {
            self.begin_offered(next);
        }
        self.begin_woken();
    }

    /// A content that waited for a place was offered one.
    fn begin_offered(&mut self, content: ContentName) {
        match self.flights.get(&content).map(|flight| flight.class) {
            Some(Class::Prefetch) => self.prefetch_queue.push_front(content),
            Some(Class::Read) => self.queue.push_back(content),
            None => self.places.decline(&content),
        }
    }

    /// The same for those who were offered what others did not take.
    fn begin_woken(&mut self) {
        loop {
            let woken = self.places.take_woken();
            if woken.is_empty() {
                return;
            }
            woken.into_iter().for_each(|content| self.begin_offered(content));
        }
    }

    /// A content is not going to take the place that it was offered, if it was offered one.
    pub(super) fn needs_no_place(&mut self, content: &ContentName) {
        self.places.decline(content);
        self.begin_woken();
    }
}
