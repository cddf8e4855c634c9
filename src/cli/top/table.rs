//! What happened in an interval, in lines for people.

use std::path::Path;

use super::interval::Interval;
use crate::cli::text::{count, printable, size};

/// Operations that are shown: as many as fit beside the rest on a small terminal.
const OPERATIONS_MAX: usize = 12;

/// The lines of a table, without their ends.
pub(super) fn lines(store: &Path, interval: &Interval, is_first: bool) -> Vec<String> {
    let store = printable(&store.to_string_lossy());
    let since = match is_first {
        true => "since it began".to_owned(),
        false => format!("in {} ms", interval.interval_ms),
    };
    let mut lines = vec![
        format!(
            "cairn at {store}, daemon {}, up {}; {since}",
            interval.daemon_pid,
            uptime(interval.uptime_ms)
        ),
        String::new(),
        format!(
            "{:<12} {:>12} {:>12} {:>12} {:>8}",
            "OPERATION", "PER SECOND", "MEAN", "99 %", "FAILED"
        ),
    ];
    for operation in interval.operations.iter().take(OPERATIONS_MAX) {
        let rate = tenths(interval.tenths_per_second(operation.count));
        let (mean, p99) = (time(operation.mean_us), time(operation.p99_us));
        let (name, failed) = (&operation.operation, operation.failures);
        lines.push(format!("{name:<12} {rate:>12} {mean:>12} {p99:>12} {failed:>8}"));
    }
    match interval.operations.len() {
        0 => lines.push("none".to_owned()),
        some if some > OPERATIONS_MAX => {
            lines.push(format!("and {} others", some - OPERATIONS_MAX));
        }
        _ => {}
    }
    lines.push(String::new());
    lines.extend(work(interval));
    lines.push(String::new());
    lines.extend(activity(interval));
    lines
}

/// What was done.
fn work(interval: &Interval) -> Vec<String> {
    let counts = &interval.counts;
    let per_second = |bytes| format!("{}/s", size(interval.tenths_per_second(bytes) / 10));
    let share = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        whole => format!("{} %", u128::from(part) * 100 / u128::from(whole)),
    };
    let pages = counts.tree_hits.saturating_add(counts.tree_misses);
    vec![
        format!(
            "sealed       {}, {} of them known, {} failed",
            count(counts.sealed_files, "file"),
            share(counts.known_files, counts.sealed_files),
            counts.seal_failures,
        ),
        format!("published    {}", count(counts.commits, "version")),
        format!(
            "collected    {} in {}, {}; {} expired",
            size(counts.freed_bytes),
            count(counts.freed_blobs, "blob"),
            count(counts.collections, "run"),
            count(counts.expired_versions, "version"),
        ),
        format!(
            "fetched      {} ({}), {} by syncs, {} failed",
            size(counts.fetched_bytes),
            per_second(counts.fetched_bytes),
            count(counts.fetched_files, "file"),
            counts.fetch_failures,
        ),
        format!(
            "directories  {} of {} in memory",
            share(counts.tree_hits, pages),
            count(pages, "page")
        ),
        format!(
            "web          {}, {} ({})",
            count(counts.http_answers, "answer"),
            size(counts.http_bytes),
            per_second(counts.http_bytes),
        ),
    ]
}

/// What goes on.
fn activity(interval: &Interval) -> Vec<String> {
    let now = &interval.now;
    let state = match now.state.as_str() {
        "ok" => "takes changes",
        "full" => "FULL: only deletions are accepted",
        "poisoned" => "POISONED: changes are refused until a restart",
        "read_only" => "is open for reading",
        other => other,
    };
    vec![
        format!("now          the store {}, {} free", printable(state), size(now.free_bytes)),
        format!(
            "fetches      {} under way, {} waiting, {} failed a moment ago",
            count(now.fetching, "content"),
            count(now.waiting_reads, "read"),
            now.failed_fetches,
        ),
        format!(
            "areas        {}, {} in memory, {} of {} large files being written",
            count(now.areas, "area"),
            count(now.nodes, "node"),
            now.large_files,
            now.large_files_max,
        ),
        format!(
            "commands     {}, {}, {}",
            count(now.connections, "connection"),
            count(now.imports, "import"),
            count(now.jobs, "job"),
        ),
        format!("cache        {} of directories", size(now.tree_cache_bytes)),
    ]
}

fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// `640 µs`, `2.5 ms`, `10.4 s`
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} \u{b5}s"),
        1_000..1_000_000 => format!("{} ms", tenths(us / 100)),
        _ => format!("{} s", tenths(us / 100_000)),
    }
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{} {hours} h", count(days, "day")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::interval::OperationRate;
    use super::*;
    use crate::control::metrics::{Activity, Counts};

    #[test]
    fn o2_a_table_says_what_happened() {
        let operation = |name: String| OperationRate {
            operation: name,
            count: 15,
            failures: 2,
            mean_us: 12,
            p99_us: 2_560,
        };
        let interval = Interval {
            daemon_pid: 7,
            uptime_ms: 90_061_000,
            interval_ms: 2000,
            operations: (0..14).map(|number| operation(format!("op{number}"))).collect(),
            counts: Counts {
                sealed_files: 4,
                known_files: 1,
                fetched_bytes: 4096,
                tree_hits: 3,
                tree_misses: 1,
                ..Counts::default()
            },
            now: Activity { state: "full".to_owned(), waiting_reads: 1, ..Activity::default() },
        };
        let text = lines(Path::new("/s\u{1b}"), &interval, false).join("\n");
        for part in [
            "cairn at /s\\u{1b}, daemon 7, up 1 day 1 h; in 2000 ms",
            "op0                   7.5        12 \u{b5}s       2.5 ms        2",
            "and 2 others",
            "sealed       4 files, 25 % of them known, 0 failed",
            "fetched      4.0 KiB (2.0 KiB/s)",
            "directories  75 % of 4 pages in memory",
            "FULL",
            "1 read waiting",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(lines(Path::new("/s"), &interval, true)[0].ends_with("since it began"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn o2_times_have_the_unit_that_fits() {
        for (us, text) in
            [(0, "0 \u{b5}s"), (999, "999 \u{b5}s"), (2_560, "2.5 ms"), (10_485_760, "10.4 s")]
        {
            assert_eq!(time(us), text);
        }
        for (ms, text) in [(999, "0 s"), (61_000, "1 min"), (7_300_000, "2 h 1 min")] {
            assert_eq!(uptime(ms), text);
        }
    }
}
