//! Blobs that must stay although nothing in the catalog references them.
//!
//! The kernel may hold inodes of a deleted version (an open file, G16) and an import holds blobs
//! that no row names yet. Whoever needs a blob pins it under the name by which it knows it: its BLAKE3, or
//! the SHA-256 that a remote declared. The collector asks here before it removes a blob; a pin taken while
//! the blob has a row therefore keeps its file. Counts are kept by hash prefix: a collision keeps a
//! blob too long, never removes one too early.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};

/// Number of independently locked shards; a power of two well above the number of workers.
const SHARDS: usize = 64;

/// Counted pins by blob.
#[derive(Debug)]
pub struct Pins {
    shards: Vec<Mutex<HashMap<u64, Pinned>>>,
    /// Whether a blob was unpinned that the collector had to leave.
    released: AtomicBool,
    /// How many [`BlobsHold`]s there are.
    holds: AtomicUsize,
    /// How many pins are of declared names, whose blobs are not looked up when they are pinned.
    declared: AtomicUsize,
    /// How many [`SourcesHold`]s there are.
    source_holds: AtomicUsize,
    /// Trees that an import or a running commit is going to name, or compares with.
    trees: Mutex<HashMap<TreeHash, u32>>,
}

#[derive(Debug, Default)]
struct Pinned {
    count: u32,
    /// The collector waits for it.
    watched: bool,
}

impl Default for Pins {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect();
        Self {
            shards,
            released: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            declared: AtomicUsize::new(0),
            source_holds: AtomicUsize::new(0),
            trees: Mutex::default(),
        }
    }
}

impl Pins {
    fn shard(&self, prefix: u64) -> &Mutex<HashMap<u64, Pinned>> {
        let shards = SHARDS as u64;
        &self.shards[usize::try_from(prefix % shards).unwrap_or(0)]
    }

    /// Adds one pin.
    pub fn pin(&self, name: &ContentName) {
        if name.sha256().is_some() {
            self.declared.fetch_add(1, Ordering::SeqCst);
        }
        self.shard(name.prefix()).lock().entry(name.prefix()).or_default().count += 1;
    }

