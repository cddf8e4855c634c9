//! The difference of two versions, file by file and line by line.

use std::time::Duration;

use hyper::{Response, StatusCode};
use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::change::{Change, Changes, between};
use super::directory::{Beginning, content};
use super::{Page, Way, shown, size};
use crate::engine::Engine;
use crate::model::content_name::same_content;
use crate::model::name::EntryName;
use crate::model::text::count;
use crate::model::tree::Entry;
use crate::store::error::StoreError;
use crate::web::body::Body;
use crate::web::file::is_text;
use crate::web::look::{Found, Place, RegularFile};

/// The longest text that is compared line by line, in bytes.
const TEXT_BYTES_MAX: u64 = 256 << 10;

/// Files that are compared line by line on one page.
const TEXTS_MAX: usize = 40;

/// Lines that are shown of one file.
const LINES_MAX: usize = 1000;

/// Bytes of lines on one page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// How long one file is compared; after that the difference is coarser than it could be.
const COMPARE_TIME: Duration = Duration::from_millis(200);

/// Unchanged lines around changed ones.
const CONTEXT: usize = 3;

/// What is compared.
pub(in crate::web) struct Sides<'a> {
    /// The older version, as a rule.
    pub(in crate::web) before: &'a Place,
    /// The version whose page this is.
    pub(in crate::web) after: &'a Place,
    /// The path in both.
    pub(in crate::web) path: &'a [EntryName],
}

/// Makes the page of what was found on both sides.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    page: &Page,
    sides: &Sides<'_>,
    (before, after): (Option<Found>, Option<Found>),
) -> Result<Response<Body>, StoreError> {
    let is_file = matches!(after.as_ref().or(before.as_ref()), Some(Found::File(_)));
    let mut changes = between(engine, before.as_ref(), after.as_ref())?;
    changes.all.extend(of_files(sides, before, after));
    let mut budget = Budget { texts: TEXTS_MAX, bytes: PAGE_BYTES_MAX };
    let mut texts = Vec::new();
    for (index, change) in changes.all.iter().enumerate() {
        let text = budget.compare(engine, sides, change)?;
        texts.extend(text.map(|text| (index, text)));
    }
    let (from, to) = (sides.before.version.number, sides.after.version.number);
    let name = sides.path.last().map(|name| shown(name.as_bytes()));
    let name = name.unwrap_or_else(|| sides.after.repository.name.to_string());
    let content = html! {
        div.title {
            h1 { bdi { (name) } ": " (from) " → " (to) }
            p.muted { (summary(&changes)) }
        }
        p.tools { a.button href="?" { "Version " (to) } a.button href=(swapped(page, sides, is_file)) { "The other way round" } }
        @if changes.all.is_empty() { section.blank { h2 { "No difference" } p { "Both versions show the same here." } } }
        (list(&changes, &texts))
        (attributes(&changes))
        @for (index, text) in &texts { (block(*index, &changes.all[*index], text)) }
        @if changes.is_cut { p.muted { "There are more differences than fit on a page: look at a subdirectory, or use " code { "cairn diff" } "." } }
    };
    let way = Way::inside(sides.after, sides.path, is_file);
    let title = format!("{name}: {from} → {to}");
    Ok(page.whole(StatusCode::OK, &title, &way, &content))
}

/// The same page with the sides exchanged.
fn swapped(page: &Page, sides: &Sides<'_>, is_file: bool) -> String {
    let way = Way::inside(sides.before, sides.path, is_file);
    format!("{}?diff={}", page.link(way.address()), sides.after.version.number)
}

/// The difference of two files at the path itself.
fn of_files(sides: &Sides<'_>, before: Option<Found>, after: Option<Found>) -> Option<Change> {
    let name = sides.path.last()?;
    let entry = |found: Option<Found>| match found? {
        Found::File(file) => Some(Entry {
            name: name.clone(),
            attributes: file.attributes,
            link_group: None,
            content: crate::model::tree::Content::File { size: file.size, blob: file.content },
        }),
        Found::Directory(_) => None,
    };
    let (before, after) = (entry(before), entry(after));
    (before != after).then_some(Change { path: Vec::new(), before, after })
}

fn summary(changes: &Changes) -> String {
    let number =
        |want: fn(&Change) -> bool| changes.all.iter().filter(|change| want(change)).count();
    let added = number(|change| change.before.is_none());
    let removed = number(|change| change.after.is_none());
    let more = if changes.is_cut { "at least " } else { "" };
    let same = number(is_attributes);
    let modified = changes.all.len() - added - removed - same;
    format!("{more}{added} added, {modified} modified, {removed} removed")
}

fn path_of(change: &Change) -> String {
    let name = change.before.as_ref().or(change.after.as_ref()).map(|entry| entry.name.as_bytes());
    if change.path.is_empty() { shown(name.unwrap_or_default()) } else { shown(&change.path) }
}

