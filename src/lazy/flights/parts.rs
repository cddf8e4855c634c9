//! Readers who want only a part of a content.

use std::ops::Range;

use super::{Flights, Waiter};
use crate::engine::fetcher::OnFetched;
use crate::model::content_name::ContentName;

/// What whoever fetches a content by parts is to fetch next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lazy) enum NextPart {
    /// These bytes, for the reader who has waited longest.
    Part(Range<u64>),
    /// All of it: only those are left who want that.
    All,
    /// Nothing: nobody waits any more, and the fetch is not under way any more.
    Ended,
}

impl Flights {
    /// Takes away the readers whose part is here, who are to be told so, and says what comes next. Nobody joins in between, so
    /// nobody is forgotten when it has ended.
    pub(in crate::lazy) fn next_part(
        &mut self,
        content: &ContentName,
        is_here: impl Fn(&Range<u64>) -> bool,
    ) -> (Vec<OnFetched>, NextPart) {
        let Some(flight) = self.flights.get_mut(content) else {
            return (Vec::new(), NextPart::Ended);
        };
        let is_served = |waiter: &mut Waiter| waiter.part.as_ref().is_some_and(&is_here);
        let served: Vec<Waiter> = flight.waiters.extract_if(.., is_served).collect();
        let next = match flight.waiters.iter().find_map(|waiter| waiter.part.clone()) {
            Some(part) => NextPart::Part(part),
            None if !flight.waiters.is_empty() => NextPart::All,
            None => {
                self.flights.remove(content);
                self.prefetching.remove(content);
                NextPart::Ended
            }
        };
        self.waiting -= served.iter().filter(|waiter| waiter.is_reader()).count();
        (served.into_iter().map(|waiter| waiter.then).collect(), next)
    }
}
