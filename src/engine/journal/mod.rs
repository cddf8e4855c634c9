//! The journal: rows of changed nodes and names, in group transactions.
//!
//! A batch is one consistent picture of the namespace, without the rows that wait for content (H4,
//! [`super::staging::held`]): those stay out of date and come with a later batch. It is written with
//! the blobs that it names and the reference counts of all its rows. Private files that it makes obsolete
//! are removed after the transaction.

mod batch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::blobs::Blobs;
use super::error::EngineError;
use super::now::Now;
use super::pins::NamePin;
use super::poison::Blocked;
use super::reply::Reply;
use super::staging::area::Phase;
use super::staging::content::{DIRTY_AGE_MAX, FileContent};
use super::staging::dirty::Dirty;
use super::staging::held::Held;
use super::staging::node::Slot;
use super::unsaved::Unsaved;
use super::writer::StoreWriter;
use crate::model::id::{AreaId, NodeId};
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::sys::panics;
use batch::{Batch, Waiter};

/// Ids are reserved in the catalog in steps of this many, so that a crash never reuses one.
pub(super) const ID_STEP: u64 = 1 << 20;

/// How long a change waits for others before its rows are written: one transaction for all. Rows
/// are keyed by hashes and names, so each touches a page of its own; a file that is created,
/// written, renamed and given its times within the interval costs them once.
pub(super) const INTERVAL: Duration = Duration::from_millis(50);

/// Rows that are written at once without waiting for more.
const ROWS_MAX: usize = 4000;

/// Wait for the next try after the store was full.
const FULL_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How often in a row content is saved that rows have waited for too long. One try may not be enough: a
/// program that replaces a file again and again can be faster.
const OVERDUE_TRIES_MAX: u32 = 8;

/// After a look at the rows, no other is taken for this many times as long as it took.
const LOOK_PAUSE_FACTOR: u32 = 8;

/// Name of the catalog's note: ids below this may be in use.
pub(super) const ID_LIMIT: &str = "id_limit";

/// Requests for a flush that came while closed files were not sealed yet. The journal writes the batch
/// that answers them once these files are sealed.
struct Sealing {
    waiters: Vec<Reply<()>>,
    /// The files with their generations at the time of the request.
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
    /// The rows are not looked at before this, unless somebody waits.
    looked_until: Option<Instant>,
    /// A batch that could not be written yet.
    batch: Option<Batch>,
    waiters: Vec<Waiter>,
    /// Those who wait for seals first.
    sealing: Vec<Sealing>,
    obsolete: Vec<(Arc<FileContent>, PrivateId)>,
    /// Ids below this are reserved in the catalog.
    id_limit: u64,
    /// When to try again after the store was full.
    retry_at: Option<Instant>,
}

impl Journal {
    pub(super) fn new(id_limit: u64) -> Self {
        Self { id_limit, ..Self::default() }
    }

    /// Ids below `limit` are reserved in the catalog; perhaps more were before.
    pub(super) fn raise_id_limit(&mut self, limit: u64) {
        self.id_limit = self.id_limit.max(limit);
    }

    pub(super) fn note_dirty(&mut self, now: Instant) {
        self.dirty_since.get_or_insert(now);
    }

    /// Tells `reply` when everything is written that is out of date now, except what waits for content that
    /// cannot be saved.
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

    /// There may be room again for what could not be written.
    pub(super) fn room_was_made(&mut self) {
        self.retry_at = None;
    }

