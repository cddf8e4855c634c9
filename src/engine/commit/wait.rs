//! What a commit waits for before its trees are built, and for how long: the files that are open for
//! writing, and the seals of those that are closed.
//!
//! Each wait has an end (H7), which is put off while there is progress: a writer closes, or a file is
//! hashed. Only a RENAME has a fixed end as well, because it holds the rename lock of the whole mount.

use std::time::{Duration, Instant};

use super::super::blobs::{Blobs, SealFailure};
use super::super::error::EngineError;
use super::super::staging::area::{AreaShared, Phase};
use super::super::writer::StoreWriter;
use super::{CommitOptions, CommitTask, NAMED_FILES_MAX, Stage, Step};

/// How long a commit waits, without any writer closing, before files open for writing refuse it.
/// A close has been queued before `mv` starts but may reach the daemon after it (H11).
pub const WRITER_GRACE: Duration = Duration::from_secs(1);

/// How long `--wait` waits for writers.
pub const WRITER_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a commit waits for seals while nothing of the area is hashed.
pub const SEAL_STALL_MAX: Duration = Duration::from_secs(60);

/// How long the RENAME that publishes an area may wait in all: until it is answered, nobody renames
/// between directories, or publishes, anywhere in the mount.
pub const RENAME_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a RENAME is put off in all, so that it need not wait itself.
const PREPARE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One wait.
#[derive(Debug)]
pub(super) struct Wait {
    /// The state at the last progress.
    seen: Option<u64>,
    /// How long it goes on without progress.
    quiet: Duration,
    due: Instant,
    /// When it is over even with progress.
    end: Option<Instant>,
}

impl Wait {
    fn new(now: Instant, quiet: Duration, end: Option<Instant>) -> Self {
        Self { seen: None, quiet, due: now + quiet, end }
    }

    /// For writers, of a commit that begins.
    pub(super) fn for_writers(options: &CommitOptions, now: Instant) -> Self {
        let quiet = if options.wait { WRITER_WAIT_MAX } else { WRITER_GRACE };
        Self::new(now, quiet, options.in_rename.then(|| now + RENAME_WAIT_MAX))
    }

    /// For seals, after this wait for writers.
    pub(super) fn for_seals(&self, now: Instant) -> Self {
        Self::new(now, SEAL_STALL_MAX, self.end)
    }

    /// For writers and for seals, before a RENAME: who waits holds nobody up, so it may take long.
    pub(super) fn before_rename(now: Instant) -> (Self, Self) {
        let end = Some(now + PREPARE_MAX);
        (Self::new(now, WRITER_GRACE, end), Self::new(now, SEAL_STALL_MAX, end))
    }

    /// Whether it is over. A `state` other than the last one is progress.
    pub(super) fn is_over(&mut self, state: u64, now: Instant) -> bool {
        if self.seen.replace(state) != Some(state) {
            self.due = now + self.quiet;
        }
        now >= self.end.map_or(self.due, |end| end.min(self.due))
    }

    /// No progress was possible for that time, so it does not count.
    pub(super) fn put_off(&mut self, pause: Duration) {
        self.due += pause;
        self.end = self.end.map(|end| end + pause);
    }
}

impl Stage {
    /// Its wait, in the stages that wait for writers or sealers.
    pub(super) fn wait_mut(&mut self) -> Option<&mut Wait> {
        match self {
            Self::Writers(wait) | Self::Sealing { wait, .. } => Some(wait),
            Self::Building | Self::Syncing { .. } => None,
        }
    }
}

/// What is next for a commit that waits for writers or seals.
pub(super) fn next_step(
    writer: &StoreWriter,
    blobs: &Blobs,
    task: &mut CommitTask,
    now: Instant,
) -> Step {
    let unverified = blobs.unverified_count();
    let Some(shared) = writer.staging().area(task.area) else {
        return Step::Refuse(EngineError::NoArea(task.area));
    };
    match &mut task.stage {
        Stage::Writers(wait) => {
            let writers = shared.writers();
            if writers == 0 {
                return Step::Freeze;
            }
            if !wait.is_over(u64::from(writers), now) {
                return Step::Stay;
            }
            let paths = writer.staging().read().open_for_writing(task.area, NAMED_FILES_MAX);
            let files = paths.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
            Step::Refuse(EngineError::Busy { files })
        }
        Stage::Sealing { retried, wait } => {
            let failed = shared.failed_count();
            let unsealed = to_be_sealed(&shared, failed);
            if unsealed > 0 || unverified > 0 {
                writer.staging().end_seal_delay(|content, _| content.area.id == task.area);
                match wait.is_over(shared.sealing_steps().wrapping_add(unverified), now) {
                    false => Step::Stay,
                    true => Step::Refuse(EngineError::NotSealed { files: unsealed }),
                }
            } else if failed == 0 {
                Step::Build
            } else if *retried {
                let SealFailure { reason, full } = blobs.seal_failure().clone();
                Step::Refuse(EngineError::Unsealed { count: failed, reason, full })
            } else {
                // One more try: the disk may have room again. Files for which the sealers' queue has no
                // place are offered in the next round; this thread must not wait for the sealers, because
                // they may wait for it.
                *retried = shared.failed().iter().all(|file| writer.staging().offer_seal(file));
                Step::Stay
            }
        }
        Stage::Building | Stage::Syncing { .. } => Step::Stay,
    }
}

/// From here on nothing in the area changes.
pub(super) fn freeze(writer: &StoreWriter, task: &mut CommitTask, now: Instant) {
    let frozen = writer.staging().change(|state, _| {
        let Some(area) = state.areas.get_mut(&task.area) else {
            return false;
        };
        // Opening a file checks the phase under this same lock. So a file that was opened for
        // writing since the last look is counted here, and none can be opened after the freeze.
        if area.shared.writers() > 0 {
            return false;
        }
        area.phase = Phase::Frozen;
        true
    });
    if let Stage::Writers(wait) = &mut task.stage {
        if frozen {
            task.stage = Stage::Sealing { retried: false, wait: wait.for_seals(now) };
        } else {
            // A file was opened for writing since the last look: its writer gets the full grace.
            wait.seen = None;
        }
    }
}

/// Files whose seal is still to come, apart from the `failed` ones.
pub(super) fn to_be_sealed(shared: &AreaShared, failed: usize) -> usize {
    usize::try_from(shared.unsealed()).unwrap_or(usize::MAX).saturating_sub(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn h7_a_wait_goes_on_while_it_comes_nearer_to_its_end() {
        let start = Instant::now();
        let mut wait = Wait::new(start, 3 * SECOND, None);
        assert!(!wait.is_over(7, start + 2 * SECOND));
        assert!(!wait.is_over(6, start + 4 * SECOND), "it came nearer");
        assert!(!wait.is_over(6, start + 6 * SECOND));
        assert!(wait.is_over(6, start + 7 * SECOND), "nothing happened for three seconds");
        wait.put_off(SECOND);
        assert!(!wait.is_over(6, start + 7 * SECOND), "the process was held");
    }

    #[test]
    fn h7_a_wait_in_a_rename_is_over_at_its_end_whatever_happens() {
        let start = Instant::now();
        let mut wait = Wait::new(start, SECOND, Some(start + 2 * SECOND)).for_seals(start);
        assert!(!wait.is_over(1, start + SECOND));
        assert!(wait.is_over(2, start + 2 * SECOND));
        wait.put_off(SECOND);
        assert!(!wait.is_over(3, start + 2 * SECOND));
    }
}
