//! The history of a repository, or of one path in it, the newest version first.

use std::sync::Arc;

use super::errors::store_error;
use super::{Answer, StoreService, describe};
use crate::control::diff::DiffKind;
use crate::control::log::{LOG_ENTRIES_MAX, LogEntry, LogRequest};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::engine::registry::Repository;
use crate::model::change_size::ChangeSize;
use crate::model::id::VersionNumber;
use crate::model::name::EntryName;
use crate::model::raw::RawPath;
use crate::model::tree::Entry;
use crate::model::tree_format;
use crate::model::version::Version;
use crate::store::error::StoreError;
use crate::store::tree_cache::TreeCache;

/// A version, and what it has at the path.
struct At<'a> {
    version: &'a Arc<Version>,
    /// `None` where nothing is there, or no path was asked for.
    entry: Option<Entry>,
}

impl StoreService {
    pub(super) fn log(
        &self,
        caller: Caller,
        request: &LogRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        let LogRequest { repository: name, path, limit } = request;
        let repository = self.repository(name)?;
        let names = names_of(path)?;
        let mut left = limit.unwrap_or(u64::MAX);
        let (mut is_known, mut batch) = (names.is_empty(), Vec::new());
        let mut versions = repository.versions.values().rev();
        let mut next = self.at(&repository, versions.next(), &names)?;
        while let Some(after) = next.take().filter(|_| left > 0) {
            self.check_wanted(caller)?;
            next = self.at(&repository, versions.next(), &names)?;
            is_known |= after.entry.is_some();
            let entry = log_entry(&self.engine.trees, &repository, &after, next.as_ref(), &names);
            let entry = entry.map_err(|error| {
                self.version_error(
                    &repository,
                    [Some(after.version), next.as_ref().map(|at| at.version)],
                    error,
                )
            })?;
            let Some(entry) = entry else { continue };
            left -= 1;
            batch.push(entry);
            if batch.len() >= LOG_ENTRIES_MAX {
                progress(Progress::Log(std::mem::take(&mut batch)));
            }
        }
        if !is_known {
            let message = format!("no version of `{name}` has {path:?}");
            return Err(ControlError::new(ErrorKind::NotFound, message).with_hint(format!(
                "`cairn find {name} PATTERN` looks for paths in all versions"
            )));
        }
        if !batch.is_empty() {
            progress(Progress::Log(batch));
        }
        Ok(Reply::Done)
    }

    /// What a version has at the path.
    fn at<'a>(
        &self,
        repository: &Repository,
        version: Option<&'a Arc<Version>>,
        names: &[EntryName],
    ) -> Result<Option<At<'a>>, ControlError> {
        let Some(version) = version else { return Ok(None) };
        let entry = tree_format::lookup_path(&*self.engine.trees, &version.root.tree, names);
        let entry =
            entry.map_err(|error| self.version_error(repository, [Some(version), None], error))?;
        Ok(Some(At { version, entry }))
    }

    /// Refuses to go on for somebody who has gone, or while the daemon is about to stop.
    pub(super) fn check_wanted(&self, caller: Caller) -> Result<(), ControlError> {
        if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(ControlError::new(ErrorKind::Busy, "the daemon is stopping"));
        }
        let peer = self.peers.lock().get(&caller.connection).cloned();
        if peer.is_some_and(|peer| peer.is_gone()) {
            return Err(ControlError::new(ErrorKind::Failed, "nobody waits for the answer"));
        }
        Ok(())
    }

    /// A tree of one of these versions cannot be read. Versions that are looked at may be deleted
    /// meanwhile; their trees go after the protection time.
    pub(super) fn version_error<'a>(
        &self,
        repository: &Repository,
        versions: impl IntoIterator<Item = Option<&'a Arc<Version>>>,
        error: StoreError,
    ) -> ControlError {
        let now = self.engine.registry.by_id(repository.id);
        let is_gone = |number: VersionNumber| {
            now.as_ref().is_none_or(|now| !now.versions.contains_key(&number))
        };
        let gone = versions.into_iter().flatten().find(|version| is_gone(version.number));
        match gone {
            None => store_error(error),
            Some(version) => {
                let at = format!("{}/{}", repository.name, version.number);
                ControlError::new(
                    ErrorKind::Busy,
                    format!("the version `{at}` was deleted meanwhile"),
                )
                .with_hint("run this again")
            }
        }
    }
}

/// The names of a path that a caller gave.
fn names_of(path: &RawPath) -> Result<Vec<EntryName>, ControlError> {
    path.components()
        .map_err(|error| ControlError::new(ErrorKind::Usage, format!("{path:?}: {error}")))
}

/// What changed from `before` to `after`; `None` where the path did not.
fn log_entry(
    trees: &TreeCache,
    repository: &Repository,
    after: &At<'_>,
    before: Option<&At<'_>>,
    names: &[EntryName],
) -> Result<Option<LogEntry>, StoreError> {
    let (change, size) = if names.is_empty() {
        let first = before.map(|before| &before.version.root.tree);
        (None, ChangeSize::of_trees(trees, first, Some(&after.version.root.tree))?)
    } else {
        let first = before.and_then(|before| before.entry.as_ref());
        let size = ChangeSize::of_entries(trees, first, after.entry.as_ref())?;
        let change = match (first, &after.entry) {
            (None, Some(_)) => DiffKind::Added,
            (Some(_), None) => DiffKind::Removed,
            (Some(_), Some(_)) if !size.is_none() => DiffKind::Modified,
            _ => return Ok(None),
        };
        (Some(change), size)
    };
    Ok(Some(LogEntry {
        version: describe::version(repository, after.version),
        since: before.map(|before| before.version.number),
        change,
        size,
    }))
}
