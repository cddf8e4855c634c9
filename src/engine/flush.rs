//! The journal: rows of changed nodes and names, in group transactions.
//!
//! A batch is taken as one consistent picture of the namespace. It is written once the small
//! files closed before it are sealed (H4), together with the blobs that they became and the
//! reference counts of all its rows. What it makes unnecessary on disk goes after the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blobs::{PendingBlob, write_blobs};
use super::error::EngineError;
use super::pins::BlobPin;
use super::request::Reply;
use super::staging::Blocked;
use super::staging::area::{AreaShared, Phase};
use super::staging::content::FileContent;
use super::staging::node::{Body, Node, Slot};
use super::sync::SyncJob;
use super::thread::MetadataThread;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::store::catalog::{NodeData, NodeKind, NodeRow};
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::store::panics;

/// Ids are reserved in the catalog in steps of this many, so that a crash never reuses one.
pub(super) const ID_STEP: u64 = 1 << 20;

/// Rows written between two looks at the length of the WAL: at one page of 4 KiB for each, some
/// ten megabytes.
const CHECKPOINT_ROWS: usize = 4000;

/// How long blobs wait for what names them before they get rows without references.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// Blobs that may wait so.
const PENDING_MAX: usize = 65_536;

/// Name of the catalog's note: ids below this may be in use.
pub(super) const ID_LIMIT: &str = "id_limit";

/// Row of one node, to be completed when it is written.
#[derive(Debug)]
struct NodeDraft {
    area: Arc<AreaShared>,
    row: NodeRow,
    content: Option<Arc<FileContent>>,
}

/// Rows taken at one instant.
#[derive(Default)]
struct Batch {
    barrier: u64,
    nodes: Vec<NodeDraft>,
    deleted: Vec<(Arc<AreaShared>, NodeId, NodeData)>,
    names: Vec<(Arc<AreaShared>, NodeId, EntryName, Option<Slot>)>,
    /// Set by the first try to write: changes of reference counts.
    references: Option<Vec<(AreaId, BlobHash, i64)>>,
    /// After a try that failed: what it names must not go before it is written.
    pins: Vec<BlobPin>,
    waiters: Vec<Reply<()>>,
}

impl Batch {
    /// The areas that it changes.
    fn areas(&self) -> impl Iterator<Item = &Arc<AreaShared>> {
        let nodes = self.nodes.iter().map(|draft| &draft.area);
        let names = self.names.iter().map(|(area, ..)| area);
        let deleted = self.deleted.iter().map(|(area, ..)| area);
        let areas: BTreeMap<AreaId, &Arc<AreaShared>> =
            nodes.chain(names).chain(deleted).map(|area| (area.id, area)).collect();
        areas.into_values()
    }
}

/// State of the journal.
#[derive(Default)]
pub(super) struct Journal {
    dirty_since: Option<Instant>,
    batch: Option<Batch>,
    waiters: Vec<Reply<()>>,
    pub(super) pending_blobs: BTreeMap<BlobHash, PendingBlob>,
    /// When the first of them came, or some were written last.
    pending_since: Option<Instant>,
    obsolete: Vec<(Arc<FileContent>, PrivateId)>,
    /// Ids below this are reserved in the catalog.
    id_limit: u64,
    rows_since_checkpoint: usize,
    /// When to try again after the store was full.
    pub(super) retry_at: Option<Instant>,
}

impl Journal {
    pub(super) fn new(id_limit: u64) -> Self {
        Self { id_limit, ..Self::default() }
    }

    pub(super) fn note_dirty(&mut self, now: Instant) {
        self.dirty_since.get_or_insert(now);
    }

    pub(super) fn add_waiter(&mut self, reply: Reply<()>) {
        self.waiters.push(reply);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.batch.is_some()
    }

    pub(super) fn has_pending_blobs(&self) -> bool {
        !self.pending_blobs.is_empty()
    }

    pub(super) fn note_pending(&mut self, now: Instant) {
        self.pending_since.get_or_insert(now);
    }

    /// Those have rows now.
    pub(super) fn blobs_written(&mut self, written: &[BlobHash]) {
        for hash in written {
            self.pending_blobs.remove(hash);
        }
        self.pending_since = (!self.pending_blobs.is_empty()).then(Instant::now);
    }

    /// Whether blobs that nothing names so far have waited for long enough, or are too many.
    pub(super) fn is_pending_due(&self, now: Instant) -> bool {
        self.pending_blobs.len() >= PENDING_MAX
            || self.pending_since.is_some_and(|since| now - since >= PENDING_INTERVAL)
    }

    /// Whether a blob waits for its row (or for its touch): the collector leaves it alone.
    pub(super) fn is_pending(&self, hash: &BlobHash) -> bool {
        self.pending_blobs.contains_key(hash)
    }

