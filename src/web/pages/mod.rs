//! Pages for people: HTML without scripts, one stylesheet, pictures as SVG. Templates escape all that they show (H56).

mod change;
mod diff;
mod directory;
mod file;
mod home;
mod picture;
mod repository;
mod sharing;
mod sizes;
mod treemap;

use hyper::{Response, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::address::encode;
use super::body::Body;
use super::look::Place;
use super::response::ours;
use super::totals::Total;
use crate::control::utc::rfc3339;
use crate::model::name::{EntryName, RepoName};
use crate::model::text::count;
use crate::model::time::Timestamp;

pub(super) use diff::{Sides, page as diff};
pub(super) use directory::page as directory;
pub(super) use file::page as file;
pub(super) use home::page as home;
pub(super) use repository::page as repository;
pub(super) use sharing::page as sharing;
pub(super) use sizes::page as sizes;

/// The mark of the program: stones on each other.
const MARK: &str = "<svg class=\"mark\" viewBox=\"0 0 24 24\" width=\"22\" height=\"22\" aria-hidden=\"true\">\
    <ellipse cx=\"12\" cy=\"19\" rx=\"9\" ry=\"3.4\"/><ellipse cx=\"12.6\" cy=\"12.6\" rx=\"6.4\" ry=\"2.9\"/>\
    <ellipse cx=\"11.6\" cy=\"6.8\" rx=\"3.8\" ry=\"2.5\"/></svg>";

/// What a page needs to know of its address.
#[derive(Debug, Clone)]
pub(super) struct Page {
    /// The way from the page to the list of repositories: links work whatever lies before our paths.
    pub(super) root: String,
}

/// One step of the way to a page: its address from the root, and what it is called.
struct Step {
    address: String,
    name: String,
}

/// The steps to a page.
#[derive(Default)]
struct Way(Vec<Step>);

impl Way {
    fn repository(name: &RepoName) -> Self {
        let address = format!("{}/", encode(name.as_str().as_bytes()));
        Self(vec![Step { address, name: name.to_string() }])
    }

    fn version(place: &Place) -> Self {
        let mut way = Self::repository(&place.repository.name);
        let number = place.version.number;
        way.push(
            &format!("{}/", place.label),
            &if place.is_fixed {
                number.to_string()
            } else {
                format!("{} = {number}", place.label_shown)
            },
        );
        way
    }

    fn inside(place: &Place, path: &[EntryName], ends_in_file: bool) -> Self {
        let mut way = Self::version(place);
        for (index, name) in path.iter().enumerate() {
            let is_file = ends_in_file && index + 1 == path.len();
            let end = if is_file { "" } else { "/" };
            way.push(&format!("{}{end}", encode(name.as_bytes())), &shown(name.as_bytes()));
        }
        way
    }

    fn push(&mut self, address: &str, name: &str) {
        let above = self.0.last().map_or("", |step| &step.address);
        self.0.push(Step { address: format!("{above}{address}"), name: name.to_owned() });
    }

    /// The address of the last step, from the root.
    fn address(&self) -> &str {
        self.0.last().map_or("", |step| &step.address)
    }
}

impl Page {
    /// Of the page at this path of a request.
    pub(super) fn at(path: &str) -> Self {
        let depth = path.matches('/').count().saturating_sub(1);
        Self { root: if depth == 0 { "./".to_owned() } else { "../".repeat(depth) } }
    }

    /// A whole page.
    fn whole(
        &self,
        status: StatusCode,
        title: &str,
        way: &Way,
        content: &Markup,
    ) -> Response<Body> {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · cairn" }
                    link rel="stylesheet" href=(format!("{}@/style.css", self.root));
                    link rel="icon" href="data:,";
                }
                body {
                    header {
                        nav aria-label="Breadcrumbs" {
                            a.brand href=(self.root) { (PreEscaped(MARK)) "cairn" }
                            @for (index, step) in way.0.iter().enumerate() {
                                span.slash aria-hidden="true" { "/" }
                                @if index + 1 == way.0.len() {
                                    a aria-current="page" href=(self.link(&step.address)) { bdi { (step.name) } }
                                } @else {
                                    a href=(self.link(&step.address)) { bdi { (step.name) } }
                                }
                            }
                        }
                    }
                    main { (content) }
                    footer { "cairn " (env!("CARGO_PKG_VERSION")) " · read-only" }
                }
            }
        };
        ours(status, "text/html; charset=utf-8", markup.into_string().into_bytes())
    }

    fn link(&self, address: &str) -> String {
        format!("{}{address}", self.root)
    }

    /// A refusal in words.
    pub(super) fn refusal(&self, status: StatusCode, title: &str, words: &str) -> Response<Body> {
        let content = html! {
            section.blank {
                p.code { (status.as_str()) }
                h1 { (title) }
                p { (words) }
                p { a.button href=(self.root) { "All repositories" } }
            }
        };
        self.whole(status, title, &Way::default(), &content)
    }
}

/// Bytes of a stranger as text: what would be invisible, or turn the direction of what follows, is made visible.
pub(super) fn shown(bytes: &[u8]) -> String {
    let hidden = |character: char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|character| if hidden(character) { '\u{fffd}' } else { character }).collect()
}

/// A size for people, with three digits.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    let unit = UNITS[unit];
    if tenths < 1000 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

/// A size in a cell, exact when pointed at.
fn size_cell(bytes: Option<u64>) -> Markup {
    html! {
        @match bytes {
            Some(bytes) => span title=(count(bytes, "byte")) { (size(bytes)) },
            None => span.none { "–" },
        }
    }
}

/// A day, and the exact time when pointed at.
fn day(time: Timestamp) -> Markup {
    let exact = rfc3339(time);
    let day = exact.split('T').next().unwrap_or(&exact);
    html! { time datetime=(exact) title=(exact) { (day) } }
}

/// A time to the minute.
fn minute(time: Timestamp) -> Markup {
    let exact = rfc3339(time);
    let shown = exact.get(..16).unwrap_or(&exact).replace('T', " ");
    html! { time datetime=(exact) title=(exact) { (shown) } }
}

/// Totals in words.
fn total_words(total: Option<Total>) -> String {
    total.map_or_else(
        || "many files".to_owned(),
        |total| format!("{}, {}", count(total.files, "file"), size(total.bytes)),
    )
}

/// A fact with its name.
fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (150 << 10, "150 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_way_to_the_root_is_relative() {
        for (path, root) in
            [("/", "./"), ("/r/", "../"), ("/r/7/a", "../../"), ("/r/7/a/", "../../../")]
        {
            assert_eq!(Page::at(path).root, root, "{path}");
        }
    }

    #[test]
    fn nothing_is_invisible_h56() {
        assert_eq!(shown("a\u{202e}b\u{200b}\n".as_bytes()), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(shown(b"\xff<b>"), "\u{fffd}<b>");
    }
}
