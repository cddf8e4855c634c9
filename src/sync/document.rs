//! The documents by which a remote declares its content: fetched whole, and asked for again to see whether they changed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use url::Url;

use super::gathered::Gathered;
use super::{Note, Origin, SyncError, Watch};
use crate::model::digest::Sha256Hasher;
use crate::model::manifest::{DeclaredFile, DeclaredPath};
use crate::model::time::Timestamp;
use crate::net::{Body, Fetch, Fetched, TRIES_MAX, Validators};

/// The longest document that is read, in bytes: some ten million entries.
const DOCUMENT_BYTES_MAX: u64 = 2 << 30;

/// Bits of a line's number in a `Line`; those above say in which document it is.
const LINE_BITS: u32 = 40;

/// A document that declares content, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Document {
    /// Where it is.
    pub url: String,
    /// By which the server tells whether it changed.
    pub validators: Validators,
    /// Its digest.
    pub sha256: String,
    /// Until when it may be believed, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// When it was made, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// The documents of the last sync.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) documents: &'a [Document],
    /// Whether it is of use to hear that they have not changed.
    pub(super) may_be_unchanged: bool,
}

impl<'a> Before<'a> {
    /// There was none.
    pub(super) const NONE: Before<'static> = Before { documents: &[], may_be_unchanged: false };

    /// The documents with which a request asks whether they have changed.
    pub(super) fn seen(&self) -> &'a [Document] {
        if self.may_be_unchanged { self.documents } else { &[] }
    }
}

/// What was found besides the entries themselves.
#[derive(Default)]
pub(super) struct Found {
    pub(super) documents: Vec<Document>,
    /// What entries come from, in the order of the numbers of [`number`].
    pub(super) places: Vec<String>,
    /// The time of the content, as far as the remote says one.
    pub(super) mtime: Option<Timestamp>,
    /// Contents that came meanwhile.
    pub(super) gathered: Option<Gathered>,
    pub(super) notes: Vec<Note>,
}

/// The number of a line, counted from 1, of one of several documents.
pub(super) fn number(document: usize, line: u64) -> u64 {
    let document = u64::try_from(document).unwrap_or(u64::MAX);
    document.saturating_mul(1 << LINE_BITS).saturating_add(line)
}

/// The document, by its place in the order of [`number`], and the line.
pub(super) fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number >> LINE_BITS).unwrap_or(usize::MAX), number & ((1 << LINE_BITS) - 1))
}

/// A document on its way into a file, and its digest.
pub(super) struct Download {
    pub(super) file: File,
    length: u64,
    pub(super) hasher: Sha256Hasher,
}

impl Body for Download {
    fn length(&self) -> u64 {
        self.length
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.hasher.update(data);
        self.length += data.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.length, self.hasher) = (0, Sha256Hasher::default());
        Ok(())
    }
}

/// Which of the documents is another one now, if any is.
pub(super) fn has_changed(
    origin: &Origin<'_>,
    documents: &[Document],
    watch: Watch<'_>,
) -> Result<Option<String>, SyncError> {
    for document in documents {
        if let Some((_, download)) = fetch_again(origin, document, watch)?
            && download.hasher.finish().to_string() != document.sha256
        {
            return Ok(Some(document.url.clone()));
        }
    }
    Ok(None)
}

/// Whether the remote says that the document has not changed.
pub(super) fn is_unchanged(
    origin: &Origin<'_>,
    document: &Document,
    watch: Watch<'_>,
) -> Result<bool, SyncError> {
    Ok(fetch_again(origin, document, watch)?.is_none())
}

fn fetch_again(
    origin: &Origin<'_>,
    document: &Document,
    watch: Watch<'_>,
) -> Result<Option<(Validators, Download)>, SyncError> {
    let url = Url::parse(&document.url).map_err(|error| SyncError::Store(Box::new(error)))?;
    fetch(origin, url, Some(&document.validators), tempfile::tempfile()?, watch)
}

/// Fetches a document into `into`. `None` if the server says that it is still the document that `unless` describes.
pub(super) fn fetch(
    origin: &Origin<'_>,
    url: Url,
    unless: Option<&Validators>,
    into: File,
    watch: Watch<'_>,
) -> Result<Option<(Validators, Download)>, SyncError> {
    let mut download = Download { file: into, length: 0, hasher: Sha256Hasher::default() };
    let request = Fetch {
        url,
        size_bytes: None,
        max_bytes: DOCUMENT_BYTES_MAX,
        unless: unless.filter(|validators| !validators.is_empty()),
        needs_end: true,
        tries_max: TRIES_MAX,
        stop: watch.stop,
        watcher: watch.tally,
    };
    match origin.client.fetch(&request, &mut download)? {
        Fetched::Unchanged => Ok(None),
        Fetched::Whole { validators, .. } => Ok(Some((validators, download))),
    }
}

/// An entry below a subpath, as seen from there.
pub(super) fn within(subpath: Option<&DeclaredPath>, file: DeclaredFile) -> Option<DeclaredFile> {
    match subpath {
        None => Some(file),
        Some(subpath) => file.path.below(subpath).map(|path| DeclaredFile { path, ..file }),
    }
}
