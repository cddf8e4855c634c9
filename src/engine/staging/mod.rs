//! Staging areas in memory: authoritative while the daemon runs, journalled to the catalog.
//!
//! The FUSE worker that got a request changes the namespace itself, under one lock, and answers at once.
//! Handing each change to the metadata thread would add a wake-up of another CPU, about as much as a
//! FUSE round trip, to every create, rename and chmod. Only the metadata thread changes the store: it
//! writes the rows, makes the blobs and removes files.
//!
//! # Lock order
//! `state` → `dirty` → a content's lock. None is held across I/O on the store, except a
//! content's own lock, which only its readers and writers wait for.
//!
//! This module knows neither FUSE nor SQL.

pub mod area;
pub mod charge;
pub mod content;
pub mod dirty;
pub mod groups;
pub mod held;
pub mod lost;
pub mod node;
pub mod state;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::engine::ambiguous::AmbiguousLinks;
use crate::engine::poison::Poison;
use crate::model::id::{AreaId, NodeId};
use crate::sys::panics;
use area::{AreaShared, Phase};
use content::{AfterClose, ContentStore, FileContent};
use dirty::Dirty;
use held::Held;
use state::State;

/// Seals that may wait for a sealer. A close waits while the queue is full, so that writers cannot run ahead
/// of the disk without end.
const SEAL_QUEUE_MAX: usize = 65_536;

/// Nodes looked at in one step; between steps others may change the namespace.
const NODES_PER_LOOK: usize = 1000;

/// Files whose seals may be delayed: each keeps a descriptor.
const DELAYED_MAX: usize = 32;

/// One file for a sealer.
#[derive(Debug)]
pub struct SealJob {
    /// Its content.
    pub content: Arc<FileContent>,
}

/// An operation that waits for a commit to end.
pub type Parked = Box<dyn FnOnce() + Send>;

/// All staging areas.
pub struct Staging {
    /// What contents need of the store.
    pub store: Arc<ContentStore>,
    /// Whether changes are accepted.
    pub poison: Arc<Poison>,
    /// Hardlink groups of bases that cannot be told apart.
    pub(super) ambiguous: AmbiguousLinks,
    state: RwLock<State>,
    dirty: Mutex<Dirty>,
    seals: Sender<SealJob>,
    wake: Sender<()>,
    watched: Mutex<BTreeMap<NodeId, Arc<FileContent>>>,
    /// Changed copies of large blobs, and when they are to be sealed.
    delayed: Mutex<BTreeMap<NodeId, (Instant, Arc<FileContent>)>>,
    parked: Mutex<BTreeMap<AreaId, Vec<Parked>>>,
    /// Tells when an area went.
    left: (Sender<()>, Receiver<()>),
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").finish_non_exhaustive()
    }
}

impl Staging {
    /// No areas yet. Returns the queue of the sealers and the signal that the journal has work.
    pub fn new(store: Arc<ContentStore>) -> (Self, Receiver<SealJob>, Receiver<()>) {
        let (seals, seal_queue) = bounded(SEAL_QUEUE_MAX);
        let (wake, signal) = bounded(1);
        let staging = Self {
            store,
            ambiguous: AmbiguousLinks::default(),
            state: RwLock::default(),
            dirty: Mutex::default(),
            seals,
            wake,
            watched: Mutex::default(),
            delayed: Mutex::default(),
            parked: Mutex::default(),
            left: bounded(1),
            poison: Arc::default(),
        };
        (staging, seal_queue, signal)
    }

    /// Looks at the namespace.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// What the files of an area share, while it is open or being committed.
    pub fn area(&self, area: AreaId) -> Option<Arc<AreaShared>> {
        self.read().areas.get(&area).map(|area| Arc::clone(&area.shared))
    }

    /// Removes an area that is published or discarded.
    pub fn remove_area(&self, area: AreaId) -> Option<node::Area> {
        let removed = self.change(|state, dirty| state.remove_area(dirty, area));
        // If a signal waits already, no second one is needed.
        self.left.0.try_send(()).unwrap_or_default();
        removed
    }

