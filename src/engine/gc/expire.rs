//! Retention: versions and areas that a policy lets go.
//!
//! If one version or area cannot be deleted, the others are deleted nevertheless (G11).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Collector, protection_limit};
use crate::engine::error::Result;
use crate::engine::registry::{DeletedVersion, Repository};
use crate::engine::staging::Staging;
use crate::engine::staging::area::Phase;
use crate::engine::writer::StoreWriter;
use crate::model::id::{AreaId, RepoId};
use crate::model::name::AreaName;
use crate::model::policy::{Policy, PolicyState};
use crate::model::retention::{self, Decision};
use crate::model::time::Timestamp;
use crate::store::catalog::QueuedDeletion;

/// Deleted versions given up per slice: a row and a queue entry each.
const VERSIONS_PER_SLICE: u32 = 64;

impl Collector {
    /// Applies the policy of one repository.
    pub(super) fn expire(&mut self, writer: &mut StoreWriter, repo: RepoId, now: Timestamp) {
        let Some(repository) = writer.registry().by_id(repo) else { return };
        let policy = match &repository.policy {
            PolicyState::None => return,
            PolicyState::Set(policy) => *policy,
            PolicyState::Unreadable { reason, .. } => {
                let name = &repository.name;
                let what = format!("the policy of {name} is unreadable, nothing expires: {reason}");
                return self.fail(what);
            }
        };
        for Decision { number, keep, reason } in repository.decide(&policy, now) {
            if keep {
                continue;
            }
            let name = format!("{}/{number}", repository.name);
            match writer.hide(&repository, &BTreeSet::from([number]), now) {
                Ok(events) => {
                    log::info!("{name} expired: {reason}");
                    writer.notify(events, Box::new(|| ()));
                    self.report(|report| report.versions += 1);
                }
                Err(error) => {
                    self.fail(format!("{name} expired and cannot be deleted: {error}"));
                }
            }
        }
        if let Err(error) = date_areas_back(writer, &repository, &policy, now) {
            let name = &repository.name;
            self.fail(format!("the areas of {name} keep times in the future: {error}"));
        }
        self.expire_areas(writer, &repository, &policy, now);
    }

    fn expire_areas(
        &mut self,
        writer: &mut StoreWriter,
        repository: &Repository,
        policy: &Policy,
        now: Timestamp,
    ) {
        for (_, area) in repository.idle_areas(writer.staging(), policy, now) {
            match writer.discard(area) {
                Ok(events) => {
                    log::info!("a staging area of {} expired: {area}", repository.name);
                    writer.notify(events, Box::new(|| ()));
                    self.report(|report| report.areas += 1);
                }
                Err(error) => {
                    let what = "expired and cannot be discarded";
                    self.fail(format!("staging area {area} {what}: {error}"));
                }
            }
        }
    }

    /// Gives some deleted versions up; `false` when none is left to give up now.
    pub(super) fn release_versions(
        &self,
        writer: &mut StoreWriter,
        now: Timestamp,
    ) -> Result<bool> {
        let limit = protection_limit(now, self.protect_seconds());
        if limit < now.seconds && date_deletions_back(writer, now)? {
            return Ok(true);
        }
        let released = writer.write(|tx| {
            let versions = tx.versions_deleted_by(limit, VERSIONS_PER_SLICE)?;
            for (repo, number) in &versions {
                if let Some(version) = tx.remove_version(*repo, *number)? {
                    tx.queue_deletion(&QueuedDeletion::Tree(version.root.tree))?;
                }
            }
            Ok(versions)
        })?;
        for (repo, number) in &released {
            writer.show(*repo, |repository| {
                repository.deleted.remove_mut(number);
                repository.versions.forget_charge(*number);
            });
        }
        if released.is_empty() {
            release_repositories(writer, limit)?;
        }
        Ok(!released.is_empty())
    }
}

/// Areas whose last change was noted while the clock was ahead are noted as changed now.
fn date_areas_back(
    writer: &mut StoreWriter,
    repository: &Repository,
    policy: &Policy,
    now: Timestamp,
) -> Result<()> {
    if policy.expire_areas_seconds.is_none() {
        return Ok(());
    }
    let ahead: Vec<_> = {
        let state = writer.staging().read();
        let open = repository.areas.values().filter_map(|id| state.areas.get(id));
        let ahead = open.filter(|area| area.shared.changed() > now.seconds);
        ahead.map(|area| Arc::clone(&area.shared)).collect()
    };
    for area in ahead {
        writer.write(|tx| tx.touch_area(area.id, now.seconds))?;
        area.note_changed(now.seconds);
    }
    Ok(())
}

/// Notes versions as deleted now whose deletion was noted while the clock was ahead; `false` when there are
/// no more of them.
fn date_deletions_back(writer: &mut StoreWriter, now: Timestamp) -> Result<bool> {
    let ahead = writer.write(|tx| {
        let ahead = tx.versions_deleted_after(now.seconds, VERSIONS_PER_SLICE)?;
        for (repo, number) in &ahead {
            tx.date_deletion(*repo, *number, now.seconds)?;
        }
        Ok(ahead)
    })?;
    for (repo, number) in &ahead {
        writer.show(*repo, |repository| {
            if let Some(deleted) = repository.deleted.get(number).cloned() {
                let deleted = DeletedVersion { deleted: now.seconds, ..deleted };
                repository.deleted.insert_mut(*number, deleted);
            }
        });
    }
    for (repository, _) in retired(writer, |seconds| seconds > now.seconds) {
        writer.write(|tx| tx.date_retirement(repository.id, now.seconds))?;
        writer.registry().retire(repository, now.seconds);
    }
    Ok(!ahead.is_empty())
}

fn retired(writer: &StoreWriter, when: impl Fn(i64) -> bool) -> Vec<(Arc<Repository>, i64)> {
    let deleted = writer.registry().deleted().into_iter();
    deleted.filter(|(_, seconds)| when(*seconds)).collect()
}

/// Gives deleted repositories up whose time is over.
fn release_repositories(writer: &mut StoreWriter, limit: i64) -> Result<()> {
    for (repository, _) in retired(writer, |seconds| seconds <= limit) {
        // If the clock was set back, one of its versions may seem to have been deleted later than it.
        if repository.deleted.is_empty() {
            writer.write(|tx| tx.forget_repository(repository.id))?;
            writer.registry().forget(repository.id);
        }
    }
    Ok(())
}

impl Repository {
    /// What a policy does with the versions, newest first.
    pub fn decide(&self, policy: &Policy, now: Timestamp) -> Vec<Decision> {
        let versions = self.versions.values();
        let tagged = versions.map(|version| (&**version, self.protecting_tag(version.number)));
        retention::decide(tagged, policy, now)
    }

    /// Areas that nobody changed for as long as the policy says, and that nobody has open for writing. Areas
    /// of imports and exports are not among them: they end with their connection.
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
