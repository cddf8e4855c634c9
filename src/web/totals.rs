//! What strangers may see of a subtree, summed up. The totals that trees carry count hidden things as well and would
//! tell of them (H55).
//!
//! Trees never change, so a sum is remembered by the tree's hash, and a version costs what it does not share with others
//! that were summed up before.

use hashlink::LruCache;
use parking_lot::Mutex;

use super::look::is_visible;
use crate::engine::Engine;
use crate::model::hash::TreeHash;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format;
use crate::store::error::StoreError;

/// Sums that are remembered.
const KEPT_MAX: usize = 1 << 16;

/// Entries that one sum may look at. What is larger is summed up over several requests.
const ENTRIES_MAX: u64 = 400_000;

/// The sum over what is below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Total {
    /// Files of all kinds but directories.
    pub(super) files: u64,
    /// Directories, itself not counted.
    pub(super) directories: u64,
    /// Bytes of regular files.
    pub(super) bytes: u64,
    /// Whether nothing below is hidden.
    pub(super) is_whole: bool,
}

impl Total {
    const NONE: Self = Self { files: 0, directories: 0, bytes: 0, is_whole: true };

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.is_whole &= other.is_whole;
    }
}

/// The sums that are known.
pub(super) struct Totals {
    known: Mutex<LruCache<TreeHash, Total>>,
}

/// A directory that is being summed up.
struct Open<'e> {
    tree: TreeHash,
    /// Read page by page.
    entries: Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'e>,
    total: Total,
}

impl Totals {
    /// Knows nothing.
    pub(super) fn new() -> Self {
        Self { known: Mutex::new(LruCache::new(KEPT_MAX)) }
    }

    fn known(&self, tree: &TreeHash) -> Option<Total> {
        self.known.lock().get(tree).copied()
    }

    /// Sums up what is below a directory; `None` if that is too much for one request.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn of(&self, engine: &Engine, tree: &TreeHash) -> Result<Option<Total>, StoreError> {
        if let Some(total) = self.known(tree) {
            return Ok(Some(total));
        }
        let open = |tree: &TreeHash| {
            let entries = Box::new(tree_format::entries(&*engine.trees, tree, 0));
            Open { tree: *tree, entries, total: Total::NONE }
        };
        let mut stack = vec![open(tree)];
        let mut looked_at = 0;
        loop {
            let Some(top) = stack.last_mut() else { return Ok(None) };
            let Some(entry) = top.entries.next() else {
                let (tree, total) = (top.tree, top.total);
                self.known.lock().insert(tree, total);
                stack.pop();
                match stack.last_mut() {
                    Some(above) => above.total.add(total),
                    None => return Ok(Some(total)),
                }
                continue;
            };
            let entry = entry?;
            looked_at += 1;
            if looked_at > ENTRIES_MAX {
                return Ok(None);
            }
            if !is_visible(&entry) {
                top.total.is_whole = false;
                continue;
            }
            match entry.content {
                Content::Directory { tree, .. } => {
                    top.total.directories += 1;
                    match self.known(&tree) {
                        Some(total) => top.total.add(total),
                        None => stack.push(open(&tree)),
                    }
                }
                Content::File { size, .. } => {
                    top.total.files += 1;
                    top.total.bytes = top.total.bytes.saturating_add(size);
                }
                _ => top.total.files += 1,
            }
        }
    }
}
