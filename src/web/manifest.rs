//! `PULP_MANIFEST` of a version: what Pulp's file plugin, cairn and plain mirrors can sync from (D5).
//!
//! ```text
//! # path,sha256,size
//! a/b.iso,9f86…,4096
//! ```
//!
//! The comment comes first so that no name stands at the beginning, where readers look for marks of other formats: a name
//! may begin like a compressed file or like a web page. A line cannot say every name (H56). Those that it cannot are left
//! out, and a comment at the end says how many.
//! A version that has a file of this name shows that file.

use std::io;

use hyper::StatusCode;

use super::body::Output;
use super::digests::Digests;
use super::look::{self, Place, RegularFile};
use super::walk::Walk;
use crate::engine::Engine;
use crate::engine::request::{RemoteNote, Request};
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::manifest::DeclaredPath;
use crate::model::name::EntryName;
use crate::model::text::{count, printable};
use crate::store::error::StoreError;

/// Its name.
const NAME: &[u8] = b"PULP_MANIFEST";

/// The first line, which every reader skips.
const FIRST_LINE: &str = "# path,sha256,size";

/// New digests that are handed to the store together.
const NOTED_MAX: usize = 256;

/// Whether a path in a version is that of its manifest.
pub(super) fn is_named(path: &[EntryName]) -> bool {
    matches!(path, [name] if name.as_bytes() == NAME)
}

/// A file that keeps a manifest from being made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub(super) struct Unreadable {
    /// Where it is; strangers may see that.
    pub(super) path: String,
    error: io::Error,
}

impl Unreadable {
    /// What strangers are told.
    pub(super) fn refusal(&self) -> (StatusCode, String) {
        let path = &self.path;
        let error = self.error.get_ref().and_then(|inner| inner.downcast_ref());
        match error {
            Some(StoreError::AbsentContent(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "The content of {path} has not been fetched yet, so its SHA-256 is not known. \
                     `cairn prefetch` fetches all of a version."
                ),
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("The content of {path} cannot be read. The log of the store says why."),
            ),
        }
    }
}

/// Writes the manifest of what strangers may read.
///
/// # Errors
/// That the store cannot be read, or that nobody listens any more.
pub(super) fn write(
    engine: &Engine,
    digests: &Digests,
    place: &Place,
    out: &mut dyn Output,
) -> io::Result<()> {
    let mut known = Known { engine, digests, place, new: Vec::new() };
    let mut left_out = 0_u64;
    writeln!(out, "{FIRST_LINE}")?;
    for found in Walk::new(engine, &place.version.root.tree) {
        let (path, entry) = found.map_err(io::Error::other)?;
        let Some(file) = RegularFile::of(entry) else { continue };
        if !can_be_said(&path) {
            left_out += 1;
            continue;
        }
        let sha256 = known.of(&file, out).map_err(|error| unreadable(&path, error))?;
        out.write_all(&path)?;
        writeln!(out, ",{sha256},{}", file.size)?;
    }
    drop(known);
    if left_out > 0 {
        let files = count(left_out, "file");
        writeln!(out, "# {files} left out: this format cannot carry the names")?;
    }
    Ok(())
}

/// Says which file cannot be read. It is not left out: who mirrors the list would delete it. That the client is gone
/// stays what it is.
fn unreadable(path: &[u8], error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => error,
        _ => {
            let path = printable(&String::from_utf8_lossy(path));
            io::Error::other(Unreadable { path, error })
        }
    }
}

/// Whether a line can say a path so that every reader finds it again. Pulp's reads UTF-8, splits lines wherever Python
/// does, strips whitespace, skips what begins with `#`, and then splits at every comma. A byte order mark at the
/// beginning of a name is left to no reader's judgement.
fn can_be_said(path: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(path) else { return false };
    DeclaredPath::new(path).is_ok_and(|declared| declared.as_bytes() == path)
        && text.trim() == text
        && !text.starts_with(['#', '\u{feff}'])
        && !text.contains([',', '\u{2028}', '\u{2029}'])
        && !text.chars().any(char::is_control)
}

/// The SHA-256 of contents: known ones are looked up, others computed once and kept.
struct Known<'a> {
    engine: &'a Engine,
    digests: &'a Digests,
    place: &'a Place,
    new: Vec<(Sha256, BlobHash)>,
}

impl Known<'_> {
    fn of(&mut self, file: &RegularFile, out: &dyn Output) -> io::Result<Sha256> {
        let Some(content) = file.content else { return Ok(Sha256::of(b"")) };
        // Looked up first, since it may be known of what is absent, too.
        match self.engine.trees.blob_names().sha256_of(&content) {
            Ok(Some(sha256)) => return Ok(sha256),
            Ok(None) => {}
            Err(error) => log::debug!("a digest could not be looked up: {error}"),
        }
        let pin = look::pin(self.engine, self.place, &content).map_err(io::Error::other)?;
        let pin = pin.ok_or_else(|| io::Error::other("the version was deleted"))?;
        let blob = *pin.hash();
        let sha256 = self.digests.of(self.engine, &blob, out)?;
        self.new.push((sha256, blob));
        if self.new.len() >= NOTED_MAX {
            self.note();
        }
        Ok(sha256)
    }

    /// Has the store keep what was computed. One that takes no changes computes it again.
    fn note(&mut self) {
        let note = RemoteNote::Digests(std::mem::take(&mut self.new));
        if let Err(error) = self.engine.call(|reply| Request::NoteRemote { note, reply }) {
            log::debug!("digests are not kept: {error}");
        }
    }
}

impl Drop for Known<'_> {
    /// Also what was computed for a client that went away.
    fn drop(&mut self) {
        if !self.new.is_empty() {
            self.note();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::can_be_said;

    #[test]
    fn names_that_no_line_can_say_are_left_out_h56() {
        for good in ["a", "a/b c", "a#b", "é", "<script>", "BZh91", "a\u{feff}b"] {
            assert!(can_be_said(good.as_bytes()), "{good}");
        }
        for bad in [
            &b"a\nb"[..],
            b"\xff",
            b" a",
            b"a ",
            b"#a",
            b"a\x7f",
            "\u{a0}a".as_bytes(),
            b"./a",
            b"a,b",
        ] {
            assert!(!can_be_said(bad), "{bad:?}");
        }
        // Where `str.splitlines` of Python splits.
        for split in "\n\r\x0b\x0c\x1c\x1d\x1e\u{85}\u{2028}\u{2029}".chars() {
            assert!(!can_be_said(format!("a{split}b").as_bytes()), "{split:?}");
        }
        assert!(!can_be_said("\u{feff}a".as_bytes()));
    }
}
