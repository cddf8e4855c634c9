//! A push: versions, tags and flags of the local store become events of the bucket's log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::StoreService;
use super::super::errors::control_error;
use super::super::jobs::Job;
use super::error::Failure;
use super::local::Store;
use super::session::{Access, Common, FlagMap, Session, TagMap};
use super::{TRIES, session};
use crate::bucket::agree::{agree, in_common, to_push};
use crate::bucket::event::{Commit, TagChange};
use crate::bucket::key::ObjectKey;
use crate::bucket::push::Push;
use crate::bucket::push::publish::{
    PublishError, intent, publish_deletion, publish_flags, publish_tag, publish_version,
};
use crate::bucket::transfer::TransferError;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::transfer::{TransferReply, TransferRequest};
use crate::engine::registry::Repository;
use crate::engine::request::{Owner, RemoteNote, Request};
use crate::model::id::{AreaId, VersionNumber};
use crate::model::name::{BaseName, RemoteName, TagName};
use crate::model::text::count;
use crate::model::time::Timestamp;
use crate::model::transfer::TransferStage;
use crate::model::version::Version;

impl StoreService {
    pub(super) fn push(
        &self,
        job: &Job,
        request: &TransferRequest,
        access: Access<'_>,
    ) -> Result<TransferReply, Failure> {
        if request.delete {
            return self.delete_in_bucket(request, access);
        }
        let repository = self.repository(&request.repository)?;
        let seen = self.seen_bucket(&repository, &request.remote)?;
        let make = !request.dry_run;
        let session = Session::open(access, &request.repository, seen, make)?;
        let wanted = Wanted::of(&repository, request);
        let Some(mut session) = session else {
            // A dry run of a push that would make the bucket.
            let mut reply = TransferReply::default();
            let all = repository.versions.keys();
            reply.numbers = all.filter(|number| wanted.has(**number)).copied().collect();
            reply.changed = !reply.numbers.is_empty();
            return Ok(reply);
        };
        let pushed = self.push_into(job, request, &repository, &mut session, &wanted);
        if !request.dry_run {
            session.update_head();
        }
        pushed
    }

    fn push_into(
        &self,
        job: &Job,
        request: &TransferRequest,
        repository: &Repository,
        session: &mut Session<'_>,
        wanted: &Wanted,
    ) -> Result<TransferReply, Failure> {
        let mut reply = TransferReply::default();
        let local = hashes(repository);
        let versions = to_push(session.state(), &local, wanted.numbers.as_ref())?;
        if !versions.passed.is_empty() {
            reply.warnings.push(format!(
                "{} here cannot be pushed any more: the bucket has used numbers up to {}",
                count(versions.passed.len(), "version"),
                session.state().highest()
            ));
        }
        if request.dry_run {
            reply.numbers = versions.missing;
        } else if !versions.missing.is_empty() {
            session.make_repository(Timestamp::now())?;
            reply.numbers = self.push_versions(job, session, repository, &versions.missing)?;
        }
        self.push_names(request, session, wanted, &mut reply)?;
        reply.changed = !(reply.numbers.is_empty()
            && reply.changed_tags.is_empty()
            && reply.flagged_numbers.is_empty());
        Ok(reply)
    }

