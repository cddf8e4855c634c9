//! The numbers of this process, for `cairn top`.

use std::sync::atomic::Ordering;

use super::{Answer, StoreService};
use crate::control::metrics::{Activity, Counts, MetricsReply, OperationMetrics};
use crate::control::reply::Reply;
use crate::engine::poison::Blocked;
use crate::metrics::{BOUNDS_US, COUNTERS, Counter, operations};

impl StoreService {
    pub(super) fn metrics(&self) -> Answer {
        let uptime = self.began.elapsed().as_millis();
        let seen = operations().filter(|(_, operation)| operation.times.count() > 0);
        let of = |(name, operation): (&'static str, &'static crate::metrics::Operation)| {
            OperationMetrics {
                operation: name.to_owned(),
                buckets: operation.times.buckets().to_vec(),
                total_us: u64::try_from(operation.times.total().as_micros()).unwrap_or(u64::MAX),
                failures: operation.failures.get(),
            }
        };
        Ok(Reply::Metrics(Box::new(MetricsReply {
            daemon_pid: std::process::id(),
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            bounds_us: BOUNDS_US.to_vec(),
            operations: seen.map(of).collect(),
            counts: counts(),
            now: self.activity(),
        })))
    }

    fn activity(&self) -> Activity {
        let state = match self.engine.staging.poison.blocked() {
            Blocked::No => "ok",
            Blocked::Full => "full",
            Blocked::Poisoned => "poisoned",
            Blocked::ReadOnly => "read_only",
        };
        let number = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let (nodes, areas) = {
            let staging = self.engine.staging.read();
            (number(staging.node_count()), number(staging.areas.len()))
        };
        let slots = &self.engine.staging.store.slots;
        let mut activity = Activity {
            state: state.to_owned(),
            large_files: slots.open(),
            large_files_max: slots.max(),
            nodes,
            areas,
            imports: number(self.running_imports.load(Ordering::Relaxed)),
            connections: number(self.peers.lock().len()),
            tree_cache_bytes: number(self.engine.trees.bytes()),
            free_bytes: self.engine.space().map_or(0, |space| space.available_bytes()),
            ..Activity::default()
        };
        self.add_network(&mut activity);
        activity
    }

    #[cfg(feature = "net")]
    fn add_network(&self, activity: &mut Activity) {
        let lazy = self.lazy.activity();
        activity.fetching = lazy.fetching;
        activity.waiting_reads = lazy.waiting;
        activity.failed_fetches = lazy.failed;
        activity.jobs = self.jobs.running_count();
    }

    /// Without the network nothing is fetched.
    #[cfg(not(feature = "net"))]
    fn add_network(&self, _activity: &mut Activity) {}
}

fn counts() -> Counts {
    let all = &COUNTERS;
    Counts {
        sealed_files: all.sealed_files.get(),
        known_files: all.known_files.get(),
        seal_failures: all.seal_failures.get(),
        commits: all.commits.get(),
        collections: all.collections.get(),
        freed_blobs: all.freed_blobs.get(),
        freed_bytes: all.freed_bytes.get(),
        expired_versions: all.expired_versions.get(),
        fetched_files: all.fetched_files.get(),
        fetched_bytes: all.fetched_bytes.get(),
        fetch_failures: all.fetch_failures.get(),
        tree_hits: all.tree_hits.get(),
        tree_misses: all.tree_misses.get(),
        http_answers: all.answers.iter().map(Counter::get).sum(),
        http_bytes: all.sent_bytes.get(),
    }
}
