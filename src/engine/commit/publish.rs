//! The last step of a commit: one O(1) transaction, then its durability, then its visibility.

use std::sync::Arc;

use super::{CommitOutcome, CommitTask, OnStale, check_fresh, check_place, resolve_on_stale};
use crate::engine::areas::{area_row, queue_area_deletion};
use crate::engine::durability::{DurabilityJob, Scope, Then};
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::known::Unpublished;
use crate::engine::registry::{Repository, Tag};
use crate::engine::request::Request;
use crate::engine::staging::area::Phase;
use crate::engine::thread::{DURABLE_EPOCH, MetadataThread, repository_row};
use crate::model::id::{AreaId, VersionNumber};
use crate::model::name::TagName;
use crate::model::quota::{Charge, Usage};
use crate::model::tree::Root;
use crate::model::tree_format::root_hash;
use crate::model::version::Version;
use crate::store::catalog::{RepositoryRow, TagRow};

impl MetadataThread {
    pub(super) fn publish(
        &mut self,
        id: u64,
        (root, usage): (Root, Usage),
        epoch: u64,
    ) -> Result<()> {
        let Some(task) = self.commits.get(&id) else {
            return Ok(());
        };
        let repository = self.repository(task.repo)?;
        check_place(&repository, &task.options)?;
        let latest = repository.latest().cloned();
        let moved = latest.as_ref().map(|version| version.number) != task.newest;
        let (area_base, area_message, area_author, area_on_stale) = {
            let state = self.staging.read();
            let area = state
                .areas
                .get(&task.area)
                .ok_or_else(|| EngineError::NoArea(task.area.to_string()))?;
            let base = area.base.clone();
            (base, area.message.clone(), area.author.clone(), area.on_stale.clone())
        };
        match resolve_on_stale(&task.options, &area_on_stale) {
            OnStale::Force => {}
            // A version came while this one was built: merge again, with that one.
            OnStale::Merge if moved => {
                self.build(id);
                return Ok(());
            }
            OnStale::Merge => {}
            OnStale::Refuse => {
                if let Some(base) = &area_base {
                    check_fresh(&repository, base.number)?;
                }
            }
        }
        let Some(task) = self.commits.get(&id) else {
            return Ok(());
        };
        let hash = root_hash(&root);
        if let Some(latest) = latest.filter(|latest| latest.hash == hash)
            && !task.options.allow_empty
            && task.options.number.is_none()
        {
            return self.conclude_unchanged(id, latest, epoch);
        }
        let version = Version {
            number: repository.next_number,
            hash,
            root,
            created: task.options.now,
            base: area_base.and_then(|base| base.number),
            name: task.options.tag.clone(),
            author: task.options.author.clone().unwrap_or_else(|| {
                if area_author.is_empty() { task.options.caller.clone() } else { area_author }
            }),
            message: task.options.message.clone().unwrap_or(area_message),
            released: false,
            locked: false,
        };
        self.check_quota(&repository, task.area, usage)?;
        let base = task.newest.unwrap_or(VersionNumber(0));
        self.conclude(id, &repository, Some((version, Charge { base, usage })), epoch)
    }

    /// What the version takes has been reserved while it was written, but for what no write
    /// took: a directory of the base that was renamed is new where it is now.
    fn check_quota(&self, repository: &Repository, area: AreaId, version: Usage) -> Result<()> {
        let account = &repository.account;
        let taken = {
            let state = self.staging.read();
            state.areas.get(&area).map(|area| area.shared.charge.taken()).unwrap_or_default()
        };
        let before = account.usage();
        let after = Usage {
            bytes: (before.bytes - taken.bytes).saturating_add(version.bytes),
            files: (before.files - taken.files).saturating_add(version.files),
        };
        let grows = version.bytes > taken.bytes || version.files > taken.files;
        if grows && !account.quota().allows(after) {
            return Err(EngineError::OverQuota(repository.name.to_string()));
        }
        Ok(())
    }

    /// Nothing changed: no version, no number; the name goes to the version that is there.
    fn conclude_unchanged(&mut self, id: u64, latest: Arc<Version>, epoch: u64) -> Result<()> {
        let Some(task) = self.commits.get(&id) else {
            return Ok(());
        };
        let repository = self.repository(task.repo)?;
        log::info!("{}: nothing changed since version {}", repository.name, latest.number);
        self.conclude(id, &repository, None, epoch)
    }

