//! Checking and repairing a store while an engine runs on it: the part on the caller's thread.

use super::durability::ToDisk;
use super::error::{EngineError, Result};
use super::fsck::{self, Finding, Job, Leftover, Options, Report, Sink, Step, Stopped, Suspicion};
use super::handle::Engine;
use super::request::Request;
use crate::store::pool::Damage;

impl Engine {
    /// Checks the store, on the calling thread, while others go on. `go_on` is asked often, and
    /// may pause the check; `false` ends it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn check(
        &self,
        options: Options,
        found: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(&'static str, u64, u64),
        go_on: &mut dyn FnMut() -> bool,
    ) -> std::result::Result<Report, Stopped> {
        let mut sink = Beside { engine: self, found, progress, go_on };
        fsck::check(&self.subject, options, &mut sink)
    }

    /// Does one step of a repair. Returns whether anything was to be done.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn repair(&self, step: Step) -> Result<bool> {
        if matches!(step, Step::Remove(Leftover::Private(..))) {
            // The deletion of its row must reach the disk before the file is removed: a power loss could
            // otherwise bring the row back without the file (H2).
            ToDisk { layout: &self.layout, pool: &self.pool, staging: &self.staging }.rows()?;
        }
        if let Step::Unshare(hash, size) = step {
            // Copied on this thread, so that the metadata thread does not wait for the disk.
            let copy = self.pool.copy_apart(&hash, size)?;
            let job = Job::Unshare(hash, copy);
            let done = self.call(|reply| Request::Fsck { job, reply })?;
            self.pool.sync_fan_out(&hash)?;
            return Ok(done);
        }
        self.call(|reply| Request::Fsck { job: Job::Repair(step), reply })
    }
}

impl Engine {
    /// Marks those of the blobs that are still damaged, and has the kernel forget their content.
    /// Returns whether all marks are written; readers are refused in any case.
    ///
    /// # Errors
    /// The engine has stopped.
    pub(super) fn mark_damaged(&self, damage: Vec<Damage>) -> Result<bool> {
        self.call(|reply| Request::Fsck { job: Job::Mark(damage), reply })
    }
}

struct Beside<'a> {
    engine: &'a Engine,
    found: &'a mut dyn FnMut(Finding),
    progress: &'a mut dyn FnMut(&'static str, u64, u64),
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Sink for Beside<'_> {
    fn found(&mut self, finding: Finding) {
        (self.found)(finding);
    }

    fn progress(&mut self, step: &'static str, done: u64, total: u64) {
        (self.progress)(step, done, total);
    }

    fn confirm(&mut self, suspicion: Suspicion) -> std::result::Result<bool, Stopped> {
        let job = Job::Confirm(suspicion);
        self.engine.call(|reply| Request::Fsck { job, reply }).map_err(|error| match error {
            EngineError::Store(error) => error.into(),
            _ => Stopped::Cancelled,
        })
    }

    fn mark(&mut self, damage: Vec<Damage>) -> std::result::Result<bool, Stopped> {
        self.engine.mark_damaged(damage).map_err(|error| match error {
            EngineError::Store(error) => error.into(),
            _ => Stopped::Cancelled,
        })
    }

    fn is_cancelled(&mut self) -> bool {
        !(self.go_on)()
    }
}
