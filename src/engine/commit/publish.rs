//! The last step of a commit: one O(1) transaction, then its durability, then its visibility.

use std::sync::Arc;

use super::{
    CommitOutcome, CommitTask, Commits, check_fresh, check_place, refuse, resolve_on_stale,
};
use crate::engine::after::After;
use crate::engine::areas::{area_row, queue_area_deletion};
use crate::engine::blobs::{Blobs, DURABLE_EPOCH};
use crate::engine::durability::Durable;
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::known::Unpublished;
use crate::engine::now::Now;
use crate::engine::registry::{Repository, Tag};
use crate::engine::staging::area::Phase;
use crate::engine::writer::{StoreWriter, repository_row};
use crate::metrics::COUNTERS;
use crate::model::id::{AreaId, VersionNumber};
use crate::model::on_stale::OnStale;
use crate::model::quota::{Charge, Usage};
use crate::model::tree::Root;
use crate::model::tree_format::root_hash;
use crate::model::version::Version;
use crate::store::catalog::{RepositoryRow, TagRow};

/// What a commit comes to.
enum Conclusion {
    /// Another version was published while this one was built: it must be merged again, with that one.
    BuildAgain,
    /// A new version, and what it adds.
    New(Box<(Version, Charge)>),
    /// Nothing changed since the newest version: its number stays, and it gets the name.
    Unchanged(Arc<Version>),
}

impl Commits {
    /// Ends a commit whose trees and content are on disk: with a version, or refused; or has it built
    /// again.
    pub(super) fn publish(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        task: CommitTask,
        built: (Root, Usage),
        epoch: u64,
    ) {
        let concluded = writer.repository(task.repo).and_then(|repository| {
            let conclusion = conclude(writer, &task, &repository, built)?;
            blobs.write_changed(writer, Now::read())?;
            write_conclusion(writer, blobs, &task, &repository, &conclusion, epoch)?;
            Ok((repository, conclusion))
        });
        match concluded {
            Err(error) => refuse(writer, task, error),
            Ok((_, Conclusion::BuildAgain)) => self.build(writer, task),
            Ok((repository, Conclusion::New(new))) => {
                published_new(writer, task, &repository, *new)
            }
            Ok((repository, Conclusion::Unchanged(latest))) => {
                published_unchanged(writer, task, &repository, latest);
            }
        }
    }
}

