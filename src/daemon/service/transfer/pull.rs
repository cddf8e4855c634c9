//! A pull: versions, tags and flags of the bucket's log become those of the local store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::StoreService;
use super::super::errors::control_error;
use super::super::import::RunningImport;
use super::super::jobs::Job;
use super::destination::Store;
use super::error::Failure;
use super::push::{flags, hashes, tags};
use super::session::{Access, Common, FlagMap, Session};
use crate::bucket::agree::{agree, in_common, to_pull};
use crate::bucket::fold::FoldedVersion;
use crate::bucket::pull::{Catalog, Depth, Destination};
use crate::control::transfer::{TransferReply, TransferRequest};
use crate::engine::commit::{Asker, CommitOptions, CopiedVersion};
use crate::engine::registry::Repository;
use crate::engine::request::{FlagChange, Request};
use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::import::ImportOptions;
use crate::model::name::{RemoteName, TagName};
use crate::model::on_stale::OnStale;
use crate::model::text::count;
use crate::model::time::Timestamp;
use crate::model::transfer::TransferStage;
use crate::store::catalog::{PlacesOf, Reader};

impl StoreService {
    pub(super) fn pull(
        &self,
        job: &Arc<Job>,
        request: &TransferRequest,
        access: Access<'_>,
    ) -> Result<TransferReply, Failure> {
        let known = self.engine.registry.by_name(request.repository.as_str());
        let seen = match &known {
            Some(repository) => self.seen_bucket(repository, &request.remote)?,
            None => None,
        };
        let session = Session::open(access, &request.repository, seen, false)?;
        let session = session.ok_or(Failure::NoBucket)?;
        if !session.has_repository() {
            return Err(Failure::NoRepository);
        }
        let (local, next) = match &known {
            Some(repository) => (hashes(repository), repository.next_number),
            None => (BTreeMap::<VersionNumber, TreeHash>::new(), VersionNumber(1)),
        };
        let versions = to_pull(session.state(), &local, next)?;
        let mut reply = TransferReply::default();
        if !versions.passed.is_empty() {
            reply.warnings.push(format!(
                "not taken from the bucket: {}, whose number was used here by what was deleted",
                count(versions.passed.len(), "version")
            ));
        }
        if request.dry_run {
            reply.numbers = versions.missing;
            reply.changed = !reply.numbers.is_empty();
            return Ok(reply);
        }
        let depth = self.depth_of(&request.remote)?;
        let looks_after = self.needs_look_after(&request.remote, depth)?;
        let mut catalog = Catalog::new(access.store, access.watch);
        for number in &versions.missing {
            let Some(version) = session.state().versions().get(number) else { continue };
            self.pull_version(job, request, &session, &mut catalog, (version, depth))?;
            access.watch.tally().note_version();
            reply.numbers.push(*number);
        }
        if let Some(repository) = self.engine.registry.by_name(request.repository.as_str()) {
            if looks_after {
                let here = hashes(&repository);
                self.look_after_absent(request, &session, &mut catalog, (&here, depth))?;
            }
            self.pull_names(request, &session, &repository, &mut reply)?;
        }
        reply.changed = !(reply.numbers.is_empty()
            && reply.changed_tags.is_empty()
            && reply.flagged_numbers.is_empty());
        Ok(reply)
    }

    /// How much of a version comes with a pull, by the policy of the bucket.
    pub(super) fn depth_of(&self, remote: &RemoteName) -> Result<Depth, Failure> {
        Ok(match self.known_remote(remote)?.settings.policy.is_lazy() {
            true => Depth::Names,
            false => Depth::Whole,
        })
    }

    /// Whether a pull must look after absent content of versions that are already here. It must where the policy is `immediate`
    /// by now, where nothing was noted of this bucket so far, and where something was not at its noted place.
    fn needs_look_after(&self, remote: &RemoteName, depth: Depth) -> Result<bool, Failure> {
        let has_moved = depth == Depth::Names && self.lazy.take_moved(remote);
        let look = |reader: &Reader| {
            let is_known = reader.any_places_at(remote)?;
            let may_come = depth == Depth::Whole && reader.any_absent_at(remote)?;
            Ok((has_moved || may_come || !is_known) && reader.absent_count()? > 0)
        };
        Ok(self.engine.query(look).map_err(control_error)?)
    }

