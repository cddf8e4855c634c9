//! What a stranger sees of the store: the rights of "others" on every component of a path (W4, H55).
//!
//! What may not be seen is `None`, exactly as what is not there, so that nobody can tell the two apart. Symbolic
//! links are followed inside a version and never out of it.

use std::sync::Arc;

use super::address::{Inside, encode};
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::pins::{BlobPin, NamePin};
use crate::engine::registry::Repository;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::name::{BaseName, EntryName, RepoName};
use crate::model::tree::{Attributes, Content, Entry, Summary};
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::StoreError;

/// Others may list a directory and enter it.
const LIST: u16 = 0o5;
/// Others may enter a directory.
const ENTER: u16 = 0o1;
/// Others may read a file.
const READ: u16 = 0o4;

/// Symbolic links that are followed on one path, as many as by the kernel.
const LINKS_MAX: usize = 40;

/// A version that a stranger may look into.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its repository.
    pub(super) repository: Arc<Repository>,
    /// The version.
    pub(super) version: Arc<Version>,
    /// Whether the address names it by its number, which means the same as long as the repository exists.
    pub(super) is_fixed: bool,
    /// What the address calls the version, percent-encoded.
    pub(super) label: String,
    /// The same, as text.
    pub(super) label_shown: String,
}

/// What is at a path.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A directory that may be listed.
    Directory(Directory),
    /// A regular file that may be read.
    File(RegularFile),
}

/// A directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    /// Its own attributes.
    pub(super) attributes: Attributes,
    /// Its tree.
    pub(super) tree: TreeHash,
    /// Totals over its subtree, hidden things included: not to be shown.
    pub(super) summary: Summary,
}

/// A regular file.
#[derive(Debug, Clone)]
pub(super) struct RegularFile {
    /// Its attributes.
    pub(super) attributes: Attributes,
    /// Length in bytes.
    pub(super) size: u64,
    /// Its content; `None` when empty.
    pub(super) content: Option<ContentName>,
}

impl RegularFile {
    /// The file of an entry, if it is a regular one.
    pub(super) fn of(entry: Entry) -> Option<Self> {
        match entry.content {
            Content::File { size, blob } => {
                Some(Self { attributes: entry.attributes, size, content: blob })
            }
            Content::Directory { .. }
            | Content::Symlink { .. }
            | Content::Fifo
            | Content::Socket
            | Content::CharDevice { .. }
            | Content::BlockDevice { .. } => None,
        }
    }

    /// The name of its content, also of none.
    pub(super) fn name(&self) -> ContentName {
        self.content.unwrap_or_else(|| BlobHash::of(b"").into())
    }
}

/// Whether an entry of a directory that may be listed is shown and sent.
pub(super) fn is_visible(entry: &Entry) -> bool {
    let wanted = match entry.content {
        Content::Directory { .. } => LIST,
        // Its mode means nothing; what it leads to is checked when it is followed.
        Content::Symlink { .. } => return true,
        Content::File { .. }
        | Content::Fifo
        | Content::Socket
        | Content::CharDevice { .. }
        | Content::BlockDevice { .. } => READ,
    };
    grants(entry.attributes.mode, wanted)
}

/// Whether a directory may be listed.
pub(super) fn is_listed(attributes: &Attributes) -> bool {
    grants(attributes.mode, LIST)
}

fn grants(mode: u16, wanted: u16) -> bool {
    mode & wanted == wanted
}

/// The repositories that are listed for everybody.
pub(super) fn repositories(engine: &Engine) -> Vec<Arc<Repository>> {
    let mut all = engine.registry.all();
    all.retain(|repository| grants(repository.mode, LIST));
    all
}

/// One repository.
pub(super) fn repository(engine: &Engine, name: &RepoName) -> Option<Arc<Repository>> {
    engine.registry.by_name(name.as_str()).filter(|repository| grants(repository.mode, LIST))
}

