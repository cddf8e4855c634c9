//! Whether a server is too slow: whoever sends a byte a second would otherwise hold its place, and those who wait for the same
//! content, for ever.

use std::time::Duration;

/// The shortest time that a try counts for, so that one which breaks off at once needs some bytes as well.
const TRY_MIN: Duration = Duration::from_secs(1);

/// What came of a document, and how long the server was waited for. Time that our own limit of the rate takes does not count.
#[derive(Debug)]
pub(super) struct Speed {
    lowest_bytes_per_second: u64,
    window: Duration,
    /// Since the last look.
    waited: Duration,
    bytes: u64,
    /// Since the tries were counted from the beginning.
    all_waited: Duration,
    all_bytes: u64,
}

impl Speed {
    /// With a lowest speed, 0 for none, which is measured over `window`.
    pub(super) fn new(lowest_bytes_per_second: u64, window: Duration) -> Self {
        let (waited, bytes) = (Duration::ZERO, 0);
        let (all_waited, all_bytes) = (waited, bytes);
        Self { lowest_bytes_per_second, window, waited, bytes, all_waited, all_bytes }
    }

    fn is_enough(&self, bytes: u64, waited: Duration) -> bool {
        let least = u128::from(self.lowest_bytes_per_second) * waited.as_millis() / 1000;
        u128::from(bytes) >= least
    }

    /// A try begins: it is measured by itself.
    pub(super) fn begin(&mut self) {
        (self.waited, self.bytes) = (Duration::ZERO, 0);
    }

    /// Notes that `bytes` came after a wait; says whether that goes on.
    pub(super) fn add(&mut self, bytes: usize, waited: Duration) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        self.all_waited += waited;
        self.all_bytes += bytes as u64;
        if self.waited < self.window {
            return true;
        }
        let goes_on = self.is_enough(self.bytes, self.waited);
        self.begin();
        goes_on
    }

    /// Whether a try that failed led on far enough to be no failure in a row; if so the next ones are counted from there.
    pub(super) fn led_on(&mut self) -> bool {
        let led =
            self.all_bytes > 0 && self.is_enough(self.all_bytes, self.all_waited.max(TRY_MIN));
        if led {
            (self.all_waited, self.all_bytes) = (Duration::ZERO, 0);
        }
        led
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn v12_a_speed_is_measured_over_its_window() {
        let mut speed = Speed::new(100, 10 * SECOND);
        for _ in 0..9 {
            assert!(speed.add(1, SECOND), "the window is not over");
        }
        assert!(!speed.add(1, SECOND), "10 bytes in 10 seconds");
        assert!(speed.add(999, 9 * SECOND) && speed.add(1, SECOND), "100 a second");
        let mut any = Speed::new(0, SECOND);
        assert!(any.add(0, 100 * SECOND));
    }

    #[test]
    fn v12_tries_that_bring_next_to_nothing_are_failures() {
        let mut speed = Speed::new(100, 60 * SECOND);
        for _ in 0..3 {
            speed.begin();
            assert!(speed.add(1, Duration::ZERO) && !speed.led_on(), "one byte, and it breaks off");
        }
        assert!(speed.add(97, Duration::ZERO) && speed.led_on());
        assert!(!speed.led_on(), "nothing came since");
        let mut any = Speed::new(0, SECOND);
        assert!(any.add(1, SECOND) && any.led_on());
    }
}
