//! What an edge does with the log of a repository: its versions, tags and flags become those of the log, and nothing
//! else stays (D2).
//!
//! Of a repository that is new here the newest version comes first, and the older ones when there is time. A version
//! that was deleted in the bucket is deleted here as a user deletes one: who reads it reads on.

use std::sync::Arc;

use super::super::StoreService;
use super::super::errors::control_error;
use super::super::jobs::Job;
use super::error::{Failure, transfer_error};
use super::push::{flags, hashes, tags};
use super::session::{self, Access, EdgeLog, Session};
use crate::bucket::agree::{Disagreement, Mirroring, to_mirror};
use crate::bucket::fold::RepositoryState;
use crate::bucket::log::Position;
use crate::bucket::pull::Catalog;
use crate::bucket::signature::Signatures;
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::Watch;
use crate::control::protocol::ControlError;
use crate::control::transfer::{TransferReply, TransferRequest};
use crate::engine::registry::Repository;
use crate::engine::request::{FlagChange, Request};
use crate::model::id::VersionNumber;
use crate::model::name::{RemoteName, RepoName};
use crate::model::time::Timestamp;

impl StoreService {
    /// What is to be done here to have the versions of a log, and no others.
    ///
    /// # Errors
    /// It is not the log that the versions here came from.
    pub(in crate::daemon::service) fn mirroring(
        &self,
        name: &RepoName,
        log: &RepositoryState,
    ) -> Result<Mirroring, Disagreement> {
        let known = self.engine.registry.by_name(name.as_str());
        to_mirror(log, &known.as_deref().map(hashes).unwrap_or_default())
    }

    /// Whether tags and flags here are those of a log, all of whose versions are here.
    pub(in crate::daemon::service) fn has_names(
        &self,
        name: &RepoName,
        log: &RepositoryState,
    ) -> bool {
        let Some(repository) = self.engine.registry.by_name(name.as_str()) else {
            return log.versions().is_empty();
        };
        tags(&repository) == session::tags_of(log) && flags(&repository) == session::flags_of(log)
    }

    /// How far the log of a repository was read in an earlier run.
    pub(in crate::daemon::service) fn seen_position(
        &self,
        name: &RepoName,
        remote: &RemoteName,
    ) -> Position {
        let known = self.engine.registry.by_name(name.as_str());
        // What cannot be read says nothing.
        let seen = known.and_then(|known| self.seen_bucket(&known, remote).ok().flatten());
        seen.map_or(Position::START, |seen| seen.position())
    }

    /// How far the bucket's own log was read in an earlier run.
    pub(in crate::daemon::service) fn seen_own_position(&self, remote: &RemoteName) -> Position {
        let all = self.engine.registry.all();
        let seen = all.iter().filter_map(|known| self.seen_bucket(known, remote).ok().flatten());
        let furthest = seen.map(|seen| seen.own_position()).max_by_key(|position| position.seq);
        furthest.unwrap_or(Position::START)
    }

    /// Makes a repository what its log says. Older versions are fetched if `has_time` is given, as long as it says so.
    pub(in crate::daemon::service) fn mirror(
        &self,
        job: &Arc<Job>,
        request: &TransferRequest,
        store: &dyn ObjectStore,
        log: EdgeLog,
        has_time: Option<&dyn Fn() -> bool>,
    ) -> Result<TransferReply, ControlError> {
        let run = || -> Result<TransferReply, Failure> {
            let watch = Watch::new(&job.stop, &job.transfer, request.rate_bytes_per_second);
            let stopping = Arc::clone(job);
            let retry = crate::bucket::remote::patience(move || stopping.is_cancelled());
            let name = &request.repository;
            let seen = match self.engine.registry.by_name(name.as_str()) {
                Some(known) => self.seen_bucket(&known, &request.remote)?,
                None => None,
            };
            // What the log says was believed when it was read.
            let signatures = Signatures::NONE;
            let access = Access { store, watch: &watch, retry: &retry, signatures };
            let session = Session::of_edge(access, name, log, seen);
            let mut reply = self.mirror_from(job, request, &session, has_time)?;
            reply.changed = !(reply.numbers.is_empty()
                && reply.deleted_numbers.is_empty()
                && reply.changed_tags.is_empty()
                && reply.flagged_numbers.is_empty());
            reply.counts = job.transfer.progress().counts;
            Ok(reply)
        };
        run().map_err(|failure| transfer_error(failure, request))
    }

    fn mirror_from(
        &self,
        job: &Arc<Job>,
        request: &TransferRequest,
        session: &Session<'_>,
        has_time: Option<&dyn Fn() -> bool>,
    ) -> Result<TransferReply, Failure> {
        let name = &request.repository;
        let plan = self.mirroring(name, session.state())?;
        let mut reply = TransferReply::default();
        if let (Some(repository), false) =
            (self.engine.registry.by_name(name.as_str()), plan.deleted.is_empty())
        {
            self.delete_as_there(&repository, &plan.deleted)?;
            reply.deleted_numbers = plan.deleted;
        }
        let mut catalog = Catalog::new(session.store, session.watch);
        let mut fetch = |number: &VersionNumber, reply: &mut TransferReply| {
            if let Some(version) = session.state().versions().get(number) {
                let depth = self.depth_of(&request.remote)?;
                self.pull_version(job, request, session, &mut catalog, (version, depth))?;
                session.watch.tally().note_version();
                reply.numbers.push(*number);
            }
            Ok::<_, Failure>(())
        };
        for number in &plan.newer {
            fetch(number, &mut reply)?;
        }
        self.mirror_names(request, session, &mut reply)?;
        let mut has_more = false;
        if let Some(has_time) = has_time {
            // At least one version per call, so that there is progress however little time there is.
            for number in &plan.older {
                if has_more && !has_time() {
                    break;
                }
                fetch(number, &mut reply)?;
                has_more = true;
            }
        }
        if has_more {
            // Tags of older versions can be made now.
            self.mirror_names(request, session, &mut reply)?;
        }
        reply.numbers.sort();
        Ok(reply)
    }

    fn mirror_names(
        &self,
        request: &TransferRequest,
        session: &Session<'_>,
        reply: &mut TransferReply,
    ) -> Result<(), Failure> {
        match self.engine.registry.by_name(request.repository.as_str()) {
            Some(repository) => self.pull_names(request, session, &repository, reply),
            None => Ok(()),
        }
    }

    /// Deletes versions, also those that are released, tagged or locked here: their log says that they are gone.
    fn delete_as_there(
        &self,
        repository: &Repository,
        numbers: &[VersionNumber],
    ) -> Result<(), Failure> {
        let (repo, now) = (repository.id, Timestamp::now());
        let is_locked = |number: &&VersionNumber| {
            flags(repository).get(*number).is_some_and(|(_, locked)| *locked)
        };
        let locked: Vec<_> = numbers.iter().filter(is_locked).copied().collect();
        if !locked.is_empty() {
            let change = FlagChange { released: None, locked: Some(false) };
            let make = |reply| Request::FlagVersions { repo, numbers: locked, change, reply };
            self.engine.call(make).map_err(control_error)?;
        }
        let numbers = numbers.to_vec();
        let make = |reply| Request::DeleteVersions { repo, numbers, force: true, now, reply };
        self.engine.call(make).map_err(control_error)?;
        Ok(())
    }
}
