//! When a run starts: a state machine without threads and clocks.
//!
//! Never two runs at once; any number of triggers during a run cause exactly one more, which is
//! full if any of them was (G8). A trigger cancels the timers; the end of a run arms them again:
//! the period for the next full run, and the moment when the next garbage loses its protection.
//!
//! Times are seconds on a monotonic clock of the caller's.

/// What a run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunKind {
    /// Applies the policies, recomputes usage and looks for leftovers first (G7).
    pub full: bool,
    /// Protection time of this run, where it is not the configured one.
    pub protect_seconds: Option<u64>,
}

impl RunKind {
    /// Only what is unreferenced, with the configured protection.
    pub const ORPHANS: Self = Self { full: false, protect_seconds: None };

    /// Everything, with the configured protection.
    pub const FULL: Self = Self { full: true, protect_seconds: None };

    /// One run that does what both ask for.
    fn merge(self, other: Self) -> Self {
        let protect_seconds = match (self.protect_seconds, other.protect_seconds) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { full: self.full || other.full, protect_seconds }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Running { again: Option<RunKind> },
}

/// What became of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggered {
    /// This run starts now.
    Start(RunKind),
    /// A run is under way; another follows it.
    Later,
}

/// The state machine.
#[derive(Debug)]
pub struct Triggers {
    /// Between the end of a full run and the next; `None`: no periodic runs.
    period_seconds: Option<u64>,
    state: State,
    full_at: Option<u64>,
    orphans_at: Option<u64>,
}

impl Triggers {
    /// Nothing runs, nothing is due.
    pub fn new(period_seconds: Option<u64>) -> Self {
        Self { period_seconds, state: State::Idle, full_at: None, orphans_at: None }
    }

    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        self.state != State::Idle
    }

    /// Asks for a run.
    pub fn trigger(&mut self, kind: RunKind) -> Triggered {
        match &mut self.state {
            State::Idle => {
                self.state = State::Running { again: None };
                Triggered::Start(kind)
            }
            State::Running { again } => {
                *again = Some(again.map_or(kind, |again| again.merge(kind)));
                Triggered::Later
            }
        }
    }

    /// The run ended. `protected_until` is when the next garbage may go. Returns the run that
    /// follows at once.
    pub fn ended(
        &mut self,
        now: u64,
        was_full: bool,
        protected_until: Option<u64>,
    ) -> Option<RunKind> {
        let again = match self.state {
            State::Idle => None,
            State::Running { again } => again,
        };
        if was_full || self.full_at.is_none() {
            self.full_at = self.period_seconds.map(|period| now.saturating_add(period));
        }
        self.orphans_at = protected_until;
        self.state = match again {
            Some(_) => State::Running { again: None },
            None => State::Idle,
        };
        again
    }

    /// Something became garbage that will be due at `at`, unless a run comes before.
    pub fn expect(&mut self, at: u64) {
        self.orphans_at = Some(self.orphans_at.map_or(at, |known| known.min(at)));
    }

    /// When [`Triggers::tick`] has something to say; `None`: not by itself.
    pub fn due(&self) -> Option<u64> {
        match self.state {
            // The timers are cancelled while a run is under way.
            State::Running { .. } => None,
            State::Idle => match (self.full_at, self.orphans_at) {
                (Some(full), Some(orphans)) => Some(full.min(orphans)),
                (full, orphans) => full.or(orphans),
            },
        }
    }

    /// When the period asks for the next full run; `None`: not by itself.
    pub fn full_due(&self) -> Option<u64> {
        self.full_at
    }

    /// The run that a timer starts now.
    pub fn tick(&mut self, now: u64) -> Option<RunKind> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        let full = self.full_at.is_some_and(|at| at <= now);
        self.orphans_at = None;
        self.state = State::Running { again: None };
        Some(RunKind { full, ..RunKind::ORPHANS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: RunKind = RunKind::FULL;
    const ORPHANS: RunKind = RunKind::ORPHANS;

    fn protect(seconds: u64) -> RunKind {
        RunKind { protect_seconds: Some(seconds), ..ORPHANS }
    }

    #[test]
    fn ten_triggers_during_a_run_cause_one_more_and_full_sticks() {
        let cases: [(&[RunKind], Option<RunKind>); 6] = [
            (&[], None),
            (&[ORPHANS], Some(ORPHANS)),
            (&[ORPHANS; 10], Some(ORPHANS)),
            (&[ORPHANS, ORPHANS, FULL, ORPHANS, ORPHANS, ORPHANS], Some(FULL)),
            (
                &[FULL, protect(9), protect(0), protect(5)],
                Some(RunKind { full: true, ..protect(0) }),
            ),
            (&[protect(3), ORPHANS], Some(protect(3))),
        ];
        for (during, next) in cases {
            let mut triggers = Triggers::new(None);
            assert_eq!(triggers.trigger(ORPHANS), Triggered::Start(ORPHANS));
            for kind in during {
                assert_eq!(triggers.trigger(*kind), Triggered::Later);
            }
            assert_eq!(triggers.ended(10, false, None), next, "{during:?}");
            if let Some(next) = next {
                assert!(triggers.is_running());
                assert_eq!(triggers.ended(20, next.full, None), None, "exactly one more");
            }
            assert!(!triggers.is_running());
        }
    }

    #[test]
    fn a_trigger_cancels_the_timer_and_the_end_arms_it_again() {
        let mut triggers = Triggers::new(Some(100));
        assert_eq!(triggers.due(), None, "the run at start comes first");
        triggers.trigger(ORPHANS);
        assert_eq!(triggers.due(), None);
        assert_eq!(triggers.tick(1000), None);
        triggers.ended(10, false, None);
        assert_eq!((triggers.due(), triggers.full_due()), (Some(110), Some(110)));
        assert_eq!(triggers.tick(109), None);
        triggers.trigger(FULL);
        assert_eq!(triggers.due(), None);
        triggers.ended(50, true, None);
        assert_eq!(triggers.due(), Some(150));
        assert_eq!(triggers.tick(150), Some(FULL));
        assert_eq!(triggers.tick(150), None, "it runs");
        triggers.ended(160, true, None);
        assert_eq!(triggers.due(), Some(260));
    }

    #[test]
    fn runs_for_orphans_do_not_put_off_the_full_one() {
        let mut triggers = Triggers::new(Some(100));
        triggers.trigger(FULL);
        triggers.ended(0, true, Some(60));
        assert_eq!(triggers.tick(60), Some(ORPHANS));
        triggers.ended(61, false, Some(120));
        assert_eq!(triggers.due(), Some(100));
        assert_eq!(triggers.tick(130), Some(FULL), "both were due: one run does both");
        triggers.ended(131, true, None);
        assert_eq!(triggers.due(), Some(231));
    }

    #[test]
    fn garbage_is_expected_at_the_earliest_time() {
        let mut triggers = Triggers::new(None);
        triggers.expect(50);
        triggers.expect(70);
        assert_eq!(triggers.due(), Some(50));
        assert_eq!(triggers.tick(50), Some(ORPHANS));
        triggers.expect(90);
        triggers.ended(55, false, None);
        assert_eq!(triggers.due(), None, "the run looked at all there was");
    }

    #[test]
    fn no_period_means_no_periodic_runs() {
        let mut triggers = Triggers::new(None);
        triggers.trigger(FULL);
        triggers.ended(5, true, None);
        assert_eq!(triggers.due(), None);
        assert_eq!(triggers.tick(u64::MAX), None);
    }
}
