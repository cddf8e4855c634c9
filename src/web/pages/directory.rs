//! A directory of a version.

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::{Page, Way, fact, minute, repository::labels, shown, size_cell, total_words};
use crate::engine::Engine;
use crate::model::name::EntryName;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format;
use crate::store::error::StoreError;
use crate::web::address::{decode, encode};
use crate::web::body::{Body, read};
use crate::web::file::is_text;
use crate::web::look::{self, Directory, Found, Place, RegularFile, is_visible};
use crate::web::totals::Totals;

/// Entries on one page.
const ENTRIES: usize = 1000;

/// The longest README that is shown below the list, in bytes.
const README_BYTES_MAX: u64 = 64 << 10;

/// Makes the page; its first entry is the one after `after`, which is percent-encoded.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    totals: &Totals,
    page: &Page,
    place: &Place,
    (path, found): (&[EntryName], &Directory),
    after: Option<&str>,
) -> Result<Response<Body>, StoreError> {
    let after = after.and_then(decode).unwrap_or_default();
    let mut entries = Vec::new();
    for entry in tree_format::entries_after(&*engine.trees, &found.tree, &after) {
        let entry = entry?;
        if is_visible(&entry) {
            entries.push(entry);
        }
        if entries.len() > ENTRIES {
            break;
        }
    }
    let more = entries.len() > ENTRIES;
    entries.truncate(ENTRIES);
    let next = entries.last().filter(|_| more).map(|last| encode(last.name.as_bytes()));
    // Directories first, as people look for them; each kind in the order of its names.
    entries.sort_by_key(|entry| !matches!(entry.content, Content::Directory { .. }));
    let mut rows = Vec::with_capacity(entries.len());
    for entry in &entries {
        rows.push(row(engine, totals, place, path, entry)?);
    }
    let total = totals.of(engine, &found.tree)?;
    let name = path.last().map(|name| shown(name.as_bytes()));
    let version = format!("{} {}", place.repository.name, place.version.number);
    let title = name.clone().unwrap_or_else(|| version.clone());
    let content = html! {
        div.title {
            h1 { bdi { (title) } @if path.is_empty() { " " (labels(&place.repository, &place.version)) } }
            p.muted { (total_words(total)) }
        }
        @if path.is_empty() { (facts(place, total.is_some_and(|total| total.is_whole))) }
        (tools(place, path))
        @if rows.is_empty() { p.muted { "This directory is empty." } } @else {
            div.scroll { table.list.files {
                thead { tr { th { "Name" } th.number { "Size" } th { "Modified" } } }
                tbody {
                    @if !path.is_empty() { tr { td.name { a.up href="../" { ".." } } td {} td {} } }
                    @for row in &rows { (row) }
                }
            } }
            @if let Some(next) = next { p { a.button href=(format!("?after={next}")) { "More entries" } } }
        }
        @if let Some((name, text)) = readme(engine, place, &entries)? {
            section.readme { h2 { (name) } pre { (text) } }
        }
    };
    let way = Way::inside(place, path, false);
    Ok(page.whole(StatusCode::OK, &format!("{title} · {version}"), &way, &content))
}

fn facts(place: &Place, is_whole: bool) -> Markup {
    let version = &place.version;
    html! {
        @if !version.message.is_empty() { p.text { (shown_lines(&version.message)) } }
        dl.facts {
            (fact("Published", &minute(version.created)))
            @if !version.author.is_empty() { (fact("Author", &html! { (shown(version.author.as_bytes())) })) }
            @if let Some(base) = version.base { (fact("Began as", &html! { a href=(format!("../{base}/")) { "version " (base) } })) }
            // The hash covers what is hidden as well.
            @if is_whole { (fact("Hash", &html! { code.hash { (version.hash) } })) }
        }
    }
}

/// Text of several lines, the ends of lines kept.
fn shown_lines(text: &str) -> Markup {
    html! { @for line in text.lines() { (shown(line.as_bytes())) br; } }
}

