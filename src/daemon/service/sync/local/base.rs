//! The newest version, as what is read is compared with it.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::engine::Engine;
use crate::engine::staging::node::Base;
use crate::model::content_name::same_content;
use crate::model::id::AreaId;
use crate::model::import::{FileSource, ImportContent, ImportEntry};
use crate::model::links::GroupKey;
use crate::model::tree::{Content, Entry, Root};
use crate::model::tree_format::{self, TreeSource};
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;

/// The version that a sync begins on.
pub(super) struct Newest<'a> {
    trees: &'a TreeCache,
    root: Option<Root>,
    number: Option<u64>,
}

/// What the newest version has at a path.
pub(super) enum Found {
    /// Nothing, and nothing is in the way.
    Nothing,
    /// This.
    Entry(Box<Entry>),
    /// Nothing, since at the path of a directory above it is something else.
    Blocked(Vec<u8>),
}

impl<'a> Newest<'a> {
    /// What an area started from.
    pub(super) fn of(engine: &'a Engine, area: AreaId) -> Self {
        let state = engine.staging.read();
        let base: Option<&Base> = state.areas.get(&area).and_then(|area| area.base.as_ref());
        let number = base.and_then(|base| base.number).map(|number| number.0);
        let root = base.and_then(|base| base.root.clone());
        drop(state);
        Self { trees: &engine.trees, root, number }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    pub(super) fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    pub(super) fn trees(&self) -> &'a TreeCache {
        self.trees
    }

    /// How many names it has that are not of directories.
    pub(super) fn files(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.summary.files)
    }

    /// Looks at a path that is not the root's.
    pub(super) fn find(&self, path: &[u8]) -> Result<Found, StoreError> {
        let Some(root) = &self.root else { return Ok(Found::Nothing) };
        let mut tree = root.tree;
        let mut end = 0;
        loop {
            let rest = &path[end..];
            let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let Some(entry) = tree_format::lookup(self.trees, &tree, &rest[..length])? else {
                return Ok(Found::Nothing);
            };
            end += length;
            if end == path.len() {
                return Ok(Found::Entry(Box::new(entry)));
            }
            let Content::Directory { tree: below, .. } = entry.content else {
                return Ok(Found::Blocked(path[..end].to_vec()));
            };
            tree = below;
            end += 1;
        }
    }

    /// Whether an entry that is no directory is what the newest version has at its path.
    pub(super) fn is_same(&self, entry: &ImportEntry, found: &Entry) -> Result<bool, StoreError> {
        if let ImportContent::Hardlink { to } = &entry.content {
            let Found::Entry(first) = self.find(to.as_bytes())? else { return Ok(false) };
            let group = GroupKey::of(entry.path.as_bytes(), found);
            return Ok(group.is_some() && group == GroupKey::of(to.as_bytes(), &first));
        }
        let has_same_attributes =
            entry.attributes.to_attributes().as_ref() == Some(&found.attributes);
        Ok(has_same_attributes && self.has_same_content(&entry.content, &found.content)?)
    }

    fn has_same_content(&self, new: &ImportContent, found: &Content) -> Result<bool, StoreError> {
        Ok(match (new, found) {
            (ImportContent::File { size_bytes, source, .. }, Content::File { size, blob }) => {
                let new = match source {
                    FileSource::Empty => None,
                    FileSource::Known(hash) => Some((*hash).into()),
                    // The store lacks it, so it is no content of a version, or a damaged one.
                    FileSource::Absent
                    | FileSource::Inline { .. }
                    | FileSource::Attached { .. } => return Ok(false),
                };
                size_bytes == size && same_content(new, *blob, |digest| self.trees.blob_of(digest))?
            }
            (ImportContent::Symlink { target }, Content::Symlink { target: found }) => {
                target.as_bytes() == &**found
            }
            (ImportContent::Fifo, Content::Fifo) | (ImportContent::Socket, Content::Socket) => true,
            (ImportContent::CharDevice { rdev }, Content::CharDevice { rdev: found })
            | (ImportContent::BlockDevice { rdev }, Content::BlockDevice { rdev: found }) => {
                rdev == found
            }
            _ => false,
        })
    }
}

/// Paths of what could not be read. What the newest version has there stays.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeSet<Box<[u8]>>);

impl Kept {
    pub(super) fn add(&mut self, path: &[u8]) {
        self.0.insert(path.into());
    }

    /// Whether this path stays, with all that is below it.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.0.contains(path)
    }

    /// Whether something below this path stays.
    pub(super) fn has_below(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        let from = (Bound::Included(&*below), Bound::Unbounded);
        let next = self.0.range::<[u8], _>(from).next();
        next.is_some_and(|next| next.starts_with(&below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v6_what_could_not_be_read_stays_and_so_do_the_directories_above_it() {
        let mut kept = Kept::default();
        assert!(!kept.has_below(b"a"));
        kept.add(b"a/b");
        assert!(kept.has(b"a/b") && !kept.has(b"a"));
        assert!(kept.has_below(b"a") && !kept.has_below(b"a/b") && !kept.has_below(b"a/"));
        kept.add(b"a-/c");
        assert!(kept.has_below(b"a") && !kept.has_below(b"b"));
    }
}