/// The version of an address.
pub(super) fn version(engine: &Engine, inside: &Inside) -> Option<Place> {
    let repository = repository(engine, &inside.repository)?;
    let version = Arc::clone(repository.resolve(&inside.version)?);
    let is_fixed = matches!(inside.version, BaseName::Number(_));
    let label_shown = inside.version.to_string();
    let label = encode(label_shown.as_bytes());
    Some(Place { repository, version, is_fixed, label, label_shown })
}

/// Finds the blob of a content of this version, pins it, and then looks whether the version is still there: if it is,
/// the collector sees the pin before it removes the blob (G16, H57). `None` if the version was deleted meanwhile.
///
/// # Errors
/// When the store cannot be read, or does not have the content.
pub(super) fn pin(
    engine: &Engine,
    place: &Place,
    content: &ContentName,
) -> Result<Option<BlobPin>, StoreError> {
    let is_published = || {
        let repository = engine.registry.by_id(place.repository.id);
        repository.is_some_and(|found| found.versions.contains_key(&place.version.number))
    };
    // Pinned before it is looked up, so that it is not reclaimed in between.
    let _looked_up = NamePin::new(&engine.pins, *content);
    let blob = match engine.trees.blob_names().resolve(content) {
        Ok(blob) => blob,
        Err(error) => return if is_published() { Err(error) } else { Ok(None) },
    };
    engine.note_use(content, &blob);
    let pin = BlobPin::new(&engine.pins, blob);
    Ok(is_published().then_some(pin))
}

/// The same for a thread that may wait: content that the store lacks is fetched first (L4).
///
/// # Errors
/// When the store cannot be read, or the content cannot be had.
pub(super) fn pin_or_fetch(
    engine: &Engine,
    place: &Place,
    content: &ContentName,
) -> Result<Option<BlobPin>, EngineError> {
    match pin(engine, place, content) {
        Err(StoreError::AbsentContent(_)) => {
            let _fetched = NamePin::new(&engine.pins, *content);
            engine.blob_or_fetch(content)?;
            Ok(pin(engine, place, content)?)
        }
        found => Ok(found?),
    }
}

/// What is at a path of a version.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn find(
    engine: &Engine,
    place: &Place,
    path: &[EntryName],
) -> Result<Option<Found>, StoreError> {
    let root = &place.version.root;
    let root =
        Directory { attributes: root.attributes.clone(), tree: root.tree, summary: root.summary };
    Walk { engine, above: vec![root], links: 0 }.to(path)
}

/// A path being followed.
struct Walk<'a> {
    engine: &'a Engine,
    /// The directories that lead here, the root first; never empty.
    above: Vec<Directory>,
    links: usize,
}

impl Walk<'_> {
    fn to(mut self, path: &[EntryName]) -> Result<Option<Found>, StoreError> {
        // The next component is the last one.
        let mut rest: Vec<Box<[u8]>> =
            path.iter().rev().map(|name| name.as_bytes().into()).collect();
        while let Some(name) = rest.pop() {
            let Some(here) = self.above.last() else { return Ok(None) };
            if !grants(here.attributes.mode, ENTER) {
                return Ok(None);
            }
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    self.above.pop();
                    continue;
                }
                _ => {}
            }
            let Some(entry) = tree_format::lookup(&*self.engine.trees, &here.tree, &name)? else {
                return Ok(None);
            };
            match entry.content {
                Content::Directory { tree, summary } => {
                    self.above.push(Directory { attributes: entry.attributes, tree, summary });
                }
                Content::Symlink { target } => {
                    self.links += 1;
                    if self.links > LINKS_MAX || target.starts_with(b"/") {
                        return Ok(None);
                    }
                    rest.extend(target.rsplit(|byte| *byte == b'/').map(Box::from));
                }
                Content::File { .. } if rest.is_empty() => {
                    let readable = grants(entry.attributes.mode, READ);
                    return Ok(RegularFile::of(entry).filter(|_| readable).map(Found::File));
                }
                Content::File { .. }
                | Content::Fifo
                | Content::Socket
                | Content::CharDevice { .. }
                | Content::BlockDevice { .. } => return Ok(None),
            }
        }
        let listed = self.above.pop().filter(|found| grants(found.attributes.mode, LIST));
        Ok(listed.map(Found::Directory))
    }
}
