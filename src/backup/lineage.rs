//! Whether a backup is an earlier state of the store: else replacing it would lose something.
//!
//! A backup is a store, so it can be mounted and worked in; and a store can be set back to an older
//! state. Version numbers and ids of repositories are never used twice, which tells both.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::error::{BackupError, Result};
use super::target::Target;
use crate::model::hash::TreeHash;
use crate::model::id::{RepoId, VersionNumber};
use crate::store::catalog::{AreaState, BadRow, Snapshot};

/// What is known of the store: the next number of each repository, and the versions.
type Versions = BTreeMap<(RepoId, VersionNumber), TreeHash>;

/// Checks that the store has, or had and deleted, all that the backup in place has.
pub(super) fn check(target: &Target, draft: &Draft) -> Result<()> {
    let Some(previous) = target.previous() else { return Ok(()) };
    let diverged =
        |what: String| Err(BackupError::Diverged { path: target.layout().root().to_owned(), what });
    let open = previous.reader.areas()?.into_iter().find(|area| area.state == AreaState::Open);
    if let Some(area) = open {
        return diverged(format!("a staging area, {}", area.name));
    }
    let now = draft.rows()?;
    let (next, versions) = (next_numbers(&now)?, versions(&now)?);
    let last = draft.reader().last_repository()?;
    let before = previous.catalog.snapshots().latest()?;
    let names = names(&before)?;
    if let Some((_, name)) = names.iter().find(|(repo, _)| **repo > last) {
        return diverged(format!("a repository, {name}"));
    }
    for ((repo, number), hash) in self::versions(&before)? {
        let never = next.get(&repo).is_some_and(|next| number >= *next);
        let other = versions.get(&(repo, number)).is_some_and(|found| *found != hash);
        if never || other {
            let name = names.get(&repo).map_or("?", String::as_str);
            return diverged(format!("a version of its own, {name}/{number}"));
        }
    }
    Ok(())
}

fn next_numbers(rows: &Snapshot) -> Result<BTreeMap<RepoId, VersionNumber>> {
    let mut found = BTreeMap::new();
    let mut bad = None;
    rows.repositories(&mut |row| match row {
        Ok(facts) => drop(found.insert(facts.id, facts.next_number)),
        Err(row) => bad = Some(row),
    })?;
    whole(found, bad)
}

fn names(rows: &Snapshot) -> Result<BTreeMap<RepoId, String>> {
    let mut found = BTreeMap::new();
    let mut bad = None;
    rows.repositories(&mut |row| match row {
        Ok(facts) => drop(found.insert(facts.id, facts.name.to_string())),
        Err(row) => bad = Some(row),
    })?;
    whole(found, bad)
}

fn versions(rows: &Snapshot) -> Result<Versions> {
    let mut found = Versions::new();
    let mut bad = None;
    rows.versions(&mut |row| match row {
        Ok(facts) => drop(found.insert((facts.repo, facts.number), facts.hash)),
        Err(row) => bad = Some(row),
    })?;
    whole(found, bad)
}

fn whole<T>(found: T, bad: Option<BadRow>) -> Result<T> {
    bad.map_or(Ok(found), |row| Err(BackupError::Row(row)))
}
