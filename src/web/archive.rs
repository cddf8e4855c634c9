//! A directory of a version as a tar archive, written while it is sent.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use super::address::{Compression, Inside, encode};
use super::look::{self, Directory, Place, is_visible};
use crate::archive::{ArchiveError, ExportSource, tar_write};
use crate::engine::Engine;
use crate::engine::pins::BlobPin;
use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::tree::{Entry, Root};
use crate::model::tree_format::TreeSource;

/// Level of zstd: the archive is made as fast as most networks take it.
const ZSTD_LEVEL: i32 = 3;

/// Attributes that strangers may see are those that the owner of a file sets.
const OWN_XATTRS: &[u8] = b"user.";

/// The directory to be sent.
pub(super) struct Subtree {
    place: Place,
    root: Root,
    name: String,
}

impl Subtree {
    /// A directory that may be listed.
    pub(super) fn new(place: &Place, inside: &Inside, found: Directory) -> Self {
        let Directory { attributes, tree, summary } = found;
        let mut name = encode(place.repository.name.as_str().as_bytes());
        name.push_str(&format!("-{}", place.version.number));
        if let Some(last) = inside.path.last() {
            name.push('-');
            name.push_str(&encode(last.as_bytes()));
        }
        Self { place: place.clone(), root: Root { attributes, tree, summary }, name }
    }

    /// A name for the archive, percent-encoded.
    pub(super) fn file_name(&self, compression: Compression) -> String {
        let end = match compression {
            Compression::None => "tar",
            Compression::Zstd => "tar.zst",
        };
        format!("{}.{end}", self.name)
    }
}

/// The media type of an archive.
pub(super) fn media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/x-tar",
        Compression::Zstd => "application/zstd",
    }
}

/// Writes the archive.
///
/// # Errors
/// That the store cannot be read, or that nobody listens any more.
pub(super) fn write(
    engine: &Arc<Engine>,
    subtree: &Subtree,
    compression: Compression,
    out: &mut dyn Write,
) -> io::Result<()> {
    match compression {
        Compression::None => write_tar(engine, subtree, out),
        Compression::Zstd => {
            let mut out = zstd::Encoder::new(out, ZSTD_LEVEL)?;
            write_tar(engine, subtree, &mut out)?;
            out.finish().map(drop)
        }
    }
}

fn write_tar(engine: &Arc<Engine>, subtree: &Subtree, out: &mut dyn Write) -> io::Result<()> {
    let mut root = subtree.root.clone();
    root.attributes.xattrs.retain(|name, _| name.starts_with(OWN_XATTRS));
    let mut source = Source { engine, place: &subtree.place, root, pins: Vec::new() };
    let select = |mut entry: Entry| {
        entry.attributes.xattrs.retain(|name, _| name.starts_with(OWN_XATTRS));
        is_visible(&entry).then_some(entry)
    };
    let written = tar_write::export_selected(&mut source, &select, out, &mut |_| {});
    written.map(drop).map_err(|error| match error {
        ArchiveError::Output(error) => error,
        other => io::Error::other(other),
    })
}

/// Reads the store for the archive. The contents that are being written stay pinned (H57); should the version be
/// deleted and collected meanwhile, what is read next fails and the download ends short.
struct Source<'a> {
    engine: &'a Arc<Engine>,
    place: &'a Place,
    root: Root,
    pins: Vec<BlobPin>,
}

impl ExportSource for Source<'_> {
    fn root(&mut self) -> Result<Root, ArchiveError> {
        Ok(self.root.clone())
    }

    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let page = |hash: &TreeHash| {
            let page = self.engine.trees.page(hash).map_err(|error| failed(&error))?;
            Ok(page.bytes().to_vec())
        };
        hashes.iter().map(page).collect()
    }

    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError> {
        self.pins.clear();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let pin = look::pin_or_fetch(self.engine, self.place, name);
            let pin = pin.map_err(|error| failed(&error))?;
            let pin = pin.ok_or_else(|| failed(&"the version was deleted"))?;
            let file = self.engine.pool.open(pin.hash()).map_err(|error| failed(&error))?;
            self.pins.push(pin);
            // Everything is read by position, so it does not matter that both share one.
            files.push(file.try_clone().map_err(|error| failed(&error))?);
        }
        Ok(files)
    }
}

fn failed(error: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::Output(io::Error::other(error.to_string()))
}