    pub(super) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        !self.waiters.is_empty()
            || self.dirty_since.is_some_and(|since| now.duration_since(since) >= interval)
    }

    pub(super) fn ignore_barrier(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.barrier = 0;
        }
    }

    pub(super) fn fail_waiters(&mut self, error: impl Fn() -> EngineError) {
        let batch = self.batch.iter_mut().flat_map(|batch| batch.waiters.drain(..));
        for waiter in batch.chain(self.waiters.drain(..)) {
            waiter(Err(error()));
        }
    }
}

impl MetadataThread {
    /// Takes everything that is out of date as one batch.
    pub(super) fn snapshot(&mut self) {
        self.journal.dirty_since = None;
        let mut batch =
            Batch { waiters: std::mem::take(&mut self.journal.waiters), ..Batch::default() };
        self.journal.obsolete.append(&mut self.staging.store.obsolete.lock());
        self.staging.change(|state, dirty| {
            for id in std::mem::take(&mut dirty.nodes) {
                let Some(node) = state.node_mut(id) else {
                    continue;
                };
                if !node.area.journalled {
                    continue;
                }
                let is_root = node.area.id.0 == id.0;
                if node.names.is_empty() && !is_root {
                    if let Some(data) = node.journalled.take() {
                        batch.deleted.push((Arc::clone(&node.area), id, data));
                    }
                    continue;
                }
                let area = Arc::clone(&node.area);
                let content = node.content().cloned();
                batch.nodes.push(NodeDraft { area, row: node_row(id, node), content });
            }
            for ((parent, name), area) in std::mem::take(&mut dirty.names) {
                if !area.journalled {
                    continue;
                }
                let slot = state
                    .node(parent)
                    .and_then(Node::directory)
                    .and_then(|directory| directory.slots.get(&name))
                    .copied();
                batch.names.push((area, parent, name, slot));
            }
            let removed = std::mem::take(&mut dirty.removed);
            batch.deleted.extend(removed.into_iter().filter(|(area, _, _)| area.journalled));
        });
        batch.barrier = self.staging.seal_barrier();
        self.journal.batch = Some(batch);
    }

    /// Writes the batch if what it waits for is done.
    pub(super) fn write_batch(&mut self) -> std::result::Result<(), StoreError> {
        let Some(mut batch) = self.journal.batch.take() else {
            return Ok(());
        };
        panics::point("journal");
        if !self.staging.seal_barrier_reached(batch.barrier) {
            self.journal.batch = Some(batch);
            return Ok(());
        }
        if self.staging.blocked() == Blocked::Poisoned {
            for waiter in batch.waiters {
                waiter(Err(EngineError::Poisoned));
            }
            return Ok(());
        }
        self.drop_closed_areas(&mut batch);
        if batch.references.is_none() {
            batch.references = Some(self.complete(&mut batch));
        }
        if let Err(error) = self.write_rows(&batch) {
            let named = batch.references.iter().flatten().filter(|(_, _, delta)| *delta > 0);
            batch.pins = named.map(|(_, hash, _)| BlobPin::new(&self.pins, *hash)).collect();
            self.journal.batch = Some(batch);
            return Err(error);
        }
        self.journal.retry_at = None;
        self.staging.set_blocked(Blocked::No);
        for draft in &batch.nodes {
            if let Some(content) = &draft.content {
                content.journalled(&draft.row.data);
            }
            if let NodeData::Private(id) = &draft.row.data {
                self.obsolete.named(*id);
            }
        }
        self.remove_obsolete(&batch);
        for waiter in batch.waiters {
            waiter(Ok(()));
        }
        Ok(())
    }

    /// Areas that were published or discarded since, also since the last try, are purged as they
    /// are in the catalog.
    fn drop_closed_areas(&self, batch: &mut Batch) {
        let open: BTreeSet<AreaId> = {
            let state = self.staging.read();
            let areas = state.areas.values().filter(|area| area.phase != Phase::Closed);
            areas.map(|area| area.shared.id).collect()
        };
        batch.nodes.retain(|draft| open.contains(&draft.area.id));
        batch.names.retain(|(area, ..)| open.contains(&area.id));
        batch.deleted.retain(|(area, ..)| open.contains(&area.id));
        if let Some(references) = &mut batch.references {
            references.retain(|(area, ..)| open.contains(area));
        }
    }

    /// Completes the rows with what is saved now, and says how the reference counts change.
    fn complete(&self, batch: &mut Batch) -> Vec<(AreaId, BlobHash, i64)> {
        let mut references = Vec::new();
        let mut count = |area: AreaId, data: &NodeData, delta: i64| {
            if let NodeData::Blob(hash) = data {
                references.push((area, *hash, delta));
            }
        };
        self.staging.change(|state, _| {
            batch.nodes.retain_mut(|draft| {
                // Deleted since: its row, if it has one, goes with the next batch.
                let Some(node) = state.node_mut(draft.row.id) else {
                    return false;
                };
                if let Some(content) = &draft.content {
                    let saved = content.saved();
                    draft.row.data = saved.data;
                    draft.row.size = saved.size;
                    draft.row.mtime = saved.mtime;
                    draft.row.ctime = saved.ctime;
                }
                if let Some(old) = node.journalled.replace(draft.row.data.clone()) {
                    count(draft.area.id, &old, -1);
                }
                count(draft.area.id, &draft.row.data, 1);
                true
            });
        });
        for (area, _, data) in &batch.deleted {
            count(area.id, data, -1);
        }
        references
    }