    /// The signal that [`Staging::left_areas`] may have another one.
    pub fn left_signal(&self) -> Receiver<()> {
        self.left.1.clone()
    }

    /// Areas that are published or discarded, and that the kernel still knows something of.
    pub fn left_areas(&self) -> BTreeSet<AreaId> {
        self.read().left.clone()
    }

    /// The nodes of such an area, each before the directory that it is in. There may be many, so the
    /// namespace is looked at in short steps.
    pub fn left_nodes(&self, area: AreaId) -> Vec<NodeId> {
        let (mut found, mut next) = (vec![NodeId(area.0)], 0);
        while next < found.len() {
            let state = self.read();
            let end = found.len().min(next + NODES_PER_LOOK);
            for at in next..end {
                let directory = state.node(found[at]).and_then(node::Node::directory);
                let slots = directory.into_iter().flat_map(|directory| directory.slots.values());
                found.extend(slots.filter_map(|slot| match slot {
                    node::Slot::Node(node) => Some(*node),
                    node::Slot::Whiteout => None,
                }));
            }
            next = end;
        }
        found.reverse();
        found
    }

    /// An area was not published or discarded after all. The kernel may keep its name again, unless a commit
    /// of somebody else is under way.
    pub fn let_name_stay(&self, area: AreaId) {
        let state = self.read();
        let open = state.areas.get(&area).filter(|area| area.phase == Phase::Open);
        if let Some(area) = open {
            area.shared.let_name_stay();
        }
    }

    /// Changes the namespace and what the journal must write, as one step. A panic may leave the step
    /// half done: nothing is written after that.
    pub fn change<T>(&self, step: impl FnOnce(&mut State, &mut Dirty) -> T) -> T {
        let mut state = self.state.write();
        let mut dirty = self.dirty.lock();
        let before = dirty.news();
        let guard = PoisonIfPanicking(self);
        let result = step(&mut state, &mut dirty);
        panics::point("namespace");
        drop(guard);
        let wake = before == 0 && dirty.news() > 0;
        drop(dirty);
        drop(state);
        if wake {
            self.wake();
        }
        result
    }

    /// The journal must write the row of a file whose content was saved or whose times changed.
    pub fn mark_dirty(&self, node: NodeId) {
        let mut dirty = self.dirty.lock();
        let is_first = dirty.news() == 0;
        dirty.mark_node(node);
        drop(dirty);
        if is_first {
            self.wake();
        }
    }

    /// To be called after each modification of a content.
    pub fn content_modified(&self, content: &Arc<FileContent>) {
        if content.note_modification() {
            self.change(|state, dirty| state.mark_changed(dirty, content.node));
        }
        if content.is_dirty() {
            self.watched.lock().entry(content.node).or_insert_with(|| Arc::clone(content));
        } else {
            self.mark_dirty(content.node);
        }
    }

    /// Does what a content needs after a close or a detached change.
    pub fn after_close(&self, content: &Arc<FileContent>, after: AfterClose) {
        match after {
            AfterClose::Nothing => {}
            AfterClose::Journal => self.mark_dirty(content.node),
            AfterClose::Seal => self.queue_seal(content),
            AfterClose::SealAfter(time) => self.delay_seal(content, Instant::now() + time),
        }
    }

    /// Queues a file for the sealers; waits while the queue is full.
    pub fn queue_seal(&self, content: &Arc<FileContent>) {
        let job = SealJob { content: Arc::clone(content) };
        if self.seals.send(job).is_err() {
            log::warn!("a file was closed after the sealers stopped; it is sealed at next start");
        }
    }

    /// Has a file sealed at `due`, unless it is changed before; at once where too many are delayed.
    fn delay_seal(&self, content: &Arc<FileContent>, due: Instant) {
        let mut delayed = self.delayed.lock();
        if delayed.len() < DELAYED_MAX || delayed.contains_key(&content.node) {
            delayed.insert(content.node, (due, Arc::clone(content)));
            return;
        }
        drop(delayed);
        self.queue_seal(content);
    }