/// What else there is to see of a directory.
fn tools(place: &Place, path: &[EntryName]) -> Markup {
    let before = place.repository.versions.before(place.version.number);
    html! {
        p.tools {
            @if let Some(before) = before {
                a.button href=(format!("?diff={}", before.number)) { "Changes since " (before.number) }
            }
            a.button href="?sizes" { "Largest" }
            @if path.is_empty() { a.button href="?sharing" { "Shared content" } }
            a.button href="?tar" rel="nofollow" { "tar" }
            a.button href="?tar.zst" rel="nofollow" { "tar.zst" }
            @if path.is_empty() { a.button href="./PULP_MANIFEST" rel="nofollow" { "PULP_MANIFEST" } }
        }
    }
}

fn row(
    engine: &Engine,
    totals: &Totals,
    place: &Place,
    path: &[EntryName],
    entry: &Entry,
) -> Result<Markup, StoreError> {
    let (name, address) = (shown(entry.name.as_bytes()), encode(entry.name.as_bytes()));
    let (cell, bytes) = match &entry.content {
        Content::Directory { tree, .. } => {
            let bytes = totals.of(engine, tree)?.map(|total| total.bytes);
            (html! { a.directory href=(format!("./{address}/")) { bdi { (name) } "/" } }, bytes)
        }
        Content::File { size, .. } => {
            (html! { a.file href=(format!("./{address}?view")) { bdi { (name) } } }, Some(*size))
        }
        Content::Symlink { target } => {
            let mut path = path.to_vec();
            path.push(entry.name.clone());
            let end = look::find(engine, place, &path)?.map(|found| match found {
                Found::Directory(_) => "/",
                Found::File(_) => "?view",
            });
            let cell = html! {
                @match end {
                    Some(end) => a.link href=(format!("./{address}{end}")) { bdi { (name) } },
                    None => span.link { bdi { (name) } },
                }
                span.muted { " → " bdi { (shown(target)) } }
            };
            (cell, None)
        }
        other => {
            let kind = crate::web::listing::kind(other);
            (html! { span.special { bdi { (name) } } span.muted { " " (kind) } }, None)
        }
    };
    Ok(html! {
        tr { td.name { (cell) } td.number { (size_cell(bytes)) } td { (minute(entry.attributes.mtime)) } }
    })
}

/// The text of the README among the entries, if there is one and it is short.
fn readme(
    engine: &Engine,
    place: &Place,
    entries: &[Entry],
) -> Result<Option<(String, String)>, StoreError> {
    let is_readme = |entry: &&Entry| {
        let name = entry.name.as_bytes().to_ascii_lowercase();
        [&b"readme"[..], b"readme.md", b"readme.txt", b"readme.rst"].contains(&&*name)
    };
    let Some(entry) = entries.iter().find(is_readme) else { return Ok(None) };
    let file = RegularFile::of(entry.clone()).filter(|file| file.size <= README_BYTES_MAX);
    let content = file.map(|file| content(engine, place, &file)).transpose()?;
    let Some(Beginning::Here(bytes)) = content else { return Ok(None) };
    let text = is_text(&bytes).then(|| String::from_utf8_lossy(&bytes).into_owned());
    Ok(text.map(|text| (shown(entry.name.as_bytes()), text)))
}

/// What a page has of a file.
pub(super) enum Beginning {
    /// Its first bytes, or all.
    Here(Vec<u8>),
    /// Its content was not fetched yet, and a page has nothing fetched.
    Absent,
    /// Its version was deleted meanwhile.
    Gone,
}

/// The bytes of a file, which must be few.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn content(
    engine: &Engine,
    place: &Place,
    file: &RegularFile,
) -> Result<Beginning, StoreError> {
    beginning(engine, place, file, file.size)
}

/// The first bytes of a file.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn beginning(
    engine: &Engine,
    place: &Place,
    file: &RegularFile,
    bytes: u64,
) -> Result<Beginning, StoreError> {
    let Some(content) = file.content else { return Ok(Beginning::Here(Vec::new())) };
    let pin = match look::pin(engine, place, &content) {
        Ok(Some(pin)) => pin,
        Ok(None) => return Ok(Beginning::Gone),
        Err(StoreError::AbsentContent(_)) => return Ok(Beginning::Absent),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.size.min(bytes)).unwrap_or(usize::MAX);
    let blob = engine.pool.open(pin.hash())?;
    let bytes = read(engine, &blob, pin.hash(), 0, length);
    bytes.map(Beginning::Here).map_err(|_| StoreError::DamagedBlob(*pin.hash()))
}