    fn write_rows(&mut self, batch: &Batch) -> std::result::Result<(), StoreError> {
        let now = Timestamp::now();
        let next_id = self.staging.store.next_id.load(std::sync::atomic::Ordering::Relaxed);
        let raise = next_id + ID_STEP / 2 > self.journal.id_limit;
        let limit = if raise { next_id + ID_STEP } else { self.journal.id_limit };
        let mut references = BTreeMap::new();
        for (_, hash, delta) in batch.references.iter().flatten() {
            *references.entry(*hash).or_insert(0) += delta;
        }
        references.retain(|_, delta| *delta != 0);
        let pending = &self.journal.pending_blobs;
        let written: Vec<BlobHash> =
            references.keys().filter(|hash| pending.contains_key(*hash)).copied().collect();
        let tx = self.store.catalog.begin()?;
        for draft in &batch.nodes {
            tx.put_node(draft.area.id, &draft.row)?;
        }
        for (area, id, _) in &batch.deleted {
            tx.delete_node(area.id, *id)?;
        }
        for (area, parent, name, slot) in &batch.names {
            match slot {
                Some(Slot::Node(node)) => tx.put_name(area.id, *parent, name, Some(*node))?,
                Some(Slot::Whiteout) => tx.put_name(area.id, *parent, name, None)?,
                None => tx.delete_name(area.id, *parent, name)?,
            }
        }
        write_blobs(&tx, pending, &written, references, now)?;
        for area in batch.areas() {
            area.note_changed(now.seconds);
            tx.touch_area(area.id, now.seconds)?;
        }
        if raise {
            tx.set_meta(ID_LIMIT, &limit.to_string())?;
        }
        tx.commit()?;
        self.note_written(batch.nodes.len() + batch.names.len() + written.len());
        self.journal.blobs_written(&written);
        self.journal.id_limit = limit;
        Ok(())
    }

    /// Has the WAL looked at after every so many rows, so that it stays short without any fsync.
    pub(super) fn note_written(&mut self, rows: usize) {
        self.journal.rows_since_checkpoint += rows;
        if self.journal.rows_since_checkpoint >= CHECKPOINT_ROWS {
            self.journal.rows_since_checkpoint = 0;
            self.sync(SyncJob::Checkpoint);
        }
    }

    /// Removes private files that neither a row nor a content needs.
    fn remove_obsolete(&mut self, batch: &Batch) {
        let named: BTreeSet<(AreaId, PrivateId)> = batch
            .nodes
            .iter()
            .filter_map(|draft| match &draft.row.data {
                NodeData::Private(id) => Some((draft.area.id, *id)),
                _ => None,
            })
            .collect();
        for (content, id) in std::mem::take(&mut self.journal.obsolete) {
            let journalled = self.staging.read().node(content.node).is_some_and(
                |node| matches!(&node.journalled, Some(NodeData::Private(row)) if *row == id),
            );
            if content.needs_private(id) || named.contains(&(content.area.id, id)) || journalled {
                // Comes back when the content lets go of it, or with the next batch.
                if journalled && !content.needs_private(id) {
                    self.staging.store.obsolete.lock().push((content, id));
                }
                continue;
            }
            self.file_obsolete(content.area.id, id);
        }
    }
}

/// The row of a node; of a regular file without its content.
fn node_row(id: NodeId, node: &Node) -> NodeRow {
    let (kind, data) = match &node.body {
        Body::File(_) => (NodeKind::File, NodeData::Empty),
        Body::Directory(directory) => {
            (NodeKind::Directory, directory.base.map_or(NodeData::Empty, NodeData::BaseTree))
        }
        Body::Symlink(target) => (NodeKind::Symlink, NodeData::Target(target.clone())),
        Body::Fifo => (NodeKind::Fifo, NodeData::Empty),
        Body::Socket => (NodeKind::Socket, NodeData::Empty),
        Body::CharDevice(rdev) => (NodeKind::CharDevice, NodeData::Rdev(*rdev)),
        Body::BlockDevice(rdev) => (NodeKind::BlockDevice, NodeData::Rdev(*rdev)),
    };
    NodeRow {
        id,
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        ctime: node.ctime,
        xattrs: node.xattrs.clone(),
        size: 0,
        data,
        charged: node.is_charged(),
    }
}
