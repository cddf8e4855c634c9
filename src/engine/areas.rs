//! Repositories and staging areas: made, changed, thrown away.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::error::{EngineError, Result};
use super::event::Event;
use super::provisional;
use super::quota::AreaCharge;
use super::registry::{Repository, Tags, Versions};
use super::staging::area::{AreaShared, Phase};
use super::staging::lost::Lost;
use super::staging::node::{Area, Base, Body, Directory};
use super::staging::state::NewNode;
use super::writer::{StoreWriter, repository_row};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::kind::FileKind;
use crate::model::name::{AreaName, BaseName, RepoName};
use crate::model::on_stale::OnStale;
use crate::model::policy::PolicyState;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Root, Xattrs};
use crate::store::catalog::{AreaRow, AreaState, NodeData, NodeRow, QueuedDeletion, Tx};
use crate::store::error::StoreError;

/// Areas that may be open in one repository: each is in memory, and in every listing.
pub const REPOSITORY_AREAS_MAX: usize = 4096;

/// Areas that may be open in all.
const AREAS_MAX: usize = 16 * REPOSITORY_AREAS_MAX;

/// Owner and mode of a directory being made.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What changes of a repository's directory; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnerChange {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// What the coming commit of an area uses (H19); `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AreaNotes {
    /// Message.
    pub message: Option<String>,
    /// Author.
    pub author: Option<String>,
    /// What to do when the base is stale.
    pub on_stale: Option<OnStale>,
}

impl StoreWriter {
    pub(super) fn create_repository(
        &mut self,
        name: RepoName,
        owner: Owner,
        provisional: bool,
        now: Timestamp,
    ) -> Result<(RepoId, Vec<Event>)> {
        if self.registry().by_name(name.as_str()).is_some() {
            return Err(EngineError::RepositoryExists(name));
        }
        let mut repository = Repository {
            id: RepoId(0),
            name,
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
            created: now,
            changed: now,
            next_number: VersionNumber(1),
            versions: Versions::default(),
            tags: Tags::default(),
            areas: RedBlackTreeMapSync::default(),
            policy: PolicyState::None,
            account: Arc::default(),
            deleted: RedBlackTreeMapSync::default(),
        };
        let registry = Arc::clone(self.registry());
        let id = self.write(|tx| {
            let id = tx.insert_repository(&repository_row(&repository))?;
            if provisional {
                provisional::add(tx, &registry, id)?;
            }
            Ok(id)
        })?;
        repository.id = id;
        self.registry().put(repository);
        Ok((id, vec![Event::RepositoryAdded(id)]))
    }

    pub(super) fn change_repository(
        &mut self,
        id: RepoId,
        change: OwnerChange,
        now: Timestamp,
    ) -> Result<((), Vec<Event>)> {
        let repository = self.repository(id)?;
        let mut row = repository_row(&repository);
        row.mode = change.mode.unwrap_or(row.mode);
        row.uid = change.uid.unwrap_or(row.uid);
        row.gid = change.gid.unwrap_or(row.gid);
        row.changed = now;
        self.write(|tx| tx.update_repository(&row))?;
        self.show(id, |repository| {
            repository.mode = row.mode;
            repository.uid = row.uid;
            repository.gid = row.gid;
            repository.changed = row.changed;
        });
        Ok(((), vec![Event::RepositoryChanged(id)]))
    }

    pub(super) fn delete_repository(
        &mut self,
        id: RepoId,
        now: Timestamp,
    ) -> Result<((), Vec<Event>)> {
        let repository = self.repository(id)?;
        if !repository.versions.is_empty() || !repository.areas.is_empty() {
            return Err(EngineError::RepositoryNotEmpty {
                name: repository.name.clone(),
                versions: repository.versions.size(),
                areas: repository.areas.size(),
            });
        }
        self.write(|tx| {
            for tag in repository.tags.keys() {
                tx.delete_tag(id, tag)?;
            }
            provisional::remove(tx, id)?;
            tx.retire_repository(id, now.seconds)
        })?;
        // Its content is collected when the protection time is over.
        self.effects().collect();
        self.registry().retire(Arc::clone(&repository), now.seconds);
        Ok(((), vec![Event::RepositoryRemoved(repository)]))
    }

    /// Opens an area: one row, whatever the size of its base (N4).
    pub(super) fn open_area(
        &mut self,
        repo: RepoId,
        name: &AreaName,
        owner: Owner,
        journalled: bool,
        now: Timestamp,
    ) -> Result<AreaId> {
        let repository = self.repository(repo)?;
        if repository.areas.contains_key(name) {
            return Err(EngineError::AreaExists(name.clone()));
        }
        if journalled {
            check_number(repository.areas.size(), self.staging().read().areas.len())?;
        }
        let base = find_base(&repository, name)?;
        let root = base.as_ref().and_then(|base| base.root.clone());
        let id = AreaId(self.staging().store.new_id());
        let charge = AreaCharge::new(Arc::clone(&repository.account));
        let shared = Arc::new(AreaShared::new(id, repo, journalled, charge, now.seconds));
        let area = new_area(shared, name.clone(), base, now, true);
        let new = new_root(root.as_ref(), owner, now);
        self.write(|tx| {
            tx.insert_area(&area_row(&area))?;
            if let Some(root) = &root {
                tx.add_tree_refs(&root.tree, 1)?;
            }
            if journalled {
                // In the same transaction as the area: one without its root could not be entered.
                tx.put_node(id, &root_row(area.root, &new))?;
            }
            Ok(())
        })?;
        self.staging().change(|state, _| {
            let data = root_row(area.root, &new).data;
            state.insert(area.root, Arc::clone(&area.shared), new, true);
            if let Some(node) = state.node_mut(area.root).filter(|_| journalled) {
                node.journalled = Some(data);
            }
            state.areas.insert(id, area);
        });
        if journalled {
            self.show(repo, |repository| {
                repository.areas.insert_mut(name.clone(), id);
            });
        }
        Ok(id)
    }

