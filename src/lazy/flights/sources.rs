//! The sources of a content: which were tried, and when the one that is asked is passed over.
//!
//! A remote that takes connections and then sends nothing would have its reader wait as long as a reader ever does, although
//! another one has the content. So where one is left, a source from which no byte comes for a while counts as tried (L5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Flight, Flights};
use crate::engine::fetcher::NotFetched;
use crate::model::content_name::ContentName;
use crate::store::catalog::Source;

/// So long without a byte, and another source is asked.
pub(in crate::lazy) const PASSING_TIME: Duration = Duration::from_secs(10);

/// A source that is asked while another one is left.
pub(super) struct Asking {
    /// The progress at the last look, and since when it has been that.
    seen: (u64, Instant),
    is_passed_over: bool,
}

impl Flight {
    /// Ends the fetch from a source that is silent, if there is another.
    pub(super) fn pass_over(&mut self, now: Instant) {
        let progress = self.progress();
        let Some(asking) = &mut self.asking else { return };
        if asking.seen.0 != progress {
            asking.seen = (progress, now);
        } else if now.saturating_duration_since(asking.seen.1) >= PASSING_TIME {
            asking.is_passed_over = true;
            self.stop.store(true, Ordering::SeqCst);
        }
    }
}

impl Flights {
    /// The sources of a content that were tried, and why they did not have it.
    pub(in crate::lazy) fn tried(&self, content: &ContentName) -> &[(Source, NotFetched)] {
        self.flights.get(content).map_or(&[], |flight| &flight.tried)
    }

    /// A source does not have a content.
    pub(in crate::lazy) fn note_tried(
        &mut self,
        content: &ContentName,
        source: Source,
        reason: NotFetched,
    ) {
        if let Some(flight) = self.flights.get_mut(content) {
            flight.tried.push((source, reason));
        }
    }

    /// A source is asked for a content from now on. Returns what ends that, and where bytes are counted as a request hears them.
    pub(in crate::lazy) fn ask(
        &mut self,
        content: &ContentName,
        has_other: bool,
        now: Instant,
    ) -> (Arc<AtomicBool>, Arc<AtomicU64>) {
        let Some(flight) = self.flights.get_mut(content) else {
            return (Arc::new(AtomicBool::new(true)), Arc::default());
        };
        let seen = (flight.progress(), now);
        flight.asking = has_other.then_some(Asking { seen, is_passed_over: false });
        (Arc::clone(&flight.stop), Arc::clone(&flight.heard))
    }

    /// The source is asked no more. Says whether it was passed over: then the fetch goes on with another one.
    pub(in crate::lazy) fn was_passed_over(&mut self, content: &ContentName) -> bool {
        let Some(flight) = self.flights.get_mut(content) else { return false };
        let passed_over = flight.asking.take().is_some_and(|asking| asking.is_passed_over);
        if passed_over {
            flight.stop = Arc::default();
        }
        passed_over
    }
}
