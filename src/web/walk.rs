//! Walks what strangers may see below a directory, in the order of paths' names.

use std::vec;

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
    levels: Vec<Level>,
    failed: Option<StoreError>,
}

struct Level {
    path_bytes: usize,
    path: Vec<u8>,
    entries: vec::IntoIter<Entry>,
}

impl<'e> Walk<'e> {
    /// Walks what is below this directory.
    pub(super) fn new(engine: &'e Engine, tree: &TreeHash) -> Self {
        let mut walk = Self { engine, levels: Vec::new(), failed: None };
        walk.enter(Vec::new(), tree);
        walk
    }

    fn enter(&mut self, path: Vec<u8>, tree: &TreeHash) {
        let entries: Result<Vec<_>, _> =
            tree_format::entries(&*self.engine.trees, tree, 0).collect();
        match entries {
            Ok(entries) => {
                let (path_bytes, entries) = (path.len(), entries.into_iter());
                self.levels.push(Level { path_bytes, path, entries });
            }
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(Vec<u8>, Entry), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failed.take() {
                self.levels.clear();
                return Some(Err(error));
            }
            let level = self.levels.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
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
