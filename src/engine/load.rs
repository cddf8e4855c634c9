//! Bringing back what the catalog knows: the registry at start, an area when it is first touched.
//!
//! The start reads one row per repository, version, tag and open area. It reads no nodes (H10), except for
//! the areas of repositories with a quota.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::areas::new_area;
use super::quota::{Account, AreaCharge};
use super::registry::{DeletedVersion, Registry, Repository, Tag, Tags, Versions};
use super::staging::Staging;
use super::staging::area::AreaShared;
use super::staging::content::{ContentStore, FileContent};
use super::staging::node::{Base, Body, Directory};
use super::staging::state::{NewNode, State};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::kind::FileKind;
use crate::model::policy::PolicyState;
use crate::model::quota::Usage;
use crate::model::tree::Attributes;
use crate::store::catalog::{AreaRow, AreaState, NodeData, NodeRow, Reader, TagRow};
use crate::store::error::StoreError;

/// Reads repositories, versions, tags and the names of areas. Returns areas that an earlier run
/// left half-made (imports): they are to be purged.
pub(super) fn load_registry(
    reader: &Reader,
    registry: &Registry,
    staging: &Staging,
) -> Result<Vec<AreaId>, StoreError> {
    let mut leftovers = Vec::new();
    let mut areas: BTreeMap<RepoId, Vec<AreaRow>> = BTreeMap::new();
    for area in reader.areas()? {
        match area.state {
            AreaState::Open => areas.entry(area.repo).or_default().push(area),
            AreaState::Deleted => leftovers.push(area.id),
        }
    }
    // One statement for all: one for each repository would cost more than its rows.
    let (mut versions, mut tags) = (versions(reader)?, tags(reader)?);
    let live = reader.repositories()?.into_iter().map(|row| (row, None));
    let deleted = reader.deleted_repositories()?.into_iter().map(|(row, at)| (row, Some(at)));
    for (row, retired) in live.chain(deleted) {
        let (versions, deleted) = versions.remove(&row.id).unwrap_or_default();
        let tags = tags.remove(&row.id).unwrap_or_default();
        let open = areas.remove(&row.id).unwrap_or_default();
        let account = Arc::new(Account::default());
        account.set_quota(row.quota);
        let repository = Repository {
            id: row.id,
            name: row.name,
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            created: row.created,
            changed: row.changed,
            next_number: row.next_number,
            versions,
            tags,
            areas: open.iter().map(|area| (area.name.clone(), area.id)).collect(),
            policy: PolicyState::from_text(row.policy.as_deref()),
            account: Arc::clone(&account),
            deleted,
        };
        if let PolicyState::Unreadable { reason, .. } = &repository.policy {
            let name = &repository.name;
            log::error!("the policy of {name} is unreadable, nothing expires: {reason}");
        }
        repository.settle();
        if !open.is_empty() {
            show_areas(staging, &account, open);
        }
        if !row.quota.is_unlimited() {
            count_areas(reader, staging, &repository)?;
        }
        match retired {
            None => registry.put(repository),
            Some(seconds) => registry.retire(Arc::new(repository), seconds),
        }
    }
    Ok(leftovers)
}

/// Makes open areas of one repository known, without what is in them.
fn show_areas(staging: &Staging, account: &Arc<Account>, open: Vec<AreaRow>) {
    staging.change(|state, _| {
        for area in open {
            let charge = AreaCharge::uncounted(Arc::clone(account));
            let shared = Arc::new(AreaShared::new(area.id, area.repo, true, charge, area.changed));
            // `@latest` of a repository without versions has a base without a version.
            let base =
                area.name.base().map(|_| Base { number: area.base, root: area.base_root.clone() });
            let mut value = new_area(shared, area.name, base, area.created, false);
            value.message = area.message;
            value.author = area.author;
            value.on_stale = area.on_stale;
            state.areas.insert(area.id, value);
        }
    });
}

