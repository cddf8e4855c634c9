//! Repositories, versions and tags as readers see them.
//!
//! The metadata thread is the only writer and enters a version here only once it is durable, so
//! whatever a reader finds is complete and stays after a power loss. Readers clone `Arc`s out and
//! hold no lock while they work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, RwLock};

use super::quota::Account;
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::{AreaName, BaseName, RepoName, TagName};
use crate::model::policy::PolicyState;
use crate::model::quota::Charge;
use crate::model::time::Timestamp;
use crate::model::version::Version;

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The version it points at.
    pub number: VersionNumber,
    /// Whether it protects the version: made with `ln -s` or `cairn tag`, not at commit (N6, N10).
    pub protects: bool,
    /// When it was made or last moved.
    pub created: Timestamp,
}

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
    /// When a version or tag was last added or removed: the directory's mtime.
    pub changed: Timestamp,
    /// The number that the next version gets.
    pub next_number: VersionNumber,
    /// Published versions.
    pub versions: BTreeMap<VersionNumber, Arc<Version>>,
    /// Tags; `latest` is not among them, it is [`Repository::latest`].
    pub tags: BTreeMap<TagName, Tag>,
    /// Open staging areas.
    pub areas: BTreeMap<AreaName, AreaId>,
    /// What is kept when nobody decides.
    pub policy: PolicyState,
    /// Quota and usage.
    pub account: Arc<Account>,
    /// What versions add to the ones before them, as far as it was computed.
    pub charges: BTreeMap<VersionNumber, Charge>,
    /// Deleted versions whose deletion can still be undone.
    pub deleted: BTreeMap<VersionNumber, DeletedVersion>,
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

    /// The newest version before `number`.
    pub fn before(&self, number: VersionNumber) -> Option<&Arc<Version>> {
        self.versions.range(..number).next_back().map(|(_, version)| version)
    }

    /// A version whose charge was computed against another version than the one before it, or
    /// never.
    pub fn uncharged(&self) -> Option<VersionNumber> {
        let mut before = VersionNumber(0);
        for number in self.versions.keys() {
            let charge = self.charges.get(number);
            if charge.is_none_or(|charge| charge.base != before) {
                return Some(*number);
            }
            before = *number;
        }
        None
    }

    /// Tells the account what the versions use.
    pub(super) fn settle(&self) {
        let live = self.charges.iter().filter(|(number, _)| self.versions.contains_key(number));
        self.account.set_versions(live.map(|(_, charge)| charge.usage).sum());
    }

    /// The tag that keeps a version from being deleted, if there is one.
    pub fn protecting_tag(&self, number: VersionNumber) -> Option<&TagName> {
        let tag = self.tags.iter().find(|(_, tag)| tag.number == number && tag.protects);
        tag.map(|(name, _)| name)
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
    by_id: HashMap<RepoId, Arc<Repository>>,
    by_name: BTreeMap<RepoName, RepoId>,
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
        if let Some(repository) = index.by_id.get_mut(&id) {
            let repository = Arc::make_mut(repository);
            change(repository);
            repository.settle();
        }
        drop(index);
        self.wake_waiters();
    }

    /// Removes a repository. Called by the metadata thread only.
    pub(crate) fn remove(&self, id: RepoId) {
        let mut index = self.index.write();
        if let Some(repository) = index.by_id.remove(&id) {
            index.by_name.remove(&repository.name);
        }
        drop(index);
        self.wake_waiters();
    }
}
