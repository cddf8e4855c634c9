//! Repositories that were made for an import which has not published anything yet.
//!
//! An import makes its repository before the first content arrives. If the import fails, it removes the
//! repository; if the process is killed, the next start does. For that, a note in the catalog names such
//! repositories; it is written in the transaction that makes them. A repository need not be taken off the
//! note when it gets a version: one that ever had a version has a next number above 1, and is kept.

use std::collections::BTreeSet;

use super::registry::Registry;
use crate::model::id::{RepoId, VersionNumber};
use crate::store::catalog::{AreaState, Catalog, Reader, RepositoryRow, Tx};
use crate::store::error::StoreError;

/// The note: ids, separated by spaces.
const PROVISIONAL: &str = "provisional";

/// Notes that a repository was made for an import, and takes those off the note that have got a version
/// or are gone.
pub(super) fn add(tx: &Tx<'_>, registry: &Registry, repo: RepoId) -> Result<(), StoreError> {
    let mut ids = parse(tx.meta(PROVISIONAL)?.as_deref());
    ids.retain(|id| registry.by_id(*id).is_some_and(|found| found.next_number == VersionNumber(1)));
    ids.insert(repo);
    tx.set_meta(PROVISIONAL, &text(&ids))
}

/// Takes a deleted repository off the note: whoever brings it back wants to keep it.
pub(super) fn remove(tx: &Tx<'_>, repo: RepoId) -> Result<(), StoreError> {
    let mut ids = parse(tx.meta(PROVISIONAL)?.as_deref());
    if ids.remove(&repo) {
        tx.set_meta(PROVISIONAL, &text(&ids))?;
    }
    Ok(())
}

/// Removes the repositories of imports that were killed with their process, except those that somebody
/// uses by now. On a full disk they stay until the next start.
pub(super) fn take_away(catalog: &mut Catalog, reader: &Reader) -> Result<(), StoreError> {
    let ids = parse(reader.meta(PROVISIONAL)?.as_deref());
    if ids.is_empty() || catalog.is_owing() {
        return Ok(());
    }
    let open = reader.areas()?.into_iter().filter(|area| area.state == AreaState::Open);
    let used: BTreeSet<RepoId> = open.map(|area| area.repo).collect();
    let rows = reader.repositories()?;
    let left = |row: &&RepositoryRow| ids.contains(&row.id) && is_unused(row, &used);
    let tx = catalog.begin()?;
    for row in rows.iter().filter(left) {
        log::info!("{} was made for an import that was killed: it is taken away", row.name);
        tx.delete_repository(row.id)?;
    }
    tx.set_meta(PROVISIONAL, "")?;
    match tx.commit() {
        Err(error) if error.is_full() => {
            log::warn!("empty repositories of imports stay until the next start: {error}");
            Ok(())
        }
        committed => committed,
    }
}

fn is_unused(row: &RepositoryRow, used: &BTreeSet<RepoId>) -> bool {
    row.next_number == VersionNumber(1)
        && row.policy.is_none()
        && row.quota.is_unlimited()
        && row.changed == row.created
        && !used.contains(&row.id)
}

fn parse(note: Option<&str>) -> BTreeSet<RepoId> {
    let words = note.unwrap_or_default().split_whitespace();
    words.filter_map(|word| word.parse().ok().map(RepoId)).collect()
}

fn text(ids: &BTreeSet<RepoId>) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ")
}
