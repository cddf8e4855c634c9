//! The list of repositories.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::picture::{self, Bar};
use super::{Page, Way, day, size_cell};
use crate::engine::Engine;
use crate::engine::registry::Repository;
use crate::model::text::count;
use crate::store::error::StoreError;
use crate::web::address::encode;
use crate::web::body::Body;
use crate::web::look;
use crate::web::totals::Totals;

/// Versions in the small picture of growth.
const BARS: usize = 24;

/// Repositories whose versions are summed up; of the others only what is known at once is shown.
const SUMMED_MAX: usize = 200;

/// Makes the page.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    totals: &Totals,
    page: &Page,
) -> Result<Response<Body>, StoreError> {
    let repositories = look::repositories(engine);
    let mut rows = Vec::with_capacity(repositories.len());
    for (index, repository) in repositories.iter().enumerate() {
        rows.push(row(engine, totals, repository, index < SUMMED_MAX)?);
    }
    let content = html! {
        div.title { h1 { "Repositories" } p.muted { (count(repositories.len(), "repository")) } }
        @if repositories.is_empty() {
            section.blank {
                h2 { "Nothing to see yet" }
                p { "There is no repository that everybody may read. " code { "cairn create NAME" } " makes one." }
            }
        } @else {
            div.scroll { table.list {
                thead { tr {
                    th { "Name" } th.number { "Latest" } th.number { "Versions" }
                    th.number { "Size" } th.wide { "Growth" } th { "Published" }
                } }
                tbody { @for row in &rows { (row) } }
            } }
        }
    };
    Ok(page.whole(StatusCode::OK, "Repositories", &Way::default(), &content))
}

fn row(
    engine: &Engine,
    totals: &Totals,
    repository: &Arc<Repository>,
    is_summed: bool,
) -> Result<Markup, StoreError> {
    let latest = repository.latest();
    let bytes = match latest {
        Some(version) if is_summed => {
            totals.of(engine, &version.root.tree)?.map(|total| total.bytes)
        }
        _ => None,
    };
    let bars = if is_summed { bars(engine, totals, repository, BARS)? } else { Vec::new() };
    let address = encode(repository.name.as_str().as_bytes());
    Ok(html! {
        tr {
            td.name { a href=(format!("./{address}/")) { bdi { (repository.name.as_str()) } } }
            td.number {
                @if let Some(version) = latest {
                    a href=(format!("./{address}/{}/", version.number)) { (version.number) }
                } @else { span.none { "–" } }
            }
            td.number { (repository.versions.size()) }
            td.number { (size_cell(bytes)) }
            td.wide { (picture::sparkline(&bars)) }
            td { @if let Some(version) = latest { (day(version.created)) } @else { span.none { "–" } } }
        }
    })
}

/// The newest versions as bars, the oldest of them first. What a version adds is told only where nothing is hidden.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn bars(
    engine: &Engine,
    totals: &Totals,
    repository: &Repository,
    most: usize,
) -> Result<Vec<Bar>, StoreError> {
    let skipped = repository.versions.size().saturating_sub(most);
    let mut bars = Vec::new();
    for version in repository.versions.values().skip(skipped) {
        let Some(total) = totals.of(engine, &version.root.tree)? else { continue };
        let charge = repository.versions.charge(version.number);
        let added = charge.filter(|_| total.is_whole).map_or(0, |charge| charge.usage.bytes);
        bars.push(Bar {
            number: version.number,
            bytes: total.bytes,
            added: added.min(total.bytes),
        });
    }
    Ok(bars)
}
