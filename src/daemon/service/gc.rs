//! Garbage collection on request.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::errors::control_error;
use super::policy::send_decisions;
use super::{Answer, StoreService};
use crate::control::gc::{GcReply, GcRequest, RunInfo};
use crate::control::protocol::{ControlError, Progress};
use crate::control::reply::Reply;
use crate::control::utc::{Began, Until};
use crate::engine::dry_run::DryRunReport;
use crate::engine::error::EngineError;
use crate::engine::gc::{RunKind, RunReport};
use crate::engine::request::Request;
use crate::model::time::Timestamp;

/// The first wait for the kernel to let go of what it only caches; each is twice the one before.
const HELD_WAIT_FIRST: Duration = Duration::from_millis(20);

/// Such waits in a row after which nothing came free: somebody has it open. That is about a second.
const HELD_WAITS_MAX: u32 = 6;

impl StoreService {
    pub(super) fn gc(&self, request: &GcRequest, progress: &mut dyn FnMut(Progress)) -> Answer {
        let kind = RunKind { full: request.full, protect_seconds: request.protect_seconds };
        if request.dry_run {
            return self.try_gc(request, progress);
        }
        if self.engine.is_read_only() {
            return Err(control_error(EngineError::ReadOnly));
        }
        let mut reply = GcReply::default();
        self.free_partial_files(request, &mut reply);
        // A command that opened the store by itself has to wait: the run would end with the
        // command.
        if !request.wait && !self.owned {
            let ended = Box::new(|result| {
                if let Err(error) = result {
                    log::error!("collection failed: {error}");
                }
            });
            self.engine.submit(Request::Collect { kind, reply: ended }).map_err(control_error)?;
            return Ok(Reply::Gc(reply));
        }
        let what = "collecting".to_owned();
        progress(Progress::Step { what, done: 0, total: None, is_bytes: false });
        let report = self.collect(kind)?;
        let mut reply = GcReply {
            finished: true,
            versions: report.versions,
            areas: report.areas,
            blobs: report.blobs,
            freed_bytes: report.bytes,
            trees: report.trees,
            locations: report.locations,
            leftovers: report.leftovers,
            duration_ms: report.duration_ms,
            pinned_blobs: report.pinned_blobs,
            pinned_bytes: report.pinned_bytes,
            errors: reply.errors + report.errors,
            failure: reply.failure.or(report.failure),
            partial_files: reply.partial_files,
            freed_partial_bytes: reply.freed_partial_bytes,
            ..GcReply::default()
        };
        // The run has ended, so its result is told even if the rest cannot be found out.
        match self.dry_run(RunKind { full: false, ..kind }) {
            Ok(left) => self.add_protected(&mut reply, &left),
            Err(error) => log::warn!("what is still protected is not known: {error}"),
        }
        Ok(Reply::Gc(reply))
    }

    /// Runs a collection. What it had to leave since the kernel holds it, the kernel was asked to forget at its end: further
    /// runs free what it let go of, so that the space is there when the caller is told.
    fn collect(&self, kind: RunKind) -> Result<RunReport, ControlError> {
        let run = |kind| self.engine.call(|reply| Request::Collect { kind, reply });
        let mut report = run(kind).map_err(control_error)?;
        let mut waits = 0;
        while report.pinned_blobs > 0
            && waits < HELD_WAITS_MAX
            && !self.stopping.load(Ordering::SeqCst)
        {
            thread::sleep(HELD_WAIT_FIRST * (1 << waits));
            waits += 1;
            let again = run(RunKind { full: false, ..kind }).map_err(control_error)?;
            if again.pinned_blobs < report.pinned_blobs {
                waits = 0;
            }
            // A run that the collector began by itself meanwhile has perhaps freed some of them.
            let freed = report.pinned_blobs.saturating_sub(again.pinned_blobs).max(again.blobs);
            let freed_bytes = report.pinned_bytes.saturating_sub(again.pinned_bytes);
            report.blobs += freed;
            report.bytes += freed_bytes.max(again.bytes);
            report.trees += again.trees;
            report.duration_ms += again.duration_ms;
            (report.pinned_blobs, report.pinned_bytes) = (again.pinned_blobs, again.pinned_bytes);
            report.errors += again.errors;
            report.failure = report.failure.or(again.failure);
        }
        Ok(report)
    }

    /// What a run would do.
    fn try_gc(&self, request: &GcRequest, progress: &mut dyn FnMut(Progress)) -> Answer {
        let kind = RunKind { full: request.full, protect_seconds: request.protect_seconds };
        let what = "trying a run".to_owned();
        progress(Progress::Step { what, done: 0, total: None, is_bytes: false });
        let report = self.dry_run(kind)?;
        let garbage = report.garbage;
        let mut reply = GcReply {
            finished: true,
            blobs: garbage.free.count,
            freed_bytes: garbage.free.bytes,
            trees: garbage.trees,
            pinned_blobs: garbage.pinned.count,
            pinned_bytes: garbage.pinned.bytes,
            ..GcReply::default()
        };
        self.free_partial_files(request, &mut reply);
        for expiry in &report.retention {
            send_decisions(expiry, progress);
            reply.versions += expiry.expiring().count() as u64;
            reply.areas += expiry.areas.len() as u64;
            reply.warnings.extend(
                expiry
                    .unreadable
                    .as_ref()
                    .map(|reason| unreadable_policy(expiry.repository.name.as_str(), reason)),
            );
        }
        self.add_protected(&mut reply, &report);
        Ok(Reply::Gc(reply))
    }

    fn dry_run(&self, kind: RunKind) -> Result<DryRunReport, ControlError> {
        self.engine.dry_run(kind, Timestamp::now()).map_err(control_error)
    }

    /// What stays protected, and until when: later runs collect it after that time.
    fn add_protected(&self, reply: &mut GcReply, report: &DryRunReport) {
        let DryRunReport { garbage, kept, .. } = report;
        let kept_blobs = kept.free.count + kept.protected.count + kept.pinned.count;
        reply.protected_blobs = garbage.protected.count + kept_blobs;
        reply.protected_bytes = garbage.protected.bytes.saturating_add(kept.bytes());
        reply.deleted_versions = report.kept_versions;
        let oldest = garbage.oldest_protected.into_iter().chain(report.oldest_kept).min();
        reply.until = oldest.map(|oldest| Until::at(self.protected_until(oldest)));
    }
}

/// Says that a policy cannot be read.
pub(super) fn unreadable_policy(repository: &str, reason: &str) -> String {
    format!("the policy of {repository} is unreadable, so nothing expires there: {reason}")
}

pub(super) fn describe_run(report: &RunReport) -> RunInfo {
    RunInfo {
        full: report.full,
        began: Began::from(report.began),
        duration_ms: report.duration_ms,
        versions: report.versions,
        areas: report.areas,
        blobs: report.blobs,
        freed_bytes: report.bytes,
        pinned_blobs: report.pinned_blobs,
        pinned_bytes: report.pinned_bytes,
        errors: report.errors,
    }
}