fn list(changes: &Changes, texts: &[(usize, Text)]) -> Markup {
    let anchor =
        |index: usize| texts.iter().find(|(of, _)| *of == index).map(|_| format!("#f{index}"));
    html! {
        @if !changes.all.iter().all(is_attributes) {
            div.scroll { table.list.changes {
                tbody { @for (index, change) in changes.all.iter().enumerate().filter(|(_, c)| !is_attributes(c)) {
                    @let (class, letter) = kind(change);
                    tr {
                        td { span.change.(class) title=(class) { (letter) } }
                        td.name {
                            @match anchor(index) {
                                Some(anchor) => a href=(anchor) { bdi { (path_of(change)) } },
                                None => bdi { (path_of(change)) },
                            }
                        }
                        td.number { (sizes(change)) }
                    }
                } }
            } }
        }
    }
}

/// Whether only mode, owner, time or the like differ.
fn is_attributes(change: &Change) -> bool {
    change
        .before
        .as_ref()
        .zip(change.after.as_ref())
        .is_some_and(|(one, two)| one.content == two.content)
}

/// The files whose content is the same, which are often many and seldom what is looked for.
fn attributes(changes: &Changes) -> Markup {
    let all: Vec<_> = changes.all.iter().filter(|change| is_attributes(change)).collect();
    html! {
        @if !all.is_empty() {
            details {
                summary { (count(all.len(), "file")) " with the same content and another time, mode or owner" }
                ul.plain { @for change in all { li { bdi { (path_of(change)) } } } }
            }
        }
    }
}

fn kind(change: &Change) -> (&'static str, &'static str) {
    match (&change.before, &change.after) {
        (None, _) => ("added", "+"),
        (_, None) => ("removed", "−"),
        (Some(_), Some(_)) => ("modified", "~"),
    }
}

fn sizes(change: &Change) -> String {
    match change.files() {
        (Some(before), Some(after)) if before.size != after.size => {
            format!("{} → {}", size(before.size), size(after.size))
        }
        (_, Some(file)) | (Some(file), None) => size(file.size),
        (None, None) => String::new(),
    }
}

/// Lines of a difference.
struct Text {
    rows: Markup,
    added: usize,
    removed: usize,
    is_cut: bool,
}

/// What may still be compared for the page.
struct Budget {
    texts: usize,
    bytes: usize,
}

impl Budget {
    fn compare(
        &mut self,
        engine: &Engine,
        sides: &Sides<'_>,
        change: &Change,
    ) -> Result<Option<Text>, StoreError> {
        let (before, after) = change.files();
        let is_long = |file: &Option<RegularFile>| {
            file.as_ref().is_some_and(|file| file.size > TEXT_BYTES_MAX)
        };
        let name = |file: &Option<RegularFile>| file.as_ref().map(RegularFile::name);
        let names = engine.trees.blob_names();
        let is_same = same_content(name(&before), name(&after), |digest| names.blob_of(digest))?;
        if self.texts == 0 || self.bytes == 0 || is_same || is_long(&before) || is_long(&after) {
            return Ok(None);
        }
        let read = |place: &Place, file: Option<RegularFile>| match file {
            Some(file) => content(engine, place, &file),
            None => Ok(Beginning::Here(Vec::new())),
        };
        let (one, two) = (read(sides.before, before)?, read(sides.after, after)?);
        let (Beginning::Here(one), Beginning::Here(two)) = (one, two) else { return Ok(None) };
        if !is_text(&one) || !is_text(&two) {
            return Ok(None);
        }
        self.texts -= 1;
        Ok(Some(self.lines(&one, &two)))
    }

    fn lines(&mut self, one: &[u8], two: &[u8]) -> Text {
        let (one, two) = (String::from_utf8_lossy(one), String::from_utf8_lossy(two));
        let diff = TextDiff::configure().timeout(COMPARE_TIME).diff_lines(&*one, &*two);
        let (mut rows, mut lines, mut is_cut) = (Vec::new(), 0, false);
        let (mut added, mut removed) = (0, 0);
        for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
            if index > 0 {
                rows.push(html! { tr.gap { td.line { "…" } td.line {} td {} } });
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let (class, sign) = match change.tag() {
                    ChangeTag::Equal => ("", " "),
                    ChangeTag::Delete => ("removed", "−"),
                    ChangeTag::Insert => ("added", "+"),
                };
                added += usize::from(change.tag() == ChangeTag::Insert);
                removed += usize::from(change.tag() == ChangeTag::Delete);
                let line = change.value();
                if lines >= LINES_MAX || line.len() > self.bytes {
                    is_cut = true;
                    continue;
                }
                (lines, self.bytes) = (lines + 1, self.bytes - line.len());
                let number = |index: Option<usize>| index.map(|index| (index + 1).to_string());
                rows.push(html! {
                    tr.(class) {
                        td.line { (number(change.old_index()).unwrap_or_default()) }
                        td.line { (number(change.new_index()).unwrap_or_default()) }
                        td { span.sign { (sign) } (line.trim_end_matches(['\n', '\r'])) }
                    }
                });
            }
        }
        Text { rows: html! { @for row in &rows { (row) } }, added, removed, is_cut }
    }
}

fn block(index: usize, change: &Change, text: &Text) -> Markup {
    html! {
        section.diff id=(format!("f{index}")) {
            h3 {
                bdi { (path_of(change)) } " "
                span.change.added { "+" (text.added) } " " span.change.removed { "−" (text.removed) }
            }
            div.scroll { table.code { (text.rows) } }
            @if text.is_cut { p.muted { "Not all of " (count(text.added + text.removed, "changed line")) " are shown." } }
        }
    }
}
