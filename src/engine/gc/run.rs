//! A run from its trigger to its report.

use std::time::Instant;

use super::{
    HELD_RETRY_SECONDS_MAX, HELD_RETRY_SECONDS_MIN, Phase, Run, RunKind, RunReport,
    protected_until, protection_limit,
};
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::gc::trigger::Triggered;
use crate::engine::poison::Blocked;
use crate::engine::reply::Reply;
use crate::engine::thread::MetadataThread;
use crate::model::text::count;
use crate::model::time::Timestamp;

impl MetadataThread {
    /// Asks for a run and for its report.
    pub(in crate::engine) fn collect(&mut self, kind: RunKind, reply: Reply<RunReport>) {
        if let Err(error) = self.writer.check_writable() {
            return reply(Err(error));
        }
        self.gc.next_waiters.push(reply);
        self.trigger(kind);
    }

    /// What was orphaned before the stop goes now (G8: a run at start), unless the disk was so full that
    /// the start could not be noted: then once somebody changes something.
    pub(in crate::engine) fn collect_at_start(&mut self) {
        if self.writer.poison().blocked() == Blocked::No {
            self.trigger(RunKind::ORPHANS);
        }
    }

    /// Asks for a run.
    pub(in crate::engine) fn trigger(&mut self, kind: RunKind) {
        self.gc.awake = true;
        self.gc.paused_until = None;
        if let Triggered::Start(kind) = self.gc.triggers.trigger(kind) {
            self.begin_run(kind);
        }
    }

    /// Starts what a timer says, or the end of what kept a blob.
    pub(in crate::engine) fn tick_collector(&mut self, now: Instant) {
        if self.writer.pins().take_released() {
            self.trigger(RunKind::ORPHANS);
        }
        let seconds = now.duration_since(self.gc.clock).as_secs();
        if let Some(kind) = self.gc.triggers.tick(seconds) {
            self.begin_run(kind);
        }
    }

    fn begin_run(&mut self, kind: RunKind) {
        let phase = if kind.full {
            Phase::Expire(
                self.writer.registry().all().iter().map(|repository| repository.id).collect(),
            )
        } else {
            Phase::Release
        };
        let report = RunReport { full: kind.full, began: Timestamp::now(), ..RunReport::default() };
        let waiters = std::mem::take(&mut self.gc.next_waiters);
        self.gc.run = Some(Run { kind, began: Instant::now(), report, waiters, phase });
    }

    /// One slice of background work.
    pub(in crate::engine) fn collector_slice(&mut self) {
        if self.writer.check_writable().is_err() {
            return self.abort_run();
        }
        if !self.has_room_for_slice() {
            return;
        }
        if !self.gc.accounting && !self.gc.uncharged.is_empty() {
            self.account_next();
        }
        let worked = match self.gc.run.as_mut().map(|run| &mut run.phase) {
            Some(Phase::Expire(repositories)) => match repositories.pop_front() {
                Some(repo) => {
                    self.expire(repo);
                    Ok(())
                }
                None => {
                    self.account_all();
                    Ok(())
                }
            },
            Some(Phase::Release) => self.release_slice(),
            Some(Phase::Blobs) if !self.gc.awake => self.blobs_slice(),
            Some(Phase::Metadata | Phase::Blobs | Phase::Account | Phase::Sweep) | None => {
                self.metadata_slice()
            }
        };
        if let Err(error) = worked {
            self.gc.fail(format!("background clean-up stops until it is asked for again: {error}"));
            self.gc.awake = false;
            self.end_run();
        }
    }