    /// Looks after the versions that both sides already have. If the remote's policy is `immediate` by now, their absent content
    /// is fetched, as a sync does after a change of policy. Otherwise it is noted where this bucket has it (L8). Versions are
    /// looked at from the newest on: the objects that the newest one names are kept the longest.
    fn look_after_absent(
        &self,
        request: &TransferRequest,
        session: &Session<'_>,
        catalog: &mut Catalog<'_>,
        (local, depth): (&BTreeMap<VersionNumber, TreeHash>, Depth),
    ) -> Result<(), Failure> {
        let remote = &request.remote;
        let mut absent = self.engine.query(Reader::absent_contents).map_err(control_error)?;
        let mut places = Vec::new();
        let there = session.state().versions();
        let is_common = |number: &&VersionNumber| local.contains_key(*number);
        for number in there.keys().filter(is_common).rev() {
            let Some(version) = there.get(number) else { continue };
            let commit = &version.commit;
            match depth {
                Depth::Names => {
                    catalog.look_into(&commit.uses)?;
                    absent.retain(|name| match catalog.placed(*name) {
                        Some(placed) => {
                            places.push(placed);
                            false
                        }
                        None => true,
                    });
                }
                Depth::Whole => {
                    let destination =
                        Store::new(&self.engine, remote, depth).map_err(control_error)?;
                    catalog.fetch(&destination, &commit.uses, &commit.root, depth)?;
                }
            }
        }
        if depth == Depth::Names {
            let destination = Store::new(&self.engine, remote, depth).map_err(control_error)?;
            destination.note_places(&places, PlacesOf::Absent)?;
        }
        Ok(())
    }

    pub(super) fn pull_version(
        &self,
        job: &Arc<Job>,
        request: &TransferRequest,
        session: &Session<'_>,
        catalog: &mut Catalog<'_>,
        (version, depth): (&FoldedVersion, Depth),
    ) -> Result<(), Failure> {
        let tally = session.watch.tally();
        tally.enter(TransferStage::Move);
        let commit = &version.commit;
        let options = ImportOptions {
            repository: request.repository.clone(),
            create: true,
            mirror: true,
            message: commit.message.clone(),
            author: Some(commit.author.clone()),
            tag: None,
        };
        // What is stored is held until the version is published.
        let destination =
            Store::new(&self.engine, &request.remote, depth).map_err(control_error)?;
        let mut copy = OpenCopy {
            service: self,
            running: self.begin_on(job.caller, options, None)?,
            is_published: false,
        };
        catalog.fetch(&destination, &commit.uses, &commit.root, depth)?;
        tally.enter(TransferStage::Publish);
        self.engine.rest_area_on(copy.running.intake().area(), &commit.root);
        self.publish_copy(job, session, &copy.running, version)?;
        copy.is_published = true;
        Ok(())
    }

    fn publish_copy(
        &self,
        job: &Arc<Job>,
        session: &Session<'_>,
        running: &RunningImport,
        version: &FoldedVersion,
    ) -> Result<(), Failure> {
        let commit = &version.commit;
        let waiting = Arc::clone(job);
        let repository = self.repository(&session.name)?;
        let copy = CopiedVersion {
            number: commit.number,
            may_be_older: session.is_edge,
            hash: commit.hash(),
            created: commit.created,
            base: commit.base,
            name: commit.name.clone(),
            released: version.released,
            locked: version.locked,
        };
        // The name that it got at its commit is its tag here too, if it is there.
        let is_tag = |tag: &TagName| {
            let there = session.state().tags().get(tag);
            let is_its = there.is_some_and(|tag| tag.number == commit.number && !tag.protects);
            is_its && !repository.tags.contains_key(tag)
        };
        let options = CommitOptions {
            tag: commit.name.clone().filter(is_tag),
            number: None,
            message: Some(commit.message.clone()),
            author: Some(commit.author.clone()),
            caller: job.user.clone(),
            wait: false,
            in_rename: false,
            on_stale: Some(OnStale::Force),
            allow_empty: true,
            asker: Asker::new(move || waiting.is_cancelled()),
            now: Timestamp::now(),
            copy: Some(Box::new(copy)),
        };
        self.publish(&repository, running.intake().area(), options)?;
        Ok(())
    }