    pub(super) fn note_area(&mut self, id: AreaId, notes: AreaNotes) -> Result<()> {
        let row = self.staging().change(|state, _| {
            let area = state.areas.get_mut(&id)?;
            if let Some(message) = notes.message {
                area.message = message;
            }
            if let Some(author) = notes.author {
                area.author = author;
            }
            if let Some(on_stale) = notes.on_stale {
                area.on_stale = on_stale;
            }
            Some(area_row(area))
        });
        let row = row.ok_or_else(|| EngineError::NoArea(id))?;
        self.write(|tx| tx.update_area(&row))
    }

    /// Throws an area away; its rows and files go in the background.
    pub(super) fn discard(&mut self, id: AreaId) -> Result<Vec<Event>> {
        let found = {
            let state = self.staging().read();
            state.areas.get(&id).map(|area| (area.shared.repo, area.phase, area_row(area)))
        };
        let Some((repo, phase, row)) = found else {
            return Err(EngineError::NoArea(id));
        };
        if phase == Phase::Frozen {
            return Err(EngineError::CommitRunning);
        }
        self.write(|tx| queue_area_deletion(tx, &row))?;
        self.show(repo, |repository| repository.close_area(id));
        let area = self.staging().remove_area(id);
        if let Some(area) = &area {
            area.shared.charge.close();
        }
        self.effects().collect();
        Ok(area.map(|area| Event::AreaChanged(repo, area.name)).into_iter().collect())
    }
}

/// The version that an area's name asks for.
fn find_base(repository: &Repository, name: &AreaName) -> Result<Option<Base>> {
    let Some(wanted) = name.base() else { return Ok(None) };
    let version = repository.resolve(&wanted);
    if version.is_none() && wanted != BaseName::Latest {
        return Err(EngineError::NoVersion(format!("{}/{wanted}", repository.name)));
    }
    Ok(Some(Base {
        number: version.map(|version| version.number),
        root: version.map(|version| version.root.clone()),
    }))
}

/// The root directory of a new area: that of the base, or an empty one that belongs to the caller.
fn new_root(base: Option<&Root>, owner: Owner, now: Timestamp) -> NewNode {
    let (attributes, tree) = match base {
        Some(base) => (base.attributes.clone(), Some(base.tree)),
        None => {
            let Owner { mode, uid, gid } = owner;
            (Attributes { mode, uid, gid, mtime: now, xattrs: Xattrs::new() }, None)
        }
    };
    NewNode { body: Body::Directory(Directory::new(tree)), attributes, ctime: now }
}

fn root_row(id: NodeId, root: &NewNode) -> NodeRow {
    let data = match &root.body {
        Body::Directory(Directory { base: Some(tree), .. }) => NodeData::BaseTree(*tree),
        _ => NodeData::Empty,
    };
    NodeRow {
        id,
        kind: FileKind::Directory,
        mode: root.attributes.mode,
        uid: root.attributes.uid,
        gid: root.attributes.gid,
        mtime: root.attributes.mtime,
        ctime: root.ctime,
        xattrs: root.attributes.xattrs.clone(),
        size: 0,
        data,
        charged: false,
    }
}

/// An area whose root node is in memory.
pub(super) fn new_area(
    shared: Arc<AreaShared>,
    name: AreaName,
    base: Option<Base>,
    created: Timestamp,
    loaded: bool,
) -> Area {
    Area {
        root: NodeId(shared.id.0),
        shared,
        name,
        base,
        created,
        message: String::new(),
        author: String::new(),
        on_stale: OnStale::default(),
        error: String::new(),
        loaded,
        lost: Lost::default(),
        phase: Phase::Open,
        groups: std::collections::BTreeMap::new(),
    }
}

/// Queues an area for purging; it does not come back at the next start.
pub(super) fn queue_area_deletion(
    tx: &Tx<'_>,
    row: &AreaRow,
) -> std::result::Result<(), StoreError> {
    tx.update_area(&AreaRow { state: AreaState::Deleted, ..row.clone() })?;
    tx.queue_deletion(&QueuedDeletion::Area(row.id))
}

pub(super) fn area_row(area: &Area) -> AreaRow {
    AreaRow {
        id: area.shared.id,
        repo: area.shared.repo,
        name: area.name.clone(),
        state: if area.shared.journalled { AreaState::Open } else { AreaState::Deleted },
        base: area.base.as_ref().and_then(|base| base.number),
        base_root: area.base.as_ref().and_then(|base| base.root.clone()),
        created: area.created,
        message: area.message.clone(),
        author: area.author.clone(),
        on_stale: area.on_stale,
        changed: area.shared.changed(),
    }
}

/// Whether one more area may be opened, given how many the repository and the store have.
fn check_number(repository: usize, all: usize) -> Result<()> {
    if repository >= REPOSITORY_AREAS_MAX {
        return Err(EngineError::TooManyAreas { areas: repository });
    }
    if all >= AREAS_MAX {
        return Err(EngineError::TooManyAreas { areas: all });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_limited_for_one_and_for_all() {
        check_number(REPOSITORY_AREAS_MAX - 1, AREAS_MAX - 1).unwrap();
        for (repository, all) in [(REPOSITORY_AREAS_MAX, 0), (0, AREAS_MAX)] {
            let message = check_number(repository, all).unwrap_err().to_string();
            assert!(message.contains("open already"), "{message}");
        }
    }
}
