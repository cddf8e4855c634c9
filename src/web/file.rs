//! A file of a version: its bytes, or a part of them.

use std::path::Path;
use std::sync::Arc;

use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Response, StatusCode};

use super::answer::Question;
use super::body::{Body, FileBody, read};
use super::conditional::{Outcome, Part, Validators};
use super::look::{self, Place, RegularFile};
use super::response::{Policy, response, set, validate};
use crate::engine::Engine;
use crate::model::content_name::ContentName;
use crate::model::name::EntryName;
use crate::store::error::StoreError;

/// Files up to this size are read where they are found; larger ones piece by piece. Bytes.
const READ_AT_ONCE_BYTES_MAX: u64 = 64 << 10;

/// Bytes at the beginning by which a file whose name says nothing is taken for text.
const LOOKED_AT_BYTES: u64 = 1024;

/// Answers with a file; `None` if its version was deleted meanwhile.
///
/// # Errors
/// When the store cannot read it. [`StoreError::AbsentContent`] says that it has to be fetched first.
pub(super) fn answer(
    engine: &Arc<Engine>,
    question: &Question,
    place: &Place,
    name: Option<&EntryName>,
    found: RegularFile,
) -> Result<Option<Response<Body>>, StoreError> {
    let etag = format!("\"{}\"", found.name());
    // What a tag or `latest` names changes with the version. Caches in front of us judge by this time, so it grows then,
    // although the file in the newer version may be the older one.
    let mtime = found.attributes.mtime;
    let modified = if place.is_fixed { mtime } else { mtime.max(place.version.created) };
    let validators = Validators::new(etag, modified);
    let outcome = validators.check(&question.headers);
    let part = match outcome {
        Outcome::Go if question.is_head => Part::Whole,
        Outcome::Go => validators.part(&question.headers, found.size),
        Outcome::NotModified | Outcome::Failed => Part::Whole,
    };
    let (status, (from, end)) = match (outcome, part) {
        (Outcome::NotModified, _) => (StatusCode::NOT_MODIFIED, (0, 0)),
        (Outcome::Failed, _) => (StatusCode::PRECONDITION_FAILED, (0, 0)),
        (Outcome::Go, Part::Whole) => (StatusCode::OK, (0, found.size)),
        (Outcome::Go, Part::Range(from, end)) => (StatusCode::PARTIAL_CONTENT, (from, end)),
        (Outcome::Go, Part::Outside) => (StatusCode::RANGE_NOT_SATISFIABLE, (0, 0)),
    };
    let mut media_type = media_type(name);
    let body = match found.content.filter(|_| from < end) {
        None => Body::empty(),
        // A HEAD has nothing fetched.
        Some(content) if question.is_head && !is_stored(engine, &content)? => Body::empty(),
        Some(content) => {
            let Some(pin) = look::pin(engine, place, &content)? else { return Ok(None) };
            let blob = *pin.hash();
            let file = engine.pool.open(&blob)?;
            let bytes = |from: u64, end: u64| {
                let length = usize::try_from(end - from).unwrap_or(usize::MAX);
                read(engine, &file, &blob, from, length).map_err(|_| StoreError::DamagedBlob(blob))
            };
            if media_type.is_none() && is_text(&bytes(0, found.size.min(LOOKED_AT_BYTES))?) {
                media_type = Some("text/plain; charset=utf-8".to_owned());
            }
            if !question.is_head && end - from <= READ_AT_ONCE_BYTES_MAX {
                Body::from(bytes(from, end)?)
            } else {
                // Of a HEAD nothing is sent, but its length is told.
                Body::File(FileBody::new(Arc::clone(engine), file, pin, (from, end)))
            }
        }
    };
    let mut response = response(status, Policy::File, body);
    validate(&mut response, &validators);
    set(&mut response, ACCEPT_RANGES, "bytes");
    if question.is_head && from < end {
        set(&mut response, CONTENT_LENGTH, &(end - from).to_string());
    }
    let media_type = media_type.as_deref().unwrap_or("application/octet-stream");
    set(&mut response, CONTENT_TYPE, media_type);
    match (outcome, part) {
        (Outcome::Go, Part::Range(from, end)) => {
            let range = format!("bytes {from}-{}/{}", end - 1, found.size);
            set(&mut response, CONTENT_RANGE, &range);
        }
        (Outcome::Go, Part::Outside) => {
            set(&mut response, CONTENT_RANGE, &format!("bytes */{}", found.size));
        }
        _ => {}
    }
    Ok(Some(response))
}

fn is_stored(engine: &Engine, content: &ContentName) -> Result<bool, StoreError> {
    match engine.trees.blob_names().resolve(content) {
        Err(StoreError::AbsentContent(_)) => Ok(false),
        found => found.map(|_| true),
    }
}

/// The media type that a name tells, if it tells one.
pub(super) fn media_type(name: Option<&EntryName>) -> Option<String> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(name?.as_bytes()));
    let guessed = mime_guess::from_path(path).first()?;
    let is_text = guessed.type_() == mime_guess::mime::TEXT;
    Some(if is_text { format!("{guessed}; charset=utf-8") } else { guessed.to_string() })
}

/// Whether bytes look like the beginning of text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none() && bytes.len() - error.valid_up_to() < 4,
    };
    is_utf8
        && !bytes.iter().any(|byte| byte.is_ascii_control() && !b"\t\n\r\x0c\x1b".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_media_types_w2() {
        let of = |name: &[u8]| media_type(Some(&EntryName::new(name).unwrap()));
        assert_eq!(of(b"a.html").unwrap(), "text/html; charset=utf-8");
        assert_eq!(of(b"a.PNG").unwrap(), "image/png");
        assert_eq!(of(b"\xff.txt").unwrap(), "text/plain; charset=utf-8");
        assert_eq!(of(b"Makefile"), None);
        assert_eq!(media_type(None), None);
    }

    #[test]
    fn text_may_be_cut_in_a_character() {
        assert!(is_text(b"") && is_text("a\n\té".as_bytes()) && is_text(&"é".as_bytes()[..1]));
        assert!(!is_text(b"a\0b") && !is_text(b"\xff\xfe text") && !is_text(b"\xffabc"));
    }
}
