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

use std::io::{self, Write};

use super::body::read;
use super::look::{self, Place, RegularFile};
use super::walk::Walk;
use crate::engine::Engine;

use crate::engine::request::{RemoteNote, Request};
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::model::manifest::DeclaredPath;
use crate::model::name::EntryName;
use crate::model::text::count;

/// Its name.
const NAME: &[u8] = b"PULP_MANIFEST";

/// The first line, which every reader skips.
const FIRST_LINE: &str = "# path,sha256,size";

/// Bytes hashed at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// New digests that are handed to the store together.
const NOTED_MAX: usize = 256;

/// Whether a path in a version is that of its manifest.
pub(super) fn is_named(path: &[EntryName]) -> bool {
    matches!(path, [name] if name.as_bytes() == NAME)
}

/// Writes the manifest of what strangers may read.
///
/// # Errors
/// That the store cannot be read, or that nobody listens any more.
pub(super) fn write(engine: &Engine, place: &Place, out: &mut dyn Write) -> io::Result<()> {
    let mut digests = Digests { engine, place, new: Vec::new() };
    let mut left_out = 0_u64;
    writeln!(out, "{FIRST_LINE}")?;
    for found in Walk::new(engine, &place.version.root.tree) {
        let (path, entry) = found.map_err(io::Error::other)?;
        let Some(file) = RegularFile::of(entry) else { continue };
        if !can_be_said(&path) {
            left_out += 1;
            continue;
        }
        let sha256 = digests.of(&file)?;
        out.write_all(&path)?;
        writeln!(out, ",{sha256},{}", file.size)?;
    }
    drop(digests);
    if left_out > 0 {
        let files = count(left_out, "file");
        writeln!(out, "# {files} left out: this format cannot carry the names")?;
    }
    Ok(())
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
struct Digests<'a> {
    engine: &'a Engine,
    place: &'a Place,
    new: Vec<(Sha256, BlobHash)>,
}

impl Digests<'_> {
    fn of(&mut self, file: &RegularFile) -> io::Result<Sha256> {
        let Some(content) = file.content else { return Ok(Sha256::of(b"")) };
        if let Some(declared) = content.sha256() {
            return Ok(*declared);
        }
        let pin = look::pin(self.engine, self.place, &content).map_err(io::Error::other)?;
        let pin = pin.ok_or_else(|| io::Error::other("the version was deleted"))?;
        let blob = *pin.hash();
        let known = self.engine.query(|reader| reader.digest_of(&blob));
        match known {
            Ok(Some(sha256)) => return Ok(sha256),
            Ok(None) => {}
            Err(error) => log::debug!("a digest could not be looked up: {error}"),
        }
        let sha256 = self.compute(&blob, file.size)?;
        self.new.push((sha256, blob));
        if self.new.len() >= NOTED_MAX {
            self.note();
        }
        Ok(sha256)
    }

    fn compute(&self, blob: &BlobHash, size: u64) -> io::Result<Sha256> {
        let file = self.engine.pool.open(blob).map_err(io::Error::other)?;
        let mut hasher = Sha256Hasher::default();
        let mut from = 0;
        while from < size {
            let length = CHUNK_BYTES.min(size - from);
            let length_here = usize::try_from(length).unwrap_or(usize::MAX);
            let bytes = read(self.engine, &file, blob, from, length_here)?;
            hasher.update(&bytes);
            from += length;
        }
        Ok(hasher.finish())
    }

    /// Has the store keep what was computed. One that takes no changes computes it again.
    fn note(&mut self) {
        let note = RemoteNote::Digests(std::mem::take(&mut self.new));
        if let Err(error) = self.engine.call(|reply| Request::NoteRemote { note, reply }) {
            log::debug!("digests are not kept: {error}");
        }
    }
}

impl Drop for Digests<'_> {
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