fn conclude(
    writer: &StoreWriter,
    task: &CommitTask,
    repository: &Repository,
    (root, usage): (Root, Usage),
) -> Result<Conclusion> {
    check_place(repository, &task.options)?;
    let latest = repository.latest().cloned();
    let moved = latest.as_ref().map(|version| version.number) != task.newest;
    let (area_base, area_message, area_author, area_on_stale) = {
        let state = writer.staging().read();
        let area = state.areas.get(&task.area).ok_or_else(|| EngineError::NoArea(task.area))?;
        let base = area.base.clone();
        (base, area.message.clone(), area.author.clone(), area.on_stale)
    };
    match resolve_on_stale(&task.options, area_on_stale) {
        OnStale::Force => {}
        OnStale::Merge if moved => return Ok(Conclusion::BuildAgain),
        OnStale::Merge => {}
        OnStale::Refuse => {
            if let Some(base) = &area_base {
                check_fresh(repository, base.number)?;
            }
        }
    }
    let hash = root_hash(&root);
    if let Some(latest) = latest.filter(|latest| latest.hash == hash)
        && !task.options.allow_empty
        && task.options.number.is_none()
        && task.options.copy.is_none()
    {
        log::info!("{}: nothing changed since version {}", repository.name, latest.number);
        return Ok(Conclusion::Unchanged(latest));
    }
    let mut version = Version {
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
    if let Some(copy) = &task.options.copy {
        copy.give_to(&mut version)?;
    }
    check_quota(writer, repository, task.area, usage)?;
    let base = task.newest.unwrap_or(VersionNumber(0));
    Ok(Conclusion::New(Box::new((version, Charge { base, usage }))))
}

/// Whether the quota allows the version. Its space was reserved while it was written, except for what no
/// write took: a renamed directory of the base, for example, adds to the version what is below it.
fn check_quota(
    writer: &StoreWriter,
    repository: &Repository,
    area: AreaId,
    version: Usage,
) -> Result<()> {
    let account = &repository.account;
    let taken = {
        let state = writer.staging().read();
        state.areas.get(&area).map(|area| area.shared.charge.taken()).unwrap_or_default()
    };
    let before = account.usage();
    let after = Usage {
        bytes: (before.bytes - taken.bytes).saturating_add(version.bytes),
        files: (before.files - taken.files).saturating_add(version.files),
    };
    let grows = version.bytes > taken.bytes || version.files > taken.files;
    if grows && !account.quota().allows(after) {
        return Err(EngineError::OverQuota(repository.name.clone()));
    }
    Ok(())
}

/// The last transaction of a commit. From here on the area's rows are only purged; the journal
/// writes no more of them.
fn write_conclusion(
    writer: &mut StoreWriter,
    blobs: &mut Blobs,
    task: &CommitTask,
    repository: &Repository,
    conclusion: &Conclusion,
    epoch: u64,
) -> Result<()> {
    let (new, number, next_number) = match conclusion {
        Conclusion::BuildAgain => return Ok(()),
        Conclusion::New(new) => {
            let number = new.0.number;
            let next_number = repository.next_number.max(VersionNumber(number.0 + 1));
            (Some(&**new), number, next_number)
        }
        Conclusion::Unchanged(latest) => (None, latest.number, repository.next_number),
    };
    let (repo, changed) = (task.repo, task.options.now);
    let area_row = {
        let state = writer.staging().read();
        state.areas.get(&task.area).map(area_row)
    };
    let area_row = area_row.ok_or_else(|| EngineError::NoArea(task.area))?;
    let row = RepositoryRow { next_number, changed, ..repository_row(repository) };
    writer.write(|tx| {
        if let Some((version, charge)) = new {
            tx.insert_version(repo, version)?;
            tx.add_tree_refs(&version.root.tree, 1)?;
            tx.set_charge(repo, version.number, charge)?;
        }
        if let Some(tag) = &task.options.tag {
            tx.put_tag(repo, tag, &TagRow { number, protects: false, created: changed })?;
        }
        tx.update_repository(&row)?;
        tx.set_meta(DURABLE_EPOCH, &epoch.to_string())?;
        queue_area_deletion(tx, &area_row)
    })?;
    blobs.note_durable(epoch);
    writer.staging().change(|state, _| {
        if let Some(area) = state.areas.get_mut(&task.area) {
            area.phase = Phase::Closed;
        }
    });
    Ok(())
}

fn published_new(
    writer: &mut StoreWriter,
    task: CommitTask,
    repository: &Repository,
    (version, charge): (Version, Charge),
) {
    let version = Arc::new(version);
    let number = version.number;
    let unpublished = Unpublished { task: task.id, area: task.area, created: Some(number) };
    writer.hold_back(repository, unpublished, |repository| {
        repository.next_number = repository.next_number.max(VersionNumber(number.0 + 1));
        repository.changed = task.options.now;
        repository.versions.set_charge(number, charge);
        repository.versions.insert(Arc::clone(&version));
        name_version(repository, &task, number);
    });
    publish_when_durable(writer, task, CommitOutcome { version, created: true });
}

fn published_unchanged(
    writer: &mut StoreWriter,
    task: CommitTask,
    repository: &Repository,
    latest: Arc<Version>,
) {
    let unpublished = Unpublished { task: task.id, area: task.area, created: None };
    writer.hold_back(repository, unpublished, |repository| {
        repository.changed = task.options.now;
        name_version(repository, &task, latest.number);
    });
    publish_when_durable(writer, task, CommitOutcome { version: latest, created: false });
}

/// Shows the version and answers, once the transaction is on disk. Until then only this thread
/// knows of it, through [`StoreWriter::repository`].
fn publish_when_durable(writer: &mut StoreWriter, task: CommitTask, outcome: CommitOutcome) {
    let registry = Arc::clone(writer.registry());
    let staging = Arc::clone(writer.staging());
    let observer = Arc::clone(writer.observer());
    let CommitTask { id, repo, area, reply, options, .. } = task;
    let (caller, tag) = (options.caller, options.tag);
    let shared = {
        let state = staging.read();
        state.areas.get(&area).map(|area| Arc::clone(&area.shared))
    };
    let publish = Box::new(move |synced: Result<Repository>| {
        let visible = match synced {
            Ok(visible) => visible,
            Err(error) => {
                // Operations that waited for this commit go on, and find that changes are refused.
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
            COUNTERS.commits.add(1);
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
    writer.effects().when_durable(Durable::Rows, After::Publish { repo, task: id, publish });
}

/// Gives the version the name that the commit was asked for with.
fn name_version(repository: &mut Repository, task: &CommitTask, number: VersionNumber) {
    if let Some(tag) = task.options.tag.clone() {
        let created = task.options.now;
        repository.tags.insert(tag, Tag { number, protects: false, created });
    }
}
