//! The time of a round of the metadata thread.

use std::time::Instant;

use crate::model::time::Timestamp;

/// The clocks are read once in each round and for each input, and passed on, so that what belongs together
/// has one time and logic can be tested with any. Code that measures its own duration reads a clock itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// On the monotonic clock: for waits and intervals.
    pub(super) instant: Instant,
    /// On the wall clock: for what is recorded.
    pub(super) time: Timestamp,
}

impl Now {
    /// Reads both clocks.
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), time: Timestamp::now() }
    }
}