    /// Queues those whose delay is over, or that are of an area that is to be committed. Does not wait.
    pub(super) fn end_seal_delay(&self, is_over: impl Fn(&FileContent, Instant) -> bool) {
        self.delayed.lock().retain(|_, (due, content)| {
            let job = SealJob { content: Arc::clone(content) };
            // If the queue is full it is tried again in the next round.
            !is_over(content, *due) || self.seals.try_send(job).is_err()
        });
    }

    /// Queues a file once more that could not be sealed, and returns whether the queue had a place. Does not
    /// wait, because the sealers may wait for the caller.
    pub(super) fn offer_seal(&self, content: &Arc<FileContent>) -> bool {
        content.area.seal_failure_over(content.node);
        let job = SealJob { content: Arc::clone(content) };
        let taken = self.seals.try_send(job).is_ok();
        if !taken {
            content.area.seal_failed(content.node, Arc::clone(content));
        }
        taken
    }

    /// The content that must be saved before the rows of a file or directory can be written: its own row, its
    /// names, and those of the directories above it. If there is any, all content of the area is returned that
    /// rows wait for.
    pub fn waited_for(&self, node: NodeId) -> Vec<Arc<FileContent>> {
        let state = self.state.read();
        let Some(area) = state.node(node).map(|node| node.area.id) else { return Vec::new() };
        let held = Held::of(&state, &self.dirty.lock());
        if !held.concerns(&state, node) {
            return Vec::new();
        }
        held.contents.into_iter().filter(|content| content.area.id == area).collect()
    }

    /// How often something was marked for the journal since it looked last: about the number of rows.
    pub fn news(&self) -> usize {
        self.dirty.lock().news()
    }

    /// Contents whose buffer is dirty. Those that were saved meanwhile are forgotten.
    pub fn dirty_contents(&self) -> Vec<Arc<FileContent>> {
        let mut watched = self.watched.lock();
        watched.retain(|_, content| content.is_dirty());
        watched.values().cloned().collect()
    }

    /// Contents that wait to be settled. Looks at all nodes in memory.
    pub fn withheld(&self) -> Vec<Arc<FileContent>> {
        let state = self.read();
        let contents = state.nodes().filter_map(node::Node::content);
        contents.filter(|content| content.is_withheld()).cloned().collect()
    }

    /// Wakes the metadata thread.
    pub fn wake(&self) {
        match self.wake.try_send(()) {
            // A full channel has a signal already, which the thread has not taken yet.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => log::debug!("the metadata thread has ended"),
        }
    }

    /// Keeps an operation until the commit of its area ended. The caller found the area frozen;
    /// if it is not any more, the operation comes back to be run at once.
    pub fn park(&self, area: AreaId, operation: Parked) -> Option<Parked> {
        let mut parked = self.parked.lock();
        let frozen =
            self.state.read().areas.get(&area).is_some_and(|a| a.phase == area::Phase::Frozen);
        if !frozen {
            return Some(operation);
        }
        parked.entry(area).or_default().push(operation);
        None
    }

    /// Takes the operations that waited for the commit of an area.
    pub fn unpark(&self, area: AreaId) -> Vec<Parked> {
        self.parked.lock().remove(&area).unwrap_or_default()
    }

    /// Takes all operations that wait for a commit, because no commit will end any more.
    pub fn thaw(&self) -> Vec<Parked> {
        let mut parked = self.parked.lock();
        let mut state = self.state.write();
        for area in state.areas.values_mut().filter(|area| area.phase == area::Phase::Frozen) {
            area.phase = area::Phase::Open;
        }
        drop(state);
        std::mem::take(&mut *parked).into_values().flatten().collect()
    }
}

/// Poisons the store when it is dropped by a panic.
struct PoisonIfPanicking<'a>(&'a Staging);

impl Drop for PoisonIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison.set("a change was left half done");
        }
    }
}
