//! Versions after their publication: deleted, brought back, released, locked; and the policy and the quota
//! of a repository.
//!
//! A deletion is one row change (N11): the version is out of sight at once, its tree stays for the
//! protection time, so that the deletion can be undone (H25), and is then taken apart in slices.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::{EngineError, Result};
use super::event::Event;
use super::load::count_areas;
use super::registry::{DeletedVersion, Repository, Tag};
use super::writer::{StoreWriter, repository_row};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::{RepoName, TagName};
use crate::model::policy::{Policy, PolicyState, RuleChanges};
use crate::model::quota::Quota;
use crate::model::time::Timestamp;
use crate::model::version::Version;
use crate::store::catalog::{RepositoryRow, TagRow};

/// Changes of a version's class; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlagChange {
    /// Whether it is released.
    pub released: Option<bool>,
    /// Whether it is locked.
    pub locked: Option<bool>,
}

impl StoreWriter {
    /// Deletes versions: all, or none when one is protected.
    pub(super) fn delete_versions(
        &mut self,
        repo: RepoId,
        numbers: &[VersionNumber],
        force: bool,
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        self.make_room();
        let numbers: BTreeSet<VersionNumber> = numbers.iter().copied().collect();
        let repository = self.published(repo)?;
        for number in &numbers {
            check_deletable(&repository, *number, force)?;
        }
        let events = self.hide(&repository, &numbers, now)?;
        self.effects().collect();
        Ok(events)
    }

    /// Takes versions out of sight, with the tags that point at them.
    pub(super) fn hide(
        &mut self,
        repository: &Arc<Repository>,
        numbers: &BTreeSet<VersionNumber>,
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        let repo = repository.id;
        let known = self.repository(repo)?;
        let tags: Vec<TagName> =
            numbers.iter().flat_map(|number| known.tags.of(*number)).cloned().collect();
        let changed = RepositoryRow { changed: now, ..repository_row(&known) };
        self.write(|tx| {
            for number in numbers {
                tx.delete_version(repo, *number, now.seconds)?;
            }
            for tag in &tags {
                tx.delete_tag(repo, tag)?;
            }
            tx.update_repository(&changed)
        })?;
        self.show(repo, |repository| {
            for number in numbers {
                if let Some(version) = repository.versions.remove(*number) {
                    let deleted = DeletedVersion { version, deleted: now.seconds };
                    repository.deleted.insert_mut(*number, deleted);
                }
            }
            for tag in &tags {
                repository.tags.remove(tag);
            }
            repository.changed = now;
        });
        self.effects().expect_accounting(repo);
        let mut events: Vec<Event> =
            numbers.iter().map(|number| Event::VersionRemoved(repo, *number)).collect();
        events.extend(tags.into_iter().map(|tag| Event::TagChanged(repo, tag)));
        Ok(events)
    }

    /// Brings deleted versions back: all or none.
    pub(super) fn undelete_versions(
        &mut self,
        repo: RepoId,
        numbers: &[VersionNumber],
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        let repository = self.repository(repo)?;
        let mut versions: Vec<Arc<Version>> = Vec::new();
        for number in numbers {
            let found = repository
                .deleted
                .get(number)
                .ok_or_else(|| EngineError::NotDeleted(format!("{}/{number}", repository.name)))?;
            versions.push(Arc::clone(&found.version));
        }
        let mut names: Vec<(TagName, VersionNumber)> = Vec::new();
        for version in &versions {
            let free = version.name.clone().filter(|name| {
                !repository.tags.contains_key(name) && names.iter().all(|(other, _)| other != name)
            });
            names.extend(free.map(|name| (name, version.number)));
        }
        let changed = RepositoryRow { changed: now, ..repository_row(&repository) };
        self.write(|tx| {
            for version in &versions {
                tx.undelete_version(repo, version.number)?;
            }
            for (name, number) in &names {
                tx.put_tag(repo, name, &TagRow { number: *number, protects: false, created: now })?;
            }
            tx.update_repository(&changed)
        })?;
        self.show(repo, |repository| {
            for version in &versions {
                repository.deleted.remove_mut(&version.number);
                repository.versions.insert(Arc::clone(version));
            }
            for (name, number) in &names {
                let tag = Tag { number: *number, protects: false, created: now };
                repository.tags.insert(name.clone(), tag);
            }
            repository.changed = now;
        });
        self.effects().expect_accounting(repo);
        let mut events: Vec<Event> =
            versions.iter().map(|version| Event::VersionAdded(repo, version.number)).collect();
        events.extend(names.into_iter().map(|(name, _)| Event::TagChanged(repo, name)));
        Ok(events)
    }

