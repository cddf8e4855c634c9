//! The events of a push: appended once each, in view of what the log says by then.

use std::collections::BTreeSet;

use crate::bucket::agree::Disagreement;
use crate::bucket::event::{Commit, Payload, TagChange};
use crate::bucket::fold::RepositoryState;
use crate::bucket::key::Nonce;
use crate::bucket::log::{Cursor, Intent, Log, LogError};
use crate::model::id::VersionNumber;
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::store::durable;
use crate::store::error::StoreError;

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The log's.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Somebody else was first.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// A collector asks to give up keys since: what the version uses has to be looked at again.
    #[error("a collector asks to give up keys")]
    Barrier,
    /// The system has no random numbers, or a test ends it here.
    #[error(transparent)]
    Local(Box<StoreError>),
    /// There is no randomness.
    #[error("no random number: {0}")]
    Random(std::io::Error),
}

/// What an event is named by over all tries.
///
/// # Errors
/// When the system has no randomness to offer.
pub fn intent(now: Timestamp) -> Result<Intent, PublishError> {
    let nonce = Nonce::random().map_err(PublishError::Random)?;
    Ok(Intent { nonce, time: now })
}

/// Publishes a version, unless the log has it. `barriers` are those that were honoured when its objects were
/// chosen. Says whether this published it.
///
/// # Errors
/// The log's; that somebody else was first; that there is another barrier.
pub fn publish_version(
    log: &Log<'_>,
    cursor: &mut Cursor<RepositoryState>,
    intent: Intent,
    commit: &Commit,
    barriers: &BTreeSet<Nonce>,
) -> Result<bool, PublishError> {
    durable::step("publish").map_err(|error| PublishError::Local(Box::new(error)))?;
    let mut decide = |cursor: &Cursor<RepositoryState>| {
        let state = cursor.state();
        let number = commit.number;
        if let Some(found) = state.versions().get(&number) {
            let is_same = found.commit.hash() == commit.hash();
            return if is_same { Ok(None) } else { Err(Disagreement::Diverged(number).into()) };
        }
        if number <= state.highest() {
            let highest = state.highest();
            return Err(Disagreement::NumberUsed { number, highest }.into());
        }
        if state.barriers().keys().any(|mark| !barriers.contains(mark)) {
            return Err(PublishError::Barrier);
        }
        let is_free = |tag: &TagName| !state.tags().contains_key(tag);
        let tagged = commit.tagged && commit.name.as_ref().is_some_and(is_free);
        let commit = Commit { tagged, ..commit.clone() };
        Ok(Some(Payload::Commit(Box::new(commit))))
    };
    let published = log.append(cursor, intent, &mut decide)?;
    durable::step("published").map_err(|error| PublishError::Local(Box::new(error)))?;
    Ok(published.is_some())
}

/// Makes, moves or removes a tag, if it still is what it was. Says whether that was done.
///
/// # Errors
/// The log's.
pub fn publish_tag(
    log: &Log<'_>,
    cursor: &mut Cursor<RepositoryState>,
    intent: Intent,
    change: &TagChange,
) -> Result<bool, PublishError> {
    let mut decide = |cursor: &Cursor<RepositoryState>| {
        let state = cursor.state();
        let now = state.tags().get(&change.tag).map(|tag| tag.number);
        let has_target = change.target.is_none_or(|target| state.versions().contains_key(&target));
        let is_due = now == change.before && now != change.target && has_target;
        Ok::<_, PublishError>(is_due.then(|| Payload::Tag(change.clone())))
    };
    Ok(log.append(cursor, intent, &mut decide)?.is_some())
}

/// Releases or locks a version, or takes that back, if it is there. Says whether that was done.
///
/// # Errors
/// The log's.
pub fn publish_flags(
    log: &Log<'_>,
    cursor: &mut Cursor<RepositoryState>,
    intent: Intent,
    number: VersionNumber,
    (released, locked): (bool, bool),
) -> Result<bool, PublishError> {
    let mut decide = |cursor: &Cursor<RepositoryState>| {
        let found = cursor.state().versions().get(&number);
        let is_due =
            found.is_some_and(|found| (found.released, found.locked) != (released, locked));
        let payload = Payload::Flags { number, released: Some(released), locked: Some(locked) };
        Ok::<_, PublishError>(is_due.then_some(payload))
    };
    Ok(log.append(cursor, intent, &mut decide)?.is_some())
}

/// Deletes a version in the bucket, if it is there. Says whether that was done.
///
/// # Errors
/// The log's; that the version is protected.
pub fn publish_deletion(
    log: &Log<'_>,
    cursor: &mut Cursor<RepositoryState>,
    intent: Intent,
    number: VersionNumber,
) -> Result<bool, PublishError> {
    let mut decide = |cursor: &Cursor<RepositoryState>| {
        let is_there = cursor.state().versions().contains_key(&number);
        let payload = Payload::Delete { number, force: false };
        Ok::<_, PublishError>(is_there.then_some(payload))
    };
    Ok(log.append(cursor, intent, &mut decide)?.is_some())
}
