//! What is counted, in Prometheus' form (W3), and whether the daemon is well.
//!
//! Labels are names of operations, classes of answers, and of at most [`REPOSITORIES_MAX`] repositories that strangers may
//! see (H55, H58). Sums over the whole store include what is hidden.

use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::body::Body;
use super::look;
use super::response::ours;
use crate::engine::Engine;
use crate::engine::poison::Blocked;
use crate::engine::registry::Repository;
use crate::metrics::{BOUNDS_US, COUNTERS, Times, operations};

/// Repositories that have numbers of their own.
const REPOSITORIES_MAX: usize = 200;

/// The media type of the text form.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers with all numbers.
pub(super) fn answer(engine: &Arc<Engine>) -> Response<Body> {
    let mut registry = Registry::with_prefix("cairn");
    registry.register_collector(Box::new(Numbers(Arc::clone(engine))));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ours(StatusCode::OK, MEDIA_TYPE, text.into_bytes()),
        Err(error) => {
            log::error!("metrics: {error}");
            super::response::failed()
        }
    }
}

/// Says that the process answers.
pub(super) fn health() -> Response<Body> {
    ours(StatusCode::OK, "text/plain; charset=utf-8", b"ok\n".to_vec())
}

/// Says whether the store takes changes, or would if it was not opened for reading.
pub(super) fn readiness(engine: &Engine) -> Response<Body> {
    let (status, words) = match engine.staging.poison.blocked() {
        Blocked::Poisoned => {
            (StatusCode::SERVICE_UNAVAILABLE, "poisoned: changes are refused until a restart\n")
        }
        Blocked::Full => (StatusCode::SERVICE_UNAVAILABLE, "full: only deletions are accepted\n"),
        Blocked::No | Blocked::ReadOnly if engine.is_stopping() => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
        Blocked::No | Blocked::ReadOnly => (StatusCode::OK, "ready\n"),
    };
    ours(status, "text/plain; charset=utf-8", words.as_bytes().to_vec())
}

#[derive(Debug)]
struct Numbers(Arc<Engine>);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut form = Form(&mut encoder);
        counters(&mut form)?;
        kernel(&mut form)?;
        web(&mut form)?;
        store(&mut form, &self.0)?;
        repositories(&mut form, &self.0)
    }
}

