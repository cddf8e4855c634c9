//! Versions: listing, showing, comparing, deleting.

use std::sync::Arc;

use super::errors::{control_error, store_error};
use super::{Answer, StoreService, describe};
use crate::control::delete::DeleteReply;
use crate::control::diff::{DiffEntry, DiffKind, DiffReply};
use crate::control::protocol::{CHANGES_MAX, ControlError, Progress, VERSIONS_MAX};
use crate::control::reply::Reply;
use crate::engine::registry::Repository;
use crate::engine::request::Request;
use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};
use crate::model::raw::RawPath;
use crate::model::time::Timestamp;
use crate::model::tree::{Content, Entry};
use crate::model::tree_format::{self, Change};
use crate::store::tree_cache::TreeCache;

impl StoreService {
    pub(super) fn versions(&self, name: &RepoName, after: Option<VersionNumber>) -> Answer {
        let repository = self.repository(name)?;
        let first = VersionNumber(after.map_or(0, |after| after.0.saturating_add(1)));
        let versions = repository.versions.range(first..).take(VERSIONS_MAX);
        Ok(Reply::Versions(
            versions.map(|(_, version)| describe::version(&repository, version)).collect(),
        ))
    }

    pub(super) fn show(&self, name: &RepoName, version: &BaseName) -> Answer {
        let (repository, version) = self.version(name, version)?;
        Ok(Reply::Version(describe::version(&repository, &version)))
    }

    pub(super) fn diff(
        &self,
        first: (&RepoName, &BaseName),
        second: (&RepoName, &BaseName),
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let (_, first) = self.version(first.0, first.1)?;
        let (_, second) = self.version(second.0, second.1)?;
        let mut totals = DiffReply::default();
        let mut batch = Vec::new();
        let mut visit = |directory: &[u8], change: Change| {
            batch.push(diff_entry(&self.engine.trees, directory, &change, &mut totals));
            if batch.len() >= CHANGES_MAX {
                progress(Progress::Changes(std::mem::take(&mut batch)));
            }
        };
        let (from, to) = (&first.root.tree, &second.root.tree);
        tree_format::diff(&*self.engine.trees, from, to, &mut visit).map_err(store_error)?;
        if !batch.is_empty() {
            progress(Progress::Changes(batch));
        }
        Ok(Reply::Diff(totals))
    }

    pub(super) fn delete_versions(
        &self,
        name: &RepoName,
        versions: &[BaseName],
        force: bool,
    ) -> Answer {
        let (repository, numbers) = self.numbers(name, versions)?;
        let (repo, deleted, now) = (repository.id, numbers.clone(), Timestamp::now());
        self.engine
            .call(|reply| Request::DeleteVersions { repo, numbers, force, now, reply })
            .map_err(control_error)?;
        Ok(Reply::Deleted(DeleteReply { deleted }))
    }

    /// The numbers of versions, each once, ascending.
    pub(super) fn numbers(
        &self,
        name: &RepoName,
        versions: &[BaseName],
    ) -> Result<(Arc<Repository>, Vec<VersionNumber>), ControlError> {
        let repository = self.repository(name)?;
        let mut numbers = Vec::new();
        for version in versions {
            numbers.push(self.version(name, version)?.1.number);
        }
        numbers.sort();
        numbers.dedup();
        Ok((repository, numbers))
    }
}

fn diff_entry(
    trees: &TreeCache,
    directory: &[u8],
    change: &Change,
    totals: &mut DiffReply,
) -> DiffEntry {
    let is_directory = |entry: &Entry| matches!(entry.content, Content::Directory { .. });
    let (kind, entry, attributes_only) = match change {
        Change::Added(entry) => {
            totals.added += 1;
            (DiffKind::Added, entry, false)
        }
        Change::Removed(entry) => {
            totals.removed += 1;
            (DiffKind::Removed, entry, false)
        }
        Change::Modified { before, after } => {
            totals.modified += 1;
            let same = match (&before.content, &after.content) {
                (Content::Directory { .. }, Content::Directory { .. }) => true,
                // What cannot be looked up counts as different.
                (before, after) => tree_format::is_same_content(trees, before, after)
                    .inspect_err(|error| log::error!("a content cannot be compared: {error}"))
                    .unwrap_or(false),
            };
            (DiffKind::Modified, after, same)
        }
    };
    let mut path = directory.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(entry.name.as_bytes());
    DiffEntry {
        change: kind,
        path: RawPath::from(path),
        directory: is_directory(entry),
        attributes_only,
    }
}
