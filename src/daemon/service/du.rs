//! Where space goes, by repository and version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::du::{DuReply, DuTarget, RepositoryUsage, VersionUsage};
use crate::control::protocol::{CHANGES_MAX, ControlError, Progress};
use crate::control::reply::Reply;
use crate::engine::dry_run::DryRun;
use crate::engine::gc::RunKind;
use crate::engine::registry::Repository;
use crate::engine::request::Request;
use crate::model::id::VersionNumber;
use crate::model::name::RepoName;
use crate::model::time::Timestamp;
use crate::model::version::Version;

/// Which versions of a repository are looked at.
struct Wanted {
    repository: Arc<Repository>,
    /// The repository as a whole.
    whole: bool,
    versions: BTreeMap<VersionNumber, (Arc<Version>, bool)>,
}

impl StoreService {
    pub(super) fn du(&self, targets: &[DuTarget], progress: &mut dyn FnMut(Progress)) -> Answer {
        let wanted = self.wanted(targets)?;
        let now = Timestamp::now();
        self.engine.call(|reply| Request::Flush { reply }).map_err(control_error)?;
        let mut dry_run = DryRun::new(&self.engine, now, 0).map_err(control_error)?;
        // What is being taken apart is left out: it keeps blobs for a short while only.
        dry_run.drop_leftovers().map_err(control_error)?;
        dry_run.settle();
        let mut reply = DuReply::default();
        let total = wanted.iter().map(|wanted| wanted.versions.len() as u64).sum();
        let mut done = 0;
        let mut batch = Vec::new();
        for wanted in &wanted {
            for (version, deleted) in wanted.versions.values() {
                let name = format!("{}/{}", wanted.repository.name, version.number);
                step(progress, &name, done, total);
                done += 1;
                batch.push(version_usage(&mut dry_run, &wanted.repository, version, *deleted)?);
                if batch.len() >= CHANGES_MAX {
                    progress(Progress::Usages(std::mem::take(&mut batch)));
                }
            }
            if wanted.whole {
                step(progress, wanted.repository.name.as_str(), done, total);
                self.engine.count_areas(&wanted.repository).map_err(control_error)?;
                reply.repositories.push(repository_usage(&mut dry_run, &wanted.repository)?);
            }
        }
        if !batch.is_empty() {
            progress(Progress::Usages(batch));
        }
        step(progress, "the store", done, total);
        let store = self.engine.query(|reader| reader.totals()).map_err(control_error)?;
        let report = self.engine.dry_run(RunKind::ORPHANS, now).map_err(control_error)?;
        let absent = self.engine.query(|reader| reader.absent_totals()).map_err(control_error)?;
        (reply.absent, reply.absent_bytes) = (absent.contents, absent.bytes);
        reply.store_bytes = store.bytes;
        reply.reclaimable_bytes = report.garbage.free.bytes;
        reply.pinned_bytes = report.garbage.pinned.bytes;
        reply.protected_bytes = report.garbage.protected.bytes.saturating_add(report.kept.bytes());
        Ok(Reply::Du(reply))
    }

    /// All repositories without their versions, or what `targets` name.
    fn wanted(&self, targets: &[DuTarget]) -> Result<Vec<Wanted>, ControlError> {
        if targets.is_empty() {
            let all = self.engine.registry.all().into_iter();
            return Ok(all
                .map(|repository| Wanted { repository, whole: true, versions: BTreeMap::new() })
                .collect());
        }
        let mut wanted: BTreeMap<RepoName, Wanted> = BTreeMap::new();
        for DuTarget { repository: name, version } in targets {
            let (repository, one) = match version {
                None => (self.repository(name)?, None),
                Some(version) => {
                    let (repository, version) = self.version(name, version)?;
                    (repository, Some(version))
                }
            };
            let entry = wanted.entry(name.clone()).or_insert_with(|| Wanted {
                repository: Arc::clone(&repository),
                whole: false,
                versions: BTreeMap::new(),
            });
            if let Some(version) = one {
                entry.versions.insert(version.number, (version, false));
                continue;
            }
            entry.whole = true;
            let live = repository.versions.values().map(|version| (version, false));
            let gone = repository.deleted.values().map(|gone| (&gone.version, true));
            let all = live.chain(gone).map(|(version, gone)| (Arc::clone(version), gone));
            entry.versions.extend(all.map(|(version, gone)| (version.number, (version, gone))));
        }
        Ok(wanted.into_values().collect())
    }
}

fn step(progress: &mut dyn FnMut(Progress), name: &str, done: u64, total: u64) {
    let what = format!("measuring {name}");
    progress(Progress::Step { what, done, total: Some(total), is_bytes: false });
}

fn version_usage(
    dry_run: &mut DryRun<'_>,
    repository: &Repository,
    version: &Version,
    deleted: bool,
) -> Result<VersionUsage, ControlError> {
    dry_run.reset();
    dry_run.drop_tree(&version.root.tree).map_err(control_error)?;
    let (apparent, unique) = (version.root.summary.bytes, dry_run.garbage().bytes());
    Ok(VersionUsage {
        repository: repository.name.clone(),
        number: version.number,
        deleted,
        files: version.root.summary.files,
        apparent_bytes: apparent,
        unique_bytes: unique,
        shared_bytes: apparent.saturating_sub(unique),
    })
}

fn repository_usage(
    dry_run: &mut DryRun<'_>,
    repository: &Repository,
) -> Result<RepositoryUsage, ControlError> {
    dry_run.reset();
    let deleted = || repository.deleted.values().map(|gone| &gone.version);
    for version in repository.versions.values().chain(deleted()) {
        dry_run.drop_tree(&version.root.tree).map_err(control_error)?;
    }
    let bytes = |version: &Arc<Version>| version.root.summary.bytes;
    let apparent = repository.versions.values().map(bytes).fold(0, u64::saturating_add);
    let deleted_bytes = deleted().map(bytes).fold(0, u64::saturating_add);
    let (unique, areas) = (dry_run.garbage().bytes(), repository.account.areas());
    Ok(RepositoryUsage {
        repository: repository.name.clone(),
        versions: repository.versions.size() as u64,
        apparent_bytes: apparent,
        unique_bytes: unique,
        shared_bytes: apparent.saturating_add(deleted_bytes).saturating_sub(unique),
        areas_bytes: areas.bytes,
        areas_files: areas.files,
        deleted_versions: repository.deleted.size() as u64,
        deleted_bytes,
    })
}
