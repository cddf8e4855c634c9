//! The canonical encoding of directories.

use std::sync::Arc;

use super::hash::{BlobHash, TreeHash};
use super::tree::{Entry, Root, Summary};

/// Bytes that are not a valid tree page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tree page: {0}")]
pub struct TreeError(pub String);

/// What a page names and therefore keeps alive (one reference per entry that names it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A file's content.
    Blob(BlobHash),
    /// A child directory's tree, or a page of the same directory.
    Tree(TreeHash),
}

/// One stored page of a directory, validated at [`TreePage::parse`] and read in place.
#[derive(Debug)]
pub struct TreePage {}

impl TreePage {
    /// Validates `bytes` and wraps them.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(_bytes: Vec<u8>) -> Result<Self, TreeError> {
        unimplemented!()
    }
    /// Totals over this page and all below it.
    pub fn summary(&self) -> Summary {
        unimplemented!()
    }
    /// What this page references, once per naming entry.
    pub fn references(&self) -> Vec<Reference> {
        unimplemented!()
    }
}

/// Where pages come from: the catalog, a cache, or a map in tests.
pub trait TreeSource {
    /// What fetching a page can fail with.
    type Error: From<TreeError>;
    /// The page of that hash.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, Self::Error>;
}

/// Finds one name in a directory.
///
/// # Errors
/// Those of the source.
pub fn lookup<S: TreeSource>(
    _source: &S,
    _tree: &TreeHash,
    _name: &[u8],
) -> Result<Option<Entry>, S::Error> {
    unimplemented!()
}

/// Number of entries of a directory (of its own, not below).
///
/// # Errors
/// Those of the source.
pub fn entry_count<S: TreeSource>(_source: &S, _tree: &TreeHash) -> Result<u64, S::Error> {
    unimplemented!()
}

/// Iterates the entries of a directory in byte order of their names, starting at position `from`.
/// Pages are fetched as they are reached.
pub fn entries<'s, S: TreeSource>(
    _source: &'s S,
    _tree: &TreeHash,
    _from: u64,
) -> impl Iterator<Item = Result<Entry, S::Error>> + use<'s, S> {
    std::iter::empty()
}

/// A directory in encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltTree {
    /// The root page.
    pub root: TreeHash,
    /// Totals over the directory and all below it.
    pub summary: Summary,
    /// All pages, children before parents (so the root page is last).
    pub pages: Vec<(TreeHash, Vec<u8>)>,
}

/// Encodes a directory from its entries.
///
/// # Errors
/// When the entries are not strictly ascending by name, or one is invalid.
pub fn build(_entries: impl IntoIterator<Item = Entry>) -> Result<BuiltTree, TreeError> {
    unimplemented!()
}

/// Hash of a version: covers the root directory's attributes and its tree.
pub fn root_hash(_root: &Root) -> TreeHash {
    unimplemented!()
}

/// Encodes a root for the catalog (attributes, tree, summary).
pub fn encode_root(_root: &Root) -> Vec<u8> {
    unimplemented!()
}

/// Decodes what [`encode_root`] made.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_root(_bytes: &[u8]) -> Result<Root, TreeError> {
    unimplemented!()
}

/// One difference between two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only in the second. For a directory, everything below it is new as well (reported one by one).
    Added(Entry),
    /// Only in the first.
    Removed(Entry),
    /// In both, different. Two directories whose attributes are equal are not reported themselves.
    Modified {
        /// In the first.
        before: Entry,
        /// In the second.
        after: Entry,
    },
}

/// Walks the differences between two directories in path order, skipping equal subtrees by hash.
/// `visit` gets the path of the directory (slash-separated bytes, empty at the top) and the change.
///
/// # Errors
/// Those of the source.
pub fn diff<S: TreeSource>(
    _source: &S,
    _first: &TreeHash,
    _second: &TreeHash,
    _visit: &mut dyn FnMut(&[u8], Change),
) -> Result<(), S::Error> {
    unimplemented!()
}
