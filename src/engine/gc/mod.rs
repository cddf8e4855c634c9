//! Garbage collection and retention, in bounded slices on the metadata thread.
//!
//! ```text
//!            ┌── full runs only ───┐                                                    ┌─ full ─┐
//!   trigger ─▶ Expire ──▶ Account ──▶ Release ──▶ Metadata ──▶ Blobs ──────▶ Locations ──▶ Sweep ──▶ ended
//!              policies   usage       deletions   queue,       listed,       unneeded      leftovers
//!                                     past undo   trees        durable, gone rows
//! ```
//!
//! A slice is one bounded transaction, taken only when no request waits, so that others hardly
//! notice (G1). The cost follows what became garbage: only a full run's look for leftovers reads
//! names of the whole pool, on a thread of its own (G10, G12).
//!
//! Blobs are removed in lists: a list is taken, the WAL is made durable, and only then its blobs
//! are checked again, their rows deleted and their files unlinked, in one slice each. So the cause
//! of an unlink is on disk before the unlink can be (H2), and nothing can come between check and
//! unlink, because this thread also makes every link (G3).
//!
//! After so many changes the collector waits for the WAL to be copied into the catalog ([`wal`]).
//!
//! Between runs the deletion queue is worked off as well: a published area leaves rows behind.

mod accountant;
mod blobs;
mod expire;
mod metadata;
mod protect;
mod room;
mod run;
mod sweep;
pub mod trigger;
mod unneeded;
mod wal;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::Result;
use super::reply::Reply;
use super::workers::Workers;
use crate::model::hash::BlobHash;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::quota::Charge;
use crate::model::time::Timestamp;
pub use protect::{protected_until, protection_limit};
pub use sweep::Leftover;
pub use trigger::RunKind;
use trigger::Triggers;

/// How long unreferenced content is kept when nobody says otherwise (G4).
pub const PROTECT_SECONDS: u64 = 600;

/// Between full runs when nobody says otherwise (G8).
pub const PERIOD_SECONDS: u64 = 24 * 3600;

/// Seconds until a run tries again to remove blobs that the kernel held, at first. An unpinned blob starts a
/// run by itself; but an inode that the kernel only caches is unpinned only when the kernel is asked to
/// forget it.
const HELD_RETRY_SECONDS_MIN: u64 = 5;

/// The same, at most: it doubles with each try.
const HELD_RETRY_SECONDS_MAX: u64 = 640;

/// A slice ends after this long, whatever it has left to do, so that a commit or an fsync waits no longer
/// for background work than for a busy disk.
const SLICE_TIME_MAX: Duration = Duration::from_millis(2);

/// Files that a slice removes: a row costs a few microseconds, an unlink 5 to 11 on ext4.
pub(super) const FILES_PER_SLICE: usize = 64;

/// How long the collector pauses when too many removed files wait to be closed.
const PAUSE: Duration = Duration::from_millis(1);

/// Settings of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Between full runs; `None`: only when asked.
    pub period_seconds: Option<u64>,
    /// How long unreferenced content and deleted versions are kept.
    pub protect_seconds: u64,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { period_seconds: Some(PERIOD_SECONDS), protect_seconds: PROTECT_SECONDS }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Whether it was a full run.
    pub full: bool,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// Versions that policies deleted.
    pub versions: u64,
    /// Staging areas that policies discarded.
    pub areas: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directory pages removed.
    pub trees: u64,
    /// Rows removed that said where content can be had which nothing needs any more.
    pub locations: u64,
    /// Files that no row knew: what a crash had left.
    pub leftovers: u64,
    /// Unreferenced blobs that stay because somebody holds them open.
    pub pinned_blobs: u64,
    /// Their bytes.
    pub pinned_bytes: u64,
    /// Things that failed and were left out; the log names them.
    pub errors: u64,
    /// The first of them, in words.
    pub failure: Option<String>,
    /// When the next full run is due by itself, in seconds since 1970. Those who wait for the run
    /// get the report before that is known; see [`Engine::last_run`](super::Engine::last_run).
    pub next_full: Option<i64>,
}

/// What the threads that work for the collector tell it.
pub(super) enum WorkerReport {
    /// What a version adds to the one before it, or why that is unknown.
    Charged(RepoId, VersionNumber, Result<Charge>),
    /// All that was to be computed is.
    Accounted,
    /// Files that may be leftovers.
    Swept(Vec<Leftover>),
    /// The search for leftovers is over.
    SweepEnded(Result<()>),
}

