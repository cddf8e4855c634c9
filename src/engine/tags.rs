//! Tags: names for versions.

use super::error::{EngineError, Result};
use super::event::Event;
use super::gc::RunKind;
use super::registry::Tag;
use super::reply::Reply;
use super::thread::{MetadataThread, repository_row};
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::catalog::{RepositoryRow, TagRow};

impl MetadataThread {
    pub(super) fn set_tag(
        &mut self,
        repo: RepoId,
        tag: &TagName,
        number: VersionNumber,
        fresh: bool,
        now: Timestamp,
        reply: Reply<()>,
    ) {
        match self.put_tag(repo, tag, number, fresh, now) {
            Ok(()) => {
                self.trigger(RunKind::ORPHANS);
                self.answer_when_durable(vec![Event::TagChanged(repo, tag.clone())], reply);
            }
            Err(error) => reply(Err(error)),
        }
    }

    fn put_tag(
        &mut self,
        repo: RepoId,
        tag: &TagName,
        number: VersionNumber,
        fresh: bool,
        now: Timestamp,
    ) -> Result<()> {
        let repository = self.repository(repo)?;
        // Of a version that readers do not see yet they must not see a tag either.
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
        Ok(())
    }

    /// Gives a tag another name. The kernel moves the name itself, so it is told nothing.
    pub(super) fn rename_tag(
        &mut self,
        repo: RepoId,
        from: &TagName,
        to: &TagName,
        now: Timestamp,
        reply: Reply<()>,
    ) {
        match self.move_tag(repo, from, to, now) {
            Ok(()) => self.answer_when_durable(Vec::new(), reply),
            Err(error) => reply(Err(error)),
        }
    }

    fn move_tag(
        &mut self,
        repo: RepoId,
        from: &TagName,
        to: &TagName,
        now: Timestamp,
    ) -> Result<()> {
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
        Ok(())
    }

    pub(super) fn delete_tag(
        &mut self,
        repo: RepoId,
        tag: &TagName,
        now: Timestamp,
        reply: Reply<()>,
    ) {
        match self.remove_tag(repo, tag, now) {
            Ok(()) => {
                self.trigger(RunKind::ORPHANS);
                self.answer_when_durable(vec![Event::TagChanged(repo, tag.clone())], reply);
            }
            Err(error) => reply(Err(error)),
        }
    }

    fn remove_tag(&mut self, repo: RepoId, tag: &TagName, now: Timestamp) -> Result<()> {
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
        Ok(())
    }

    /// A tag that readers see: the name of a commit that nobody has seen is nobody's to change.
    fn published_tag(&self, repo: RepoId, tag: &TagName) -> Result<Tag> {
        let repository = self.published(repo)?;
        let found = repository.tags.get(tag).cloned();
        found.ok_or_else(|| EngineError::NoTag(format!("{}/{tag}", repository.name)))
    }
}
