//! What is known of a repository, and what of it readers see: [`crate::engine::known`].

use std::sync::Arc;

use super::StoreWriter;
use crate::engine::after::TaskId;
use crate::engine::error::{EngineError, Result};
use crate::engine::known::Unpublished;
use crate::engine::registry::Repository;
use crate::model::id::RepoId;

impl StoreWriter {
    /// A repository as the catalog has it, with what readers do not see yet.
    pub(in crate::engine) fn repository(&self, id: RepoId) -> Result<Arc<Repository>> {
        let known = self.known.repository(&self.registry, id);
        known.ok_or_else(|| EngineError::NoRepository(id))
    }

    /// A repository as readers see it: nobody may delete or change what is not durable yet.
    pub(in crate::engine) fn published(&self, id: RepoId) -> Result<Arc<Repository>> {
        self.registry.by_id(id).ok_or_else(|| EngineError::NoRepository(id))
    }

    /// Makes a change that the catalog has: to what readers see, and to what is known beyond it.
    pub(in crate::engine) fn show(&mut self, repo: RepoId, change: impl Fn(&mut Repository)) {
        self.registry.update(repo, &change);
        self.known.change(repo, change);
    }

    /// Notes what a commit changed that the catalog has and readers are not to see yet.
    pub(in crate::engine) fn hold_back(
        &mut self,
        repository: &Repository,
        unpublished: Unpublished,
        change: impl FnOnce(&mut Repository),
    ) {
        self.known.hold_back(repository, unpublished, change);
    }

    /// The flush of a commit is done: what readers are to see of the repository now.
    pub(in crate::engine) fn reveal(&mut self, repo: RepoId, task: TaskId) -> Option<Repository> {
        self.known.let_go(repo, task)
    }

    /// Nothing waits to be seen any more: the store refuses changes.
    pub(in crate::engine) fn forget_unpublished(&mut self) {
        self.known.clear();
    }
}
