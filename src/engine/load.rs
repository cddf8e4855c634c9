//! Bringing back what the catalog knows: the registry at start, an area when it is first touched.
//!
//! Start-up reads one row per repository, version, tag and open area, and no node (H10).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::areas::new_area;
use super::quota::Account;
use super::registry::{DeletedVersion, Registry, Repository, Tag};
use super::staging::Staging;
use super::staging::area::AreaShared;
use super::staging::content::{ContentStore, FileContent};
use super::staging::node::{Base, Body, Directory, Slot};
use super::staging::state::{NewNode, State};
use crate::model::id::{AreaId, NodeId, RepoId, VersionNumber};
use crate::model::name::EntryName;
use crate::model::policy::PolicyState;
use crate::model::quota::{Charge, Usage};
use crate::model::tree::Attributes;
use crate::model::version::Version;
use crate::store::catalog::{AreaRow, AreaState, NodeData, NodeKind, NodeRow, Reader};
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::store::sys;

/// Reads repositories, versions, tags and the names of areas. Returns areas that an earlier run
/// left half-made (imports): they are to be purged.
pub(super) fn load_registry(
    reader: &Reader,
    registry: &Registry,
    staging: &Staging,
) -> Result<Vec<AreaId>, StoreError> {
    let mut leftovers = Vec::new();
    let mut areas: BTreeMap<_, Vec<AreaRow>> = BTreeMap::new();
    for area in reader.areas()? {
        match area.state {
            AreaState::Open => areas.entry(area.repo).or_default().push(area),
            AreaState::Doomed => leftovers.push(area.id),
        }
    }
    for row in reader.repositories()? {
        let open = areas.remove(&row.id).unwrap_or_default();
        let versions = Versions::read(reader, row.id)?;
        let account = Arc::new(Account::default());
        account.set_quota(row.quota);
        let tags = reader.tags(row.id)?;
        let repository = Repository {
            id: row.id,
            name: row.name,
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            created: row.created,
            changed: row.changed,
            next_number: row.next_number,
            versions: versions.live,
            tags: tags
                .into_iter()
                .map(|(name, tag)| {
                    let number = tag.number;
                    (name, Tag { number, protects: tag.protects, created: tag.created })
                })
                .collect(),
            areas: open.iter().map(|area| (area.name.clone(), area.id)).collect(),
            policy: PolicyState::from_text(row.policy.as_deref()),
            account: Arc::clone(&account),
            charges: versions.charges,
            deleted: versions.deleted,
        };
        if let PolicyState::Unreadable { reason, .. } = &repository.policy {
            let name = &repository.name;
            log::error!("the policy of {name} is unreadable, nothing expires: {reason}");
        }
        repository.settle();
        registry.put(repository);
        let charged = open
            .iter()
            .map(|area| Ok((area.id, reader.charged(area.id)?)))
            .collect::<Result<HashMap<AreaId, Usage>, StoreError>>()?;
        staging.change(|state, _| {
            for area in open {
                let account = Arc::clone(&account);
                let shared = AreaShared::new(area.id, area.repo, true, account, area.changed);
                shared.charge.restore(charged.get(&area.id).copied().unwrap_or_default());
                let shared = Arc::new(shared);
                // `@latest` of a repository without versions has a base without a version.
                let base = area
                    .name
                    .base()
                    .map(|_| Base { number: area.base, root: area.base_root.clone() });
                let mut value = new_area(shared, area.name, base, area.created, false);
                value.message = area.message;
                value.author = area.author;
                value.on_stale = area.on_stale;
                state.areas.insert(area.id, value);
            }
        });
    }
    Ok(leftovers)
}

/// The versions of a repository.
#[derive(Default)]
struct Versions {
    live: BTreeMap<VersionNumber, Arc<Version>>,
    charges: BTreeMap<VersionNumber, Charge>,
    deleted: BTreeMap<VersionNumber, DeletedVersion>,
}

impl Versions {
    fn read(reader: &Reader, repo: RepoId) -> Result<Self, StoreError> {
        let mut versions = Self::default();
        for row in reader.versions(repo)? {
            let number = row.version.number;
            let version = Arc::new(row.version);
            versions.charges.extend(row.charge.map(|charge| (number, charge)));
            match row.deleted {
                None => drop(versions.live.insert(number, version)),
                Some(deleted) => {
                    versions.deleted.insert(number, DeletedVersion { version, deleted });
                }
            }
        }
        Ok(versions)
    }
}

