//! A run from its trigger to its report.

use super::{
    Collector, HELD_RETRY_SECONDS_MAX, HELD_RETRY_SECONDS_MIN, Run, RunKind, RunPhase, RunReport,
    protected_until, protection_limit,
};
use crate::engine::blobs::Blobs;
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::gc::trigger::Triggered;
use crate::engine::now::Now;
use crate::engine::reply::Reply;
use crate::engine::writer::StoreWriter;
use crate::metrics::COUNTERS;
use crate::model::text::count;
use crate::model::time::Timestamp;

impl Collector {
    /// Asks for a run and for its report.
    pub(in crate::engine) fn collect(
        &mut self,
        writer: &StoreWriter,
        kind: RunKind,
        reply: Reply<RunReport>,
        now: Now,
    ) {
        if let Err(error) = writer.check_writable() {
            return reply(Err(error));
        }
        self.next_waiters.push(reply);
        self.trigger(writer, kind, now);
    }

    /// Asks for a run.
    pub(in crate::engine) fn trigger(&mut self, writer: &StoreWriter, kind: RunKind, now: Now) {
        self.awake = true;
        self.paused_until = None;
        if let Triggered::Start(kind) = self.triggers.trigger(kind) {
            self.begin_run(writer, kind, now);
        }
    }

    /// Starts what a timer says, or the end of what kept a blob.
    pub(in crate::engine) fn tick(&mut self, writer: &StoreWriter, now: Now) {
        if writer.pins().take_released() {
            self.trigger(writer, RunKind::ORPHANS, now);
        }
        let seconds = now.instant.duration_since(self.clock).as_secs();
        if let Some(kind) = self.triggers.tick(seconds) {
            self.begin_run(writer, kind, now);
        }
    }

    fn begin_run(&mut self, writer: &StoreWriter, kind: RunKind, now: Now) {
        let phase = if kind.full {
            RunPhase::Expire(
                writer.registry().all().iter().map(|repository| repository.id).collect(),
            )
        } else {
            RunPhase::Release
        };
        let report = RunReport { full: kind.full, began: now.time, ..RunReport::default() };
        let waiters = std::mem::take(&mut self.next_waiters);
        self.run = Some(Run { kind, began: now.instant, report, waiters, phase });
    }

    /// One slice of background work.
    pub(in crate::engine) fn slice(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) {
        if writer.check_writable().is_err() {
            return self.abort_run();
        }
        if !self.has_room_for_slice(writer, now.instant) {
            return;
        }
        if !self.accounting && !self.uncharged.is_empty() {
            self.account_next(writer);
        }
        let worked = match self.run.as_mut().map(|run| &mut run.phase) {
            Some(RunPhase::Expire(repositories)) => match repositories.pop_front() {
                Some(repo) => {
                    self.expire(writer, repo, now.time);
                    Ok(())
                }
                None => {
                    self.account_all(writer);
                    Ok(())
                }
            },
            Some(RunPhase::Release) => self.release_slice(writer, now.time),
            Some(RunPhase::Blobs) if !self.awake => self.blobs_slice(writer, blobs, now),
            Some(RunPhase::Locations) if !self.awake => self.unneeded_slice(writer, blobs, now),
            Some(
                RunPhase::Metadata
                | RunPhase::Blobs
                | RunPhase::Locations
                | RunPhase::Account
                | RunPhase::Sweep,
            )
            | None => self.metadata_slice(writer, now.instant),
        };
        if let Err(error) = worked {
            self.fail(format!("background clean-up stops until it is asked for again: {error}"));
            self.awake = false;
            self.end_run(writer, blobs, now);
        }
    }

    /// Goes on with the next phase.
    pub(super) fn enter(&mut self, phase: RunPhase) {
        if let Some(run) = &mut self.run {
            run.phase = phase;
        }
    }

    /// Protection time of the run under way.
    pub(super) fn protect_seconds(&self) -> u64 {
        let asked = self.run.as_ref().and_then(|run| run.kind.protect_seconds);
        asked.unwrap_or(self.options.protect_seconds)
    }

    /// Gives deleted versions up whose time is over: their trees go on the deletion queue.
    fn release_slice(&mut self, writer: &mut StoreWriter, now: Timestamp) -> Result<()> {
        if self.release_versions(writer, now)? {
            return Ok(());
        }
        self.awake = true;
        self.enter(RunPhase::Metadata);
        Ok(())
    }