    /// The last transaction of a commit, and what follows once it is durable.
    fn conclude(
        &mut self,
        id: u64,
        repository: &Arc<Repository>,
        version: Option<(Version, Charge)>,
        epoch: u64,
    ) -> Result<()> {
        let (version, charge) = version.unzip();
        let Some(task) = self.commits.get(&id) else {
            return Ok(());
        };
        let (area, repo, now) = (task.area, task.repo, task.options.now);
        let number = match (&version, repository.latest()) {
            (Some(version), _) => version.number,
            (None, Some(latest)) => latest.number,
            (None, None) => return Ok(()),
        };
        let tag = task.options.tag.clone();
        let next = match &version {
            Some(_) => VersionNumber(number.0 + 1),
            None => repository.next_number,
        };
        let area_row = {
            let state = self.staging.read();
            state.areas.get(&area).map(area_row)
        };
        let area_row = area_row.ok_or_else(|| EngineError::NoArea(area.to_string()))?;
        let row = RepositoryRow { next_number: next, changed: now, ..repository_row(repository) };
        self.write(|tx| {
            if let Some(version) = &version {
                tx.insert_version(repo, version)?;
                tx.add_tree_refs(&version.root.tree, 1)?;
                if let Some(charge) = &charge {
                    tx.set_charge(repo, version.number, charge)?;
                }
            }
            if let Some(tag) = &tag {
                tx.put_tag(repo, tag, &TagRow { number, protects: false, created: now })?;
            }
            tx.update_repository(&row)?;
            tx.set_meta(DURABLE_EPOCH, &epoch.to_string())?;
            queue_area_deletion(tx, &area_row)
        })?;
        self.durable_epoch = self.durable_epoch.max(epoch);
        // From here on the area's rows are only purged; the journal writes no more of them.
        self.staging.change(|state, _| {
            if let Some(area) = state.areas.get_mut(&area) {
                area.phase = Phase::Closed;
            }
        });
        let Some(task) = self.commits.remove(&id) else {
            return Ok(());
        };
        let created = version.map(Arc::new);
        let Some(shown) = created.clone().or_else(|| repository.latest().cloned()) else {
            return Ok(());
        };
        let unpublished =
            Unpublished { task: id, area, created: created.as_ref().map(|version| version.number) };
        let named = tag.clone();
        self.hold_back(repository, unpublished, |repository| {
            repository.next_number = next;
            repository.changed = now;
            if let Some(version) = created.clone() {
                if let Some(charge) = charge {
                    repository.versions.set_charge(version.number, charge);
                }
                repository.versions.insert(version);
            }
            if let Some(tag) = tag {
                repository.tags.insert(tag, Tag { number, protects: false, created: now });
            }
        });
        let outcome = CommitOutcome { version: shown, created: created.is_some() };
        self.publish_when_durable(id, task, outcome, named);
        Ok(())
    }

    /// Shows the version and answers, once the transaction is on disk. Until then only this thread
    /// knows of it, through [`MetadataThread::repository`].
    fn publish_when_durable(
        &mut self,
        id: u64,
        task: CommitTask,
        outcome: CommitOutcome,
        tag: Option<TagName>,
    ) {
        let registry = Arc::clone(&self.registry);
        let staging = Arc::clone(&self.staging);
        let observer = Arc::clone(&self.observer);
        let (repo, area, reply) = (task.repo, task.area, task.reply);
        let caller = task.options.caller;
        let shared = {
            let state = staging.read();
            state.areas.get(&area).map(|area| Arc::clone(&area.shared))
        };
        let publish = Box::new(move |synced: Result<Repository>| {
            let visible = match synced {
                Ok(visible) => visible,
                Err(error) => {
                    // What waits for this commit hears that the store takes nothing.
                    for operation in staging.unpark(area) {
                        observer.notify(Vec::new(), operation);
                    }
                    return reply(Err(error));
                }
            };
            let number = outcome.version.number;
            if let Some(shared) = shared {
                shared.charge.close();
            }
            if outcome.created {
                let named = tag.iter().map(|tag| format!(" as {tag}")).collect::<String>();
                log::info!("published {}/{number}{named}, by {caller}", visible.name);
            }
            registry.update(repo, |repository| *repository = visible);
            let removed = staging.remove_area(area);
            for operation in staging.unpark(area) {
                observer.notify(Vec::new(), operation);
            }
            let mut events = vec![Event::VersionAdded(repo, number)];
            events.extend(tag.map(|tag| Event::TagChanged(repo, tag)));
            events.extend(removed.map(|removed| Event::AreaChanged(repo, removed.name)));
            observer.notify(events, Box::new(move || reply(Ok(outcome))));
        });
        let requests = self.requests_sender.clone();
        let then = Then::new(move |result| {
            drop(requests.send(Request::Publish { repo, task: id, result, publish }));
        });
        self.sync(DurabilityJob::Catalog { scope: Scope::Rows, then });
    }
}
