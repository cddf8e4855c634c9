//! Events that are fetched before it is their turn, several at a time.

use std::collections::VecDeque;

use super::LogError;
use crate::bucket::at_once::at_once;
use crate::bucket::key::Seq;

/// Events that are asked for together at first. Each time all were there it is twice as many: a head that promises too
/// much then costs few requests.
const FIRST: usize = 16;

/// The most, so that they have a bound in memory.
const MOST: usize = 256;

type Answer = Result<Option<Vec<u8>>, LogError>;

/// What came before its turn.
pub(super) struct Ahead {
    /// The last event that is thought to be there.
    known: Seq,
    /// Requests at a time.
    at_a_time: usize,
    size: usize,
    came: VecDeque<Answer>,
}

impl Ahead {
    /// Of a log that is thought to go as far as `known`, in a store that takes so many requests at a time.
    pub(super) fn new(known: Seq, at_a_time: usize) -> Self {
        Self { known, at_a_time, size: FIRST, came: VecDeque::new() }
    }

    /// The event at `seq`, which is one more each time. After an error, or an event that is missing, this is of no more use.
    pub(super) fn next(&mut self, seq: Seq, get: impl Fn(Seq) -> Answer + Sync) -> Answer {
        if self.came.is_empty() {
            let left = (self.known.get() + 1).saturating_sub(seq.get());
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.size);
            if count > 1 && self.at_a_time > 1 {
                let numbers: Vec<Seq> = (seq.get()..).map_while(Seq::new).take(count).collect();
                let came = at_once(self.at_a_time, numbers.len(), |place| get(numbers[place]));
                self.came = came.into();
                self.size = (self.size * 2).min(MOST);
            }
        }
        self.came.pop_front().unwrap_or_else(|| get(seq))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use parking_lot::Mutex;

    use super::*;
    use crate::bucket::key::LogName;
    use crate::bucket::store::{StoreError, StoreErrorKind};

    const AT_A_TIME: usize = 16;

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    fn event(seq: Seq) -> Vec<u8> {
        seq.get().to_string().into_bytes()
    }

    #[test]
    fn d2_events_that_are_known_to_be_there_are_asked_for_together_and_come_in_order() {
        const KNOWN: u64 = 16 + 32 + 16;
        // None of these requests ends before so many are under way.
        let together = Barrier::new(AT_A_TIME);
        let asked = Mutex::new(Vec::new());
        let get = |number: Seq| {
            asked.lock().push(number.get());
            if number.get() <= KNOWN {
                together.wait();
            }
            Ok((number.get() <= KNOWN + 1).then(|| event(number)))
        };
        let mut ahead = Ahead::new(seq(KNOWN), AT_A_TIME);
        for number in 1..=KNOWN + 1 {
            assert_eq!(ahead.next(seq(number), get).unwrap(), Some(event(seq(number))));
        }
        assert_eq!(ahead.next(seq(KNOWN + 2), get).unwrap(), None);
        let mut asked = asked.into_inner();
        asked.sort_unstable();
        assert!(asked.into_iter().eq(1..=KNOWN + 2), "each is asked for once");
    }

    #[test]
    fn h48_a_head_that_promises_too_much_costs_few_requests() {
        let asked = Mutex::new(0);
        let get = |number: Seq| {
            *asked.lock() += 1;
            Ok((number.get() <= 3).then(|| event(number)))
        };
        let mut ahead = Ahead::new(Seq::MAX, AT_A_TIME);
        for number in 1..=4 {
            let found = ahead.next(seq(number), get).unwrap();
            assert_eq!(found, (number <= 3).then(|| event(seq(number))));
        }
        assert_eq!(asked.into_inner(), FIRST);
    }

    #[test]
    fn what_came_before_a_failure_is_handed_out_before_it() {
        let get = |number: Seq| match number.get() {
            5 => Err(LogError::Store {
                log: LogName::Bucket,
                error: StoreError::new(StoreErrorKind::Temporary, "the line is bad"),
            }),
            _ => Ok(Some(event(number))),
        };
        let mut ahead = Ahead::new(seq(12), AT_A_TIME);
        for number in 1..=4 {
            assert!(ahead.next(seq(number), get).unwrap().is_some());
        }
        assert!(ahead.next(seq(5), get).is_err());
    }
}
