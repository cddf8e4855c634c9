//! The journal: rows of changed nodes and names, in group transactions.
//!
//! A batch is one consistent picture of the namespace, without the rows that wait for content (H4,
//! [`super::staging::held`]): those stay out of date and come with a later batch. It is written with
//! the blobs that it names and the reference counts of all its rows. What it makes unnecessary on
//! disk goes after the commit.

mod batch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blobs::{PendingBlob, write_blobs};
use super::error::EngineError;
use super::pins::BlobPin;
use super::poison::Blocked;
use super::reply::Reply;
use super::staging::area::Phase;
use super::staging::content::{DIRTY_AGE_MAX, FileContent};
use super::staging::dirty::Dirty;
use super::staging::held::Held;
use super::staging::node::Slot;
use super::thread::MetadataThread;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::model::time::Timestamp;
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::sys::panics;
use batch::{Batch, Waiter};

/// Ids are reserved in the catalog in steps of this many, so that a crash never reuses one.
pub(super) const ID_STEP: u64 = 1 << 20;

/// How long blobs wait for what names them before they get rows without references.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// Blobs that may wait so.
const PENDING_MAX: usize = 65_536;

/// How often content that rows have waited for too long is saved and looked at again at once: who
/// replaces a file again and again may be faster than one try.
const OVERDUE_TRIES_MAX: u32 = 8;

/// How many times as long as the last look at the rows took no other is taken.
const LOOK_PAUSE_FACTOR: u32 = 8;

/// Name of the catalog's note: ids below this may be in use.
pub(super) const ID_LIMIT: &str = "id_limit";

/// Who waits for closed files to be sealed before a batch that has everything.
struct Sealing {
    waiters: Vec<Reply<()>>,
    /// The files as they were when they came.
    files: Vec<(Arc<FileContent>, u64)>,
}

impl Sealing {
    /// Whether each file is sealed, has changed again, or cannot be sealed.
    fn is_done(&self) -> bool {
        self.files.iter().all(|(content, generation)| {
            content.to_be_sealed() != Some(*generation) || content.area.has_failed(content.node)
        })
    }
}

/// State of the journal.
#[derive(Default)]
pub(super) struct Journal {
    dirty_since: Option<Instant>,
    /// Before that nothing is looked at, unless somebody waits.
    looked_until: Option<Instant>,
    /// One that could not be written yet.
    batch: Option<Batch>,
    waiters: Vec<Waiter>,
    /// Who waits for seals first.
    sealing: Vec<Sealing>,
    pub(super) pending_blobs: BTreeMap<BlobHash, PendingBlob>,
    /// When the first of them came, or some were written last.
    pending_since: Option<Instant>,
    obsolete: Vec<(Arc<FileContent>, PrivateId)>,
    /// Ids below this are reserved in the catalog.
    id_limit: u64,
    /// When to try again after the store was full.
    pub(super) retry_at: Option<Instant>,
}

impl Journal {
    pub(super) fn new(id_limit: u64) -> Self {
        Self { id_limit, ..Self::default() }
    }

    /// Ids below `limit` are reserved in the catalog, if not more are.
    pub(super) fn raise_id_limit(&mut self, limit: u64) {
        self.id_limit = self.id_limit.max(limit);
    }

    pub(super) fn note_dirty(&mut self, now: Instant) {
        self.dirty_since.get_or_insert(now);
    }

    /// Tells `reply` when everything is written that is out of date now, but for what cannot be
    /// saved.
    pub(super) fn wait_for_all(&mut self, reply: Reply<()>) {
        self.waiters.push(Waiter::All(reply));
    }

