//! The store at a glance.

use std::sync::Arc;

use super::errors::control_error;
use super::gc::{describe_run, unreadable_policy};
use super::{Answer, StoreService, quota};
use crate::control::fsck::{ScrubInfo, ScrubResult};
use crate::control::reply::{Reply, StatusReply};
use crate::engine::REPOSITORY_AREAS_MAX;
use crate::engine::gc::protection_limit;
use crate::engine::registry::Repository;
use crate::engine::scrub::{self, Scrub};
use crate::engine::staging::Blocked;
use crate::model::policy::PolicyState;
use crate::model::time::Timestamp;
use crate::store::FORMAT;
use crate::store::layout::shown;

impl StoreService {
    /// Limits that somebody is about to meet.
    fn nearly_used_up(&self, repositories: &[Arc<Repository>]) -> Vec<String> {
        let slots = &self.engine.staging.store.slots;
        let (open, max) = (slots.open(), slots.max());
        let files = is_near(open, max)
            .then(|| format!("{open} large files are being written, of {max} at a time"));
        let areas = repositories.iter().filter_map(|repository| {
            let areas = repository.areas.size();
            let near = is_near(areas as u64, REPOSITORY_AREAS_MAX as u64);
            let name = &repository.name;
            near.then(|| format!("{name} has {areas} of at most {REPOSITORY_AREAS_MAX} areas"))
        });
        files.into_iter().chain(areas).collect()
    }

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
        let damaged = totals.damaged;
        let repositories = self.engine.registry.all();
        let areas = repositories
            .iter()
            .flat_map(|repository| {
                let areas = repository.areas.iter();
                areas.filter_map(|(name, id)| self.area_info(repository, name, *id))
            })
            .collect();
        let mut warnings = warnings(&repositories, damaged);
        warnings.extend(self.nearly_used_up(&repositories));
        let poisoned = match self.engine.staging.blocked() {
            Blocked::No | Blocked::ReadOnly => None,
            Blocked::Full => {
                warnings.push("the store is full: changes wait until space is freed".to_owned());
                None
            }
            Blocked::Poisoned => {
                Some("a write or flush failed; restart the daemon to go on".to_owned())
            }
        };
        let last_run = self.engine.last_run();
        Ok(Reply::Status(StatusReply {
            store: shown(self.engine.layout.root()).display().to_string(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            daemon_pid: self.facts.pid,
            mount: self.facts.mount.as_ref().map(|path| path.display().to_string()),
            read_only: self.facts.read_only,
            repositories: repositories.len() as u64,
            versions: repositories.iter().map(|r| r.versions.size() as u64).sum(),
            blobs: totals.blobs,
            blobs_bytes: totals.bytes,
            trees: totals.trees,
            free_bytes: self.engine.space().map_or(0, |space| space.available_bytes()),
            areas,
            doomed,
            poisoned,
            last_run: last_run.as_ref().map(describe_run),
            next_run_seconds: last_run.and_then(|report| report.next_full),
            reclaimable_bytes: due,
            protected_bytes: orphans.saturating_sub(due),
            deleted_versions: self.deleted_versions(&repositories),
            quotas: repositories
                .iter()
                // What areas use without a quota may not be known, and is no matter here.
                .map(|repository| quota::describe(repository))
                .filter(quota::is_near_limit)
                .collect(),
            warnings,
            scrub: ScrubInfo {
                running_permille: running.map(|scrub| scrub.done_permille()),
                last: last.filter(|scrub| scrub.blobs > 0).map(result),
                damaged,
            },
        }))
    }
}

/// Whether more than three quarters are in use.
fn is_near(used: u64, max: u64) -> bool {
    used > max / 4 * 3
}

/// What the content and the policies warn of.
fn warnings(repositories: &[Arc<Repository>], damaged: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    if damaged > 0 {
        warnings.push(format!("{damaged} blobs are damaged: `cairn fsck` says what is lost"));
    }
    for repository in repositories {
        if let PolicyState::Unreadable { reason, .. } = &repository.policy {
            warnings.push(unreadable_policy(repository.name.as_str(), reason));
        }
    }
    warnings
}

fn result(scrub: Scrub) -> ScrubResult {
    ScrubResult {
        ended_seconds: scrub.noted,
        blobs: scrub.blobs,
        hashed_bytes: scrub.bytes,
        damaged: scrub.damaged,
    }
}
