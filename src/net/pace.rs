//! How fast a remote's bytes may come, over all fetches from it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes that may come at once after a while without any: a quarter of a second's worth.
const BURST: Duration = Duration::from_millis(250);

/// A limit of bytes per second.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    /// When all bytes taken so far will have been paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// `None` for no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, paid_at: Mutex::default() }
    }

    /// Takes `bytes` that came; returns how long to wait before the next ones.
    pub fn take(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second.filter(|rate| *rate > 0) else {
            return Duration::ZERO;
        };
        #[expect(clippy::cast_precision_loss, reason = "a chunk and a rate, to some digits")]
        let costs =
            Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX);
        let mut paid_at = self.paid_at.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = paid_at.map_or(earliest, |at| at.max(earliest));
        let until = from.checked_add(costs).unwrap_or(from);
        *paid_at = Some(until);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_at_the_rate_after_a_first_burst() {
        let pace = Pace::new(Some(1000));
        let start = Instant::now();
        assert_eq!(pace.take(250, start), Duration::ZERO);
        assert_eq!(pace.take(500, start), Duration::from_millis(500));
        assert_eq!(pace.take(500, start + Duration::from_millis(500)), Duration::from_millis(500));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(250, later), Duration::ZERO, "unused time does not add up");
        assert_eq!(pace.take(1000, later), Duration::from_secs(1));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        for none in [None, Some(0)] {
            assert_eq!(Pace::new(none).take(usize::MAX, Instant::now()), Duration::ZERO);
        }
    }
}
