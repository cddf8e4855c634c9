//! Intake: entries become an area that no mount shows, from which a version is made.
//!
//! The area is not journalled: an import that ends with its connection or a crash leaves nothing
//! but unreferenced blobs. What it puts is pinned until the commit is over.
//!
//! A thread of the import ([`queue`]) stores what arrives, so that the sender can read on while the store
//! writes. So a failure is told in the answer to a later call. Everything that arrives is checked, because
//! the sender may be hostile. This room must not know who sends it, nor how it travelled.

pub(in crate::engine) mod checkpoint;
mod content;
mod entries;
mod queue;
mod removal;
mod trees;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};

use self::queue::ImportQueue;
use super::Engine;
use super::error::{EngineError, Result};
use super::pins::{BlobPin, TreePin};
use super::request::{Owner, Request, Reuse, TreesFor};
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::AreaId;
use crate::model::import::{ImportEntry, WantedTree};
use crate::model::raw::RawPath;

/// How many absent contents are remembered. Others are stored as well, but more slowly: they get their name
/// in the pool only from the metadata thread.
const ABSENT_MAX: usize = 40_000;

/// Entries with the bytes and the open files that their contents name.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order to apply them.
    pub entries: Vec<ImportEntry>,
    /// Small contents, one after the other.
    pub payload: Vec<u8>,
    /// Large contents, open for reading.
    pub files: Vec<File>,
}

/// An import under way.
pub struct Intake {
    import: Arc<Import>,
    queue: ImportQueue,
}

/// What an import stores into.
struct Import {
    engine: Arc<Engine>,
    area: AreaId,
    /// Who owns directories that have no entry of their own, only paths through them.
    owner: Owner,
    /// Content that was found or stored, with its size: what entries may name. Held until a
    /// checkpoint or the commit is over.
    held: Mutex<BTreeMap<BlobHash, (u64, BlobPin)>>,
    /// Content that was asked for and has no row: when it is written, it gets its name in the pool at once.
    absent: Mutex<HashSet<BlobHash>>,
    /// The tree of the last checkpoint. Held as long.
    checkpoint: Mutex<Option<TreePin>>,
    /// Taken by whoever looks at the area's nodes or changes them; a checkpoint takes it alone.
    shared: RwLock<()>,
    /// Directories that were found: what entries may name. Held as long.
    held_trees: Mutex<BTreeMap<TreeHash, TreePin>>,
    /// Whether neither an entry nor a base has said yet what the root directory is like.
    root_unknown: AtomicBool,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("area", &self.import.area).finish_non_exhaustive()
    }
}

impl Intake {
    /// Begins to store into `area`, which is open and not journalled. `id` names the threads.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn begin(engine: &Arc<Engine>, id: u64, area: AreaId, owner: Owner) -> Result<Self> {
        let root_unknown = {
            let state = engine.staging.read();
            let base = state.areas.get(&area).and_then(|area| area.base.as_ref());
            base.is_none_or(|base| base.root.is_none())
        };
        let import = Arc::new(Import {
            engine: Arc::clone(engine),
            area,
            owner,
            held: Mutex::default(),
            absent: Mutex::default(),
            checkpoint: Mutex::default(),
            shared: RwLock::default(),
            held_trees: Mutex::default(),
            root_unknown: AtomicBool::new(root_unknown),
        });
        let queue = ImportQueue::start(id, &import)?;
        Ok(Self { import, queue })
    }

    /// The area that is being built.
    pub fn area(&self) -> AreaId {
        self.import.area
    }

    /// Says of each content whether it is in the store; entries may name it then.
    ///
    /// # Errors
    /// When the engine refuses, or has ended.
    pub fn known(&self, hashes: Vec<BlobHash>) -> Result<Vec<bool>> {
        let asked = hashes.clone();
        let found = self.import.engine.call(|reply| Request::ReuseBlobs {
            hashes: asked,
            is_own: true,
            reply,
        })?;
        let mut held = self.import.held.lock();
        let mut absent = self.import.absent.lock();
        if absent.len() > ABSENT_MAX {
            absent.clear();
        }
        let known = hashes.into_iter().zip(found).map(|(hash, found)| match found {
            Reuse::Whole(pin, size) => {
                held.insert(hash, (size, pin));
                true
            }
            Reuse::Broken => false,
            Reuse::Nothing => {
                absent.insert(hash);
                false
            }
        });
        Ok(known.collect())
    }

    /// How long a content is that was found, in bytes.
    pub fn held_bytes(&self, hash: &BlobHash) -> Option<u64> {
        self.import.held.lock().get(hash).map(|(bytes, _)| *bytes)
    }

    /// Says of each directory whether its tree is in the store and can be put where it is wanted;
    /// entries may name it then.
    ///
    /// # Errors
    /// When a path is none, or a tree cannot be read; when the engine has ended.
    pub fn known_trees(&self, wanted: &[WantedTree]) -> Result<Vec<bool>> {
        let trees = wanted.iter().map(|wanted| wanted.tree).collect();
        let pins = self.import.engine.call(|reply| Request::ReuseTrees {
            trees,
            trees_for: TreesFor::Own,
            reply,
        })?;
        let _shared = self.import.shared.read();
        let known = wanted.iter().zip(pins).map(|(wanted, pin)| match pin {
            Some(pin) => self.import.hold_tree(wanted, pin),
            None => Ok(false),
        });
        known.collect()
    }

    /// Stores the content of an open file of this many bytes, on the caller's thread; entries may name it then. Returns
    /// what was copied; `None` when the file is shorter.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn store_file(&self, file: &File, size_bytes: u64) -> Result<Option<BlobHash>> {
        self.import.store_file(file, size_bytes)
    }

    /// Takes a batch; waits while others wait already, not until it is stored.
    ///
    /// # Errors
    /// Why an earlier batch could not be stored; that the import has ended.
    pub fn put(&self, batch: Batch) -> Result<()> {
        self.queue.put(batch)
    }

    /// Removes a path that the area has from its base, with all that is below it; nothing when it is not there.
    ///
    /// # Errors
    /// When the path is none, or the base cannot be read.
    pub fn remove(&self, path: &RawPath) -> Result<()> {
        let _shared = self.import.shared.read();
        self.import.remove(path)
    }

    /// Waits until everything that was put is stored.
    ///
    /// # Errors
    /// Why a batch could not be stored; that the import has ended.
    pub fn settle(&self) -> Result<()> {
        self.queue.settle()
    }

    /// Stores nothing more, and unpins what was found and stored. Waits for the batch that is being stored.
    pub fn end(&self) {
        self.queue.end();
        self.import.held.lock().clear();
        self.import.held_trees.lock().clear();
        self.import.checkpoint.lock().take();
    }
}

/// An error that says which entry it is about.
fn at(entry: &ImportEntry, error: EngineError) -> EngineError {
    let path = String::from_utf8_lossy(entry.path.as_bytes());
    let path = if path.is_empty() { "the root".to_owned() } else { path.into_owned() };
    EngineError::Entry { path, reason: Box::new(error) }
}