    /// Takes one pin back.
    pub fn unpin(&self, name: &ContentName) {
        let mut shard = self.shard(name.prefix()).lock();
        match shard.get_mut(&name.prefix()) {
            Some(pinned) if pinned.count > 1 => pinned.count -= 1,
            Some(pinned) => {
                if pinned.watched {
                    self.released.store(true, Ordering::Release);
                }
                shard.remove(&name.prefix());
            }
            None => panic!("unpinned content that was not pinned: {name}"),
        }
        drop(shard);
        if name.sha256().is_some() {
            self.declared.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether any pin (of this name, or of one sharing its prefix) is held. A blob can be pinned under its declared
    /// name as well.
    pub fn is_pinned(&self, name: &ContentName) -> bool {
        self.all_are_held() || self.shard(name.prefix()).lock().contains_key(&name.prefix())
    }

    /// Whether any declared name is pinned.
    pub(super) fn any_declared(&self) -> bool {
        self.declared.load(Ordering::SeqCst) > 0
    }

    fn all_are_held(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }

    /// Whether anybody notes where content can be had that nothing names yet.
    pub(super) fn are_sources_held(&self) -> bool {
        self.source_holds.load(Ordering::SeqCst) > 0
    }

    /// As [`Pins::is_pinned`]. If it is, [`Pins::take_released`] will tell when the last pin is gone.
    pub(super) fn watch(&self, name: &ContentName) -> bool {
        if self.all_are_held() {
            return true;
        }
        let mut shard = self.shard(name.prefix()).lock();
        let pinned = shard.get_mut(&name.prefix());
        pinned.is_some_and(|pinned| {
            pinned.watched = true;
            true
        })
    }

    /// Whether a tree is pinned. Then what it names stays as well, because that is removed after the tree.
    pub(super) fn is_tree_pinned(&self, tree: &TreeHash) -> bool {
        self.trees.lock().contains_key(tree)
    }

    /// Returns whether a blob that the collector skipped, because it was pinned, has been unpinned since
    /// the last call.
    pub(super) fn take_released(&self) -> bool {
        self.released.load(Ordering::Relaxed) && self.released.swap(false, Ordering::Acquire)
    }
}

/// Pins every blob, also those made later, until it is dropped: for those who read the catalog first and
/// the blobs afterwards. It is made on the metadata thread, which also removes blobs, so no removal is
/// half done at that moment.
#[derive(Debug)]
pub struct BlobsHold {
    pins: Arc<Pins>,
}

impl BlobsHold {
    pub(super) fn new(pins: &Arc<Pins>) -> Self {
        pins.holds.fetch_add(1, Ordering::SeqCst);
        Self { pins: Arc::clone(pins) }
    }
}

impl Drop for BlobsHold {
    fn drop(&mut self) {
        self.pins.holds.fetch_sub(1, Ordering::SeqCst);
        self.pins.released.store(true, Ordering::Release);
    }
}

/// Keeps all that is noted of where content can be had, until it is dropped: for a sync or a pull, which notes that
/// before its version names the content. It is taken before the first note is sent to the metadata thread, which also
/// removes such rows, so that it is seen there when the first of them is written.
#[derive(Debug)]
pub struct SourcesHold {
    pins: Arc<Pins>,
}

impl SourcesHold {
    /// Holds them until the value is dropped.
    pub fn new(pins: &Arc<Pins>) -> Self {
        pins.source_holds.fetch_add(1, Ordering::SeqCst);
        Self { pins: Arc::clone(pins) }
    }
}

impl Drop for SourcesHold {
    fn drop(&mut self) {
        self.pins.source_holds.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A pin that ends when dropped.
#[derive(Debug)]
pub struct BlobPin {
    pins: Arc<Pins>,
    hash: BlobHash,
}

impl BlobPin {
    /// Pins `hash` until the value is dropped.
    pub fn new(pins: &Arc<Pins>, hash: BlobHash) -> Self {
        pins.pin(&hash.into());
        Self { pins: Arc::clone(pins), hash }
    }

    /// The blob.
    pub fn hash(&self) -> &BlobHash {
        &self.hash
    }
}

impl Drop for BlobPin {
    fn drop(&mut self) {
        self.pins.unpin(&self.hash.into());
    }
}

/// A pin of content under any name, that ends when dropped.
#[derive(Debug)]
pub struct NamePin {
    pins: Arc<Pins>,
    name: ContentName,
}

impl NamePin {
    /// Pins `name` until the value is dropped.
    pub fn new(pins: &Arc<Pins>, name: ContentName) -> Self {
        pins.pin(&name);
        Self { pins: Arc::clone(pins), name }
    }
}

impl Drop for NamePin {
    fn drop(&mut self) {
        self.pins.unpin(&self.name);
    }
}

/// A pin of a tree that ends when dropped. It is taken on the metadata thread, which also removes trees,
/// while the tree has a row.
#[derive(Debug)]
pub struct TreePin {
    pins: Arc<Pins>,
    tree: TreeHash,
}

impl TreePin {
    /// Pins `tree` until the value is dropped.
    pub fn new(pins: &Arc<Pins>, tree: TreeHash) -> Self {
        *pins.trees.lock().entry(tree).or_default() += 1;
        Self { pins: Arc::clone(pins), tree }
    }
}

impl TreePin {
    /// What is pinned.
    pub(super) fn tree(&self) -> &TreeHash {
        &self.tree
    }
}

impl Drop for TreePin {
    fn drop(&mut self) {
        let mut trees = self.pins.trees.lock();
        if let Some(count) = trees.get_mut(&self.tree) {
            *count -= 1;
            if *count == 0 {
                trees.remove(&self.tree);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_hears_of_what_it_had_to_leave() {
        let pins = Arc::new(Pins::default());
        let (one, two) = (BlobHash::of(b"1"), BlobHash::of(b"2"));
        assert!(!pins.watch(&one.into()), "not pinned");
        let (first, second) = (BlobPin::new(&pins, one), BlobPin::new(&pins, one));
        let other = BlobPin::new(&pins, two);
        assert!(pins.watch(&one.into()));
        drop(first);
        drop(other);
        assert!(!pins.take_released());
        drop(second);
        assert!(pins.take_released());
        assert!(!pins.take_released());
    }

    #[test]
    fn a_hold_pins_every_blob() {
        let pins = Arc::new(Pins::default());
        let hash = BlobHash::of(b"1");
        let (first, second) = (BlobsHold::new(&pins), BlobsHold::new(&pins));
        drop(first);
        assert!(pins.is_pinned(&hash.into()) && pins.watch(&hash.into()));
        pins.take_released();
        drop(second);
        assert!(!pins.is_pinned(&hash.into()) && !pins.watch(&hash.into()));
        assert!(pins.take_released(), "the collector hears of it");
    }

    #[test]
    fn a_tree_is_pinned_until_its_last_pin_is_gone() {
        let pins = Arc::new(Pins::default());
        let tree = TreeHash::of(b"x");
        let (first, second) = (TreePin::new(&pins, tree), TreePin::new(&pins, tree));
        drop(first);
        assert!(pins.is_tree_pinned(&tree));
        drop(second);
        assert!(!pins.is_tree_pinned(&tree));
    }

    #[test]
    fn a_blob_is_pinned_until_its_last_pin_is_gone() {
        let pins = Arc::new(Pins::default());
        let hash = BlobHash::of(b"x");
        let first = BlobPin::new(&pins, hash);
        let second = BlobPin::new(&pins, hash);
        drop(first);
        assert!(pins.is_pinned(&hash.into()));
        drop(second);
        assert!(!pins.is_pinned(&hash.into()));
    }
}