    /// Tells `reply` when everything is written that can be, and which of these files and directories
    /// wait for content.
    pub(super) fn wait_for_nodes(
        &mut self,
        nodes: BTreeSet<NodeId>,
        reply: Reply<BTreeSet<NodeId>>,
    ) {
        self.waiters.push(Waiter::Nodes { waiting: nodes, reply });
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.batch.is_some() || !self.sealing.is_empty()
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

    /// Whether a batch is to be written: the last one could not be, somebody waits for one, or rows have
    /// waited for long or are many. To look at what has to wait takes time, too, and must not take most of it.
    pub(super) fn is_due(&self, now: Instant, interval: Duration, is_much: bool) -> bool {
        if self.batch.is_some() || !self.waiters.is_empty() {
            return true;
        }
        let rested = self.looked_until.is_none_or(|until| now >= until);
        let waited = |since: Instant| now.duration_since(since) >= interval;
        rested && (is_much || self.dirty_since.is_some_and(waited))
    }

    pub(super) fn fail_waiters(&mut self, error: impl Fn() -> EngineError) {
        let sealing = self.sealing.drain(..).flat_map(|sealing| sealing.waiters);
        let batch = self.batch.iter_mut().flat_map(|batch| batch.waiters.drain(..));
        for waiter in batch.chain(self.waiters.drain(..)).chain(sealing.map(Waiter::Sealed)) {
            waiter.tell(Err(error()));
        }
    }

    /// Lets those go on whose seals are done.
    pub(super) fn advance_waiters(&mut self) {
        for done in self.sealing.extract_if(.., |sealing| sealing.is_done()) {
            self.waiters.extend(done.waiters.into_iter().map(Waiter::Sealed));
        }
    }
}

impl MetadataThread {
    /// Writes what is out of date, or first the batch that could not be written so far.
    pub(super) fn write_journal(&mut self) -> std::result::Result<(), StoreError> {
        if self.journal.batch.is_some() {
            self.write_batch()?;
        }
        let mut tries = 0;
        loop {
            let overdue = self.snapshot();
            self.write_batch()?;
            tries += 1;
            if overdue.is_empty() || tries == OVERDUE_TRIES_MAX || !self.save(&overdue) {
                return Ok(());
            }
        }
    }

    /// Saves content that rows have waited for too long. Returns whether all of it could be.
    fn save(&mut self, contents: &[Arc<FileContent>]) -> bool {
        contents.iter().all(|content| self.spill(content).is_ok())
    }

    /// Takes everything that is out of date and need not wait as one batch. Returns content that rows
    /// have waited for too long, and that is in memory only.
    fn snapshot(&mut self) -> Vec<Arc<FileContent>> {
        let began = Instant::now();
        self.journal.dirty_since = None;
        let mut batch = Batch::default();
        let mut overdue = Vec::new();
        self.journal.obsolete.append(&mut self.writer.staging().store.obsolete.lock());
        let waiters = std::mem::take(&mut self.journal.waiters);
        let mut sealing = Sealing { waiters: Vec::new(), files: Vec::new() };
        self.writer.staging().change(|state, dirty| {
            let held = Held::of(state, dirty);
            batch.take(state, dirty, &held);
            dirty.seen();
            sealing.files = to_be_sealed(&held);
            for waiter in waiters {
                match waiter {
                    Waiter::All(reply) if !sealing.files.is_empty() => sealing.waiters.push(reply),
                    Waiter::All(_) | Waiter::Sealed(_) => batch.waiters.push(waiter),
                    Waiter::Nodes { mut waiting, reply } => {
                        waiting.retain(|id| held.concerns(state, *id));
                        batch.waiters.push(Waiter::Nodes { waiting, reply });
                    }
                }
            }
            overdue = held.overdue(state, dirty, DIRTY_AGE_MAX);
        });
        let ended = Instant::now();
        self.journal.looked_until = Some(ended + (ended - began) * LOOK_PAUSE_FACTOR);
        if !sealing.waiters.is_empty() {
            self.journal.sealing.push(sealing);
        }
        self.journal.batch = Some(batch);
        overdue
    }

