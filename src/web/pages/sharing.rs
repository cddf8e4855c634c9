//! What a version shares with others: the content that both have, wherever it lies. Content that one side names by
//! BLAKE3 and the other as it was declared counts as different.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::{Page, Way, minute, size};
use crate::engine::Engine;
use crate::engine::registry::Repository;
use crate::model::content_name::ContentName;
use crate::model::text::count;
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::web::body::Body;
use crate::web::look::{self, Place, RegularFile};
use crate::web::walk::Walk;

/// Entries that one page looks at.
const ENTRIES_MAX: usize = 400_000;

/// Other versions of the repository that are compared, the nearest ones.
const VERSIONS_MAX: usize = 24;

/// Other repositories, by their newest version.
const REPOSITORIES_MAX: usize = 24;

/// Another version, and what of this one it has as well.
struct Other {
    repository: Arc<Repository>,
    version: Arc<Version>,
    bytes: u64,
    files: u64,
}

/// Contents of this version with their sizes, each once.
struct Contents {
    sizes: HashMap<ContentName, u64>,
    left: usize,
}

impl Contents {
    fn of(engine: &Engine, version: &Version) -> Result<Option<Self>, StoreError> {
        let mut contents = Self { sizes: HashMap::new(), left: ENTRIES_MAX };
        for found in Walk::new(engine, &version.root.tree) {
            let (_, entry) = found?;
            let Some(left) = contents.left.checked_sub(1) else { return Ok(None) };
            contents.left = left;
            if let Some(file) = RegularFile::of(entry)
                && let Some(content) = file.content
            {
                contents.sizes.insert(content, file.size);
            }
        }
        Ok(Some(contents))
    }

    fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }

    /// What another version has of this; `None` if that would take too long.
    fn shared(
        &mut self,
        engine: &Engine,
        version: &Version,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let mut missing = self.sizes.clone();
        let (mut bytes, mut files) = (0_u64, 0);
        for found in Walk::new(engine, &version.root.tree) {
            let (_, entry) = found?;
            let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
            self.left = left;
            let content = RegularFile::of(entry).and_then(|file| file.content);
            if let Some(size) = content.and_then(|content| missing.remove(&content)) {
                bytes = bytes.saturating_add(size);
                files += 1;
            }
        }
        Ok(Some((bytes, files)))
    }
}

/// Makes the page.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    page: &Page,
    place: &Place,
) -> Result<Response<Body>, StoreError> {
    let title = format!("{} {}", place.repository.name, place.version.number);
    let contents = Contents::of(engine, &place.version)?;
    let content = match contents {
        None => html! {
            div.title { h1 { bdi { (title) } ": shared content" } }
            p.muted { "This version has too many files to be compared on a page. " code { "cairn du" } " tells what is shared." }
        },
        Some(mut contents) => {
            let (mut others, mut is_cut) = (Vec::new(), false);
            for (repository, version) in candidates(engine, place) {
                let shared = contents.shared(engine, &version)?;
                match shared {
                    Some((bytes, files)) => {
                        others.push(Other { repository, version, bytes, files })
                    }
                    None => is_cut = true,
                }
            }
            others.retain(|other| other.bytes > 0 || other.repository.id == place.repository.id);
            shown(page, &title, &contents, &others, is_cut)
        }
    };
    Ok(page.whole(
        StatusCode::OK,
        &format!("{title}: shared content"),
        &Way::version(place),
        &content,
    ))
}

/// The versions to compare with: the nearest of the repository, and the newest of other repositories.
fn candidates(engine: &Engine, place: &Place) -> Vec<(Arc<Repository>, Arc<Version>)> {
    let number = place.version.number;
    let mut own: Vec<_> =
        place.repository.versions.values().filter(|v| v.number != number).collect();
    own.sort_by_key(|version| version.number.0.abs_diff(number.0));
    own.truncate(VERSIONS_MAX);
    own.sort_by_key(|version| std::cmp::Reverse(version.number));
    let own = own.into_iter().map(|version| (Arc::clone(&place.repository), Arc::clone(version)));
    let others = look::repositories(engine).into_iter().filter(|r| r.id != place.repository.id);
    let others = others.take(REPOSITORIES_MAX).filter_map(|repository| {
        let latest = Arc::clone(repository.latest()?);
        look::is_listed(&latest.root.attributes).then_some((repository, latest))
    });
    own.chain(others).collect()
}

fn shown(page: &Page, title: &str, contents: &Contents, others: &[Other], is_cut: bool) -> Markup {
    let all = contents.bytes();
    let files = u64::try_from(contents.sizes.len()).unwrap_or(u64::MAX);
    html! {
        div.title {
            h1 { bdi { (title) } ": shared content" }
            p.muted { (count(files, "different content")) ", " (size(all)) }
        }
        p.tools { a.button href="?" { "Files" } }
        @if others.is_empty() { section.blank { h2 { "Nothing to compare with" } p { "There is no other version yet." } } }
        @else { div.scroll { table.list {
            thead { tr { th { "With" } th.wide { "Shared" } th.number { "Bytes" } th.number { "Contents" } th { "Published" } } }
            tbody { @for other in others {
                @let name = other.repository.name.as_str();
                @let address = format!("{}/{}/", crate::web::address::encode(name.as_bytes()), other.version.number);
                tr {
                    td.name { a href=(page.link(&address)) { bdi { (name) } " " (other.version.number) } }
                    td.wide { (share(other.bytes, all)) }
                    td.number { (size(other.bytes)) }
                    td.number { (other.files) }
                    td { (minute(other.version.created)) }
                }
            } }
        } } }
        @if is_cut { p.muted { "Some versions were left out: there was too much to look at." } }
    }
}

/// A bar that is as full as one number is of another.
fn share(part: u64, all: u64) -> Markup {
    let permille = u128::from(part) * 1000 / u128::from(all.max(1));
    let width = u64::try_from(permille).unwrap_or(1000).min(1000);
    html! {
        svg.share viewBox="0 0 1000 60" preserveAspectRatio="none" role="img" aria-label=(format!("{} %", width / 10)) {
            rect.track width="1000" height="60" {}
            rect.held width=(width) height="60" {}
        }
        span.percent { (width / 10) " %" }
    }
}
