//! What happened between two looks at the daemon's totals.

use serde::Serialize;

use crate::control::metrics::{Activity, Counts, MetricsReply, OperationMetrics};

/// The difference of two looks, and what went on at the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Interval {
    pub(super) daemon_pid: u32,
    pub(super) uptime_ms: u64,
    /// How long it was.
    pub(super) interval_ms: u64,
    /// Operations that there were, the most frequent first.
    pub(super) operations: Vec<OperationRate>,
    pub(super) counts: Counts,
    pub(super) now: Activity,
}

/// One kind of operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OperationRate {
    pub(super) operation: String,
    #[serde(rename = "operation_count")]
    pub(super) count: u64,
    #[serde(rename = "failure_count")]
    pub(super) failures: u64,
    pub(super) mean_us: u64,
    /// 99 of 100 took no longer; one of the bounds, or the last of them for all that took longer.
    pub(super) p99_us: u64,
}

impl Interval {
    /// From `before` to `after`; without `before`, from the daemon's begin.
    pub(super) fn between(before: Option<&MetricsReply>, after: &MetricsReply) -> Self {
        // Another process has counted anew.
        let before = before.filter(|before| {
            before.daemon_pid == after.daemon_pid && before.uptime_ms <= after.uptime_ms
        });
        let nothing = OperationMetrics::default();
        let rate = |operation: &OperationMetrics| {
            let earlier = before.into_iter().flat_map(|before| &before.operations);
            let mut earlier = earlier.filter(|earlier| earlier.operation == operation.operation);
            rate(earlier.next().unwrap_or(&nothing), operation, &after.bounds_us)
        };
        let mut operations: Vec<_> = after.operations.iter().map(rate).collect();
        operations.retain(|operation| operation.count > 0);
        operations.sort_by(|a, b| b.count.cmp(&a.count).then(a.operation.cmp(&b.operation)));
        Self {
            daemon_pid: after.daemon_pid,
            uptime_ms: after.uptime_ms,
            interval_ms: after.uptime_ms - before.map_or(0, |before| before.uptime_ms),
            operations,
            counts: before.map_or(after.counts, |before| after.counts.since(&before.counts)),
            now: after.now.clone(),
        }
    }

    /// How many in a second, in tenths.
    pub(super) fn tenths_per_second(&self, count: u64) -> u64 {
        let tenths = u128::from(count) * 10_000 / u128::from(self.interval_ms.max(1));
        u64::try_from(tenths).unwrap_or(u64::MAX)
    }
}

fn rate(before: &OperationMetrics, after: &OperationMetrics, bounds: &[u64]) -> OperationRate {
    let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
    let buckets: Vec<u64> =
        after.buckets.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
    let count: u64 = buckets.iter().sum();
    let total_us = after.total_us.saturating_sub(before.total_us);
    OperationRate {
        operation: after.operation.clone(),
        count,
        failures: after.failures.saturating_sub(before.failures),
        mean_us: total_us.checked_div(count).unwrap_or(0),
        p99_us: p99(&buckets, count, bounds),
    }
}

/// The bound that 99 of 100 do not exceed.
fn p99(buckets: &[u64], count: u64, bounds: &[u64]) -> u64 {
    let wanted = count - count / 100;
    let mut seen = 0;
    let reached = buckets.iter().position(|bucket| {
        seen += bucket;
        seen >= wanted
    });
    let index = reached.unwrap_or(0).min(bounds.len().saturating_sub(1));
    bounds.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(uptime_ms: u64, buckets: [u64; 4], total_us: u64, commits: u64) -> MetricsReply {
        let read = OperationMetrics {
            operation: "read".to_owned(),
            buckets: buckets.to_vec(),
            total_us,
            failures: buckets[3],
        };
        MetricsReply {
            daemon_pid: 7,
            uptime_ms,
            bounds_us: vec![10, 40, 160],
            operations: vec![read],
            counts: Counts { commits, ..Counts::default() },
            now: Activity::default(),
        }
    }

    #[test]
    fn o2_the_first_table_is_about_all_time_and_the_next_about_the_difference() {
        let first = metrics(10_000, [90, 10, 0, 0], 1000, 3);
        let all = Interval::between(None, &first);
        assert_eq!((all.interval_ms, all.counts.commits), (10_000, 3));
        let read = &all.operations[0];
        assert_eq!((read.count, read.mean_us, read.p99_us, read.failures), (100, 10, 40, 0));
        assert_eq!(all.tenths_per_second(read.count), 100);

        let second = metrics(10_500, [90, 10, 2, 1], 1900, 3);
        let next = Interval::between(Some(&first), &second);
        let read = &next.operations[0];
        assert_eq!((next.interval_ms, next.counts.commits), (500, 0));
        assert_eq!((read.count, read.mean_us, read.p99_us, read.failures), (3, 300, 160, 1));
        assert_eq!(next.tenths_per_second(read.count), 60);
        assert_eq!(Interval::between(Some(&second), &second).operations, []);
    }

    #[test]
    fn o2_a_daemon_that_began_anew_is_compared_with_nothing() {
        let old = metrics(10_000, [90, 10, 0, 0], 1000, 3);
        let mut new = metrics(200, [1, 0, 0, 0], 9, 1);
        assert_eq!(Interval::between(Some(&old), &new).operations[0].count, 1);
        new.uptime_ms = 20_000;
        new.daemon_pid = 8;
        let interval = Interval::between(Some(&old), &new);
        assert_eq!((interval.interval_ms, interval.counts.commits), (20_000, 1));
    }

    #[test]
    fn o2_a_hundredth_may_take_longer() {
        let bounds = [10, 40, 160];
        for (buckets, expected) in
            [([99, 1, 0, 0], 10), ([98, 2, 0, 0], 40), ([0, 0, 0, 1], 160), ([0, 0, 0, 0], 10)]
        {
            assert_eq!(p99(&buckets, buckets.iter().sum(), &bounds), expected, "{buckets:?}");
        }
    }
}