    /// Writes the batch.
    fn write_batch(&mut self) -> std::result::Result<(), StoreError> {
        let Some(mut batch) = self.journal.batch.take() else {
            return Ok(());
        };
        panics::point("journal");
        if self.writer.poison().blocked() == Blocked::Poisoned {
            for waiter in batch.waiters {
                waiter.tell(Err(EngineError::Poisoned));
            }
            return Ok(());
        }
        self.drop_closed_areas(&mut batch);
        if batch.is_empty() && self.writer.store().catalog.is_owing() {
            // A full disk gets no note of the start as long as nothing changes.
            for waiter in batch.waiters {
                waiter.tell(Ok(()));
            }
            return Ok(());
        }
        if let Err(error) = self.write_rows(&batch) {
            let named = batch.references.iter().filter(|(_, _, delta)| *delta > 0);
            batch.pins =
                named.map(|(_, hash, _)| BlobPin::new(self.writer.pins(), *hash)).collect();
            self.journal.batch = Some(batch);
            return Err(error);
        }
        self.journal.retry_at = None;
        self.writer.poison().has_room();
        for draft in &batch.nodes {
            if let Some(content) = &draft.content {
                content.journalled(&draft.row.data);
            }
            if let NodeData::Private(id) = &draft.row.data {
                self.writer.file_named(*id);
            }
        }
        self.remove_obsolete(&batch);
        for waiter in batch.waiters {
            waiter.tell(Ok(()));
        }
        Ok(())
    }

    /// Areas that were published or discarded since, also since the last try, are purged as they
    /// are in the catalog.
    fn drop_closed_areas(&self, batch: &mut Batch) {
        let open: BTreeSet<AreaId> = {
            let state = self.writer.staging().read();
            let areas = state.areas.values().filter(|area| area.phase != Phase::Closed);
            areas.map(|area| area.shared.id).collect()
        };
        batch.nodes.retain(|draft| open.contains(&draft.area.id));
        batch.names.retain(|(area, ..)| open.contains(&area.id));
        batch.deleted.retain(|(area, _)| open.contains(&area.id));
        batch.references.retain(|(area, ..)| open.contains(area));
    }

    fn write_rows(&mut self, batch: &Batch) -> std::result::Result<(), StoreError> {
        let now = Timestamp::now();
        let next_id =
            self.writer.staging().store.next_id.load(std::sync::atomic::Ordering::Relaxed);
        let raise = next_id + ID_STEP / 2 > self.journal.id_limit;
        let limit = if raise { next_id + ID_STEP } else { self.journal.id_limit };
        let mut references = BTreeMap::new();
        for (_, hash, delta) in &batch.references {
            *references.entry(*hash).or_insert(0) += delta;
        }
        references.retain(|_, delta| *delta != 0);
        let pending = &self.journal.pending_blobs;
        let written: Vec<BlobHash> =
            references.keys().filter(|hash| pending.contains_key(*hash)).copied().collect();
        let tx = self.writer.begin()?;
        for draft in &batch.nodes {
            tx.put_node(draft.area.id, &draft.row)?;
        }
        for (area, id) in &batch.deleted {
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
        self.writer.note_written(batch.nodes.len() + batch.names.len() + written.len());
        self.journal.blobs_written(&written);
        self.journal.id_limit = limit;
        Ok(())
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
        let obsolete = std::mem::take(&mut self.journal.obsolete);
        if obsolete.is_empty() {
            return;
        }
        // Rows of files that are gone, and wait for what took their place.
        let needed = self.writer.staging().change(|_, dirty| removed_private(dirty));
        for (content, id) in obsolete {
            let journalled = needed.contains(&id)
                || self.writer.staging().read().node(content.node).is_some_and(
                    |node| matches!(&node.journalled, Some(NodeData::Private(row)) if *row == id),
                );
            if content.needs_private(id) || named.contains(&(content.area.id, id)) || journalled {
                // Comes back when the content lets go of it, or with the next batch.
                if journalled && !content.needs_private(id) {
                    self.writer.staging().store.obsolete.lock().push((content, id));
                }
                continue;
            }
            self.writer.file_obsolete(content.area.id, id);
        }
    }
}

/// The files in memory that rows wait for and a sealer is going to take.
fn to_be_sealed(held: &Held) -> Vec<(Arc<FileContent>, u64)> {
    let hopeful = held.contents.iter().filter(|content| !content.area.has_failed(content.node));
    hopeful.filter_map(|content| Some((Arc::clone(content), content.to_be_sealed()?))).collect()
}

/// The private files that rows of nodes that are gone still name.
fn removed_private(dirty: &Dirty) -> BTreeSet<PrivateId> {
    let rows = dirty.removed.values();
    rows.filter_map(|(_, data)| match data {
        NodeData::Private(id) => Some(*id),
        _ => None,
    })
    .collect()
}