/// The last run, shared with those who show it.
pub(super) type LastRun = Arc<Mutex<Option<RunReport>>>;

/// State of the background work.
pub(super) struct Collector {
    options: GcOptions,
    /// Origin of the triggers' clock.
    clock: Instant,
    triggers: Triggers,
    run: Option<Run>,
    /// Those who asked for a run while one was under way: the next one answers them.
    next_waiters: Vec<Reply<RunReport>>,
    last: LastRun,
    /// There may be work in the deletion queue or among the trees.
    awake: bool,
    metadata: metadata::Progress,
    orphans: blobs::Orphans,
    unneeded: unneeded::Progress,
    /// Unreferenced blobs that somebody held in this run.
    held: BTreeSet<BlobHash>,
    /// Seconds between the end of a run that had to leave held blobs and the next try.
    held_retry_seconds: u64,
    /// Repositories in which a version's charge may be out of date.
    uncharged: BTreeSet<RepoId>,
    /// The accountant is at work.
    accounting: bool,
    /// No slice is done before this.
    paused_until: Option<Instant>,
    wal: wal::Wal,
    workers: Workers<WorkerReport>,
}

/// A run under way.
struct Run {
    kind: RunKind,
    began: Instant,
    report: RunReport,
    waiters: Vec<Reply<RunReport>>,
    phase: RunPhase,
}

/// What a run does now.
enum RunPhase {
    /// Applies the policies of these repositories.
    Expire(VecDeque<RepoId>),
    /// Waits for usage to be computed.
    Account,
    /// Gives deleted versions up that cannot be brought back any more.
    Release,
    /// Works off the deletion queue and the unreferenced trees.
    Metadata,
    /// Removes unreferenced blobs.
    Blobs,
    /// Removes what says where content can be had that nothing needs any more.
    Locations,
    /// Waits for the search for leftovers.
    Sweep,
}

impl Collector {
    /// Awake, because an earlier process may have left something to do.
    pub(super) fn new(
        options: GcOptions,
        last: LastRun,
        uncharged: BTreeSet<RepoId>,
        workers: Workers<WorkerReport>,
    ) -> Self {
        Self {
            options,
            clock: Instant::now(),
            triggers: Triggers::new(options.period_seconds),
            run: None,
            next_waiters: Vec::new(),
            last,
            awake: true,
            metadata: metadata::Progress::default(),
            orphans: blobs::Orphans::default(),
            unneeded: unneeded::Progress::default(),
            workers,
            held: BTreeSet::new(),
            held_retry_seconds: HELD_RETRY_SECONDS_MIN,
            uncharged,
            accounting: false,
            paused_until: None,
            wal: wal::Wal::default(),
        }
    }

    /// Something was deleted.
    pub(super) fn wake(&mut self) {
        self.awake = true;
    }

    /// Rows that the deletion queue waited for are on disk.
    pub(super) fn purge_goes_on(&mut self) {
        if self.metadata.stop_waiting() {
            self.awake = true;
        }
    }

    /// Versions came or went, so what each adds to the one before it may have changed.
    pub(super) fn expect_accounting(&mut self, repo: RepoId) {
        self.uncharged.insert(repo);
    }

    /// Whether a slice would do something.
    pub(super) fn has_work(&self) -> bool {
        if self.wal.is_waiting() {
            return false;
        }
        let run = self.run.as_ref().is_some_and(|run| match run.phase {
            RunPhase::Expire(_) | RunPhase::Release | RunPhase::Locations => true,
            RunPhase::Metadata => !self.metadata.is_waiting(),
            RunPhase::Blobs => !self.orphans.is_waiting(),
            RunPhase::Account | RunPhase::Sweep => false,
        });
        run || self.awake || (!self.accounting && !self.uncharged.is_empty())
    }

    /// Takes a break.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }

    /// How long until the next slice.
    pub(super) fn pause_left(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether it is not time for the next slice.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        !self.pause_left(now).is_zero()
    }

    /// The report of the run under way, to add to; of nothing between runs.
    fn report(&mut self, change: impl FnOnce(&mut RunReport)) {
        if let Some(run) = &mut self.run {
            change(&mut run.report);
        }
    }

    /// Notes that something failed and is left out: in the log, and in the report of the run.
    fn fail(&mut self, what: String) {
        log::error!("{what}");
        self.report(|report| {
            report.errors += 1;
            report.failure.get_or_insert(what);
        });
    }
}

#[cfg(test)]
mod tests;
