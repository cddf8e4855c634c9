//! The time of a round of the metadata thread.

use std::time::Instant;

use crate::model::time::Timestamp;

/// Read once in each round and passed on, so that what belongs together has one time. Only what measures
/// how long itself takes reads a clock of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// On a clock that never goes back: for waits.
    pub(super) instant: Instant,
    /// As people name it: for what is noted.
    pub(super) time: Timestamp,
}

impl Now {
    /// What the clocks say.
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), time: Timestamp::now() }
    }
}