    /// Goes on with the next phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        if let Some(run) = &mut self.gc.run {
            run.phase = phase;
        }
    }

    /// Protection time of the run under way.
    pub(super) fn protect_seconds(&self) -> u64 {
        let asked = self.gc.run.as_ref().and_then(|run| run.kind.protect_seconds);
        asked.unwrap_or(self.gc.options.protect_seconds)
    }

    /// Gives deleted versions up whose time is over: their trees go on the deletion queue.
    fn release_slice(&mut self) -> Result<()> {
        if self.release_versions()? {
            return Ok(());
        }
        self.gc.awake = true;
        self.enter(Phase::Metadata);
        Ok(())
    }

    /// Reports, and starts what was asked for meanwhile.
    pub(super) fn end_run(&mut self) {
        let Some(mut run) = self.gc.run.take() else {
            return;
        };
        self.gc.blobs = super::blobs::Orphans::default();
        self.blobs.end_watch();
        let duration = run.began.elapsed().as_millis();
        run.report.duration_ms = u64::try_from(duration).unwrap_or(u64::MAX);
        log_report(&run.report);
        *self.gc.last.lock() = Some(run.report.clone());
        for waiter in run.waiters {
            waiter(Ok(run.report.clone()));
        }
        if run.report.blobs > 0 {
            // There may be room again for what could not be written.
            self.writer.effects().room_was_made();
        }
        self.writer.fill_reserve();
        let now = self.gc.clock.elapsed().as_secs();
        let protected = self.protected_until(now);
        let next = self.gc.triggers.ended(now, run.kind.full, protected);
        let left = self.gc.triggers.full_due().map(|due| due.saturating_sub(now));
        let left = left.and_then(|left| i64::try_from(left).ok());
        run.report.next_full = left.map(|left| Timestamp::now().seconds.saturating_add(left));
        *self.gc.last.lock() = Some(run.report);
        self.ask_for_held(now);
        if let Some(next) = next {
            self.begin_run(next);
        }
    }

    /// Has the kernel asked to forget what it only caches of the blobs that had to stay.
    fn ask_for_held(&mut self, now: u64) {
        let held = std::mem::take(&mut self.gc.held);
        if held.is_empty() {
            self.gc.held_retry_seconds = HELD_RETRY_SECONDS_MIN;
            return;
        }
        self.gc.triggers.expect(now.saturating_add(self.gc.held_retry_seconds));
        self.gc.held_retry_seconds = HELD_RETRY_SECONDS_MAX.min(self.gc.held_retry_seconds * 2);
        self.writer.notify_apart(vec![Event::BlobsHeld(std::sync::Arc::new(held))], || ());
    }

    /// The store refuses changes: nobody waits for a run that cannot go on.
    pub(in crate::engine) fn abort_run(&mut self) {
        self.gc.awake = false;
        self.gc.uncharged.clear();
        let run = self.gc.run.take();
        let waiters = run.into_iter().flat_map(|run| run.waiters);
        for waiter in waiters.chain(std::mem::take(&mut self.gc.next_waiters)) {
            waiter(Err(EngineError::Poisoned));
        }
    }

    /// When the next garbage loses its protection, on the triggers' clock.
    fn protected_until(&mut self, now: u64) -> Option<u64> {
        let oldest = match self.oldest_protected() {
            Ok(oldest) => oldest?,
            Err(error) => {
                log::warn!("cannot look for protected content: {error}");
                return None;
            }
        };
        let wall = Timestamp::now();
        let until = protected_until(oldest, wall, self.gc.options.protect_seconds);
        let left = until.saturating_sub(wall.seconds);
        // A second more: the protection covers the whole second that it ends in.
        Some(now.saturating_add(u64::try_from(left).unwrap_or(0)).saturating_add(1))
    }

    /// When that was last used, or deleted, which is unreferenced and protected and will go first:
    /// what lies back the furthest.
    fn oldest_protected(&self) -> Result<Option<i64>> {
        let limit = protection_limit(Timestamp::now(), self.gc.options.protect_seconds);
        let orphan = self.writer.reader().oldest_orphan_after(limit)?;
        let deleted = self.writer.reader().oldest_deletion_after(limit)?;
        Ok(orphan.into_iter().chain(deleted).min())
    }
}

fn log_report(report: &RunReport) {
    let RunReport { versions, areas, blobs, bytes, trees, leftovers, duration_ms, .. } = report;
    let kind = if report.full { "full collection" } else { "collection" };
    let idle = versions + areas + blobs + trees + leftovers + report.errors == 0;
    let level = if idle && !report.full { log::Level::Debug } else { log::Level::Info };
    log::log!(
        level,
        "{kind}: {} and {} expired; {} ({}), {} and {} removed in {duration_ms} ms; {} held open, {}",
        count(*versions, "version"),
        count(*areas, "area"),
        count(*blobs, "blob"),
        count(*bytes, "byte"),
        count(*trees, "directory page"),
        count(*leftovers, "leftover"),
        count(report.pinned_blobs, "blob"),
        count(report.errors, "error"),
    );
}
