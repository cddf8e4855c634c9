//! Tags: names for versions.

use super::error::{EngineError, Result};
use super::event::Event;
use super::registry::Tag;
use super::writer::{StoreWriter, repository_row};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::catalog::{RepositoryRow, TagRow};

impl StoreWriter {
    /// Makes or moves a tag; a `fresh` one is not moved.
    pub(super) fn set_tag(
        &mut self,
        repo: RepoId,
        tag: &TagName,
        number: VersionNumber,
        fresh: bool,
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        let repository = self.repository(repo)?;
        // Readers must not see a tag of a version that they do not see yet.
        if !self.published(repo)?.versions.contains_key(&number) {
            return Err(EngineError::NoVersion(format!("{}/{number}", repository.name)));
        }
        if fresh && repository.tags.contains_key(tag) {
            return Err(EngineError::TagExists(format!("{}/{tag}", repository.name)));
        }
        let row = TagRow { number, protects: true, created: now };
        let changed = RepositoryRow { changed: now, ..repository_row(&repository) };
        self.write(|tx| {
            tx.put_tag(repo, tag, &row)?;
            tx.update_repository(&changed)
        })?;
        self.show(repo, |repository| {
            let value = Tag { number, protects: true, created: now };
            repository.tags.insert(tag.clone(), value);
            repository.changed = now;
        });
        self.effects().collect();
        Ok(vec![Event::TagChanged(repo, tag.clone())])
    }

    /// Gives a tag another name. The kernel asked for it and knows the new name, so it need not be told.
    pub(super) fn rename_tag(
        &mut self,
        repo: RepoId,
        from: &TagName,
        to: &TagName,
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        let tag = self.published_tag(repo, from)?;
        let tag = Tag { created: now, ..tag };
        let row = TagRow { number: tag.number, protects: tag.protects, created: now };
        let repository = self.repository(repo)?;
        let changed = RepositoryRow { changed: now, ..repository_row(&repository) };
        self.write(|tx| {
            tx.delete_tag(repo, from)?;
            tx.put_tag(repo, to, &row)?;
            tx.update_repository(&changed)
        })?;
        self.show(repo, |repository| {
            repository.tags.remove(from);
            repository.tags.insert(to.clone(), tag.clone());
            repository.changed = now;
        });
        Ok(Vec::new())
    }

    /// Deletes a tag.
    pub(super) fn delete_tag(
        &mut self,
        repo: RepoId,
        tag: &TagName,
        now: Timestamp,
    ) -> Result<Vec<Event>> {
        self.published_tag(repo, tag)?;
        let repository = self.repository(repo)?;
        let changed = RepositoryRow { changed: now, ..repository_row(&repository) };
        self.write(|tx| {
            tx.delete_tag(repo, tag)?;
            tx.update_repository(&changed)
        })?;
        self.show(repo, |repository| {
            repository.tags.remove(tag);
            repository.changed = now;
        });
        self.effects().collect();
        Ok(vec![Event::TagChanged(repo, tag.clone())])
    }

    /// A tag that readers see. The tag of a commit that is not on disk yet cannot be changed.
    fn published_tag(&self, repo: RepoId, tag: &TagName) -> Result<Tag> {
        let repository = self.published(repo)?;
        let found = repository.tags.get(tag).cloned();
        found.ok_or_else(|| EngineError::NoTag(format!("{}/{tag}", repository.name)))
    }
}