    /// Brings a deleted repository back, with every version that can be. Returns their numbers, too.
    pub(super) fn restore_repository(
        &mut self,
        name: &RepoName,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Vec<VersionNumber>)> {
        let deleted = self.registry().deleted_by_name(name);
        let deleted = deleted.ok_or_else(|| EngineError::NotDeleted(name.to_string()))?;
        if self.registry().by_name(name.as_str()).is_some() {
            return Err(EngineError::NameTaken(name.clone()));
        }
        let repo = deleted.id;
        let mut repository = Repository::clone(&deleted);
        for (number, gone) in &deleted.deleted {
            repository.deleted.remove_mut(number);
            repository.versions.insert(Arc::clone(&gone.version));
            // Where two versions had the same tag, the newer one gets it, as if the tag had been moved.
            if let Some(tag) = gone.version.name.clone() {
                repository.tags.insert(tag, Tag { number: *number, protects: false, created: now });
            }
        }
        repository.changed = now;
        let row = repository_row(&repository);
        self.write(|tx| {
            tx.restore_repository(repo)?;
            for number in repository.versions.keys() {
                tx.undelete_version(repo, *number)?;
            }
            for (tag, Tag { number, protects, created }) in repository.tags.iter() {
                let row = TagRow { number: *number, protects: *protects, created: *created };
                tx.put_tag(repo, tag, &row)?;
            }
            tx.update_repository(&row)
        })?;
        let numbers: Vec<VersionNumber> = repository.versions.keys().copied().collect();
        self.registry().forget(repo);
        repository.settle();
        self.registry().put(repository);
        self.effects().expect_accounting(repo);
        Ok((vec![Event::RepositoryAdded(repo)], numbers))
    }

    /// Releases or locks versions, or takes that back: all or none.
    pub(super) fn flag_versions(
        &mut self,
        repo: RepoId,
        numbers: &[VersionNumber],
        change: FlagChange,
    ) -> Result<Vec<Event>> {
        let repository = self.published(repo)?;
        let mut changed = Vec::new();
        for number in numbers {
            let version = repository
                .versions
                .get(number)
                .ok_or_else(|| EngineError::NoVersion(format!("{}/{number}", repository.name)))?;
            let mut version = Version::clone(version);
            version.released = change.released.unwrap_or(version.released);
            version.locked = change.locked.unwrap_or(version.locked);
            changed.push(Arc::new(version));
        }
        self.write(|tx| {
            for version in &changed {
                let Version { number, released, locked, .. } = &**version;
                tx.update_version_flags(repo, *number, *released, *locked)?;
            }
            Ok(())
        })?;
        self.show(repo, |repository| {
            for version in &changed {
                repository.versions.insert(Arc::clone(version));
            }
        });
        Ok(Vec::new())
    }

    /// Sets or clears the policy.
    pub(super) fn set_policy(
        &mut self,
        repo: RepoId,
        policy: Option<Policy>,
    ) -> Result<Vec<Event>> {
        let repository = self.repository(repo)?;
        let text = policy.as_ref().map(Policy::to_text);
        let row = RepositoryRow { policy: text, ..repository_row(&repository) };
        self.write(|tx| tx.update_repository(&row))?;
        self.show(repo, |repository| {
            repository.policy = policy.map_or(PolicyState::None, PolicyState::Set);
        });
        Ok(Vec::new())
    }

    /// Changes rules of the policy as it is now: two that change different rules lose none.
    pub(super) fn change_policy(&mut self, repo: RepoId, rules: RuleChanges) -> Result<Vec<Event>> {
        let repository = self.repository(repo)?;
        let policy = match &repository.policy {
            PolicyState::None => rules.applied(Policy::default()),
            PolicyState::Set(policy) => rules.applied(*policy),
            PolicyState::Unreadable { .. } => {
                return Err(EngineError::UnreadablePolicy(repository.name.clone()));
            }
        };
        self.set_policy(repo, policy)
    }

    /// Sets the quota; what is used already stays.
    pub(super) fn set_quota(&mut self, repo: RepoId, quota: Quota) -> Result<Vec<Event>> {
        let repository = self.repository(repo)?;
        // A quota needs to know what the areas take, which is not counted before.
        count_areas(self.reader(), self.staging(), &repository)?;
        let row = RepositoryRow { quota, ..repository_row(&repository) };
        self.write(|tx| tx.update_repository(&row))?;
        repository.account.set_quota(quota);
        Ok(Vec::new())
    }
}

/// Whether a version may be deleted (N11).
fn check_deletable(repository: &Repository, number: VersionNumber, force: bool) -> Result<()> {
    let Some(version) = repository.versions.get(&number) else {
        return Err(EngineError::NoVersion(format!("{}/{number}", repository.name)));
    };
    let protected =
        |reason: String, force_helps| Err(EngineError::Protected { number, reason, force_helps });
    if version.locked {
        return protected("locked".to_owned(), false);
    }
    if force {
        return Ok(());
    }
    if version.released {
        return protected("released".to_owned(), true);
    }
    if repository.latest().is_some_and(|latest| latest.number == number) {
        return protected("the newest version".to_owned(), true);
    }
    if let Some(tag) = repository.protecting_tag(number) {
        return protected(format!("pointed at by tag `{tag}`"), true);
    }
    Ok(())
}