/// Reads the nodes and names of an area into memory, once.
///
/// # Errors
/// When the catalog or a private file cannot be read; the area stays unloaded.
pub(super) fn load_area(reader: &Reader, staging: &Staging, id: AreaId) -> Result<(), StoreError> {
    let nodes = reader.nodes(id)?;
    let names = reader.names(id)?;
    let store = Arc::clone(&staging.store);
    let unsealed = staging.change(|state, _| -> Result<_, StoreError> {
        let Some(area) = state.areas.get(&id) else {
            return Ok(Vec::new());
        };
        if area.loaded {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&area.shared);
        let mut contents = HashMap::new();
        for row in &nodes {
            if row.kind == NodeKind::File {
                contents.insert(row.id, content(&store, &shared, row)?);
            }
        }
        let mut unsealed = Vec::new();
        for row in nodes {
            let file = contents.remove(&row.id);
            if let Some(file) = file.as_ref().filter(|file| file.blob().is_err()) {
                unsealed.push(Arc::clone(file));
            }
            insert(state, &shared, row, file);
        }
        link(state, names);
        shared.charge.correct(state.charged(&shared));
        if let Some(area) = state.areas.get_mut(&id) {
            area.loaded = true;
        }
        Ok(unsealed)
    })?;
    for content in unsealed {
        staging.queue_seal(&content);
    }
    Ok(())
}

fn content(
    store: &Arc<ContentStore>,
    area: &Arc<AreaShared>,
    row: &NodeRow,
) -> Result<Arc<FileContent>, StoreError> {
    let (blob, size) = match &row.data {
        NodeData::Blob(hash) => (Some(*hash), row.size),
        NodeData::Private(id) => {
            match reopen(store, area.id, *id) {
                Ok((id, file)) => {
                    let size = file.metadata().map_or(row.size, |metadata| metadata.len());
                    let file = (id, file);
                    let content = FileContent::private(
                        store, area, row.id, file, size, row.mtime, row.ctime,
                    )?;
                    content.assume_synced();
                    return Ok(Arc::new(content));
                }
                // It was never synced, or its name would be on disk: a power loss leaves it empty,
                // as on any file system, and the rest of the area as it was.
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

/// Opens a private file that survived a stop. Where it is also a blob (the stop came between link
/// and journal), writing to it would change the blob: it is copied first (H1).
fn reopen(
    store: &ContentStore,
    area: AreaId,
    id: PrivateId,
) -> Result<(PrivateId, std::fs::File), StoreError> {
    use std::os::unix::fs::MetadataExt;
    let file = store.private_files.open(area, id)?;
    let path = store.private_files.path(area, id);
    let failed = |source| StoreError::Io { action: "reopen", path: path.clone(), source };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.nlink() <= 1 {
        return Ok((id, file));
    }
    let fresh = PrivateId(store.new_id());
    let copy = store.private_files.create(area, fresh)?;
    sys::copy_range(&file, &copy, metadata.len()).map_err(failed)?;
    Ok((fresh, copy))
}

fn insert(state: &mut State, area: &Arc<AreaShared>, row: NodeRow, file: Option<Arc<FileContent>>) {
    let body = match (row.kind, file, &row.data) {
        (NodeKind::File, Some(file), _) => Body::File(file),
        (NodeKind::Directory, _, NodeData::BaseTree(tree)) => {
            Body::Directory(Directory::new(Some(*tree)))
        }
        (NodeKind::Symlink, _, NodeData::Target(target)) => Body::Symlink(target.clone()),
        (NodeKind::CharDevice, _, NodeData::Rdev(rdev)) => Body::CharDevice(*rdev),
        (NodeKind::BlockDevice, _, NodeData::Rdev(rdev)) => Body::BlockDevice(*rdev),
        (NodeKind::Fifo, ..) => Body::Fifo,
        (NodeKind::Socket, ..) => Body::Socket,
        (NodeKind::Directory, ..) => Body::Directory(Directory::new(None)),
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

fn link(state: &mut State, names: Vec<(NodeId, EntryName, Option<NodeId>)>) {
    for (parent, name, node) in names {
        match node {
            None => state.restore_slot(parent, &name, Slot::Whiteout),
            Some(id) if state.node(id).is_some() => {
                state.restore_slot(parent, &name, Slot::Node(id));
            }
            // Its row was never written: it was deleted again before the stop.
            Some(_) => {}
        }
    }
}