    fn push_versions(
        &self,
        job: &Job,
        session: &mut Session<'_>,
        repository: &Repository,
        numbers: &[VersionNumber],
    ) -> Result<Vec<VersionNumber>, Failure> {
        let mut pushed = Vec::new();
        let mut push = begin(session)?;
        for number in numbers {
            // It may have been deleted since.
            let Some(version) = repository.versions.get(number) else { continue };
            let _kept = self.keep_version(job, repository, *number)?;
            for tries in 1.. {
                session.watch.tally().enter(TransferStage::Move);
                let (key, uses) = push.version(&Store::new(&self.engine), &version.root)?;
                session.watch.tally().enter(TransferStage::Publish);
                session.follow()?;
                let (condemned, barriers) = (session.condemned()?, session.barriers());
                if uses.needs().any(|key| condemned.names(key)) {
                    // Marked since the bucket was looked at.
                    if tries == TRIES {
                        return Err(PublishError::Barrier.into());
                    }
                    push = begin(session)?;
                    continue;
                }
                let commit = commit_of(repository, version, key);
                let (log, intent) = (session.log(), intent(Timestamp::now())?);
                let cursor = &mut session.repository;
                match publish_version(&log, cursor, intent, &commit, &barriers) {
                    Ok(is_new) => {
                        pushed.extend(is_new.then_some(*number));
                        push.published(uses);
                        session.watch.tally().note_version();
                        break;
                    }
                    Err(PublishError::Barrier) if tries < TRIES => {
                        session.follow()?;
                        push = begin(session)?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(pushed)
    }

    /// Tags and flags that were changed here since the last push or pull.
    fn push_names(
        &self,
        request: &TransferRequest,
        session: &mut Session<'_>,
        wanted: &Wanted,
        reply: &mut TransferReply,
    ) -> Result<(), Failure> {
        let repository = self.repository(&request.repository)?;
        let (tags, flags) = (tags(&repository), flags(&repository));
        let base = session.seen.common.clone();
        let (base_tags, base_flags) =
            (base.as_ref().map(Common::tags), base.as_ref().map(Common::flags));
        let there = session.tags();
        let mut agreement = agree(&tags, &there, base_tags.as_ref());
        if let Some(wanted) = &wanted.tags {
            // The user named this tag, so the bucket gets what it is here, even if somebody has moved it there since.
            agreement.conflicts.clear();
            agreement.changes =
                wanted.iter().filter_map(|tag| forced(tag, &tags, &there)).collect();
        }
        for tag in &agreement.conflicts {
            reply.warnings.push(format!(
                "tag {tag} was changed in the bucket as well and stays as it is there; `cairn push {}/{tag} {}` \
                 makes it what it is here",
                request.repository, request.remote
            ));
        }
        for change in agreement.changes {
            let target = change.after;
            let has_target =
                target.is_none_or(|number| session.state().versions().contains_key(&number));
            if !has_target {
                continue;
            }
            let protects = repository.tags.get(&change.key).is_none_or(|tag| tag.protects);
            let (tag, before) = (change.key, change.before);
            let change = TagChange { tag: tag.clone(), target, before, protects };
            if request.dry_run || self.push_tag(session, &change)? {
                reply.changed_tags.push(tag);
            }
        }
        if wanted.numbers.is_none() {
            push_flags(session, &flags, base_flags.as_ref(), request.dry_run, reply)?;
        }
        if !request.dry_run {
            let tags = in_common(&tags, &session.tags(), base_tags.as_ref());
            let flags = in_common(&flags, &session.flags(), base_flags.as_ref());
            let seen = session.to_remember(Common::new(tags, flags));
            self.remember_bucket(&repository, &request.remote, &seen);
        }
        Ok(())
    }

    fn push_tag(&self, session: &mut Session<'_>, change: &TagChange) -> Result<bool, Failure> {
        session.watch.check()?;
        let (log, intent) = (session.log(), intent(Timestamp::now())?);
        Ok(publish_tag(&log, &mut session.repository, intent, change)?)
    }

    /// Deletes versions and tags in the bucket. The local ones stay.
    fn delete_in_bucket(
        &self,
        request: &TransferRequest,
        access: Access<'_>,
    ) -> Result<TransferReply, Failure> {
        let known = self.engine.registry.by_name(request.repository.as_str());
        let seen = match &known {
            Some(repository) => self.seen_bucket(repository, &request.remote)?,
            None => None,
        };
        let session = Session::open(access, &request.repository, seen, false)?;
        let mut session = session.ok_or(Failure::NoBucket)?;
        let deleted = self.delete_each(request, &mut session);
        if !request.dry_run {
            session.update_head();
        }
        let reply = deleted?;
        if let (Some(repository), false) = (&known, request.dry_run) {
            let common = session.seen.common.clone().unwrap_or_default();
            let seen = session.to_remember(common);
            self.remember_bucket(repository, &request.remote, &seen);
        }
        Ok(reply)
    }

    fn delete_each(
        &self,
        request: &TransferRequest,
        session: &mut Session<'_>,
    ) -> Result<TransferReply, Failure> {
        let mut reply = TransferReply::default();
        for version in &request.versions {
            let log = session.log();
            let intent = intent(Timestamp::now())?;
            match version {
                BaseName::Number(number) if session.state().versions().contains_key(number) => {
                    if request.dry_run
                        || publish_deletion(&log, &mut session.repository, intent, *number)?
                    {
                        reply.deleted_numbers.push(*number);
                    }
                }
                BaseName::Tag(tag) if session.state().tags().contains_key(tag) => {
                    let before = session.tags().get(tag).copied();
                    let (tag, target) = (tag.clone(), None);
                    let change = TagChange { tag: tag.clone(), target, before, protects: false };
                    if request.dry_run || self.push_tag(session, &change)? {
                        reply.changed_tags.push(tag);
                    }
                }
                BaseName::Number(_) | BaseName::Tag(_) | BaseName::Latest => {
                    let what = format!("{}/{version}", request.repository);
                    return Err(Failure::NotThere(what));
                }
            }
        }
        reply.changed = !(reply.deleted_numbers.is_empty() && reply.changed_tags.is_empty());
        Ok(reply)
    }

    /// Keeps a version until the value is dropped.
    fn keep_version(
        &self,
        job: &Job,
        repository: &Repository,
        number: VersionNumber,
    ) -> Result<KeptVersion<'_>, Failure> {
        let owner = Owner { mode: 0, uid: job.caller.uid, gid: job.caller.gid };
        let area = self.hidden_area(repository, Some(&BaseName::Number(number)), owner);
        Ok(KeptVersion { service: self, area: area.map_err(control_error)? })
    }

    /// What is remembered of the bucket.
    pub(super) fn seen_bucket(
        &self,
        repository: &Repository,
        remote: &RemoteName,
    ) -> Result<Option<session::Seen>, Failure> {
        let state = self.engine.query(|reader| reader.sync_state(repository.id, remote));
        let state = state.map_err(control_error)?;
        // What cannot be read says nothing: then nobody is taken to have changed anything.
        Ok(state.and_then(|state| serde_json::from_str(&state).ok()))
    }

    /// Remembers what was seen of a bucket. Without that, less can be told the next time.
    pub(super) fn remember_bucket(
        &self,
        repository: &Repository,
        remote: &RemoteName,
        seen: &session::Seen,
    ) {
        if let Err(error) = self.note_bucket(repository, remote, seen) {
            log::warn!("what {remote} has is not kept in mind: {error}");
        }
    }

    /// The same, where it matters whether that can be done.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(super) fn note_bucket(
        &self,
        repository: &Repository,
        remote: &RemoteName,
        seen: &session::Seen,
    ) -> Result<(), ControlError> {
        let state = serde_json::to_string(seen)
            .map_err(|error| ControlError::new(ErrorKind::Failed, error.to_string()))?;
        let (repo, remote) = (repository.id, remote.clone());
        let note = RemoteNote::Seen { repo, remote, state };
        self.engine.call(|reply| Request::NoteRemote { note, reply }).map_err(control_error)
    }
}

/// Looks what the bucket has.
fn begin<'a>(session: &mut Session<'a>) -> Result<Push<'a>, Failure> {
    session.watch.tally().enter(TransferStage::Look);
    let condemned = session.condemned()?;
    let newest = session.state().latest().map(|version| version.commit.uses);
    let is_refused = |key: &ObjectKey| condemned.names(key);
    // Where signatures are required, what strangers wrote into the bucket is not used (H51).
    let trusted: Option<Vec<ObjectKey>> = session
        .signatures
        .required
        .then(|| session.state().versions().values().map(|version| version.commit.uses).collect());
    let (store, watch) = (session.store, session.watch);
    Ok(Push::begin(store, watch, newest.as_ref(), trusted.as_deref(), &is_refused)?)
}

