//! A repository: its versions, tags, limits.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use maud::{Markup, html};

use super::home::bars;
use super::{Page, Way, fact, minute, picture, shown, size, size_cell, total_words};
use crate::engine::Engine;
use crate::engine::registry::Repository;
use crate::model::id::VersionNumber;
use crate::model::policy::PolicyState;
use crate::model::text::count;
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::web::body::Body;
use crate::web::totals::Totals;

/// Versions on one page.
const VERSIONS: usize = 100;

/// Versions in the picture of growth.
const BARS: usize = 90;

/// Makes the page; the newest version on it is the one before `before`.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::web) fn page(
    engine: &Engine,
    totals: &Totals,
    page: &Page,
    repository: &Arc<Repository>,
    before: Option<VersionNumber>,
) -> Result<Response<Body>, StoreError> {
    let name = &repository.name;
    let end = before.unwrap_or(VersionNumber(u64::MAX));
    let mut versions: Vec<_> =
        repository.versions.range(..end).rev().take(VERSIONS + 1).map(|(_, v)| v).collect();
    let older = versions.len() > VERSIONS;
    versions.truncate(VERSIONS);
    let mut rows = Vec::new();
    for version in &versions {
        rows.push(row(engine, totals, repository, version)?);
    }
    let bars = bars(engine, totals, repository, BARS)?;
    let content = html! {
        div.title { h1 { bdi { (name.as_str()) } } p.muted { (count(repository.versions.size(), "version")) } }
        (facts(engine, totals, repository)?)
        @if bars.len() > 1 { (picture::growth(&bars)) }
        (tags(repository))
        @if versions.is_empty() {
            section.blank { h2 { "No versions yet" } p { "What is published with " code { "cairn commit" } " or " code { "cairn import" } " is listed here." } }
        } @else {
            h2 { "Versions" }
            div.scroll { table.list {
                thead { tr {
                    th.number { "Version" } th { "Message" } th.number { "Files" }
                    th.number { "Size" } th { "Published" } th { "" }
                } }
                tbody { @for row in &rows { (row) } }
            } }
            @if let Some(last) = versions.last().filter(|_| older) {
                p { a.button href=(format!("?before={}", last.number)) { "Older versions" } }
            }
        }
    };
    Ok(page.whole(StatusCode::OK, name.as_str(), &Way::repository(name), &content))
}

fn facts(engine: &Engine, totals: &Totals, repository: &Repository) -> Result<Markup, StoreError> {
    let latest = match repository.latest() {
        Some(version) => {
            let total = totals.of(engine, &version.root.tree)?;
            html! { a href="latest/" { "version " (version.number) } ", " (total_words(total)) }
        }
        None => html! { "none yet" },
    };
    Ok(html! {
        dl.facts {
            (fact("Latest", &latest))
            (fact("Created", &minute(repository.created)))
            (fact("Retention", &html! { (retention(&repository.policy)) }))
            (fact("Quota", &html! { (quota(repository)) }))
            (fact("Last collection", &collection(engine)))
        }
    })
}

/// The rules that delete versions.
fn retention(policy: &PolicyState) -> String {
    let PolicyState::Set(policy) = policy else {
        return match policy {
            PolicyState::Unreadable { .. } => "cannot be read: nothing is deleted".to_owned(),
            PolicyState::None | PolicyState::Set(_) => "everything is kept".to_owned(),
        };
    };
    let days = |seconds: u64| count(seconds.div_ceil(86_400), "day");
    let rules = [
        policy.keep_unreleased.map(|versions| format!("the newest {versions}")),
        policy.keep_released.map(|versions| format!("the newest {versions} released")),
        policy.keep_within_seconds.map(|seconds| format!("those of the last {}", days(seconds))),
    ];
    let rules: Vec<_> = rules.into_iter().flatten().collect();
    if rules.is_empty() {
        "everything is kept".to_owned()
    } else {
        format!("keeps {}", rules.join(", "))
    }
}

fn quota(repository: &Repository) -> String {
    let quota = repository.account.quota();
    let limits = [quota.bytes.map(size), quota.files.map(|files| count(files, "file"))];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}

fn collection(engine: &Engine) -> Markup {
    html! {
        @match engine.last_run() {
            Some(run) => (minute(run.began)),
            None => "not since the start",
        }
    }
}

fn tags(repository: &Repository) -> Markup {
    html! {
        @if repository.tags.size() > 0 {
            h2 { "Tags" }
            ul.tags {
                @for name in repository.tags.keys() {
                    @if let Some(tag) = repository.tags.get(name) {
                        li {
                            a href=(format!("{}/", crate::web::address::encode(name.as_str().as_bytes()))) {
                                bdi { (name.as_str()) }
                            }
                            span.muted { " → " (tag.number) }
                        }
                    }
                }
            }
        }
    }
}

fn row(
    engine: &Engine,
    totals: &Totals,
    repository: &Repository,
    version: &Version,
) -> Result<Markup, StoreError> {
    let total = totals.of(engine, &version.root.tree)?;
    let number = version.number;
    let before = repository.versions.before(number);
    Ok(html! {
        tr {
            td.number { a href=(format!("{number}/")) { (number) } }
            td.message {
                (labels(repository, version))
                span { (shown(version.message.lines().next().unwrap_or_default().as_bytes())) }
                @if !version.author.is_empty() { span.author { (shown(version.author.as_bytes())) } }
            }
            td.number { @if let Some(total) = total { (total.files) } @else { span.none { "–" } } }
            td.number { (size_cell(total.map(|total| total.bytes))) }
            td { (minute(version.created)) }
            td { @if let Some(before) = before {
                a href=(format!("{number}/?diff={}", before.number)) { "changes" }
            } }
        }
    })
}

/// Tags and flags of a version.
pub(super) fn labels(repository: &Repository, version: &Version) -> Markup {
    html! {
        @for tag in repository.tags.of(version.number) { span.label { bdi { (tag.as_str()) } } " " }
        @if version.released { span.label.good { "released" } " " }
        @if version.locked { span.label.strong { "locked" } " " }
    }
}