/// Counts what the areas of a repository take of its quota. For areas that were not counted since the
/// start this looks at each of their nodes.
///
/// # Errors
/// When the catalog cannot be read; what was counted stays.
pub(super) fn count_areas(
    reader: &Reader,
    staging: &Staging,
    repository: &Repository,
) -> Result<(), StoreError> {
    for id in repository.areas.values() {
        let known = |charge: &AreaCharge| charge.is_counted();
        if staging.read().areas.get(id).is_none_or(|area| known(&area.shared.charge)) {
            continue;
        }
        let usage = reader.charged(*id)?;
        // One that was loaded meanwhile has been counted, and may have changed since.
        staging.change(|state, _| {
            if let Some(area) = state.areas.get(id).filter(|area| !area.loaded) {
                area.shared.charge.count(usage);
            }
        });
    }
    Ok(())
}

type VersionsOf = BTreeMap<RepoId, (Versions, RedBlackTreeMapSync<VersionNumber, DeletedVersion>)>;

fn versions(reader: &Reader) -> Result<VersionsOf, StoreError> {
    let mut all = VersionsOf::new();
    for (repo, row) in reader.versions()? {
        let (versions, gone) = all.entry(repo).or_default();
        let number = row.version.number;
        let version = Arc::new(row.version);
        if let Some(charge) = row.charge {
            versions.set_charge(number, charge);
        }
        match row.deleted {
            None => versions.insert(version),
            Some(deleted) => gone.insert_mut(number, DeletedVersion { version, deleted }),
        }
    }
    Ok(all)
}

fn tags(reader: &Reader) -> Result<BTreeMap<RepoId, Tags>, StoreError> {
    let mut all: BTreeMap<RepoId, Tags> = BTreeMap::new();
    for (repo, name, TagRow { number, protects, created }) in reader.tags()? {
        all.entry(repo).or_default().insert(name, Tag { number, protects, created });
    }
    Ok(all)
}

/// Reads the nodes and names of an area into memory, once. Returns what the catalog lost of it, in
/// words.
///
/// # Errors
/// When the catalog or a private file cannot be read; the area stays unloaded.
pub(super) fn load_area(
    reader: &Reader,
    staging: &Staging,
    id: AreaId,
) -> Result<Option<String>, StoreError> {
    let mut nodes = reader.nodes(id)?;
    // In this order: a repair that adds a name in between must not seem to lose one.
    let recorded = reader.name_count(id)?.unwrap_or(0);
    let names = reader.names(id)?;
    let store = Arc::clone(&staging.store);
    correct_sizes(reader, &store, id, &mut nodes)?;
    let (unsealed, lost) = staging.change(|state, _| -> Result<_, StoreError> {
        let Some(area) = state.areas.get(&id).filter(|area| !area.loaded) else {
            return Ok((Vec::new(), None));
        };
        let shared = Arc::clone(&area.shared);
        let mut contents = HashMap::new();
        for row in &nodes {
            if row.kind == FileKind::File {
                contents.insert(row.id, content(&store, &shared, row)?);
            }
        }
        let mut unsealed = Vec::new();
        let ids: Vec<NodeId> = nodes.iter().map(|row| row.id).collect();
        let charged = nodes.iter().filter(|row| row.charged);
        shared.charge.count(charged.map(|row| Usage { bytes: row.size, files: 1 }).sum());
        for row in nodes {
            let file = contents.remove(&row.id);
            if let Some(file) = file.as_ref().filter(|file| file.blob().is_err()) {
                unsealed.push(Arc::clone(file));
            }
            insert(state, &shared, row, file);
        }
        state.restore_names(id, names, recorded);
        shared.charge.correct(state.charged(&ids));
        if let Some(area) = state.areas.get_mut(&id) {
            area.loaded = true;
        }
        Ok((unsealed, state.lost(id)))
    })?;
    for content in unsealed {
        staging.queue_seal(&content);
    }
    Ok(lost)
}

