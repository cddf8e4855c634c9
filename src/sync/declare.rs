//! Before the stages: the document that declares the content is fetched, parsed and checked as a whole before anything
//! that it declares is asked for (H26, H27).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use super::sniff;
use super::sort::{Line, Sorted, Sorter};
use super::{Destination, Origin, Seen, SyncError, Watch};
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::manifest::{
    DeclaredFile, DeclaredPath, LINE_BYTES_MAX, LineError, ManifestForm, check_neighbours,
};
use crate::model::remote::RemoteKind;
use crate::net::{Body, Fetch, Fetched, Validators};

/// The longest document that is read, in bytes: some ten million entries.
const DOCUMENT_BYTES_MAX: u64 = 2 << 30;

/// What a remote declares.
pub(super) struct Declared {
    pub(super) entries: Sorted,
    pub(super) validators: Validators,
    pub(super) sha256: Sha256,
}

/// A document on its way into a file, and its digest.
struct Document {
    file: File,
    length: u64,
    hasher: Sha256Hasher,
}

impl Body for Document {
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

/// Whether the document is another one than that of these validators.
pub(super) fn has_changed(
    origin: &Origin<'_>,
    since: &Validators,
    sha256: Sha256,
    into: File,
    watch: Watch<'_>,
) -> Result<bool, SyncError> {
    Ok(fetch(origin, Some(since), into, watch)?
        .is_some_and(|(_, document)| document.hasher.finish() != sha256))
}

/// Whether the remote says that the document has not changed.
pub(super) fn is_unchanged(
    origin: &Origin<'_>,
    since: &Validators,
    watch: Watch<'_>,
) -> Result<bool, SyncError> {
    let into = tempfile::tempfile()?;
    Ok(fetch(origin, Some(since), into, watch)?.is_none())
}

/// Fetches the document and hands on what it declares, in its order and unchecked but for each line.
pub(super) fn look(
    origin: &Origin<'_>,
    into: File,
    watch: Watch<'_>,
    take: &mut dyn FnMut(DeclaredFile),
) -> Result<Validators, SyncError> {
    let url = origin.url.document(origin.kind).to_string();
    let Some((validators, document)) = fetch(origin, None, into, watch)? else {
        return Ok(Validators::default());
    };
    parse(origin, &url, document.file, &mut |line| {
        take(line.file);
        Ok(())
    })?;
    Ok(validators)
}

fn fetch(
    origin: &Origin<'_>,
    unless: Option<&Validators>,
    into: File,
    watch: Watch<'_>,
) -> Result<Option<(Validators, Document)>, SyncError> {
    let mut document = Document { file: into, length: 0, hasher: Sha256Hasher::default() };
    let request = Fetch {
        url: origin.url.document(origin.kind),
        size_bytes: None,
        max_bytes: DOCUMENT_BYTES_MAX,
        unless: unless.filter(|validators| !validators.is_empty()),
        needs_end: true,
        stop: watch.stop,
        watcher: watch.tally,
    };
    match origin.client.fetch(&request, &mut document)? {
        Fetched::Unchanged => Ok(None),
        Fetched::Whole { validators, .. } => Ok(Some((validators, document))),
    }
}

/// Fetches, parses, sorts, checks. `None` when all of it is as it was `seen`.
pub(super) fn declare(
    origin: &Origin<'_>,
    seen: Option<&Seen>,
    destination: &dyn Destination,
    watch: Watch<'_>,
) -> Result<Option<Declared>, SyncError> {
    let temporary = || destination.temporary();
    let into = temporary().map_err(SyncError::io("make a temporary file"))?;
    let Some((validators, document)) =
        fetch(origin, seen.map(|seen| &seen.validators), into, watch)?
    else {
        return Ok(None);
    };
    let sha256 = document.hasher.clone().finish();
    if seen.is_some_and(|seen| seen.sha256 == sha256.to_string()) {
        return Ok(None);
    }
    let url = origin.url.document(origin.kind).to_string();
    let mut sorter = Sorter::new(&temporary);
    parse(origin, &url, document.file, &mut |line| {
        super::check_stop(watch.stop)?;
        sorter.push(line).map_err(SyncError::io("sort what is declared"))
    })?;
    let entries = sorter.finish(|first, second| {
        check_neighbours(&first.file.path, &second.file.path).map_err(|error| SyncError::Overlap {
            line: first.number.max(second.number),
            url: url.clone(),
            error,
        })
    })?;
    if entries.count == 0 {
        let below = origin.subpath.map_or_else(String::new, |path| format!(" below {path}"));
        return Err(SyncError::Nothing(url, below));
    }
    Ok(Some(Declared { entries, validators, sha256 }))
}

impl From<io::Error> for SyncError {
    fn from(error: io::Error) -> Self {
        Self::Io { action: "sort what is declared", error }
    }
}

fn parse(
    origin: &Origin<'_>,
    url: &str,
    mut document: File,
    take: &mut dyn FnMut(Line) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let form = match origin.kind {
        RemoteKind::Manifest => ManifestForm::Pulp,
        RemoteKind::Sums => ManifestForm::Sums,
    };
    document.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    (&mut document).take(sniff::BYTES as u64).read_to_end(&mut first)?;
    let begin =
        sniff::look(&first).map_err(|other| SyncError::NoList { url: url.to_owned(), other })?;
    document.seek(SeekFrom::Start(begin as u64))?;
    let mut reader = BufReader::new(document);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let most = LINE_BYTES_MAX as u64 + 2;
        if (&mut reader).take(most).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        let wrong = |error: LineError| SyncError::Line { line: number, url: url.to_owned(), error };
        let parsed = form.line(text.strip_suffix(b"\n").unwrap_or(&text)).map_err(wrong)?;
        let below = parsed.and_then(|file| within(origin.subpath, file));
        if let Some(file) = below.filter(|file| !is_document(origin, &file.path)) {
            take(Line { file, number })?;
        }
    }
    Ok(())
}

/// An entry below a subpath, as seen from there.
fn within(subpath: Option<&DeclaredPath>, file: DeclaredFile) -> Option<DeclaredFile> {
    match subpath {
        None => Some(file),
        Some(subpath) => file.path.below(subpath).map(|path| DeclaredFile { path, ..file }),
    }
}

/// Whether an entry is the document itself, as `sha256sum * > SHA256SUMS` lists it, with a digest that cannot be right.
fn is_document(origin: &Origin<'_>, path: &DeclaredPath) -> bool {
    origin.subpath.is_none() && origin.url.file(path.as_bytes()) == origin.url.document(origin.kind)
}