    /// Reports, and starts what was asked for meanwhile.
    pub(super) fn end_run(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Now) {
        let Some(mut run) = self.run.take() else {
            return;
        };
        self.orphans = super::blobs::Orphans::default();
        self.unneeded.stop();
        blobs.end_watch();
        let duration = now.instant.duration_since(run.began).as_millis();
        run.report.duration_ms = u64::try_from(duration).unwrap_or(u64::MAX);
        log_report(&run.report);
        count_run(&run.report);
        *self.last.lock() = Some(run.report.clone());
        let was_asked_for = !run.waiters.is_empty();
        for waiter in run.waiters {
            waiter(Ok(run.report.clone()));
        }
        if run.report.blobs > 0 {
            // There may be room again for what could not be written.
            writer.effects().room_was_made();
        }
        writer.fill_reserve();
        let seconds = now.instant.duration_since(self.clock).as_secs();
        let protected = self.protected_until(writer, now.time, seconds);
        let next = self.triggers.ended(seconds, run.kind.full, protected);
        let left = self.triggers.full_due().map(|due| due.saturating_sub(seconds));
        let left = left.and_then(|left| i64::try_from(left).ok());
        run.report.next_full = left.map(|left| now.time.seconds.saturating_add(left));
        *self.last.lock() = Some(run.report);
        self.ask_for_held(writer, seconds, was_asked_for);
        if let Some(next) = next {
            self.begin_run(writer, next, now);
        }
    }

    /// Has the kernel asked to forget what it only caches of the blobs that had to stay. Runs that somebody asked for do
    /// not put off the next one that begins by itself.
    fn ask_for_held(&mut self, writer: &StoreWriter, now: u64, was_asked_for: bool) {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            self.held_retry_seconds = HELD_RETRY_SECONDS_MIN;
            return;
        }
        self.triggers.expect(now.saturating_add(self.held_retry_seconds));
        if !was_asked_for {
            self.held_retry_seconds = HELD_RETRY_SECONDS_MAX.min(self.held_retry_seconds * 2);
        }
        writer.notify_apart(vec![Event::BlobsHeld(writer.names_of(held))], || ());
    }

    /// The store refuses changes: nobody waits for a run that cannot go on.
    pub(in crate::engine) fn abort_run(&mut self) {
        self.awake = false;
        self.uncharged.clear();
        let run = self.run.take();
        let waiters = run.into_iter().flat_map(|run| run.waiters);
        for waiter in waiters.chain(std::mem::take(&mut self.next_waiters)) {
            waiter(Err(EngineError::Poisoned));
        }
    }

    /// When the next garbage loses its protection, on the triggers' clock.
    fn protected_until(&self, writer: &StoreWriter, now: Timestamp, seconds: u64) -> Option<u64> {
        let oldest = match self.oldest_protected(writer, now) {
            Ok(oldest) => oldest?,
            Err(error) => {
                log::warn!("cannot look for protected content: {error}");
                return None;
            }
        };
        let until = protected_until(oldest, now, self.options.protect_seconds);
        let left = until.saturating_sub(now.seconds);
        // A second more: the protection covers the whole second that it ends in.
        Some(seconds.saturating_add(u64::try_from(left).unwrap_or(0)).saturating_add(1))
    }

    /// When that was last used, or deleted, which is unreferenced and protected and will go first:
    /// what lies back the furthest.
    fn oldest_protected(&self, writer: &StoreWriter, now: Timestamp) -> Result<Option<i64>> {
        let limit = protection_limit(now, self.options.protect_seconds);
        let orphan = writer.reader().oldest_orphan_after(limit)?;
        let deleted = writer.reader().oldest_deletion_after(limit)?;
        Ok(orphan.into_iter().chain(deleted).min())
    }
}

fn count_run(report: &RunReport) {
    COUNTERS.collections.add(1);
    COUNTERS.collection_errors.add(report.errors);
    COUNTERS.freed_blobs.add(report.blobs);
    COUNTERS.freed_bytes.add(report.bytes);
    COUNTERS.expired_versions.add(report.versions);
}

fn log_report(report: &RunReport) {
    let RunReport { versions, areas, blobs, bytes, trees, .. } = report;
    let RunReport { locations, leftovers, duration_ms, .. } = report;
    let kind = if report.full { "full collection" } else { "collection" };
    let idle = versions + areas + blobs + trees + locations + leftovers + report.errors == 0;
    let level = if idle && !report.full { log::Level::Debug } else { log::Level::Info };
    log::log!(
        level,
        "{kind}: {} and {} expired; {} ({}), {}, {} and {} removed in {duration_ms} ms; {} held open, {}",
        count(*versions, "version"),
        count(*areas, "area"),
        count(*blobs, "blob"),
        count(*bytes, "byte"),
        count(*trees, "directory page"),
        count(*locations, "unneeded location"),
        count(*leftovers, "leftover"),
        count(report.pinned_blobs, "blob"),
        count(report.errors, "error"),
    );
}