/// Writes numbers in the form.
struct Form<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Form<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Numbers of the same kind, one for each value of a label.
    fn each<'v>(
        &mut self,
        (name, help): (&str, &str),
        is_counter: bool,
        label: &str,
        values: impl Iterator<Item = (&'v str, u64)>,
    ) -> Result<(), Error> {
        let kind = if is_counter { MetricType::Counter } else { MetricType::Gauge };
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (of, value) in values {
            let labels = [(label, of)];
            let mut one = metric.encode_family(&labels)?;
            if is_counter {
                one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                one.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }

    fn times<'v>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        all: impl Iterator<Item = (&'v str, &'v Times)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (of, times) in all {
            let bounds = BOUNDS_US.map(|us| Duration::from_micros(us).as_secs_f64());
            let bounds = bounds.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(times.buckets()).collect();
            let labels = [(label, of)];
            let (total, count) = (times.total().as_secs_f64(), times.count());
            metric
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(total, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn counters(form: &mut Form<'_, '_>) -> Result<(), Error> {
    let all = &COUNTERS;
    for (name, help, counter) in [
        ("sealed_files", "Closed files that became blobs", &all.sealed_files),
        (
            "known_files",
            "Closed files that became blobs whose content was stored already",
            &all.known_files,
        ),
        (
            "seal_failures",
            "Closed files that could not be stored, each try counted",
            &all.seal_failures,
        ),
        ("commits", "Versions that were published", &all.commits),
        ("collections", "Collections that ended", &all.collections),
        (
            "collection_errors",
            "Things that failed in collections and were left out",
            &all.collection_errors,
        ),
        ("freed_blobs", "Blobs that collections removed", &all.freed_blobs),
        ("freed_bytes", "Bytes of blobs that collections removed", &all.freed_bytes),
        ("expired_versions", "Versions that retention policies deleted", &all.expired_versions),
        ("fetched_files", "Files that syncs fetched", &all.fetched_files),
        (
            "fetched_bytes",
            "Bytes fetched from remotes, by syncs and for readers",
            &all.fetched_bytes,
        ),
        ("fetch_failures", "Files that syncs could not have", &all.fetch_failures),
        ("tree_hits", "Pages of directories that were found in memory", &all.tree_hits),
        ("tree_misses", "Pages of directories that were read from the catalog", &all.tree_misses),
    ] {
        form.counter(name, help, counter.get())?;
    }
    Ok(())
}

fn kernel(form: &mut Form<'_, '_>) -> Result<(), Error> {
    let seen = || operations().filter(|(_, operation)| operation.times.count() > 0);
    form.times(
        ("operation_seconds", "Time until an operation of the kernel was answered or handed on"),
        "operation",
        seen().map(|(name, operation)| (name, &operation.times)),
    )?;
    form.each(
        ("operation_failures", "Operations of the kernel that were answered with EIO"),
        true,
        "operation",
        seen().map(|(name, operation)| (name, operation.failures.get())),
    )
}

fn web(form: &mut Form<'_, '_>) -> Result<(), Error> {
    let classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
    let answers =
        classes.into_iter().zip(COUNTERS.answers.iter().map(crate::metrics::Counter::get));
    form.each(("http_answers", "Answers of the web face"), true, "class", answers)?;
    form.times(
        ("http_answer_seconds", "Time until an answer of the web face began"),
        "of",
        [("all", &COUNTERS.answer_times)].into_iter(),
    )?;
    form.counter(
        "http_sent_bytes",
        "Bytes that clients of the web face took",
        COUNTERS.sent_bytes.get(),
    )?;
    let help = "Connections of the web face that ended because their clients did too little";
    form.counter("http_ended_connections", help, COUNTERS.ended_connections.get())
}

fn store(form: &mut Form<'_, '_>, engine: &Engine) -> Result<(), Error> {
    let blocked = engine.staging.poison.blocked();
    let flag = |state: Blocked| u64::from(blocked == state);
    form.gauge("poisoned", "1 when changes are refused until a restart", flag(Blocked::Poisoned))?;
    form.gauge(
        "full",
        "1 when the disk is full and only deletions are accepted",
        flag(Blocked::Full),
    )?;
    form.gauge("read_only", "1 when the store was opened for reading", flag(Blocked::ReadOnly))?;
    let cached = u64::try_from(engine.trees.bytes()).unwrap_or(u64::MAX);
    form.gauge("tree_cache_bytes", "Bytes of directories that are cached", cached)?;
    let nodes = u64::try_from(engine.staging.read().node_count()).unwrap_or(u64::MAX);
    form.gauge("staging_nodes", "Files and directories of staging areas in memory", nodes)?;
    if let Ok(totals) = engine.query(|reader| reader.totals()) {
        form.gauge("blobs", "Contents in the pool", totals.blobs)?;
        form.gauge("blobs_bytes", "Their bytes", totals.bytes)?;
        form.gauge("damaged_blobs", "Contents that are damaged", totals.damaged)?;
        form.gauge("trees", "Pages of directories", totals.trees)?;
    }
    if let Ok(space) = engine.space() {
        form.gauge("free_bytes", "Free bytes of the store's filesystem", space.available_bytes())?;
    }
    let ended = engine.last_run().map_or(0, |run| u64::try_from(run.began.seconds).unwrap_or(0));
    form.gauge(
        "last_collection_seconds",
        "When the last collection began, since 1970; 0: not yet",
        ended,
    )
}

/// A number of a repository, if it has one.
type Number = fn(&Repository) -> Option<u64>;

fn repositories(form: &mut Form<'_, '_>, engine: &Engine) -> Result<(), Error> {
    let mut all = look::repositories(engine);
    let known = u64::try_from(all.len()).unwrap_or(u64::MAX);
    form.gauge("repositories", "Repositories that everybody may read", known)?;
    all.truncate(REPOSITORIES_MAX);
    let numbers = |number: Number| {
        let named = all.iter().filter_map(move |found| Some((found.name.as_str(), number(found)?)));
        named.collect::<Vec<_>>().into_iter()
    };
    for (name, help, number) in [
        (
            "repository_versions",
            "Versions of a repository",
            (|found| u64::try_from(found.versions.size()).ok()) as Number,
        ),
        ("repository_used_bytes", "Bytes that count against the quota", |found| {
            Some(found.account.usage().bytes)
        }),
        ("repository_quota_bytes", "The quota", |found| found.account.quota().bytes),
        ("repository_used_files", "Files that count against the quota", |found| {
            Some(found.account.usage().files)
        }),
        ("repository_quota_files", "The quota in files", |found| found.account.quota().files),
    ] {
        form.each((name, help), false, "repository", numbers(number))?;
    }
    Ok(())
}
