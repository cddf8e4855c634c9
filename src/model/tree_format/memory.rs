//! Pages in memory: trees that are not stored yet, and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build::BuiltTree;
use super::page::TreePage;
use super::{Reference, TreeError, TreeSource};
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};

/// A [`TreeSource`] over a map.
#[derive(Debug, Default)]
pub struct MemoryTrees {
    pages: BTreeMap<TreeHash, Arc<TreePage>>,
}

impl MemoryTrees {
    /// Adds the pages of a built directory and returns its root.
    ///
    /// # Errors
    /// When a page is invalid, which no built one is.
    pub fn add(&mut self, built: BuiltTree) -> Result<TreeHash, TreeError> {
        for (hash, bytes) in built.pages {
            self.pages.insert(hash, Arc::new(TreePage::parse(bytes)?));
        }
        Ok(built.root)
    }

    /// Adds one page and returns its hash.
    ///
    /// # Errors
    /// When the bytes are no page.
    pub fn add_page(&mut self, bytes: Vec<u8>) -> Result<TreeHash, TreeError> {
        let hash = TreeHash::of(&bytes);
        self.pages.insert(hash, Arc::new(TreePage::parse(bytes)?));
        Ok(hash)
    }

    /// Number of pages held.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is no page.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

impl TreeSource for MemoryTrees {
    type Error = TreeError;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, TreeError> {
        self.pages.get(hash).cloned().ok_or_else(|| TreeError(format!("no page {hash}")))
    }

    fn blob_of(&self, _: &Sha256) -> Result<Option<BlobHash>, TreeError> {
        Ok(None)
    }
}

/// Pages that are not stored yet, above a source that has all others.
#[derive(Debug)]
pub struct Overlay<'s, S> {
    source: &'s S,
    fresh: MemoryTrees,
    /// In the order in which they were added: children before parents.
    order: Vec<TreeHash>,
}

impl<'s, S: TreeSource> Overlay<'s, S> {
    /// Adds nothing to `source` yet.
    pub fn new(source: &'s S) -> Self {
        Self { source, fresh: MemoryTrees::default(), order: Vec::new() }
    }

    /// Adds the pages of a directory; those of the directories below it come first.
    ///
    /// # Errors
    /// When a page is invalid, which no built one is.
    pub fn add(&mut self, built: BuiltTree) -> Result<TreeHash, TreeError> {
        for (hash, _) in &built.pages {
            if !self.fresh.pages.contains_key(hash) {
                self.order.push(*hash);
            }
        }
        self.fresh.add(built)
    }

    /// The added pages that `root` needs, children before parents.
    pub fn into_pages(self, root: &TreeHash) -> Vec<(TreeHash, Vec<u8>)> {
        let mut needed = BTreeSet::from([*root]);
        let mut pages = Vec::new();
        for hash in self.order.iter().rev() {
            if !needed.contains(hash) {
                continue;
            }
            let Some(page) = self.fresh.pages.get(hash) else {
                continue;
            };
            needed.extend(page.references().into_iter().filter_map(|to| match to {
                Reference::Tree(tree) => Some(tree),
                Reference::Blob(_) => None,
            }));
            pages.push((*hash, page.bytes().to_vec()));
        }
        pages.reverse();
        pages
    }
}

impl<S: TreeSource> TreeSource for Overlay<'_, S> {
    type Error = S::Error;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, S::Error> {
        match self.fresh.pages.get(hash) {
            Some(page) => Ok(Arc::clone(page)),
            None => self.source.page(hash),
        }
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, S::Error> {
        self.source.blob_of(digest)
    }
}
