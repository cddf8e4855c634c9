//! The guard of a daemon: starting one, and being one.

use std::cell::RefCell;
use std::path::Path;

use super::config::DaemonConfig;
use super::logging::{self, LogFormat};
use crate::fuse::guard::{self, Charge, Guard, WatchState};
use crate::fuse::mount::{MountPlan, Mounted};

/// The program that is running now, even if its file was replaced since.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The guard of a daemon, if it could be started.
pub(super) struct Guarded(RefCell<Option<Guard>>);

impl Guarded {
    /// Starts the guard of the mounts that are planned. A daemon that cannot have one goes on without.
    pub(super) fn start(config: &DaemonConfig, plan: &MountPlan) -> Self {
        let charge = Charge {
            source: plan.source().into(),
            targets: [plan.target.clone(), plan.versions_target()].map(Into::into).into(),
            log: config.log.clone().map(Into::into),
            log_format: config.log_format.name().to_owned(),
        };
        let started = Guard::start(Path::new(THIS_PROGRAM), charge).inspect_err(|error| {
            log::warn!(
                "no guard can be started: mounts stay, dead, if this daemon is killed: {error}"
            );
        });
        Self(RefCell::new(started.ok()))
    }

    /// What it can do, now and later.
    pub(super) fn state(&self) -> WatchState {
        self.0.borrow().as_ref().map(Guard::state).unwrap_or_default()
    }

    /// Has it watch a mount on which nobody answers yet.
    pub(super) fn watch(&self, mount: &Mounted) {
        self.0.borrow().iter().for_each(|guard| guard.watch(mount));
    }

    /// All mounts were taken away: it is not needed any more.
    pub(super) fn end(&self) {
        self.0.take().into_iter().for_each(Guard::end);
    }
}

/// Is a guard, until its daemon has ended. Returns the exit code.
pub fn stand() -> u8 {
    let outcome = match guard::stand() {
        Ok(None) => return 0,
        Ok(Some(outcome)) => outcome,
        Err(_) => return 1,
    };
    // Only now: the log may be where nothing answers.
    let json = outcome.charge.log_format == LogFormat::Json.name();
    logging::start(if json { LogFormat::Json } else { LogFormat::Text });
    if let Some(log) = &outcome.charge.log
        && logging::to_file(Path::new(log)).is_err()
    {
        return 1;
    }
    for target in &outcome.detached {
        log::warn!("the daemon has ended without unmounting: took {} away", target.display());
    }
    for problem in &outcome.problems {
        log::error!("the guard: {problem}");
    }
    u8::from(!outcome.problems.is_empty())
}
