//! Kinds `manifest` and `sums`: what a list declares, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use super::document::{Document, Found, fetch, within};
use super::sniff;
use super::sort::Line;
use super::{Origin, SyncError, Watch};
use crate::model::manifest::{DeclaredPath, LINE_BYTES_MAX, LineError, ManifestForm};
use crate::model::remote::RemoteKind;

/// Fetches the list and hands on what it declares. `None` where it is as it was `seen`.
pub(super) fn look(
    origin: &Origin<'_>,
    seen: &[Document],
    into: File,
    watch: Watch<'_>,
    take: &mut dyn FnMut(Line) -> Result<(), SyncError>,
) -> Result<Option<Found>, SyncError> {
    let location = origin.url.document(origin.kind);
    let url = location.to_string();
    let seen = seen.iter().find(|document| document.url == url);
    let unless = seen.map(|document| &document.validators);
    let Some((validators, list)) = fetch(origin, location, unless, into, watch)? else {
        return Ok(None);
    };
    let sha256 = list.hasher.finish();
    if seen.is_some_and(|seen| seen.sha256 == sha256.to_string()) {
        return Ok(None);
    }
    parse(origin, &url, &list.file, take)?;
    let mtime = validators.modified();
    let document = Document {
        url: url.clone(),
        validators,
        sha256: sha256.to_string(),
        valid_until: None,
        date: None,
    };
    Ok(Some(Found { documents: vec![document], places: vec![url], mtime, ..Found::default() }))
}

fn parse(
    origin: &Origin<'_>,
    url: &str,
    mut list: &File,
    take: &mut dyn FnMut(Line) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let form = match origin.kind {
        RemoteKind::Manifest => ManifestForm::Pulp,
        RemoteKind::Sums => ManifestForm::Sums,
        // No list declares what these have: they are asked otherwise.
        RemoteKind::Debian | RemoteKind::Directory | RemoteKind::Archive | RemoteKind::Bucket => {
            return Err(SyncError::Ended);
        }
    };
    list.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    list.take(LINE_BYTES_MAX as u64).read_to_end(&mut first)?;
    let begin = match sniff::look(&first) {
        Ok(begin) => begin,
        // A name may begin like anything.
        Err(_) if declares(form, &first) => 0,
        Err(other) => return Err(SyncError::NoList { url: url.to_owned(), other }),
    };
    list.seek(SeekFrom::Start(begin as u64))?;
    let mut reader = BufReader::new(list);
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

/// Whether the first line is one of a list.
fn declares(form: ManifestForm, first: &[u8]) -> bool {
    let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    matches!(form.line(line), Ok(Some(_)))
}

/// Whether an entry is the document itself, as `sha256sum * > SHA256SUMS` lists it, with a digest that cannot be right.
fn is_document(origin: &Origin<'_>, path: &DeclaredPath) -> bool {
    origin.subpath.is_none() && origin.url.file(path.as_bytes()) == origin.url.document(origin.kind)
}
