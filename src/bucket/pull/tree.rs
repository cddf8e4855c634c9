//! The tree of a version: the pages that are missing here, fetched level by level, and what they name.
//!
//! A page is named by its bytes, so it is what the version has. Whether the totals that a page says of those below it are right
//! no hash says, so they are compared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Destination;
use super::fetch::{Fetcher, Receiver};
use crate::bucket::index::Indexes;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{TransferError, Watch};
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree::{Root, Summary};
use crate::model::tree_format::{ContentRef, PAGE_BYTES_MAX, Reference, TreeError, TreePage};

/// What a version is made of that is not held here as a whole.
#[derive(Default)]
pub(super) struct Tree {
    /// Pages that are missing here, by their names.
    pages: HashMap<TreeHash, Arc<TreePage>>,
    /// In an order in which those that a page names come before it.
    order: Vec<TreeHash>,
    /// Contents that its pages name, with their lengths.
    pub(super) contents: BTreeMap<ContentName, u64>,
}

/// What the page above says of one.
#[derive(Clone, Copy)]
struct Expected {
    hash: TreeHash,
    summary: Summary,
    /// The level and the number of entries, if it is a part of a large directory.
    part: Option<(u8, u64)>,
}

impl Tree {
    /// Fetches the pages that are missing here.
    pub(super) fn fetch<D: Destination>(
        store: &dyn ObjectStore,
        watch: &Watch<'_>,
        indexes: &Indexes,
        destination: &D,
        root: &Root,
    ) -> Result<Self, TransferError> {
        let mut tree = Self::default();
        let mut seen = HashSet::new();
        let mut level = vec![Expected { hash: root.tree, summary: root.summary, part: None }];
        while !level.is_empty() {
            watch.check()?;
            // A page that is in many places is looked into once: otherwise a few pages could name one another so often
            // that the walk never ends.
            let names = level.iter().map(|expected| expected.hash);
            let fresh: Vec<TreeHash> = names.filter(|hash| seen.insert(*hash)).collect();
            tree.load(store, watch, indexes, destination, &fresh)?;
            let mut below = Vec::new();
            for hash in &fresh {
                if let Some(page) = tree.pages.get(hash) {
                    below.extend(references(page, &mut tree.contents)?);
                }
            }
            for expected in &level {
                if let Some(page) = tree.pages.get(&expected.hash) {
                    check(page, expected)?;
                }
            }
            level = below;
        }
        tree.sort(root.tree);
        Ok(tree)
    }

    /// Has those pages in memory that are not held as a whole.
    fn load<D: Destination>(
        &mut self,
        store: &dyn ObjectStore,
        watch: &Watch<'_>,
        indexes: &Indexes,
        destination: &D,
        fresh: &[TreeHash],
    ) -> Result<(), TransferError> {
        let mut wanted = Vec::new();
        for (hash, is_held) in fresh.iter().zip(destination.hold_trees(fresh)?) {
            if is_held {
                continue;
            }
            match destination.page(hash)? {
                Some(page) => drop(self.pages.insert(*hash, page)),
                None => wanted.push(*hash),
            }
        }
        self.pages.extend(fetch_pages(store, watch, indexes, &wanted)?);
        Ok(())
    }

    /// Orders the pages.
    fn sort(&mut self, top: TreeHash) {
        let mut ordered = HashSet::new();
        // With each page, whether those below it have been put before it.
        let mut waiting = vec![(top, false)];
        while let Some((hash, is_ready)) = waiting.pop() {
            let Some(page) = self.pages.get(&hash) else { continue };
            if is_ready {
                self.order.push(hash);
            } else if ordered.insert(hash) {
                waiting.push((hash, true));
                let below = page.references().into_iter().filter_map(|reference| match reference {
                    Reference::Tree(tree) => Some((tree, false)),
                    Reference::Blob(_) => None,
                });
                waiting.extend(below);
            }
        }
    }

    /// The pages, those below before those above.
    pub(super) fn pages(&self) -> impl Iterator<Item = (TreeHash, &Arc<TreePage>)> {
        self.order.iter().filter_map(|hash| Some((*hash, self.pages.get(hash)?)))
    }
}

fn check(page: &TreePage, expected: &Expected) -> Result<(), TransferError> {
    let is_right = page.summary() == expected.summary
        && expected.part.is_none_or(|part| part == (page.level(), page.entry_count()));
    if is_right {
        return Ok(());
    }
    let hash = expected.hash;
    Err(TreeError(format!("page {hash} does not hold what the page above it says")).into())
}

/// What a page names: the pages come back, contents are added.
fn references(
    page: &TreePage,
    contents: &mut BTreeMap<ContentName, u64>,
) -> Result<Vec<Expected>, TransferError> {
    let mut below = Vec::new();
    for index in 0..page.len() {
        if let Some(child) = page.child(index) {
            let part = Some((page.level().saturating_sub(1), child.entries));
            below.push(Expected { hash: child.page, summary: child.summary, part });
        }
        match page.entry_ref(index).map(|entry| entry.content) {
            Some(ContentRef::Directory { tree, summary }) => {
                below.push(Expected { hash: tree, summary, part: None });
            }
            Some(ContentRef::File { size, blob: Some(name) }) => {
                let known = *contents.entry(name).or_insert(size);
                if known != size {
                    let rule = format!("content {name} is said to have {known} and {size} bytes");
                    return Err(TreeError(rule).into());
                }
            }
            _ => {}
        }
    }
    Ok(below)
}

/// Pages that came.
#[derive(Default)]
struct Pages(Mutex<HashMap<TreeHash, Arc<TreePage>>>);

impl Receiver for Pages {
    type Large = std::io::Sink;

    fn large(&self, name: &BlobHash) -> Result<Self::Large, TransferError> {
        let rule = format!("{name} is said to be larger than a page, {PAGE_BYTES_MAX} bytes");
        Err(TreeError(rule).into())
    }

    fn take_large(
        &self,
        _name: &BlobHash,
        _bytes: u64,
        _file: Self::Large,
    ) -> Result<(), TransferError> {
        Ok(())
    }

    fn take(&self, name: &BlobHash, content: &[u8]) -> Result<(), TransferError> {
        let page = Arc::new(TreePage::parse(content.to_vec())?);
        self.0.lock().insert(TreeHash::from_bytes(*name.as_bytes()), page);
        Ok(())
    }
}

fn fetch_pages(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    indexes: &Indexes,
    wanted: &[TreeHash],
) -> Result<HashMap<TreeHash, Arc<TreePage>>, TransferError> {
    let pages = Pages::default();
    let fetcher = Fetcher { store, watch, indexes, receiver: &pages };
    let names = wanted.iter().map(|hash| BlobHash::from_bytes(*hash.as_bytes()));
    fetcher.run(names, TransferError::NoPage)?;
    Ok(pages.0.into_inner())
}
