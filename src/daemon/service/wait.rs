//! Waiting for the next version of a repository (H25).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Answer, StoreService, describe};
use crate::control::protocol::{ControlError, ErrorKind, WAIT_SECONDS_MAX};
use crate::control::reply::Reply;
use crate::control::wait::WaitReply;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;

impl StoreService {
    pub(super) fn wait(
        &self,
        name: &RepoName,
        after: Option<VersionNumber>,
        seconds: u64,
    ) -> Answer {
        // A command that opened the store by itself keeps everybody else from publishing, so
        // waiting is in vain.
        let seconds = if self.owned { 0 } else { seconds.min(WAIT_SECONDS_MAX) };
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let newest = self.repository(name)?.latest().map_or(0, |version| version.number.0);
        let after = after.unwrap_or(VersionNumber(newest));
        let next = VersionNumber(after.0.saturating_add(1));
        loop {
            let seen = self.engine.registry.changes();
            let repository = self.repository(name)?;
            let found = repository.versions.range(next..).next();
            if let Some((_, version)) = found {
                let version = Some(describe::version(&repository, version));
                return Ok(Reply::Waited(WaitReply { after, version }));
            }
            if self.owned {
                let message = format!("{name} has no version after {after}, and none can come");
                return Err(ControlError::new(ErrorKind::Failed, message)
                    .with_hint("no daemon serves the store: start one with `cairn mount`"));
            }
            if self.stopping.load(Ordering::SeqCst) {
                return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping"));
            }
            if Instant::now() >= deadline {
                return Ok(Reply::Waited(WaitReply { after, version: None }));
            }
            self.engine.registry.wait_for_change(seen, deadline);
        }
    }

    /// Waits until no job runs any more, for a while. To be called when the store is about to be closed.
    pub fn wait_for_jobs(&self) {
        #[cfg(feature = "net")]
        self.jobs.wait();
    }

    /// Has no content fetched for readers any more, and lets go of those who wait for it: they keep the mount busy.
    pub fn stop_fetching(&self) {
        #[cfg(feature = "net")]
        self.lazy.stop();
    }

    /// Has the cache of fetched content looked at, which its size, its remotes or a reclaim may have changed.
    pub fn look_at_cache(&self) {
        #[cfg(feature = "net")]
        self.lazy.look_at_cache();
    }

    /// Ends all waiting and all jobs, since the daemon is about to stop.
    pub fn stop_waiting(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.engine.registry.wake_waiters();
        #[cfg(feature = "net")]
        self.jobs.stop();
        #[cfg(feature = "net")]
        if let Some(edge) = self.edge_state.get() {
            edge.stop();
        }
        self.stop_fetching();
    }
}