/// Gives files the size of their blob where their row says another one, which damage may have left:
/// they would be read, and published, short or with nothing behind their end. Of two rows that do not
/// agree the one is right that the blob's file agrees with.
fn correct_sizes(
    reader: &Reader,
    store: &ContentStore,
    area: AreaId,
    nodes: &mut [NodeRow],
) -> Result<(), StoreError> {
    for (id, blob, size) in reader.missized(area)? {
        let size = store.pool.size_on_disk(&blob)?.unwrap_or(size);
        let Ok(at) = nodes.binary_search_by_key(&id, |row| row.id) else { continue };
        if nodes[at].size != size {
            log::error!("area {area}: file {id} has {size} bytes, not {}", nodes[at].size);
            nodes[at].size = size;
        }
    }
    Ok(())
}

fn content(
    store: &Arc<ContentStore>,
    area: &Arc<AreaShared>,
    row: &NodeRow,
) -> Result<Arc<FileContent>, StoreError> {
    let (blob, size) = match &row.data {
        NodeData::Blob(name) => (Some(*name), row.size),
        NodeData::Private(id) => {
            // If the last run was killed between making a blob of the file and writing the row, the file
            // is also the blob. Opening it then makes a copy, which is on disk under the private name
            // before anything is written to it (H1).
            match store.private_files.open(area.id, *id) {
                Ok(file) => {
                    let size = file.metadata().map_or(row.size, |metadata| metadata.len());
                    let file = (*id, file);
                    let content = FileContent::private(
                        store, area, row.id, file, size, row.mtime, row.ctime,
                    )?;
                    content.assume_synced();
                    return Ok(Arc::new(content));
                }
                // It was never synced, or its name would be on disk. As on any file system, a power loss
                // leaves such a file empty; the rest of the area is as it was.
                Err(error) if error.is_not_found() => {
                    log::error!("area {}: file {} was lost: {error}", area.id, row.id);
                    (None, 0)
                }
                Err(error) => return Err(error),
            }
        }
        NodeData::Empty | NodeData::BaseTree(_) | NodeData::Target(_) | NodeData::Rdev(_) => {
            (None, 0)
        }
    };
    let content = FileContent::sealed(store, area, row.id, blob, size, row.mtime, row.ctime);
    content.assume_synced();
    Ok(Arc::new(content))
}

fn insert(state: &mut State, area: &Arc<AreaShared>, row: NodeRow, file: Option<Arc<FileContent>>) {
    let body = match (row.kind, file, &row.data) {
        (FileKind::File, Some(file), _) => Body::File(file),
        (FileKind::Directory, _, NodeData::BaseTree(tree)) => {
            Body::Directory(Directory::new(Some(*tree)))
        }
        (FileKind::Symlink, _, NodeData::Target(target)) => Body::Symlink(target.clone()),
        (FileKind::CharDevice, _, NodeData::Rdev(rdev)) => Body::CharDevice(*rdev),
        (FileKind::BlockDevice, _, NodeData::Rdev(rdev)) => Body::BlockDevice(*rdev),
        (FileKind::Fifo, ..) => Body::Fifo,
        (FileKind::Socket, ..) => Body::Socket,
        (FileKind::Directory, ..) => Body::Directory(Directory::new(None)),
        (kind, ..) => {
            log::error!("area {}: node {} ({kind:?}) is unreadable and left out", area.id, row.id);
            return;
        }
    };
    let attributes = Attributes {
        mode: row.mode,
        uid: row.uid,
        gid: row.gid,
        mtime: row.mtime,
        xattrs: row.xattrs,
    };
    let new = NewNode { body, attributes, ctime: row.ctime };
    if state.node(row.id).is_none() {
        state.insert(row.id, Arc::clone(area), new, true);
    }
    if row.charged {
        state.set_charged(row.id);
    }
    if let Some(node) = state.node_mut(row.id) {
        node.journalled = Some(row.data);
    }
}