fn push_flags(
    session: &mut Session<'_>,
    flags: &FlagMap,
    base: Option<&FlagMap>,
    is_dry_run: bool,
    reply: &mut TransferReply,
) -> Result<(), Failure> {
    let there = session.flags();
    // Versions that are on one side only have no flags to agree on.
    let both = flags.iter().filter(|(number, _)| there.contains_key(number));
    let both: FlagMap = both.map(|(number, flags)| (*number, *flags)).collect();
    let agreement = agree(&both, &there, base);
    for change in agreement.changes {
        let (number, Some(flags)) = (change.key, change.after) else { continue };
        let (log, intent) = (session.log(), intent(Timestamp::now())?);
        if is_dry_run || publish_flags(&log, &mut session.repository, intent, number, flags)? {
            reply.flagged_numbers.push(number);
        }
    }
    for number in agreement.conflicts {
        reply.warnings.push(format!(
            "version {number} is released or locked differently here and in the bucket, and stays so"
        ));
    }
    Ok(())
}

/// What is to be pushed of a repository.
struct Wanted {
    numbers: Option<BTreeSet<VersionNumber>>,
    tags: Option<BTreeSet<TagName>>,
}

impl Wanted {
    fn of(repository: &Repository, request: &TransferRequest) -> Self {
        if request.versions.is_empty() {
            return Self { numbers: None, tags: None };
        }
        let named = request.versions.iter();
        let numbers = named.clone().filter_map(|name| Some(repository.resolve(name)?.number));
        let tags = named.filter_map(|name| match name {
            BaseName::Tag(tag) => Some(tag.clone()),
            BaseName::Number(_) | BaseName::Latest => None,
        });
        Self { numbers: Some(numbers.collect()), tags: Some(tags.collect()) }
    }

