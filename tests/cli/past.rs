//! Canned answers about what was in versions, and about what the daemon did.

use cairn::control::diff::DiffKind;
use cairn::control::find::{FoundPath, VersionRange};
use cairn::control::log::LogEntry;
use cairn::control::metrics::{Activity, Counts, MetricsReply, OperationMetrics};
use cairn::control::protocol::{Progress, Request};
use cairn::control::reply::Reply;
use cairn::model::change_size::ChangeSize;
use cairn::model::id::VersionNumber;

use crate::fake::version;

/// Answers a log, a search, or with numbers.
pub(crate) fn answer(request: &Request, progress: &mut dyn FnMut(Progress)) -> Reply {
    match request {
        Request::Log(log) => {
            progress(Progress::Log(history(!log.path.as_bytes().is_empty())));
            Reply::Done
        }
        Request::Metrics => Reply::Metrics(Box::new(metrics())),
        Request::Find(_) => {
            progress(Progress::Found(found()));
            Reply::Done
        }
        other => panic!("{other:?}"),
    }
}

fn metrics() -> MetricsReply {
    MetricsReply {
        daemon_pid: 77,
        uptime_ms: 10_000,
        bounds_us: vec![10, 40],
        operations: vec![OperationMetrics {
            operation: "read".to_owned(),
            buckets: vec![99, 1, 0],
            total_us: 500,
            failures: 1,
        }],
        counts: Counts { commits: 3, ..Counts::default() },
        now: Activity { state: "ok".to_owned(), ..Activity::default() },
    }
}

fn history(has_path: bool) -> Vec<LogEntry> {
    let entry = |number, since, size| LogEntry {
        version: version(number),
        since,
        change: has_path.then_some(DiffKind::Modified),
        size,
    };
    let large =
        ChangeSize { added: 2, removed: 1, modified: 30, added_bytes: 1536, removed_bytes: 20 };
    let none = ChangeSize { modified: 1, ..ChangeSize::default() };
    vec![entry(7, Some(VersionNumber(4)), large), entry(3, None, none)]
}

fn found() -> Vec<FoundPath> {
    let range = |from, to| VersionRange { from: VersionNumber(from), to: VersionNumber(to) };
    let path = |path: &[u8], is_directory, version_ranges| FoundPath {
        path: path.into(),
        is_directory,
        version_ranges,
    };
    vec![
        path(b"bin", true, vec![range(3, 7), range(9, 9)]),
        path(b"etc/\xff\n", false, vec![range(7, 7)]),
    ]
}
