//! One path of a version: found, opened, or written under a name of the caller's choice.
//!
//! What is written goes through the export of a directory, so that it keeps all that an export keeps: a
//! directory is a version of its own, and anything else is alone in a directory that is made for it, from
//! which it is taken once it is whole.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::ExportSource;
use super::error::ArchiveError;
use super::export::{Exported, LinkMode, c_name, fill};
use super::path::ArchivePath;
use super::tree_walk::Origin;
use super::write::{Destination, Existing};
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry, Root, Xattrs};
use crate::model::tree_format;

/// What is at a path of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The path is empty: the version itself.
    Root(Root),
    /// Something in it.
    Entry(Entry),
}

impl Found {
    /// Bytes of content at and below the path.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Root(root) => root.summary.bytes,
            Self::Entry(Entry { content: Content::Directory { summary, .. }, .. }) => summary.bytes,
            Self::Entry(Entry { content: Content::File { size, .. }, .. }) => *size,
            Self::Entry(_) => 0,
        }
    }
}

/// Finds what is at a path; `None` where nothing is.
///
/// # Errors
/// When the version cannot be read.
pub fn find(
    source: &mut dyn ExportSource,
    path: &ArchivePath,
) -> Result<Option<Found>, ArchiveError> {
    let origin = Origin::new(source);
    let root = origin.root()?;
    let names = path.components().map(EntryName::new).collect::<Result<Vec<_>, _>>();
    // A path was checked when it was made.
    let Ok(names) = names else { return Ok(None) };
    if names.is_empty() {
        return Ok(Some(Found::Root(root)));
    }
    Ok(tree_format::lookup_path(&origin, &root.tree, &names)?.map(Found::Entry))
}

/// Opens a content for reading.
///
/// # Errors
/// When it cannot be had.
pub fn open(
    source: &mut dyn ExportSource,
    name: ContentName,
) -> Result<Option<File>, ArchiveError> {
    Ok(source.open(&[name])?.pop())
}

/// Writes what was found to `to`, which it gets once it is whole. `progress` is called now and then; `stop`
/// ends it early, as if it had failed.
///
/// # Errors
/// What failed first; nothing is left of it then.
pub fn restore(
    source: &mut dyn ExportSource,
    found: &Found,
    (to, existing): (&Path, Existing),
    progress: &mut dyn FnMut(&Exported),
    stop: &AtomicBool,
) -> Result<Exported, ArchiveError> {
    let mut part = Part::new(source, found)?;
    let only = part.only.clone();
    let origin = Origin::new(&mut part);
    let root = origin.root()?;
    let destination = Destination::beside(to, existing, &|_| {})?;
    let written = fill(&origin, &root, &destination, (LinkMode::Copy, stop), progress)
        .and_then(|exported| destination.put(only.as_deref(), existing).map(|()| exported));
    match written {
        Err(error) => {
            destination.give_up();
            Err(error)
        }
        Ok(mut exported) => {
            destination.clear(only.as_deref())?;
            // The directory that was made for it is not there any more.
            exported.directories -= u64::from(only.is_some());
            Ok(exported)
        }
    }
}

/// A part of a version, as a version.
struct Part<'a> {
    source: &'a mut dyn ExportSource,
    root: Root,
    /// The name of what is alone in a directory that is made for it.
    only: Option<CString>,
    /// That directory.
    page: Option<(TreeHash, Vec<u8>)>,
}

impl<'a> Part<'a> {
    fn new(source: &'a mut dyn ExportSource, found: &Found) -> Result<Self, ArchiveError> {
        let whole = |source, root| Ok(Self { source, root, only: None, page: None });
        let entry = match found {
            Found::Root(root) => return whole(source, root.clone()),
            Found::Entry(Entry {
                content: Content::Directory { tree, summary },
                attributes,
                ..
            }) => {
                let attributes = attributes.clone();
                return whole(source, Root { attributes, tree: *tree, summary: *summary });
            }
            // Its other names are not written.
            Found::Entry(entry) => Entry { link_group: None, ..entry.clone() },
        };
        let (only, mtime) = (c_name(&entry.name), entry.attributes.mtime);
        let mut built = tree_format::build([entry])?;
        let attributes = Attributes {
            mode: 0o700,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime,
            xattrs: Xattrs::new(),
        };
        let root = Root { attributes, tree: built.root, summary: built.summary };
        Ok(Self { source, root, only: Some(only), page: built.pages.pop() })
    }
}

impl ExportSource for Part<'_> {
    fn root(&mut self) -> Result<Root, ArchiveError> {
        Ok(self.root.clone())
    }

    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        match &self.page {
            // Nothing but this page can be asked for: it names no other.
            Some((hash, bytes)) if hashes == [*hash] => Ok(vec![bytes.clone()]),
            _ => self.source.pages(hashes),
        }
    }

    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        self.source.open(names)
    }
}
