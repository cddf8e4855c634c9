//! Walks a version's tree through an [`ExportSource`], asking for pages ahead and in batches.
//!
//! Order: a directory before what it holds, siblings by the bytes of their names. Pages are
//! checked against their hash, so a wrong answer is noticed before anything is written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use super::error::ArchiveError;
use super::path::ArchivePath;
use super::{ExportSource, OPEN_BATCH};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree::{Content, Entry, Root};
use crate::model::tree_format::{self, Reference, TreePage, TreeSource};

/// Pages asked for at once.
const PAGES_AHEAD: usize = 64;
/// The most pages that are kept. Beyond that they are dropped, and asked for again when needed.
const PAGES_KEPT_MAX: usize = 1024;

/// A version being exported.
pub(super) struct Origin<'a> {
    source: RefCell<&'a mut dyn ExportSource>,
    pages: RefCell<HashMap<TreeHash, Arc<TreePage>>>,
}

impl<'a> Origin<'a> {
    pub(super) fn new(source: &'a mut dyn ExportSource) -> Self {
        Self { source: RefCell::new(source), pages: RefCell::default() }
    }

    /// The top of the version.
    pub(super) fn root(&self) -> Result<Root, ArchiveError> {
        self.source.borrow_mut().root()
    }

    /// Opens blobs, any number of them.
    pub(super) fn open(&self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        let mut files = Vec::with_capacity(names.len());
        for some in names.chunks(OPEN_BATCH) {
            let opened = self.source.borrow_mut().open(some)?;
            if opened.len() != some.len() {
                return Err(ArchiveError::Protocol("fewer files than were asked for"));
            }
            files.extend(opened);
        }
        Ok(files)
    }

    /// Walks everything below `root`, which is not yielded itself.
    pub(super) fn walk(&self, root: &Root) -> Result<TreeWalk<'_, 'a>, ArchiveError> {
        self.walk_selected(root, &Some)
    }

    /// Walks what is left of everything below `root` once `select` has looked at each entry. It may change attributes,
    /// and what is below a directory that it takes away is not walked.
    pub(super) fn walk_selected<'o>(
        &'o self,
        root: &Root,
        select: &'o dyn Fn(Entry) -> Option<Entry>,
    ) -> Result<TreeWalk<'o, 'a>, ArchiveError> {
        let mut walk = TreeWalk { origin: self, select, levels: Vec::new() };
        walk.descend(ArchivePath::root(), &root.tree)?;
        Ok(walk)
    }

    /// Fetches what is missing of `hashes`.
    fn fetch(&self, hashes: &[TreeHash]) -> Result<(), ArchiveError> {
        let pages = self.source.borrow_mut().pages(hashes)?;
        if pages.len() != hashes.len() {
            return Err(ArchiveError::Protocol("fewer tree pages than were asked for"));
        }
        let mut kept = self.pages.borrow_mut();
        if kept.len() > PAGES_KEPT_MAX {
            kept.clear();
        }
        for (hash, bytes) in hashes.iter().zip(pages) {
            if TreeHash::of(&bytes) != *hash {
                return Err(ArchiveError::Protocol("a tree page with another hash"));
            }
            kept.insert(*hash, Arc::new(TreePage::parse(bytes)?));
        }
        Ok(())
    }

    /// Fetches the first few pages of `wanted` that are missing.
    fn fetch_ahead(&self, wanted: impl Iterator<Item = TreeHash>) -> Result<(), ArchiveError> {
        let mut missing = Vec::new();
        {
            let kept = self.pages.borrow();
            for hash in wanted.take(PAGES_AHEAD) {
                if !kept.contains_key(&hash) && !missing.contains(&hash) {
                    missing.push(hash);
                }
            }
        }
        if missing.is_empty() { Ok(()) } else { self.fetch(&missing) }
    }
}

impl TreeSource for Origin<'_> {
    type Error = ArchiveError;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, ArchiveError> {
        let held = self.pages.borrow().get(hash).cloned();
        if let Some(page) = held {
            return Ok(page);
        }
        self.fetch(&[*hash])?;
        let page = self.pages.borrow().get(hash).cloned();
        let page = page.ok_or(ArchiveError::Protocol("no tree page"))?;
        let children = page.references().into_iter().filter_map(|reference| match reference {
            Reference::Tree(tree) => Some(tree),
            Reference::Blob(_) => None,
        });
        self.fetch_ahead(children)?;
        Ok(page)
    }

    fn blob_of(&self, _: &Sha256) -> Result<Option<BlobHash>, ArchiveError> {
        Ok(None)
    }
}

/// The walk, as an iterator over paths and entries.
pub(super) struct TreeWalk<'o, 'a> {
    origin: &'o Origin<'a>,
    select: &'o dyn Fn(Entry) -> Option<Entry>,
    levels: Vec<Level>,
}

struct Level {
    path: ArchivePath,
    entries: std::vec::IntoIter<Entry>,
}

impl TreeWalk<'_, '_> {
    fn descend(&mut self, path: ArchivePath, tree: &TreeHash) -> Result<(), ArchiveError> {
        let entries = tree_format::entries(self.origin, tree, 0).collect::<Result<Vec<_>, _>>()?;
        self.levels.push(Level { path, entries: entries.into_iter() });
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(ArchivePath, Entry)>, ArchiveError> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let Some(entry) = (self.select)(entry) else {
                continue;
            };
            let path = level.path.join(&entry.name).map_err(|rule| ArchiveError::NotExported {
                path: level.path.clone(),
                reason: format!("entry `{}`: {rule}", entry.name),
            })?;
            if let Content::Directory { tree, .. } = &entry.content {
                if !self.origin.pages.borrow().contains_key(tree) {
                    let siblings =
                        level.entries.as_slice().iter().filter_map(|entry| match &entry.content {
                            Content::Directory { tree, .. } => Some(*tree),
                            _ => None,
                        });
                    self.origin.fetch_ahead(std::iter::once(*tree).chain(siblings))?;
                }
                self.descend(path.clone(), tree)?;
            }
            return Ok(Some((path, entry)));
        }
    }
}

impl Iterator for TreeWalk<'_, '_> {
    type Item = Result<(ArchivePath, Entry), ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
