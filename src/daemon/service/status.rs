//! The store at a glance.

use std::sync::Arc;

use super::errors::control_error;
use super::gc::describe_run;
use super::{Answer, StoreService, health, quota};
use crate::control::fsck::{ScrubInfo, ScrubResult};
use crate::control::reply::Reply;
use crate::control::status::{GuardKind, StatusReply};
use crate::control::utc::{Ended, NextRun};
use crate::engine::gc::protection_limit;
use crate::engine::poison::Blocked;
use crate::engine::registry::Repository;
use crate::engine::scrub::{self, Scrub};
use crate::fuse::guard::Watch;
use crate::model::time::Timestamp;
use crate::store::FORMAT;
use crate::store::layout::shown;

impl StoreService {
    /// Versions whose deletion can be undone, of deleted repositories as well.
    fn deleted_versions(&self, repositories: &[Arc<Repository>]) -> u64 {
        let retired = self.engine.registry.deleted();
        let retired = retired.iter().map(|(repository, _)| repository);
        repositories.iter().chain(retired).map(|r| r.deleted.size() as u64).sum()
    }

    pub(super) fn status(&self) -> Answer {
        let limit = protection_limit(Timestamp::now(), self.engine.gc_options.protect_seconds);
        let (totals, doomed, due, orphans) = self
            .engine
            .query(|reader| {
                let (due, all) = (reader.orphan_totals(limit)?, reader.orphan_totals(i64::MAX)?);
                Ok((reader.totals()?, reader.deletion_queue_len()?, due.1, all.1))
            })
            .map_err(control_error)?;
        let (running, last) = self.engine.query(scrub::noted).map_err(control_error)?;
        let (damaged, repositories) = (totals.damaged, self.engine.registry.all());
        let areas = repositories
            .iter()
            .flat_map(|repository| {
                let areas = repository.areas.iter();
                areas.filter_map(|(name, id)| self.area_info(repository, name, *id))
            })
            .collect();
        let blocked = self.engine.staging.poison.blocked();
        let poisoned = (blocked == Blocked::Poisoned).then(|| health::POISONED.to_owned());
        let last_run = self.engine.last_run();
        let quotas: Vec<_> = repositories
            .iter()
            // The use of areas in repositories without a quota need not be known here.
            .map(|repository| quota::describe(repository))
            .filter(quota::is_near_limit)
            .collect();
        let space = self.engine.space().ok();
        let last_run = last_run.as_ref();
        let seen = health::Seen { blocked, damaged, space, last_run, repositories: &repositories };
        let mut status = StatusReply {
            store: shown(self.engine.layout.root()).display().to_string(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon_pid: self.facts.pid,
            mount: self.facts.mount.as_ref().map(|path| path.display().to_string()),
            read_only: self.facts.read_only,
            guard: guard(self.facts.watch.get()),
            repositories: repositories.len() as u64,
            versions: repositories.iter().map(|r| r.versions.size() as u64).sum(),
            blobs: totals.blobs,
            blobs_bytes: totals.bytes,
            trees: totals.trees,
            free_bytes: space.map_or(0, |space| space.available_bytes()),
            areas,
            doomed,
            poisoned,
            last_run: last_run.map(describe_run),
            next_run: last_run.and_then(|report| report.next_full).map(NextRun::at),
            reclaimable_bytes: due,
            protected_bytes: orphans.saturating_sub(due),
            deleted_versions: self.deleted_versions(&repositories),
            partial_files: 0,
            partial_bytes: 0,
            absent: self.engine.absent_count().map_err(control_error)?,
            fetching: 0,
            waiting_reads: 0,
            failed_fetches: 0,
            cached_bytes: None,
            cache_size_bytes: None,
            edge: self.edge_info()?,
            problems: self.problems(&seen, &quotas),
            quotas,
            scrub: scrub_info(running, last, damaged),
        };
        self.count_partial_files(&mut status);
        #[cfg(feature = "net")]
        self.count_fetches(&mut status);
        Ok(Reply::Status(Box::new(status)))
    }
}

fn guard(watch: Watch) -> Option<GuardKind> {
    match watch {
        Watch::Nothing => None,
        Watch::Detaches => Some(GuardKind::Detaches),
        Watch::Ends => Some(GuardKind::Ends),
    }
}

fn scrub_info(running: Option<Scrub>, last: Option<Scrub>, damaged: u64) -> ScrubInfo {
    ScrubInfo {
        running_permille: running.map(|scrub| scrub.done_permille()),
        last: last.filter(|scrub| scrub.blobs > 0).map(result),
        damaged,
    }
}

fn result(scrub: Scrub) -> ScrubResult {
    ScrubResult {
        ended: Ended::at(scrub.noted),
        blobs: scrub.blobs,
        hashed_bytes: scrub.bytes,
        damaged: scrub.damaged,
    }
}
