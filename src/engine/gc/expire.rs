//! Retention: versions and areas that a policy lets go.
//!
//! One version or area that cannot be deleted does not keep the others (G11).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::protection_limit;
use crate::engine::error::Result;
use crate::engine::registry::{DeletedVersion, Repository};
use crate::engine::staging::Staging;
use crate::engine::staging::area::Phase;
use crate::engine::thread::MetadataThread;
use crate::model::id::{AreaId, RepoId};
use crate::model::name::AreaName;
use crate::model::policy::{Policy, PolicyState};
use crate::model::retention::{self, Decision};
use crate::model::time::Timestamp;
use crate::store::catalog::QueuedDeletion;

/// Deleted versions given up per slice: a row and a queue entry each.
const VERSIONS_PER_SLICE: u32 = 64;

impl MetadataThread {
    /// Applies the policy of one repository.
    pub(super) fn expire(&mut self, repo: RepoId) {
        let Some(repository) = self.writer.registry().by_id(repo) else { return };
        let policy = match &repository.policy {
            PolicyState::None => return,
            PolicyState::Set(policy) => *policy,
            PolicyState::Unreadable { reason, .. } => {
                let name = &repository.name;
                let what = format!("the policy of {name} is unreadable, nothing expires: {reason}");
                return self.gc.fail(what);
            }
        };
        let now = Timestamp::now();
        for Decision { number, keep, reason } in repository.decide(&policy, now) {
            if keep {
                continue;
            }
            let name = format!("{}/{number}", repository.name);
            match self.writer.hide(&repository, &BTreeSet::from([number]), now) {
                Ok(events) => {
                    log::info!("{name} expired: {reason}");
                    self.writer.notify(events, Box::new(|| ()));
                    self.gc.report(|report| report.versions += 1);
                }
                Err(error) => {
                    self.gc.fail(format!("{name} expired and cannot be deleted: {error}"));
                }
            }
        }
        if let Err(error) = self.date_areas_back(&repository, &policy, now) {
            let name = &repository.name;
            self.gc.fail(format!("the areas of {name} keep times in the future: {error}"));
        }
        self.expire_areas(&repository, &policy, now);
    }

    /// Areas that were changed while the clock was ahead were changed now.
    fn date_areas_back(
        &mut self,
        repository: &Repository,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<()> {
        if policy.expire_areas_seconds.is_none() {
            return Ok(());
        }
        let ahead: Vec<_> = {
            let state = self.writer.staging().read();
            let open = repository.areas.values().filter_map(|id| state.areas.get(id));
            let ahead = open.filter(|area| area.shared.changed() > now.seconds);
            ahead.map(|area| Arc::clone(&area.shared)).collect()
        };
        for area in ahead {
            self.writer.write(|tx| tx.touch_area(area.id, now.seconds))?;
            area.note_changed(now.seconds);
        }
        Ok(())
    }

    fn expire_areas(&mut self, repository: &Arc<Repository>, policy: &Policy, now: Timestamp) {
        for (_, area) in repository.idle_areas(self.writer.staging(), policy, now) {
            match self.writer.discard(area) {
                Ok(events) => {
                    log::info!("a staging area of {} expired: {area}", repository.name);
                    self.writer.notify(events, Box::new(|| ()));
                    self.gc.report(|report| report.areas += 1);
                }
                Err(error) => {
                    let what = "expired and cannot be discarded";
                    self.gc.fail(format!("staging area {area} {what}: {error}"));
                }
            }
        }
    }

    /// Versions that were deleted while the clock was ahead were deleted now; `false` when there
    /// are no more of them.
    fn date_deletions_back(&mut self, now: Timestamp) -> Result<bool> {
        let ahead = self.writer.write(|tx| {
            let ahead = tx.versions_deleted_after(now.seconds, VERSIONS_PER_SLICE)?;
            for (repo, number) in &ahead {
                tx.date_deletion(*repo, *number, now.seconds)?;
            }
            Ok(ahead)
        })?;
        for (repo, number) in &ahead {
            self.writer.show(*repo, |repository| {
                if let Some(deleted) = repository.deleted.get(number).cloned() {
                    let deleted = DeletedVersion { deleted: now.seconds, ..deleted };
                    repository.deleted.insert_mut(*number, deleted);
                }
            });
        }
        for (repository, _) in self.retired(|seconds| seconds > now.seconds) {
            self.writer.write(|tx| tx.date_retirement(repository.id, now.seconds))?;
            self.writer.registry().retire(repository, now.seconds);
        }
        Ok(!ahead.is_empty())
    }

    fn retired(&self, when: impl Fn(i64) -> bool) -> Vec<(Arc<Repository>, i64)> {
        let deleted = self.writer.registry().deleted().into_iter();
        deleted.filter(|(_, seconds)| when(*seconds)).collect()
    }

    /// Gives deleted repositories up whose time is over.
    fn release_repositories(&mut self, limit: i64) -> Result<()> {
        for (repository, _) in self.retired(|seconds| seconds <= limit) {
            // One of its versions may have been deleted later than it by a clock that went back.
            if repository.deleted.is_empty() {
                self.writer.write(|tx| tx.forget_repository(repository.id))?;
                self.writer.registry().forget(repository.id);
            }
        }
        Ok(())
    }

    /// Gives some deleted versions up; `false` when none is left to give up now.
    pub(super) fn release_versions(&mut self) -> Result<bool> {
        let now = Timestamp::now();
        let limit = protection_limit(now, self.protect_seconds());
        if limit < now.seconds && self.date_deletions_back(now)? {
            return Ok(true);
        }
        let released = self.writer.write(|tx| {
            let versions = tx.versions_deleted_by(limit, VERSIONS_PER_SLICE)?;
            for (repo, number) in &versions {
                if let Some(version) = tx.remove_version(*repo, *number)? {
                    tx.queue_deletion(&QueuedDeletion::Tree(version.root.tree))?;
                }
            }
            Ok(versions)
        })?;
        for (repo, number) in &released {
            self.writer.show(*repo, |repository| {
                repository.deleted.remove_mut(number);
                repository.versions.forget_charge(*number);
            });
        }
        if released.is_empty() {
            self.release_repositories(limit)?;
        }
        Ok(!released.is_empty())
    }
}

impl Repository {
    /// What a policy does with the versions, newest first.
    pub fn decide(&self, policy: &Policy, now: Timestamp) -> Vec<Decision> {
        let versions = self.versions.values();
        let tagged = versions.map(|version| (&**version, self.protecting_tag(version.number)));
        retention::decide(tagged, policy, now)
    }

    /// Areas that nobody changed for as long as the policy says, and nobody is about to. Those of
    /// imports and exports end with their connection.
    pub fn idle_areas(
        &self,
        staging: &Staging,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<(AreaName, AreaId)> {
        let Some(limit) = policy.expire_areas_seconds else { return Vec::new() };
        let limit = now.seconds.saturating_sub(i64::try_from(limit).unwrap_or(i64::MAX));
        let state = staging.read();
        let open = self.areas.iter().filter_map(|(name, id)| Some((name, state.areas.get(id)?)));
        open.filter(|(_, area)| area.shared.journalled)
            .filter(|(_, area)| area.phase == Phase::Open && area.shared.writers() == 0)
            .filter(|(_, area)| area.shared.changed() < limit)
            .map(|(name, area)| (name.clone(), area.shared.id))
            .collect()
    }
}
