//! A file of a version: text with numbered lines, a picture, or what its first bytes are.

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::directory::{Beginning, beginning, content};
use super::{Page, Way, fact, minute, shown, size};
use crate::engine::Engine;
use crate::model::content_name::ContentName;
use crate::model::name::EntryName;
use crate::model::text::count;
use crate::store::error::StoreError;
use crate::web::address::encode;
use crate::web::body::Body;
use crate::web::file::{is_text, media_type};
use crate::web::look::{Place, RegularFile};

/// The longest text that is shown, in bytes.
const TEXT_BYTES_MAX: u64 = 512 << 10;

/// The most lines that are shown.
const LINES_MAX: usize = 10_000;

/// The largest picture that is shown, in bytes.
const PICTURE_BYTES_MAX: u64 = 32 << 20;

/// Bytes of other files that are shown.
const DUMPED_BYTES: u64 = 512;

/// Media types of pictures that all browsers know.
const PICTURES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/svg+xml",
    "image/avif",
    "image/bmp",
    "image/x-icon",
];

/// Makes the page; `None` if the version was deleted meanwhile.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    page: &Page,
    place: &Place,
    path: &[EntryName],
    file: &RegularFile,
) -> Result<Option<Response<Body>>, StoreError> {
    let Some(name) = path.last() else { return Ok(None) };
    let Some(view) = view(engine, place, name, file)? else { return Ok(None) };
    let before = place.repository.versions.before(place.version.number);
    let address = encode(name.as_bytes());
    let (algorithm, digest) = match file.name() {
        ContentName::Blake3(hash) => ("BLAKE3", hash.to_string()),
        ContentName::Sha256(digest) => ("SHA-256", digest.to_string()),
    };
    let text = shown(name.as_bytes());
    let content = html! {
        div.title { h1 { bdi { (text) } } p.muted { (size(file.size)) } }
        dl.facts {
            (fact("Size", &html! { (count(file.size, "byte")) }))
            (fact("Modified", &minute(file.attributes.mtime)))
            (fact("Mode", &html! { code { (format!("{:04o}", file.attributes.mode)) } }))
            (fact(algorithm, &html! { code.hash { (digest) } }))
        }
        p.tools {
            a.button href=(format!("./{address}")) { "Raw" }
            a.button href=(format!("./{address}")) download { "Download" }
            @if let Some(before) = before {
                a.button href=(format!("?diff={}", before.number)) { "Changes since " (before.number) }
            }
        }
        (view)
    };
    let title = format!("{text} · {} {}", place.repository.name, place.version.number);
    Ok(Some(page.whole(StatusCode::OK, &title, &Way::inside(place, path, true), &content)))
}

fn view(
    engine: &Engine,
    place: &Place,
    name: &EntryName,
    file: &RegularFile,
) -> Result<Option<Markup>, StoreError> {
    if file.size == 0 {
        return Ok(Some(html! { p.muted { "This file is empty." } }));
    }
    let media_type = media_type(Some(name)).unwrap_or_default();
    if PICTURES.contains(&&*media_type) && file.size <= PICTURE_BYTES_MAX {
        let (address, text) = (encode(name.as_bytes()), shown(name.as_bytes()));
        return Ok(Some(html! { figure.picture { img src=(format!("./{address}")) alt=(text); } }));
    }
    if file.size <= TEXT_BYTES_MAX {
        match content(engine, place, file)? {
            Beginning::Here(bytes) if is_text(&bytes) => {
                return Ok(Some(lines(&String::from_utf8_lossy(&bytes))));
            }
            Beginning::Here(_) => {}
            Beginning::Absent => return Ok(Some(absent())),
            Beginning::Gone => return Ok(None),
        }
    }
    dump(engine, place, file)
}

/// Text with a number and an anchor for each line.
fn lines(text: &str) -> Markup {
    let all = text.lines().count();
    html! {
        div.scroll { table.code {
            @for (number, line) in (1..=LINES_MAX).zip(text.lines()) {
                tr id=(format!("L{number}")) {
                    td.line { a href=(format!("#L{number}")) { (number) } }
                    td { (line) }
                }
            }
        } }
        @if all > LINES_MAX { p.muted { "The first " (LINES_MAX) " of " (all) " lines." } }
    }
}

/// What is said of content that was not fetched yet: to have it fetched takes more than a look at a page.
fn absent() -> Markup {
    html! { p.muted { "The content of this file is not here yet. It is fetched when the file is read or downloaded." } }
}

/// The first bytes of a file that is no text.
fn dump(engine: &Engine, place: &Place, file: &RegularFile) -> Result<Option<Markup>, StoreError> {
    let bytes = match beginning(engine, place, file, DUMPED_BYTES)? {
        Beginning::Here(bytes) => bytes,
        Beginning::Absent => return Ok(Some(absent())),
        Beginning::Gone => return Ok(None),
    };
    if is_text(&bytes) {
        return Ok(Some(html! { p.muted { "This text is too long to be shown: download it." } }));
    }
    let dump: String =
        bytes.chunks(16).enumerate().map(|(row, bytes)| dumped(row, bytes)).collect();
    Ok(Some(html! {
        p.muted { "No text. It begins like this:" }
        div.scroll { pre.dump { (dump) } }
    }))
}

/// Sixteen bytes as `hexdump -C` writes them.
fn dumped(row: usize, bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut line = format!("{:08x}  ", row * 16);
    for column in 0..16 {
        let written = match bytes.get(column) {
            Some(byte) => write!(line, "{byte:02x} "),
            None => write!(line, "   "),
        };
        written.expect("a string takes all that is written");
        if column == 7 {
            line.push(' ');
        }
    }
    let plain = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    line.push_str(" |");
    line.extend(plain);
    line.push_str("|\n");
    line
}
