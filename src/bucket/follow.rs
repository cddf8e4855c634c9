//! How an edge follows a bucket: which logs it looks at, and when (D2).
//!
//! A poll asks for the head, one object for all logs, and then for the next event of each log that the head says has
//! moved. The head may be missing, old, or wrong (H48). So each log has its turn: every [`TURN`]th poll looks at it
//! whatever the head says, and also whether the log still has the event that was read last. What a head promises and a log
//! does not have is looked for a few times, then only when it is the log's turn. Nothing here ever goes back.
//!
//! A log that was rolled back or forked, or that has an event which cannot be read, raises an alarm: what it said
//! before stays, nothing of it is taken, and the other logs are followed. Each turn looks whether it has become the
//! log again that was followed before.

use std::collections::BTreeMap;

use super::event::BucketId;
use super::fold::{BucketState, RepositoryState};
use super::format::{self, FormatFileError};
use super::head::{self, Head};
use super::key::{LogName, Seq};
use super::log::{Cursor, Fold, Log, LogError, Position};
use super::signature::Signatures;
use super::store::{ObjectStore, StoreErrorKind};
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// Each log is looked at in one of so many polls, whatever the head says.
pub const TURN: u64 = 10;

/// How often in a row an event is looked for that the head promises and the log does not have.
const VAIN_MAX: u32 = 5;

/// Why a bucket could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// What makes it a bucket cannot be read.
    #[error(transparent)]
    Format(#[from] FormatFileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] super::store::StoreError),
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is another bucket now.
    #[error(
        "there is another bucket now than the one that was followed: its id is {found} and was {followed}"
    )]
    OtherBucket {
        /// The id of the bucket that was followed.
        followed: BucketId,
        /// The id of what is there.
        found: BucketId,
    },
}

/// Why a log is not followed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Since when.
    pub since: Timestamp,
    /// What is wrong with it.
    pub message: String,
}

/// What a poll has to know of the edge.
pub struct Poll<'a> {
    /// The bucket.
    pub store: &'a dyn ObjectStore,
    /// Whose events are believed.
    pub signatures: &'a Signatures,
    /// Somebody asked for it: all logs are looked at, and whether they are those that were followed.
    pub is_asked: bool,
    /// The time, for alarms.
    pub now: Timestamp,
    /// Whether a repository is followed.
    pub is_wanted: &'a dyn Fn(&RepoName) -> bool,
    /// What is remembered of a repository's log from an earlier run.
    pub seen: &'a dyn Fn(&RepoName) -> Position,
    /// What is remembered of the bucket's own log from an earlier run.
    pub seen_own: &'a dyn Fn() -> Position,
    /// Repositories whose log is looked at in any case, since what it named before could not be had.
    pub is_urgent: &'a dyn Fn(&RepoName) -> bool,
}

/// A log that is followed.
struct Followed<F> {
    cursor: Cursor<F>,
    /// It was read to its end.
    is_whole: bool,
    /// It moved since somebody asked what moved.
    has_moved: bool,
    /// The number that the head promised when the log was last looked at and did not have it, and how often in a row.
    vain: Option<(Seq, u32)>,
    alarm: Option<Alarm>,
}

impl<F: Default> Default for Followed<F> {
    fn default() -> Self {
        Self {
            cursor: Cursor::default(),
            is_whole: false,
            has_moved: false,
            vain: None,
            alarm: None,
        }
    }
}

impl<F: Fold> Followed<F> {
    /// Whether to look at the log, of which the head says `promised`. `is_turn`: it is to be looked at in any case.
    fn is_due(&self, promised: Option<Seq>, is_turn: bool) -> bool {
        if is_turn {
            return true;
        }
        if self.alarm.is_some() {
            return false;
        }
        let Some(promised) = promised.filter(|_| self.is_whole) else { return true };
        let is_vain = self.vain.is_some_and(|(seq, times)| seq == promised && times >= VAIN_MAX);
        promised > self.cursor.position().seq && !is_vain
    }

    /// Reads what came since. `verify`: also looks whether the event that was read last is still there.
    fn follow(&mut self, log: &Log<'_>, verify: bool) -> Result<(), LogError> {
        let before = self.cursor.position();
        if verify {
            log.verify_seen()?;
        }
        log.follow(&mut self.cursor)?;
        self.has_moved |= !self.is_whole || self.cursor.position() != before;
        self.is_whole = true;
        Ok(())
    }

    /// Looks at the log and notes what came of it; only a store that cannot be reached is an error.
    fn look(
        &mut self,
        log: &Log<'_>,
        promised: Option<Seq>,
        verify: bool,
        now: Timestamp,
    ) -> Result<(), LogError> {
        match self.follow(log, verify) {
            Ok(()) => self.alarm = None,
            Err(error) if is_temporary(&error) => return Err(error),
            Err(error) => {
                let since = self.alarm.as_ref().map_or(now, |alarm| alarm.since);
                self.alarm = Some(Alarm { since, message: error.to_string() });
            }
        }
        let at = self.cursor.position().seq;
        self.vain = match (promised.filter(|promised| *promised > at), self.vain) {
            (Some(promised), Some((seq, times))) if seq == promised => Some((seq, times + 1)),
            (Some(promised), _) => Some((promised, 1)),
            (None, _) => None,
        };
        Ok(())
    }
}

