//! What was acknowledged, and so must be there after the power came back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use support::content;

/// The content of a file, as [`content::bytes`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) seed: u64,
    pub(crate) length: usize,
}

impl Bytes {
    pub(crate) fn make(self) -> Vec<u8> {
        content::bytes(self.seed, self.length)
    }
}

/// The files of a tree, by path.
pub(crate) type Files = BTreeMap<PathBuf, Bytes>;

/// What one actor was promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promises {
    /// Files in open areas, by path below `staging/`, each with what it may hold now; `None`: it
    /// may be missing. What is not listed may be anything.
    pub(crate) files: BTreeMap<PathBuf, Vec<Option<Bytes>>>,
    /// Versions by the name that they were published under.
    pub(crate) published: BTreeMap<String, Files>,
    /// A commit that was asked for and not answered.
    pub(crate) asked: Option<(String, Files)>,
    /// A deletion that was asked for and not answered.
    pub(crate) deleting: Option<String>,
    /// Names of versions whose deletion was answered.
    pub(crate) deleted: Vec<String>,
    /// Fsyncs, commits and deletions that were answered.
    pub(crate) answers: u64,
}

/// The promises of one actor, shared with whoever takes images. Never locked during I/O: whoever
/// takes an image stands in the way of all of it.
pub(crate) type Shared = Arc<Mutex<Promises>>;
