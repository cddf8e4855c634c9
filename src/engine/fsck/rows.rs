//! The catalog's tables and rows, and what they say of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Leftover};
use super::{Check, PROBLEMS_MAX, Stopped, Suspicion};
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::TagName;
use crate::model::tree_format;
use crate::store::catalog::{AreaState, NodeData, QueuedDeletion, Snapshot, TABLES};
use crate::store::layout::PrivateId;

/// The versions of all repositories.
type Versions = BTreeMap<RepoId, BTreeSet<VersionNumber>>;

impl Check<'_> {
    pub(super) fn check_rows(&mut self) -> Result<(), Stopped> {
        for (done, table) in TABLES.into_iter().enumerate() {
            self.check_cancelled()?;
            self.sink.progress("checking tables", done as u64, TABLES.len() as u64);
            // Not one snapshot for all: each takes its time, and they need not agree.
            let snapshot = self.subject.snapshots.latest()?;
            for problem in snapshot.problems(table, self.options.full, PROBLEMS_MAX)? {
                self.bad_tables.insert(table);
                self.found(Finding::Table { table, problem });
            }
        }
        let snapshot = self.subject.snapshots.take()?;
        let mut next_numbers = BTreeMap::new();
        snapshot.repositories(&mut |row| {
            if let Some(facts) = self.row(row) {
                next_numbers.insert(facts.id, facts.next_number);
                self.names.repositories.insert(facts.id, facts.name.to_string());
            }
        })?;
        // Their versions are there until they are given up.
        snapshot.deleted_repositories(&mut |row| {
            if let Some(facts) = self.row(row) {
                self.names.repositories.insert(facts.id, facts.name.to_string());
            }
        })?;
        let versions = self.check_versions(&snapshot)?;
        self.check_tags(&snapshot, &versions)?;
        self.check_numbers(&next_numbers, &versions);
        let half_made = self.check_areas(&snapshot)?;
        let private = self.check_nodes(&snapshot)?;
        self.check_gaps(&snapshot)?;
        drop(snapshot);
        for area in half_made {
            if self.sink.confirm(Suspicion::Area(area))? {
                self.found(Finding::Leftover(Leftover::Area(area)));
            }
        }
        if self.options.files {
            self.check_private(&private)?;
        }
        Ok(())
    }

    fn no_repository(&mut self, repo: RepoId, what: String) {
        let known = self.names.repositories.contains_key(&repo);
        let tables = ["repositories", "deleted_repositories"];
        let readable = !tables.iter().any(|table| self.bad_tables.contains(table));
        if !known && readable {
            self.found(Finding::NoRepository { repo, what });
        }
    }

    fn check_versions(&mut self, snapshot: &Snapshot) -> Result<Versions, Stopped> {
        let mut versions = Versions::new();
        snapshot.versions(&mut |row| {
            let Some(facts) = self.row(row) else { return };
            let (repo, number) = (facts.repo, facts.number);
            versions.entry(repo).or_default().insert(number);
            let version = format!("{}/{number}", self.names.repository(repo));
            if tree_format::root_hash(&facts.root) != facts.hash {
                self.found(Finding::Root { version: version.clone() });
            }
            self.no_repository(repo, format!("version {version}"));
        })?;
        Ok(versions)
    }

    fn check_tags(&mut self, snapshot: &Snapshot, versions: &Versions) -> Result<(), Stopped> {
        let mut tags: Vec<(RepoId, TagName, VersionNumber)> = Vec::new();
        snapshot.tags(&mut |row| tags.extend(self.row(row)))?;
        for (repo, tag, number) in tags {
            let repository = self.names.repository(repo);
            self.no_repository(repo, format!("tag {repository}/{tag}"));
            let dangles = !versions.get(&repo).is_some_and(|numbers| numbers.contains(&number));
            if dangles && !self.bad_tables.contains("versions") {
                self.found(Finding::Tag { repo, repository, tag, number });
            }
        }
        Ok(())
    }

    /// Numbers are never used twice.
    fn check_numbers(
        &mut self,
        next_numbers: &BTreeMap<RepoId, VersionNumber>,
        versions: &Versions,
    ) {
        for (repo, numbers) in versions {
            let (Some(next), Some(newest)) = (next_numbers.get(repo), numbers.last()) else {
                continue;
            };
            if next <= newest {
                let repository = self.names.repository(*repo);
                let (repo, next, newest) = (*repo, *next, *newest);
                self.found(Finding::NextNumber { repo, repository, next, newest });
            }
        }
    }

    /// Returns the areas that seem half made.
    fn check_areas(&mut self, snapshot: &Snapshot) -> Result<Vec<AreaId>, Stopped> {
        let mut queued = BTreeSet::new();
        snapshot.deletion_queue(&mut |row| {
            if let Some(QueuedDeletion::Area(area)) = self.row(row) {
                queued.insert(area);
            }
        })?;
        let mut half_made = Vec::new();
        snapshot.areas(&mut |row| {
            let Some(facts) = self.row(row) else { return };
            let name = facts.name.to_string();
            self.names.areas.insert(facts.id, (facts.repo, name, facts.state));
            match facts.state {
                AreaState::Deleted if !queued.contains(&facts.id) => half_made.push(facts.id),
                // The repository may be gone before the last of its areas is purged.
                AreaState::Deleted => {}
                AreaState::Open => {
                    let what = format!("area {}", self.names.area(facts.id));
                    self.no_repository(facts.repo, what);
                }
            }
        })?;
        self.check_area_rows(snapshot, &queued)?;
        Ok(half_made)
    }

    /// Rows of areas that do not exist, and that nobody is about to purge.
    fn check_area_rows(
        &mut self,
        snapshot: &Snapshot,
        queued: &BTreeSet<AreaId>,
    ) -> Result<(), Stopped> {
        let mut strays = BTreeSet::new();
        let mut look = |area: AreaId| {
            if !self.names.areas.contains_key(&area) && !queued.contains(&area) {
                strays.insert(area);
            }
        };
        snapshot.nodes(&mut |row| {
            if let Ok(node) = row {
                look(node.area);
            }
        })?;
        snapshot.names(&mut |row| {
            if let Ok((area, _)) = row {
                look(area);
            }
        })?;
        if self.bad_tables.contains("areas") {
            return Ok(());
        }
        for area in strays {
            self.found(Finding::Leftover(Leftover::AreaRows(area)));
        }
        Ok(())
    }

    /// Returns the private files that nodes name, of areas that are not being purged.
    fn check_nodes(&mut self, snapshot: &Snapshot) -> Result<Vec<(AreaId, PrivateId)>, Stopped> {
        let mut private = Vec::new();
        snapshot.nodes(&mut |row| {
            if let Some(node) = self.row(row)
                && let NodeData::Private(file) = node.data
                && !self.names.is_being_purged(node.area)
            {
                private.push((node.area, file));
            }
        })?;
        snapshot.names(&mut |row| drop(self.row(row)))?;
        Ok(private)
    }

    fn check_private(&mut self, named: &[(AreaId, PrivateId)]) -> Result<(), Stopped> {
        let latest = self.subject.snapshots.latest()?;
        for (area, file) in named {
            let path = self.subject.layout.private(*area, *file);
            if path.exists() {
                continue;
            }
            // Sealed or deleted since: then its row says so.
            if latest.names_private(*area, *file)? && !path.exists() {
                self.lost_files.insert((*area, *file));
            }
        }
        Ok(())
    }
}
