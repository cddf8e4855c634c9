//! The seal delay: how long a changed copy of a large blob waits between its close and its seal (H21).
//!
//! Changing a large sealed file copies it, and sealing it hashes it. If a program changes a file again
//! and again, that would be done at each close. So the seal waits after the close, longer for longer
//! files, and copying and hashing stay a small part of the time. Must not know who ends the delay
//! earlier.

use std::time::Duration;

/// Bytes per second of delay: several times slower than copying and hashing.
const BYTES_PER_SECOND: u64 = 128 << 20;

const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);

/// How long the seal of a file of `size` bytes is delayed.
pub(super) fn time(size: u64) -> Duration {
    Duration::from_secs(size / BYTES_PER_SECOND).clamp(MIN, MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h21_the_larger_the_longer_within_bounds() {
        assert_eq!(time(2 << 20), MIN);
        assert_eq!(time(1 << 30), Duration::from_secs(8));
        assert_eq!(time(u64::MAX), MAX);
    }
}
