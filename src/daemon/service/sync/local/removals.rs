//! What the newest version has and the source has not, which a mirror removes (V1).

use std::cmp::Ordering;

use super::base::{Kept, Newest};
use crate::model::manifest::compare_paths;
use crate::sync::{BaseEntry, SyncError, Walk};

/// Something that goes.
pub(super) struct Gone {
    pub(super) path: Vec<u8>,
    /// How many names go with it that are not of directories.
    pub(super) files: u64,
}

/// What the source has at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    /// A directory, of which each entry goes by as well.
    Directory,
    /// Anything else, or a directory as a whole.
    Whole,
}

/// In which order the entries of a source come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In that of their paths.
    Sorted,
    /// As somebody packed them.
    Any,
}

/// The newest version beside the source, as both go by in the order of their paths.
pub(super) struct Removals<'a> {
    walk: Walk<'a>,
    next: Option<BaseEntry>,
    /// What has gone by of a source that is not in order.
    unsorted: Option<Vec<(Box<[u8]>, Has)>>,
}

impl<'a> Removals<'a> {
    pub(super) fn new(newest: &Newest<'a>, order: Order) -> Result<Self, SyncError> {
        let mut walk = Walk::new(newest.trees(), newest.root());
        let next = walk.advance()?;
        let unsorted = (order == Order::Any).then(Vec::new);
        Ok(Self { walk, next, unsorted })
    }

    /// The source has something at `path`. Tells what is missing before it.
    pub(super) fn pass(
        &mut self,
        path: &[u8],
        has: Has,
        kept: &Kept,
        gone: &mut dyn FnMut(Gone) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        if path.is_empty() {
            return Ok(());
        }
        match &mut self.unsorted {
            Some(unsorted) => {
                unsorted.push((path.into(), has));
                Ok(())
            }
            None => self.advance(path, has, kept, gone),
        }
    }

    /// The source has nothing more.
    pub(super) fn finish(
        &mut self,
        kept: &Kept,
        gone: &mut dyn FnMut(Gone) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        let mut unsorted = self.unsorted.take().unwrap_or_default();
        unsorted.sort_unstable_by(|(one, _), (other, _)| compare_paths(one, other));
        for (path, has) in unsorted {
            self.advance(&path, has, kept, gone)?;
        }
        while let Some(entry) = self.next.take() {
            self.leave(entry, kept, gone)?;
            self.next = self.walk.advance()?;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        path: &[u8],
        has: Has,
        kept: &Kept,
        gone: &mut dyn FnMut(Gone) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        while let Some(entry) = self.next.take() {
            match compare_paths(&entry.path, path) {
                Ordering::Greater => {
                    self.next = Some(entry);
                    return Ok(());
                }
                Ordering::Equal if has == Has::Directory => self.walk.enter(entry),
                Ordering::Equal => {}
                // On the way to the path: a directory, or something that has been removed for it.
                Ordering::Less if is_below(path, &entry.path) => self.walk.enter(entry),
                Ordering::Less => self.leave(entry, kept, gone)?,
            }
            self.next = self.walk.advance()?;
        }
        Ok(())
    }

    /// An entry that the source has not.
    fn leave(
        &mut self,
        entry: BaseEntry,
        kept: &Kept,
        gone: &mut dyn FnMut(Gone) -> Result<(), SyncError>,
    ) -> Result<(), SyncError> {
        if kept.has(&entry.path) {
            return Ok(());
        }
        if entry.is_directory() && kept.has_below(&entry.path) {
            self.walk.enter(entry);
            return Ok(());
        }
        gone(Gone { files: entry.files(), path: entry.path })
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
