//! Walks what strangers may see below a directory, in the order of paths' names. Directories are read page by page, so a
//! walk costs a few pages for each level, however many entries there are.

use super::look::is_visible;
use crate::engine::Engine;
use crate::model::hash::TreeHash;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format;
use crate::store::error::StoreError;

/// The longest path that is walked, in bytes: what a program could open.
const PATH_BYTES_MAX: usize = 4095;

/// The walk, as an iterator over paths below the top and entries.
pub(super) struct Walk<'e> {
    engine: &'e Engine,
    levels: Vec<Level<'e>>,
}

struct Level<'e> {
    path_bytes: usize,
    path: Vec<u8>,
    entries: Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'e>,
}

impl<'e> Walk<'e> {
    /// Walks what is below this directory.
    pub(super) fn new(engine: &'e Engine, tree: &TreeHash) -> Self {
        let mut walk = Self { engine, levels: Vec::new() };
        walk.enter(Vec::new(), tree);
        walk
    }

    fn enter(&mut self, path: Vec<u8>, tree: &TreeHash) {
        let entries = Box::new(tree_format::entries(&*self.engine.trees, tree, 0));
        self.levels.push(Level { path_bytes: path.len(), path, entries });
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Entry), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.levels.clear();
                    return Some(Err(error));
                }
            };
            level.path.truncate(level.path_bytes);
            if level.path_bytes > 0 {
                level.path.push(b'/');
            }
            level.path.extend_from_slice(entry.name.as_bytes());
            if !is_visible(&entry) || level.path.len() > PATH_BYTES_MAX {
                continue;
            }
            let path = level.path.clone();
            if let Content::Directory { tree, .. } = &entry.content {
                self.enter(path.clone(), tree);
            }
            return Some(Ok((path, entry)));
        }
    }
}