    /// Tags and flags that were changed in the bucket since the last push or pull.
    pub(super) fn pull_names(
        &self,
        request: &TransferRequest,
        session: &Session<'_>,
        repository: &Arc<Repository>,
        reply: &mut TransferReply,
    ) -> Result<(), Failure> {
        let base = if session.is_edge {
            // Nobody but the bucket changes anything here.
            Some(Common::new(tags(repository), flags(repository)))
        } else {
            session.seen.common.clone()
        };
        let (base_tags, base_flags) =
            (base.as_ref().map(Common::tags), base.as_ref().map(Common::flags));
        let agreement = agree(&session.tags(), &tags(repository), base_tags.as_ref());
        for tag in &agreement.conflicts {
            reply.warnings.push(format!(
                "tag {tag} was changed here as well and stays as it is here; the bucket has it at version {}",
                session.tags().get(tag).map_or_else(|| "none".to_owned(), ToString::to_string)
            ));
        }
        for change in agreement.changes {
            if self.pull_tag(repository, &change.key, change.after)? {
                reply.changed_tags.push(change.key);
            }
        }
        let there = session.flags();
        let here = flags(repository);
        let both = there.iter().filter(|(number, _)| here.contains_key(number));
        let both: FlagMap = both.map(|(number, flags)| (*number, *flags)).collect();
        let agreement = agree(&both, &here, base_flags.as_ref());
        for number in agreement.conflicts {
            reply.warnings.push(format!(
                "version {number} is released or locked differently here and in the bucket, and stays so"
            ));
        }
        for change in agreement.changes {
            let (number, Some((released, locked))) = (change.key, change.after) else { continue };
            let (repo, numbers) = (repository.id, vec![number]);
            let change = FlagChange { released: Some(released), locked: Some(locked) };
            let make = |reply| Request::FlagVersions { repo, numbers, change, reply };
            self.engine.call(make).map_err(control_error)?;
            reply.flagged_numbers.push(number);
        }
        let now = self.repository(&request.repository)?;
        let common = Common::new(
            in_common(&session.tags(), &tags(&now), base_tags.as_ref()),
            in_common(&there, &flags(&now), base_flags.as_ref()),
        );
        self.remember_bucket(&now, &request.remote, &session.to_remember(common));
        Ok(())
    }

    /// Makes, moves or removes a tag here. A tag of a version that this store does not have is not made; returns whether
    /// anything was done.
    fn pull_tag(
        &self,
        repository: &Repository,
        tag: &TagName,
        target: Option<VersionNumber>,
    ) -> Result<bool, Failure> {
        let (repo, tag, now) = (repository.id, tag.clone(), Timestamp::now());
        match target {
            Some(number) if !repository.versions.contains_key(&number) => return Ok(false),
            Some(number) => {
                let fresh = false;
                let make = |reply| Request::SetTag { repo, tag, number, fresh, now, reply };
                self.engine.call(make).map_err(control_error)?;
            }
            None => {
                let make = |reply| Request::DeleteTag { repo, tag, now, reply };
                self.engine.call(make).map_err(control_error)?;
            }
        }
        Ok(true)
    }
}

/// A copy of a version that leaves nothing behind unless it was published.
struct OpenCopy<'a> {
    service: &'a StoreService,
    running: RunningImport,
    is_published: bool,
}

impl Drop for OpenCopy<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            self.service.end_import(&self.running);
        }
    }
}
