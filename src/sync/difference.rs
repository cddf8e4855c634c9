//! The first stage: what is declared beside what the newest version has, both in order of their paths (V2).

use std::cmp::Ordering;
use std::io;

use super::sort::Line;
use super::walk::{BaseEntry, Walk};
use super::{BaseFile, Destination, SyncError};
use crate::model::manifest::{DeclaredFile, compare_paths};
use crate::model::tree::Content;

/// What one path needs.
#[derive(Debug)]
pub(super) enum Step {
    /// The version has a file there.
    Put {
        file: DeclaredFile,
        /// The file that the newest version has there.
        base: Option<BaseFile>,
    },
    /// The version has nothing there that the newest one has.
    Remove {
        path: Vec<u8>,
        /// Of how many files.
        files: u64,
        /// A declared file needs the place.
        in_the_way: bool,
    },
}

/// The file that the newest version has at a path.
fn base_file(found: BaseEntry) -> Option<BaseFile> {
    match found.entry.content {
        Content::File { size, blob } => {
            let is_linked = found.entry.link_group.is_some();
            let attributes = found.entry.attributes;
            Some(BaseFile { size_bytes: size, blob, is_linked, attributes })
        }
        _ => None,
    }
}

/// Tells `step` of everything that is to be done, in order of paths. Where the version is to be a mirror, what is not
/// declared goes; where something is in the way of a declared file, that goes in any case.
pub(super) fn difference(
    declared: impl Iterator<Item = io::Result<Line>>,
    destination: &dyn Destination,
    mirror: bool,
    step: &mut dyn FnMut(Step) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let mut declared = declared.map(|line| line.map(|line| line.file)).peekable();
    let mut walk = Walk::new(destination.trees(), destination.base());
    let mut base = walk.advance()?;
    loop {
        if matches!(declared.peek(), Some(Err(_))) {
            let failed = declared.next().and_then(Result::err);
            return Err(failed.map_or(SyncError::Ended, SyncError::from));
        }
        let wanted = declared.peek().and_then(|file| file.as_ref().ok());
        let (order, is_within) = match (&base, wanted) {
            (None, None) => return Ok(()),
            (None, Some(_)) => (Ordering::Greater, false),
            (Some(_), None) => (Ordering::Less, false),
            (Some(base), Some(file)) => {
                let path = file.path.as_bytes();
                (compare_paths(&base.path, path), file.path.is_below(&base.path))
            }
        };
        // `base` compared with what is declared: it comes later, is at the same path, or comes first.
        match (order, base.take()) {
            (Ordering::Greater, kept) => {
                base = kept;
                if let Some(Ok(file)) = declared.next() {
                    step(Step::Put { file, base: None })?;
                }
                continue;
            }
            (Ordering::Equal, Some(found)) => {
                let (path, files) = (found.path.clone(), found.files());
                let base = base_file(found);
                if base.is_none() {
                    step(Step::Remove { path, files, in_the_way: true })?;
                }
                if let Some(Ok(file)) = declared.next() {
                    step(Step::Put { file, base })?;
                }
            }
            (Ordering::Less, Some(found)) if is_within && found.is_directory() => walk.enter(found),
            (Ordering::Less, Some(found)) if is_within || mirror => {
                step(Step::Remove {
                    files: found.files(),
                    path: found.path,
                    in_the_way: is_within,
                })?;
            }
            (Ordering::Less | Ordering::Equal, _) => {}
        }
        base = walk.advance()?;
    }
}
