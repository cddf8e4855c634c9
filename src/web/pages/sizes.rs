//! The largest directories and files below a directory, as a picture and as a list.

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::treemap::{Rectangle, divide};
use super::{Page, Way, shown, size, total_words};
use crate::engine::Engine;
use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::text::count;
use crate::model::tree::Content;
use crate::model::tree_format;
use crate::store::error::StoreError;
use crate::web::address::encode;
use crate::web::body::Body;
use crate::web::look::{Directory, Place, is_visible};
use crate::web::totals::Totals;

/// Rectangles of the picture; what is smaller is one more.
const CELLS_MAX: usize = 40;

/// Directories whose content is drawn inside of them, and how much of it.
const OPENED_MAX: usize = 6;
const INSIDE_MAX: usize = 24;

/// The picture, in its own units.
const WHOLE: Rectangle = Rectangle { x: 0, y: 0, width: 960, height: 480 };

/// The smallest rectangle that has room for a name.
const LABEL_WIDTH_MIN: u64 = 70;
const LABEL_HEIGHT_MIN: u64 = 26;

/// The width of a character of a label.
const CHARACTER_WIDTH: u64 = 8;

/// Colours of rectangles, by class.
const COLOURS: usize = 6;

/// One child of the directory.
struct Child {
    name: String,
    address: Option<String>,
    bytes: u64,
    files: u64,
    /// Its tree, of a directory.
    tree: Option<TreeHash>,
    /// What is in it, the largest first: names and bytes.
    inside: Vec<(String, u64)>,
}

/// Makes the page.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    totals: &Totals,
    page: &Page,
    place: &Place,
    (path, found): (&[EntryName], &Directory),
) -> Result<Response<Body>, StoreError> {
    let total = totals.of(engine, &found.tree)?;
    let mut children = children(engine, totals, &found.tree)?;
    children.sort_by(|one, two| two.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&two.name)));
    let rest: Vec<Child> = children.drain(CELLS_MAX.min(children.len())..).collect();
    if !rest.is_empty() {
        children.push(Child {
            name: format!("{} more", rest.len()),
            address: None,
            bytes: rest.iter().map(|child| child.bytes).sum(),
            files: rest.iter().map(|child| child.files).sum(),
            tree: None,
            inside: Vec::new(),
        });
        children.sort_by_key(|child| std::cmp::Reverse(child.bytes));
    }
    children.retain(|child| child.bytes > 0);
    look_inside(engine, totals, &mut children)?;
    let name = path.last().map(|name| shown(name.as_bytes()));
    let name =
        name.unwrap_or_else(|| format!("{} {}", place.repository.name, place.version.number));
    let content = html! {
        div.title { h1 { bdi { (name) } ": what is large" } p.muted { (total_words(total)) } }
        p.tools { a.button href="?" { "Files" } @if !path.is_empty() { a.button href="../?sizes" { "One up" } } }
        @if children.is_empty() { p.muted { "There is nothing here that has a size." } } @else {
            (picture(&children))
            div.scroll { table.list {
                thead { tr { th { "Name" } th.number { "Files" } th.number { "Size" } } }
                tbody { @for child in &children { tr {
                    td.name { @match &child.address {
                        Some(address) => a href=(address) { bdi { (child.name) } },
                        None => (child.name),
                    } }
                    td.number { (child.files) }
                    td.number { (size(child.bytes)) }
                } } }
            } }
        }
    };
    let way = Way::inside(place, path, false);
    Ok(page.whole(StatusCode::OK, &format!("{name}: what is large"), &way, &content))
}

/// Finds what is in the largest directories.
fn look_inside(engine: &Engine, totals: &Totals, children: &mut [Child]) -> Result<(), StoreError> {
    for child in children.iter_mut().take(OPENED_MAX) {
        let Some(tree) = child.tree else { continue };
        let mut inside = self::children(engine, totals, &tree)?;
        inside.sort_by_key(|child| std::cmp::Reverse(child.bytes));
        inside.truncate(INSIDE_MAX);
        inside.retain(|child| child.bytes > 0);
        child.inside = inside.into_iter().map(|child| (child.name, child.bytes)).collect();
    }
    Ok(())
}