    /// Whether a batch is to be written: the last one could not be, somebody waits for one, or the rows are
    /// many or have waited for long. Finding the rows that must wait for content takes time itself; the pause
    /// after each look keeps that from taking most of the thread's time.
    fn is_due(&self, now: Instant, is_much: bool) -> bool {
        if self.batch.is_some() || !self.waiters.is_empty() {
            return true;
        }
        let rested = self.looked_until.is_none_or(|until| now >= until);
        let waited = |since: Instant| now.duration_since(since) >= INTERVAL;
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
    fn advance_waiters(&mut self) {
        for done in self.sealing.extract_if(.., |sealing| sealing.is_done()) {
            self.waiters.extend(done.waiters.into_iter().map(Waiter::Sealed));
        }
    }

    /// Writes what is due.
    pub(super) fn advance(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        unsaved: &mut Unsaved,
        now: Now,
    ) {
        if self.retry_at.is_some_and(|until| now.instant < until) {
            return;
        }
        self.advance_waiters();
        let is_much = writer.staging().news() >= ROWS_MAX;
        if self.is_due(now.instant, is_much)
            && let Err(error) = self.write(writer, blobs, unsaved, now)
        {
            self.failed(writer, &error, now.instant);
        }
        if blobs.is_pending_due(now.instant)
            && writer.poison().blocked() == Blocked::No
            && let Err(error) = blobs.write_pending(writer, now)
        {
            // They stay pending; a full store is emptied, a failed one refuses changes.
            log::warn!("rows of new content wait: {error}");
            self.retry_at = Some(now.instant + FULL_RETRY_INTERVAL);
        }
    }

    fn failed(&mut self, writer: &mut StoreWriter, error: &StoreError, now: Instant) {
        if error.is_full() {
            if self.retry_at.is_none() {
                log::error!("the store is full, changes wait: {error}");
                writer.make_room();
            }
            self.retry_at = Some(now + FULL_RETRY_INTERVAL);
            writer.poison().full();
            self.fail_waiters(|| EngineError::Unsealed {
                count: 0,
                reason: "no space left on device".to_owned(),
                full: true,
            });
        } else {
            writer.write_failed(error);
            self.fail_waiters(|| EngineError::Poisoned);
        }
    }

    /// Writes what is out of date, or first the batch that could not be written so far.
    pub(super) fn write(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        unsaved: &mut Unsaved,
        now: Now,
    ) -> std::result::Result<(), StoreError> {
        if self.batch.is_some() {
            self.write_batch(writer, blobs, now)?;
        }
        let mut tries = 0;
        loop {
            let overdue = self.snapshot(writer);
            self.write_batch(writer, blobs, now)?;
            tries += 1;
            // Content that rows have waited for too long is saved.
            let mut save = || overdue.iter().all(|content| unsaved.spill(writer, content).is_ok());
            if overdue.is_empty() || tries == OVERDUE_TRIES_MAX || !save() {
                return Ok(());
            }
        }
    }

    /// Takes everything that is out of date and need not wait as one batch. Returns content that rows
    /// have waited for too long, and that is in memory only.
    fn snapshot(&mut self, writer: &StoreWriter) -> Vec<Arc<FileContent>> {
        let began = Instant::now();
        self.dirty_since = None;
        let mut batch = Batch::default();
        let mut overdue = Vec::new();
        self.obsolete.append(&mut writer.staging().store.obsolete.lock());
        let waiters = std::mem::take(&mut self.waiters);
        let mut sealing = Sealing { waiters: Vec::new(), files: Vec::new() };
        writer.staging().change(|state, dirty| {
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
        self.looked_until = Some(ended + (ended - began) * LOOK_PAUSE_FACTOR);
        if !sealing.waiters.is_empty() {
            self.sealing.push(sealing);
        }
        self.batch = Some(batch);
        overdue
    }

    /// Writes the batch.
    fn write_batch(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) -> std::result::Result<(), StoreError> {
        let Some(mut batch) = self.batch.take() else {
            return Ok(());
        };
        panics::point("journal");
        if writer.poison().blocked() == Blocked::Poisoned {
            for waiter in batch.waiters {
                waiter.tell(Err(EngineError::Poisoned));
            }
            return Ok(());
        }
        drop_closed_areas(writer, &mut batch);
        if batch.is_empty() && writer.store().catalog.is_owing() {
            // The start could not be noted on a full disk, and there is still nothing to write: no try.
            for waiter in batch.waiters {
                waiter.tell(Ok(()));
            }
            return Ok(());
        }
        if let Err(error) = self.write_rows(writer, blobs, &batch, now) {
            let named = batch.references.iter().filter(|(_, _, delta)| *delta > 0);
            batch.pins = named.map(|(_, name, _)| NamePin::new(writer.pins(), *name)).collect();
            self.batch = Some(batch);
            return Err(error);
        }
        self.retry_at = None;
        writer.poison().has_room();
        for draft in &batch.nodes {
            if let Some(content) = &draft.content {
                content.journalled(&draft.row.data);
            }
            if let NodeData::Private(id) = &draft.row.data {
                writer.file_named(*id);
            }
        }
        self.remove_obsolete(writer, &batch, now.instant);
        for waiter in batch.waiters {
            waiter.tell(Ok(()));
        }
        Ok(())
    }

    fn write_rows(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        batch: &Batch,
        now: Now,
    ) -> std::result::Result<(), StoreError> {
        let next_id = writer.staging().store.next_id.load(std::sync::atomic::Ordering::Relaxed);
        let raise = next_id + ID_STEP / 2 > self.id_limit;
        let limit = if raise { next_id + ID_STEP } else { self.id_limit };
        let mut references = BTreeMap::new();
        for (_, hash, delta) in &batch.references {
            *references.entry(*hash).or_insert(0) += delta;
        }
        references.retain(|_, delta| *delta != 0);
        let tx = writer.begin()?;
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
        let written = blobs.write_named(&tx, references, now.time)?;
        for area in batch.areas() {
            area.note_changed(now.time.seconds);
            tx.touch_area(area.id, now.time.seconds)?;
        }
        if raise {
            tx.set_meta(ID_LIMIT, &limit.to_string())?;
        }
        tx.commit()?;
        writer.note_written(batch.nodes.len() + batch.names.len() + written.len());
        blobs.written(&written, now.instant);
        self.id_limit = limit;
        Ok(())
    }

    /// Removes private files that neither a row nor a content needs.
    fn remove_obsolete(&mut self, writer: &mut StoreWriter, batch: &Batch, now: Instant) {
        let named: BTreeSet<(AreaId, PrivateId)> = batch
            .nodes
            .iter()
            .filter_map(|draft| match &draft.row.data {
                NodeData::Private(id) => Some((draft.area.id, *id)),
                _ => None,
            })
            .collect();
        let obsolete = std::mem::take(&mut self.obsolete);
        if obsolete.is_empty() {
            return;
        }
        // Private files that still have a row: the file is gone, but its row waits for what replaced it.
        let needed = writer.staging().change(|_, dirty| removed_private(dirty));
        for (content, id) in obsolete {
            let journalled = needed.contains(&id)
                || writer.staging().read().node(content.node).is_some_and(
                    |node| matches!(&node.journalled, Some(NodeData::Private(row)) if *row == id),
                );
            if content.needs_private(id) || named.contains(&(content.area.id, id)) || journalled {
                // It is looked at again when the content does not need it any more, or with the next batch.
                if journalled && !content.needs_private(id) {
                    writer.staging().store.obsolete.lock().push((content, id));
                }
                continue;
            }
            writer.file_obsolete(content.area.id, id, now);
        }
    }
}

/// Takes areas out of a batch that were published or discarded since it was taken: their rows are purged
/// as they are in the catalog.
fn drop_closed_areas(writer: &StoreWriter, batch: &mut Batch) {
    let open: BTreeSet<AreaId> = {
        let state = writer.staging().read();
        let areas = state.areas.values().filter(|area| area.phase != Phase::Closed);
        areas.map(|area| area.shared.id).collect()
    };
    batch.nodes.retain(|draft| open.contains(&draft.area.id));
    batch.names.retain(|(area, ..)| open.contains(&area.id));
    batch.deleted.retain(|(area, _)| open.contains(&area.id));
    batch.references.retain(|(area, ..)| open.contains(area));
}

/// The files in memory that rows wait for and a sealer is going to take.
fn to_be_sealed(held: &Held) -> Vec<(Arc<FileContent>, u64)> {
    let hopeful = held.contents.iter().filter(|content| !content.area.has_failed(content.node));
    hopeful.filter_map(|content| Some((Arc::clone(content), content.to_be_sealed()?))).collect()
}

/// The private files that are named only by rows of nodes that are gone.
fn removed_private(dirty: &Dirty) -> BTreeSet<PrivateId> {
    let rows = dirty.removed.values();
    rows.filter_map(|(_, data)| match data {
        NodeData::Private(id) => Some(*id),
        _ => None,
    })
    .collect()
}
