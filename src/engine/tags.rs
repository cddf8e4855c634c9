//! Tags, and the deletion of versions.

use super::error::{EngineError, Result};
use super::event::Event;
use super::registry::{Repository, Tag};
use super::request::Reply;
use super::sync::{Scope, SyncJob};
use super::thread::MetadataThread;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::catalog::{Doomed, TagRow};

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
            Ok(()) => self.answer_when_durable(vec![Event::TagChanged(repo, tag.clone())], reply),
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
                self.answer_when_durable(vec![Event::TagChanged(repo, tag.clone())], reply);
            }
            Err(error) => reply(Err(error)),
        }
    }

    /// Deletes versions: one row change and one queue entry each; space comes back in slices.
    pub(super) fn delete_versions(
        &mut self,
        repo: RepoId,
        numbers: &[VersionNumber],
        force: bool,
        now: Timestamp,
        reply: Reply<()>,
    ) {
        let deleted = self.repository(repo).and_then(|repository| {
            for number in numbers {
                check_deletable(&repository, *number, numbers, force)?;
            }
            self.write(|tx| {
                for number in numbers {
                    if let Some(version) = tx.delete_version(repo, *number)? {
                        tx.push_doomed(&Doomed::Tree(version.root.tree))?;
                    }
                }
                for (name, tag) in &repository.tags {
                    if numbers.contains(&tag.number) {
                        tx.delete_tag(repo, name)?;
                    }
                }
                Ok(repository)
            })
        });
        let repository = match deleted {
            Ok(repository) => repository,
            Err(error) => return reply(Err(error)),
        };
        let mut events = Vec::new();
        self.registry.update(repo, |repository| {
            repository.versions.retain(|number, _| !numbers.contains(number));
            repository.tags.retain(|_, tag| !numbers.contains(&tag.number));
            repository.changed = now;
        });
        events.extend(numbers.iter().map(|number| Event::VersionRemoved(repo, *number)));
        let tags = repository.tags.iter().filter(|(_, tag)| numbers.contains(&tag.number));
        events.extend(tags.map(|(name, _)| Event::TagChanged(repo, name.clone())));
        self.purge.wake();
        self.answer_when_durable(events, reply);
    }

    /// Makes the WAL durable, then the kernel forget, then answers.
    fn answer_when_durable(&mut self, events: Vec<Event>, reply: Reply<()>) {
        let observer = std::sync::Arc::clone(&self.observer);
        let then = Box::new(move |result: Result<()>| {
            observer.notify(events, Box::new(move || reply(result)));
        });
        self.sync(SyncJob::Catalog { scope: Scope::Rows, then });
    }
}

/// Whether a version may be deleted (N11).
fn check_deletable(
    repository: &Repository,
    number: VersionNumber,
    with: &[VersionNumber],
    force: bool,
) -> Result<()> {
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
    let newest = repository.latest().is_some_and(|latest| latest.number == number);
    if newest && !with.is_empty() {
        return protected("the newest version".to_owned(), true);
    }
    let tag = repository.tags.iter().find(|(_, tag)| tag.number == number && tag.protects);
    if let Some((name, _)) = tag {
        return protected(format!("pointed at by tag `{name}`"), true);
    }
    Ok(())
}
