//! Waiting for a condition with a deadline: the only place in the tests that pauses.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails. Only a test that fails waits that long, and
/// a machine that does much else takes its time.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long to look for something that may not happen.
pub const SETTLE: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(2);

/// Polls `condition` until it holds.
///
/// # Panics
/// After [`PATIENCE`], naming `what` did not happen.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "did not happen within {PATIENCE:?}: {what}");
}

/// Polls `condition` until it holds or `limit` has passed; says whether it held.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