    fn has(&self, number: VersionNumber) -> bool {
        self.numbers.as_ref().is_none_or(|numbers| numbers.contains(&number))
    }
}

/// What makes a tag there what it is here.
fn forced(
    tag: &TagName,
    here: &TagMap,
    there: &TagMap,
) -> Option<crate::bucket::agree::Change<TagName, VersionNumber>> {
    let (before, after) = (there.get(tag).copied(), here.get(tag).copied());
    let is_due = before != after;
    is_due.then(|| crate::bucket::agree::Change { key: tag.clone(), before, after })
}

/// A version that nobody can take away.
struct KeptVersion<'a> {
    service: &'a StoreService,
    area: AreaId,
}

impl Drop for KeptVersion<'_> {
    fn drop(&mut self) {
        self.service.drop_hidden(self.area);
    }
}

/// The versions of a repository by their root hashes.
pub(super) fn hashes(
    repository: &Repository,
) -> BTreeMap<VersionNumber, crate::model::hash::TreeHash> {
    repository.versions.values().map(|version| (version.number, version.hash)).collect()
}

/// The tags of a repository.
pub(super) fn tags(repository: &Repository) -> TagMap {
    repository.tags.iter().map(|(tag, found)| (tag.clone(), found.number)).collect()
}

/// The flags of a repository's versions.
pub(super) fn flags(repository: &Repository) -> FlagMap {
    let versions = repository.versions.values();
    versions.map(|version| (version.number, (version.released, version.locked))).collect()
}

fn commit_of(repository: &Repository, version: &Arc<Version>, uses: ObjectKey) -> Commit {
    let name = version.name.clone();
    let tag = name.as_ref().and_then(|name| repository.tags.get(name));
    Commit {
        number: version.number,
        root: version.root.clone(),
        uses,
        base: version.base,
        created: version.created,
        tagged: tag.is_some_and(|tag| tag.number == version.number && !tag.protects),
        name,
        author: version.author.clone(),
        message: version.message.clone(),
        released: version.released,
        locked: version.locked,
        draft: None,
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}
