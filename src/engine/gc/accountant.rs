//! What versions add to each other, computed on a thread of its own (G15).
//!
//! A commit brings its charge along. Where a version's predecessor changes later (it was deleted,
//! brought back, or another commit came first) the charge is computed again here; the row says
//! against which version it was computed, so nothing is lost by a crash. A full run computes all.

use std::sync::Arc;

use super::{Collector, RunPhase, WorkerReport};
use crate::engine::error::EngineError;
use crate::engine::registry::Repository;
use crate::engine::writer::StoreWriter;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::quota::{self, Charge};
use crate::model::version::Version;
use crate::sys::panics;

/// One version, and the one before it.
struct Step {
    repo: RepoId,
    version: Arc<Version>,
    before: Option<Arc<Version>>,
}

impl Collector {
    /// Computes the charges that are out of date in one repository.
    pub(super) fn account_next(&mut self, writer: &StoreWriter) {
        let Some(repo) = self.uncharged.pop_first() else { return };
        let Some(repository) = writer.registry().by_id(repo) else { return };
        let uncharged = repository.versions.uncharged();
        self.account(uncharged.map(|version| step(&repository, version)).collect());
    }

    /// Computes all charges of all repositories, for the run under way.
    pub(super) fn account_all(&mut self, writer: &StoreWriter) {
        self.enter(RunPhase::Account);
        self.uncharged.clear();
        let repositories = writer.registry().all();
        let steps = repositories.iter().flat_map(|repository| {
            repository.versions.values().map(|version| step(repository, version))
        });
        self.account(steps.collect());
    }

    fn account(&mut self, steps: Vec<Step>) {
        if steps.is_empty() {
            return self.accounted();
        }
        self.accounting = true;
        let (trees, tell) = (Arc::clone(&self.workers.trees), Arc::clone(&self.workers.tell));
        let body = move || {
            for step in steps {
                let before = step.before.as_ref().map(|version| &version.root.tree);
                let usage = panics::contain("the accountant", || {
                    panics::point("account");
                    quota::added(&*trees, before, &step.version.root.tree)
                });
                let charge = usage
                    .unwrap_or_else(|panicked| Err(panicked.into()))
                    .map(|usage| Charge { base: number(step.before.as_ref()), usage })
                    .map_err(EngineError::Store);
                let (repo, number) = (step.repo, step.version.number);
                if tell(WorkerReport::Charged(repo, number, charge)).is_err() {
                    return;
                }
            }
            // Where the engine has stopped, nobody needs to know.
            tell(WorkerReport::Accounted).unwrap_or_default();
        };
        if let Err(error) = std::thread::Builder::new().name("account".to_owned()).spawn(body) {
            log::error!("usage cannot be computed: {error}");
            self.accounted();
        }
    }

    /// Notes what a version adds, if it still follows the version that it was compared with.
    pub(in crate::engine) fn charged(
        &mut self,
        writer: &mut StoreWriter,
        repo: RepoId,
        version: VersionNumber,
        charge: Result<Charge, EngineError>,
    ) {
        let Some(repository) = writer.registry().by_id(repo) else { return };
        let name = || format!("{}/{version}", repository.name);
        if !repository.versions.contains_key(&version) {
            return;
        }
        let charge = match charge {
            Ok(charge) => charge,
            Err(error) => {
                let what = format!("what {} adds cannot be computed: {error}", name());
                return self.fail(what);
            }
        };
        if charge.base != number(repository.versions.before(version)) {
            self.expect_accounting(repo);
            return;
        }
        let known = repository.versions.charge(version);
        if known == Some(&charge) {
            return;
        }
        if let Some(known) = known.filter(|known| known.base == charge.base) {
            log::warn!("{} was charged {:?}, adds {:?}", name(), known.usage, charge.usage);
        }
        match writer.write(|tx| tx.set_charge(repo, version, &charge)) {
            Ok(()) => writer.show(repo, |repository| {
                repository.versions.set_charge(version, charge);
            }),
            Err(error) => log::error!("what {} adds cannot be noted: {error}", name()),
        }
    }

    /// All that was to be computed is; a run that waited for it goes on.
    pub(in crate::engine) fn accounted(&mut self) {
        self.accounting = false;
        if self.run.as_ref().is_some_and(|run| matches!(run.phase, RunPhase::Account)) {
            self.enter(RunPhase::Release);
        }
    }
}

fn number(version: Option<&Arc<Version>>) -> VersionNumber {
    version.map_or(VersionNumber(0), |version| version.number)
}

fn step(repository: &Repository, version: &Arc<Version>) -> Step {
    let before = repository.versions.before(version.number).cloned();
    Step { repo: repository.id, version: Arc::clone(version), before }
}