fn children(engine: &Engine, totals: &Totals, tree: &TreeHash) -> Result<Vec<Child>, StoreError> {
    let mut children = Vec::new();
    for entry in tree_format::entries(&*engine.trees, tree, 0) {
        let entry = entry?;
        if !is_visible(&entry) {
            continue;
        }
        let (name, address) = (shown(entry.name.as_bytes()), encode(entry.name.as_bytes()));
        children.push(match &entry.content {
            Content::Directory { tree, .. } => {
                let total = totals.of(engine, tree)?;
                Child {
                    name: format!("{name}/"),
                    address: Some(format!("./{address}/?sizes")),
                    bytes: total.map_or(0, |total| total.bytes),
                    files: total.map_or(0, |total| total.files),
                    tree: Some(*tree),
                    inside: Vec::new(),
                }
            }
            Content::File { size, .. } => Child {
                name,
                address: Some(format!("./{address}?view")),
                bytes: *size,
                files: 1,
                tree: None,
                inside: Vec::new(),
            },
            _ => continue,
        });
    }
    Ok(children)
}

fn picture(children: &[Child]) -> Markup {
    let weights: Vec<u64> = children.iter().map(|child| child.bytes).collect();
    let placed = divide(&weights, WHOLE);
    let cell = |index: usize, child: &Child, place: &Rectangle| {
        let Rectangle { x, y, width, height } = *place;
        let room = usize::try_from(width.saturating_sub(12) / CHARACTER_WIDTH).unwrap_or(0);
        let has_label = width >= LABEL_WIDTH_MIN && height >= LABEL_HEIGHT_MIN;
        html! {
            title { (child.name) ": " (size(child.bytes)) ", " (count(child.files, "file")) }
            rect class=(format!("c{}", index % COLOURS)) x=(x + 1) y=(y + 1)
                width=(width.saturating_sub(2)) height=(height.saturating_sub(2)) rx="3" {}
            @if has_label {
                text x=(x + 8) y=(y + 19) { (cut(&child.name, room)) }
                @if height >= 2 * LABEL_HEIGHT_MIN && child.inside.is_empty() {
                    text.small x=(x + 8) y=(y + 36) { (size(child.bytes)) }
                }
                (inside(child, *place))
            }
        }
    };
    html! {
        figure.map {
            svg viewBox=(format!("0 0 {} {}", WHOLE.width, WHOLE.height)) role="img" aria-label="sizes as areas" {
                @for (index, (child, place)) in children.iter().zip(&placed).enumerate() {
                    @match &child.address {
                        Some(address) => a href=(address) { (cell(index, child, place)) },
                        None => g { (cell(index, child, place)) },
                    }
                }
            }
        }
    }
}

/// What is in a directory, below its name.
fn inside(child: &Child, outer: Rectangle) -> Markup {
    let Rectangle { x, y, width, height } = outer;
    let room = Rectangle {
        x: x + 6,
        y: y + LABEL_HEIGHT_MIN,
        width: width.saturating_sub(12),
        height: height.saturating_sub(LABEL_HEIGHT_MIN + 6),
    };
    let weights: Vec<u64> = child.inside.iter().map(|(_, bytes)| *bytes).collect();
    let placed = if room.height < LABEL_HEIGHT_MIN { Vec::new() } else { divide(&weights, room) };
    html! {
        @for ((name, _), Rectangle { x, y, width, height }) in child.inside.iter().zip(&placed) {
            rect.inner x=(x + 1) y=(y + 1) width=(width.saturating_sub(2)) height=(height.saturating_sub(2)) rx="2" {}
            @if *width >= LABEL_WIDTH_MIN && *height >= LABEL_HEIGHT_MIN {
                @let room = usize::try_from(width.saturating_sub(12) / CHARACTER_WIDTH).unwrap_or(0);
                text.small x=(x + 7) y=(y + 17) { (cut(name, room)) }
            }
        }
    }
}

/// A text of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
