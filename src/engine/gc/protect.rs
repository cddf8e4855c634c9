//! What is protected for a while after it was used or deleted, where the clock may be wrong.
//!
//! A time in the future was noted while the clock was ahead. The first run that meets it changes it to now
//! in the catalog, and the protection begins then; if it were only treated as now, it would be protected
//! until the clock has caught up. When the clock is set back, times that were noted before lie in the
//! future, so what was deleted then is protected once more for the full time.
//!
//! Must not read the clock.

use crate::model::time::Timestamp;

/// What was used or deleted in or before this second is not protected. Without a protection time
/// nothing is, whatever time was noted.
pub fn protection_limit(now: Timestamp, protect_seconds: u64) -> i64 {
    if protect_seconds == 0 {
        return i64::MAX;
    }
    now.seconds.saturating_sub(i64::try_from(protect_seconds).unwrap_or(i64::MAX))
}

/// When the protection ends of what was used or deleted in that second, in seconds since 1970.
pub fn protected_until(seconds: i64, now: Timestamp, protect_seconds: u64) -> i64 {
    let protect = i64::try_from(protect_seconds).unwrap_or(i64::MAX);
    seconds.min(now.seconds).saturating_add(protect)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { seconds: 1000, nanoseconds: 0 };

    #[test]
    fn without_a_protection_time_nothing_is_protected() {
        assert_eq!(protection_limit(NOW, 0), i64::MAX);
        assert_eq!(protection_limit(NOW, 1), 999);
        assert_eq!(protection_limit(NOW, u64::MAX), 1000 - i64::MAX);
    }

    #[test]
    fn a_time_in_the_future_counts_as_now() {
        for (noted, until) in [(990, 1050), (1000, 1060), (1001, 1060), (i64::MAX, 1060)] {
            assert_eq!(protected_until(noted, NOW, 60), until, "{noted}");
        }
        assert_eq!(protected_until(5, NOW, u64::MAX), i64::MAX);
    }
}
