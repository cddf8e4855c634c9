//! Repositories, versions and tags as readers see them.
//!
//! The metadata thread is the only writer and enters a version here only once it is durable, so
//! whatever a reader finds is complete and stays after a power loss. Readers clone `Arc`s out and
//! hold no lock while they work. The maps of a repository share what did not change, so replacing
//! one that readers hold costs little, however much is in it.

mod tags;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, RwLock};
use rpds::RedBlackTreeMapSync;

use super::quota::Account;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::{AreaName, BaseName, RepoName, TagName};
use crate::model::policy::PolicyState;
use crate::model::time::Timestamp;
use crate::model::version::Version;
pub use tags::{Tag, Tags};
pub use versions::Versions;

/// One repository. Values are replaced, never changed in place.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its id.
    pub id: RepoId,
    /// Its name.
    pub name: RepoName,
    /// Permission bits of its directory in `versions`, `staging` and `tags`.
    pub mode: u16,
    /// Owner of its directory.
    pub uid: u32,
    /// Group of its directory.
    pub gid: u32,
    /// When it was created.
    pub created: Timestamp,
    /// When a version or a tag came or went, or mode, owner or group changed last: the directory's
    /// mtime.
    pub changed: Timestamp,
    /// The number that the next version gets.
    pub next_number: VersionNumber,
    /// Published versions, and what they add to each other.
    pub versions: Versions,
    /// Tags; `latest` is not among them, it is [`Repository::latest`].
    pub tags: Tags,
    /// Open staging areas.
    pub areas: RedBlackTreeMapSync<AreaName, AreaId>,
    /// What is kept when nobody decides.
    pub policy: PolicyState,
    /// Quota and usage.
    pub account: Arc<Account>,
    /// Deleted versions whose deletion can still be undone.
    pub deleted: RedBlackTreeMapSync<VersionNumber, DeletedVersion>,
}

/// A version that was deleted and is kept for a while (H25).
#[derive(Debug, Clone)]
pub struct DeletedVersion {
    /// The version.
    pub version: Arc<Version>,
    /// When it was deleted, in seconds since 1970.
    pub deleted: i64,
}

impl Repository {
    /// The newest version.
    pub fn latest(&self) -> Option<&Arc<Version>> {
        self.versions.values().next_back()
    }

    /// Tells the account what the versions use.
    pub(super) fn settle(&self) {
        self.account.set_versions(self.versions.usage());
    }

    /// The tag that keeps a version from being deleted, if there is one.
    pub fn protecting_tag(&self, number: VersionNumber) -> Option<&TagName> {
        let protects = |name: &&TagName| self.tags.get(*name).is_some_and(|tag| tag.protects);
        self.tags.of(number).iter().find(protects)
    }

    /// Takes an area off the list of open ones.
    pub(super) fn close_area(&mut self, area: AreaId) {
        let name = self.areas.iter().find(|(_, id)| **id == area).map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.areas.remove_mut(&name);
        }
    }

    /// Resolves what a user may call a version. `None` when it does not exist.
    pub fn resolve(&self, name: &BaseName) -> Option<&Arc<Version>> {
        match name {
            BaseName::Latest => self.latest(),
            BaseName::Number(number) => self.versions.get(number),
            BaseName::Tag(tag) => self.tags.get(tag).and_then(|tag| self.versions.get(&tag.number)),
        }
    }
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<RepoId, Arc<Repository>>,
    by_name: BTreeMap<RepoName, RepoId>,
    /// Deleted ones that can be brought back, each with the second of its deletion.
    deleted: BTreeMap<RepoId, (Arc<Repository>, i64)>,
}

/// All repositories.
#[derive(Debug, Default)]
pub struct Registry {
    index: RwLock<Index>,
    /// Counts changes, for those who wait for one.
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Registry {
    /// The repository of that name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Repository>> {
        let name: RepoName = name.parse().ok()?;
        let index = self.index.read();
        index.by_name.get(&name).and_then(|id| index.by_id.get(id)).cloned()
    }

    /// The repository of that id.
    pub fn by_id(&self, id: RepoId) -> Option<Arc<Repository>> {
        self.index.read().by_id.get(&id).cloned()
    }

    /// All repositories in the order of their names.
    pub fn all(&self) -> Vec<Arc<Repository>> {
        let index = self.index.read();
        index.by_name.values().filter_map(|id| index.by_id.get(id)).cloned().collect()
    }

    /// The deleted repositories that can be brought back, each with the second of its deletion.
    pub fn deleted(&self) -> Vec<(Arc<Repository>, i64)> {
        self.index.read().deleted.values().cloned().collect()
    }

    /// The deleted repository of that name; of several, the one that was deleted last.
    pub fn deleted_by_name(&self, name: &RepoName) -> Option<Arc<Repository>> {
        let index = self.index.read();
        let named = index.deleted.values().filter(|(repository, _)| repository.name == *name);
        let last = named.max_by_key(|(repository, seconds)| (*seconds, repository.id));
        last.map(|(repository, _)| Arc::clone(repository))
    }

    /// At most `limit` repositories by id, from `first` on.
    pub fn from_id(&self, first: RepoId, limit: usize) -> Vec<Arc<Repository>> {
        let index = self.index.read();
        index.by_id.range(first..).take(limit).map(|(_, repository)| repository).cloned().collect()
    }

    /// Number of changes so far: read it before looking, to wait for what comes after.
    pub fn changes(&self) -> u64 {
        *self.changes.lock()
    }

    /// Waits until there were more changes than `seen`, or `deadline` has come.
    pub fn wait_for_change(&self, seen: u64, deadline: Instant) {
        let mut changes = self.changes.lock();
        while *changes <= seen {
            if self.changed.wait_until(&mut changes, deadline).timed_out() {
                return;
            }
        }
    }

    /// Lets those who wait look again.
    pub fn wake_waiters(&self) {
        *self.changes.lock() += 1;
        self.changed.notify_all();
    }

    /// Adds a repository or replaces it. Called by the metadata thread only.
    pub(crate) fn put(&self, repository: Repository) {
        let mut index = self.index.write();
        index.by_name.insert(repository.name.clone(), repository.id);
        index.by_id.insert(repository.id, Arc::new(repository));
        drop(index);
        self.wake_waiters();
    }

    /// Changes a repository in place of its old value. Called by the metadata thread only.
    pub(crate) fn update(&self, id: RepoId, change: impl FnOnce(&mut Repository)) {
        let mut index = self.index.write();
        let parts = &mut *index;
        let deleted = parts.deleted.get_mut(&id).map(|(repository, _)| repository);
        if let Some(repository) = parts.by_id.get_mut(&id).or(deleted) {
            let repository = Arc::make_mut(repository);
            change(repository);
            repository.settle();
        }
        drop(index);
        self.wake_waiters();
    }

    /// Puts a repository among the deleted ones, as deleted in that second. Called by the metadata
    /// thread only.
    pub(crate) fn retire(&self, repository: Arc<Repository>, seconds: i64) {
        let mut index = self.index.write();
        if index.by_id.remove(&repository.id).is_some() {
            index.by_name.remove(&repository.name);
        }
        index.deleted.insert(repository.id, (repository, seconds));
        drop(index);
        self.wake_waiters();
    }

    /// Removes a deleted repository: it was given up, or is brought back. Called by the metadata
    /// thread only.
    pub(crate) fn forget(&self, id: RepoId) {
        let mut index = self.index.write();
        index.deleted.remove(&id);
        drop(index);
        self.wake_waiters();
    }
}