/// A bucket that is followed.
pub struct Follower {
    bucket: BucketId,
    own: Followed<BucketState>,
    repositories: BTreeMap<RepoName, Followed<RepositoryState>>,
    /// How many polls there were.
    polls: u64,
}

impl Follower {
    /// Begins with a bucket of which nothing was read yet.
    pub fn new(bucket: BucketId) -> Self {
        Self { bucket, own: Followed::default(), repositories: BTreeMap::new(), polls: 0 }
    }

    /// The bucket.
    pub fn bucket(&self) -> BucketId {
        self.bucket
    }

    /// Looks what is new.
    ///
    /// # Errors
    /// The store cannot be reached, and logs that were read before that stay read; it is no bucket any more, or another
    /// one. A log that must not be followed is no error but an alarm.
    pub fn poll(&mut self, poll: &Poll<'_>) -> Result<(), FollowError> {
        let polls = self.polls;
        self.polls += 1;
        let is_turn = |place: u64| (polls + place).is_multiple_of(TURN);
        if poll.is_asked || is_turn(0) {
            let found = format::read_id(poll.store)?.ok_or(FormatFileError::Missing)?;
            if found != self.bucket {
                return Err(FollowError::OtherBucket { followed: self.bucket, found });
            }
        }
        let head = head::read(poll.store, self.bucket)?;
        let promised = |log: &LogName| head.as_ref().and_then(|head: &Head| head.of(log));
        let never = |_: u32| false;
        let own = promised(&LogName::Bucket);
        if self.own.is_due(own, poll.is_asked || is_turn(0)) {
            let at = self.own.cursor.position();
            let seen = if self.own.is_whole { at } else { (poll.seen_own)() };
            let seen = if at.seq >= seen.seq { at } else { seen };
            let log = Log::new(poll.store, self.bucket, LogName::Bucket, &never)
                .signatures(poll.signatures)
                .promised(own)
                .seen(seen);
            self.own.look(&log, own, poll.is_asked || is_turn(0), poll.now)?;
        }
        let names: Vec<_> =
            self.own.cursor.state().repositories().filter(|name| (poll.is_wanted)(name)).collect();
        for (name, place) in names.into_iter().zip(1..) {
            let log = LogName::Repository(name.clone());
            let promised = promised(&log);
            let followed = self.repositories.entry(name.clone()).or_default();
            let is_asked = poll.is_asked || (poll.is_urgent)(name);
            if !followed.is_due(promised, is_asked || is_turn(place)) {
                continue;
            }
            let (at, seen) = (followed.cursor.position(), (poll.seen)(name));
            let seen = if at.seq >= seen.seq { at } else { seen };
            let log = Log::new(poll.store, self.bucket, log, &never)
                .signatures(poll.signatures)
                .promised(promised)
                .seen(seen);
            followed.look(&log, promised, poll.is_asked || is_turn(place), poll.now)?;
        }
        Ok(())
    }

    /// The repositories that moved since this was asked the last time.
    pub fn take_moved(&mut self) -> Vec<RepoName> {
        let moved = self.repositories.iter_mut().filter(|(_, followed)| followed.alarm.is_none());
        let moved = moved.filter_map(|(name, followed)| {
            std::mem::take(&mut followed.has_moved).then(|| name.clone())
        });
        moved.collect()
    }

    /// What the log of a repository says. `None` while it is not known to its end, or must not be followed.
    pub fn repository(&self, name: &RepoName) -> Option<&Cursor<RepositoryState>> {
        let followed = self.repositories.get(name)?;
        (followed.is_whole && followed.alarm.is_none()).then_some(&followed.cursor)
    }

    /// What the bucket's own log says, as far as it was read.
    pub fn own(&self) -> &Cursor<BucketState> {
        &self.own.cursor
    }

    /// How many repositories are followed.
    pub fn repository_count(&self) -> usize {
        self.repositories.len()
    }

    /// The logs that are not followed any more; without a name, that of the bucket itself.
    pub fn alarms(&self) -> impl Iterator<Item = (Option<&RepoName>, &Alarm)> {
        let own = self.own.alarm.iter().map(|alarm| (None, alarm));
        let repositories = self.repositories.iter();
        own.chain(
            repositories
                .filter_map(|(name, followed)| Some((Some(name), followed.alarm.as_ref()?))),
        )
    }
}

fn is_temporary(error: &LogError) -> bool {
    let kind = match error {
        LogError::Store { error, .. } => error.kind(),
        _ => return false,
    };
    matches!(kind, StoreErrorKind::Temporary | StoreErrorKind::Stopped)
}

#[cfg(test)]
mod many;
#[cfg(test)]
mod tests;
