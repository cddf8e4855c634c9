//! Points in time as the file formats keep them, and the one place that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970-01-01 UTC; seconds may be negative, nanoseconds are
/// `0..1_000_000_000` and always count forward (as in `struct timespec`).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp {
    /// Whole seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Builds a time; nanoseconds at or above a second are refused.
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        (nanoseconds < 1_000_000_000).then_some(Self { seconds, nanoseconds })
    }

    /// The current time of the system clock. Logic takes `now` as an argument; only entry points
    /// (a FUSE request, a control request, a timer) call this.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now() -> Self {
        Self::from_system_time(SystemTime::now())
    }

    /// Converts a standard library time; what does not fit saturates.
    pub fn from_system_time(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s);
                match before.subsec_nanos() {
                    0 => Self { seconds, nanoseconds: 0 },
                    nanos => Self {
                        seconds: seconds.saturating_sub(1),
                        nanoseconds: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }

    /// Converts to the standard library's time; what does not fit saturates at the epoch.
    pub fn to_system_time(self) -> SystemTime {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let base = if self.seconds >= 0 {
            UNIX_EPOCH.checked_add(whole)
        } else {
            UNIX_EPOCH.checked_sub(whole)
        };
        base.and_then(|t| t.checked_add(Duration::from_nanos(u64::from(self.nanoseconds))))
            .unwrap_or(UNIX_EPOCH)
    }

    /// Seconds from `earlier` to `self`, rounded down; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        self.seconds.saturating_sub(earlier.seconds)
    }
}

/// Formats a time as RFC 3339 in UTC, to the second. What is before the year -9999 or after 9999 is
/// shown as the end of the calendar.
pub fn rfc3339(time: Timestamp) -> String {
    let limit = if time.seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let second = jiff::Timestamp::from_second(time.seconds);
    // The last instant of the calendar has a fraction of a second, which is not shown.
    format!("{:.0}", second.unwrap_or(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        for (seconds, nanoseconds) in [(-1, 999_999_999), (-5, 1), (0, 0), (4_102_444_800, 7)] {
            let time = Timestamp::new(seconds, nanoseconds).unwrap();
            assert_eq!(Timestamp::from_system_time(time.to_system_time()), time);
        }
        assert_eq!(Timestamp::new(0, 1_000_000_000), None);
    }
}
