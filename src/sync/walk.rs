//! The newest version in the order of its paths, in which what is declared goes by as well.

use super::SyncError;
use crate::model::tree::{Content, Entry, Root};
use crate::model::tree_format;
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;

/// What comes next in the newest version.
#[derive(Debug)]
pub struct BaseEntry {
    /// Its path in the version.
    pub path: Vec<u8>,
    /// What is there.
    pub entry: Entry,
}

impl BaseEntry {
    /// How many names go with it that are not of directories.
    pub fn files(&self) -> u64 {
        match &self.entry.content {
            Content::Directory { summary, .. } => summary.files,
            _ => 1,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.entry.content, Content::Directory { .. })
    }
}

type Entries<'a> = Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>;

/// Walks a tree in order of paths; a directory comes before what is in it, which [`Walk::enter`] asks for.
pub struct Walk<'a> {
    trees: &'a TreeCache,
    /// The directories on the way, with their paths.
    open: Vec<(Vec<u8>, Entries<'a>)>,
}

impl<'a> Walk<'a> {
    /// Begins with what is in the root directory.
    pub fn new(trees: &'a TreeCache, root: Option<&Root>) -> Self {
        let entries =
            |root: &Root| -> Entries<'a> { Box::new(tree_format::entries(trees, &root.tree, 0)) };
        Self { trees, open: root.map(|root| (Vec::new(), entries(root))).into_iter().collect() }
    }

    /// What comes next.
    ///
    /// # Errors
    /// The store's.
    pub fn advance(&mut self) -> Result<Option<BaseEntry>, SyncError> {
        while let Some((directory, entries)) = self.open.last_mut() {
            match entries.next() {
                None => drop(self.open.pop()),
                Some(entry) => {
                    let entry = entry?;
                    let mut path = directory.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend(entry.name.as_bytes());
                    return Ok(Some(BaseEntry { path, entry }));
                }
            }
        }
        Ok(None)
    }

    /// Has what is in that directory come next.
    pub fn enter(&mut self, entry: BaseEntry) {
        if let Content::Directory { tree, .. } = &entry.entry.content {
            let entries = Box::new(tree_format::entries(self.trees, tree, 0));
            self.open.push((entry.path, entries));
        }
    }
}
