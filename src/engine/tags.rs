//! Tags: names for versions.

use super::error::{EngineError, Result};
use super::event::Event;
use super::gc::RunKind;
use super::registry::Tag;
use super::request::Reply;
use super::thread::MetadataThread;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::catalog::TagRow;

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
        if !repository.versions.contains_key(&number) {
            return Err(EngineError::NoVersion(format!("{}/{number}", repository.name)));
        }
        if fresh && repository.tags.contains_key(tag) {
            return Err(EngineError::TagExists(format!("{}/{tag}", repository.name)));
        }
        let row = TagRow { number, protects: true, created: now };
        self.write(|tx| tx.put_tag(repo, tag, &row))?;
        self.registry.update(repo, |repository| {
            let value = Tag { number, protects: true, created: now };
            repository.tags.insert(tag.clone(), value);
            repository.changed = now;
        });
        Ok(())
    }

    pub(super) fn rename_tag(
        &mut self,
        repo: RepoId,
        from: &TagName,
        to: &TagName,
        now: Timestamp,
    ) -> Result<()> {
        let repository = self.repository(repo)?;
        let tag = repository.tags.get(from).cloned();
        let tag = tag.ok_or_else(|| EngineError::NoTag(format!("{}/{from}", repository.name)))?;
        let row = TagRow { number: tag.number, protects: tag.protects, created: now };
        self.write(|tx| {
            tx.delete_tag(repo, from)?;
            tx.put_tag(repo, to, &row)
        })?;
        self.registry.update(repo, |repository| {
            repository.tags.remove(from);
            repository.tags.insert(to.clone(), Tag { created: now, ..tag });
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
        let deleted = self.repository(repo).and_then(|repository| {
            if !repository.tags.contains_key(tag) {
                return Err(EngineError::NoTag(format!("{}/{tag}", repository.name)));
            }
            self.write(|tx| tx.delete_tag(repo, tag))
        });
        match deleted {
            Ok(_) => {
                self.registry.update(repo, |repository| {
                    repository.tags.remove(tag);
                    repository.changed = now;
                });
                self.trigger(RunKind::ORPHANS);
                self.answer_when_durable(vec![Event::TagChanged(repo, tag.clone())], reply);
            }
            Err(error) => reply(Err(error)),
        }
    }
}
