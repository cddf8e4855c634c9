//! Marks, their barriers, and the decision on each.

use std::collections::BTreeSet;

use super::needs::{AtBarrier, Needs};
use super::{CollectError, Collected, Collector, Condemned, KeyLists};
use crate::bucket::event::Payload;
use crate::bucket::fold::{BucketState, Decision};
use crate::bucket::key::{Nonce, ObjectKey, Seq};
use crate::bucket::key_list::KeyList;
use crate::bucket::log::Cursor;
use crate::bucket::rules::{Rule, is_left_out};
use crate::model::name::RepoName;

type BucketLog = Cursor<BucketState>;

impl Collector<'_> {
    /// Asks for these keys to be given up. Returns the mark's id.
    pub(super) fn mark(
        &self,
        candidates: &KeyList,
        log: &mut BucketLog,
        lists: &mut KeyLists,
    ) -> Result<Nonce, CollectError> {
        let intent = self.new_intent()?;
        if is_left_out(Rule::MarkBeforeBarriers) {
            let repositories: Vec<RepoName> = log.state().repositories().cloned().collect();
            let key = self.store_list(candidates)?;
            for name in &repositories {
                self.barrier(name, intent.nonce, key)?;
            }
        }
        let mut stored = None;
        self.bucket_log().append(log, intent, &mut |log: &BucketLog| {
            let candidates = self.usable_list(candidates, &mut stored, log.state(), lists)?;
            Ok::<_, CollectError>(Some(Payload::Mark { candidates }))
        })?;
        Ok(intent.nonce)
    }

    /// Puts barriers where they are missing, and decides what becomes of the mark, unless that is decided.
    pub(super) fn decide(
        &self,
        id: Nonce,
        log: &mut BucketLog,
        lists: &mut KeyLists,
        collected: &mut Collected,
    ) -> Result<(), CollectError> {
        let Some(mark) = log.state().mark(id).copied() else { return Ok(()) };
        let decided = match self.judge(id, mark.candidates, mark.at.seq, log.state(), lists) {
            Ok(condemned) => Ok(condemned),
            // Nobody will ever be able to tell what is needed: what the mark names may be used again.
            Err(error @ (CollectError::Missing(_) | CollectError::Damaged { .. })) => Err(error),
            Err(error) => return Err(error),
        };
        let mut stored = None;
        let published = self.bucket_log().append(log, self.new_intent()?, &mut |log| {
            let known = log.state().mark(id).and_then(|mark| mark.decision);
            if known.is_some() && !is_left_out(Rule::FirstDecision) {
                return Ok(None);
            }
            Ok::<_, CollectError>(Some(match &decided {
                Ok(condemned) => {
                    let condemned = self.usable_list(condemned, &mut stored, log.state(), lists)?;
                    Payload::Sentence { mark: id, condemned }
                }
                Err(_) => Payload::Abandon { mark: id },
            }))
        })?;
        match decided {
            Ok(condemned) => {
                collected.condemned += published.map_or(0, |_| condemned.keys().len() as u64);
                Ok(())
            }
            // Another collector decided before: then its lists were there.
            Err(_) if published.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a mark up.
    ///
    /// # Errors
    /// The store's, and those of the bucket's own log.
    pub fn abandon(&self, id: Nonce) -> Result<(), CollectError> {
        let mut log = BucketLog::default();
        self.bucket_log().append(&mut log, self.new_intent()?, &mut |log: &BucketLog| {
            let mark = log.state().mark(id);
            let is_open = mark.is_some_and(|mark| mark.decision.is_none());
            let is_open = is_open || is_left_out(Rule::FirstDecision);
            Ok::<_, CollectError>(is_open.then_some(Payload::Abandon { mark: id }))
        })?;
        Ok(())
    }

    /// Of the candidates those that are needed by nothing that was published before the barriers. All collectors find the
    /// same: what they look at lies before events that never change.
    fn judge(
        &self,
        id: Nonce,
        candidates: ObjectKey,
        marked: Seq,
        bucket: &BucketState,
        lists: &mut KeyLists,
    ) -> Result<KeyList, CollectError> {
        let mut needs = Needs::default();
        let mut before = BucketLog::default();
        let last = Seq::new(marked.get().saturating_sub(1)).unwrap_or_default();
        self.bucket_log().follow_to(&mut before, last)?;
        needs.add_lists(before.state());
        let repositories: BTreeSet<RepoName> = bucket.made_before(marked).cloned().collect();
        for name in &repositories {
            self.go_on()?;
            let log = if is_left_out(Rule::MarkBeforeBarriers) {
                let mut log = Cursor::of(AtBarrier::of(id));
                self.repository_log(name).follow(&mut log)?;
                log
            } else {
                self.barrier(name, id, candidates)?
            };
            if let Some(state) = log.state().state() {
                needs.add_repository(self.store, state)?;
            }
        }
        let candidates = lists.load(self.store, &candidates)?;
        let is_condemned = |key: &&ObjectKey| !needs.has(key) || is_left_out(Rule::NeedsAtBarrier);
        Ok(KeyList::of(candidates.keys().iter().filter(is_condemned).copied()))
    }

    /// Sees to it that a repository has the barrier of a mark.
    fn barrier(
        &self,
        name: &RepoName,
        mark: Nonce,
        candidates: ObjectKey,
    ) -> Result<Cursor<AtBarrier>, CollectError> {
        let mut log = Cursor::of(AtBarrier::of(mark));
        let barrier = |log: &Cursor<AtBarrier>| -> Result<Option<Payload>, CollectError> {
            let is_there = log.state().state().is_some();
            Ok((!is_there).then_some(Payload::Barrier { mark, candidates }))
        };
        self.repository_log(name).append(&mut log, self.new_intent()?, &mut { barrier })?;
        Ok(log)
    }

    /// The key of a list that no mark names. One that another collector's mark names is written once more.
    fn usable_list(
        &self,
        list: &KeyList,
        stored: &mut Option<ObjectKey>,
        bucket: &BucketState,
        lists: &mut KeyLists,
    ) -> Result<ObjectKey, CollectError> {
        let named = Condemned::for_bucket_log(self.store, lists, bucket)?;
        if let Some(key) = stored.filter(|key| !named.names(key)) {
            return Ok(key);
        }
        let key = self.store_list(list)?;
        *stored = Some(key);
        Ok(key)
    }

    fn store_list(&self, list: &KeyList) -> Result<ObjectKey, CollectError> {
        let bytes = list.encode();
        let key = KeyList::key(&bytes, self.new_nonce()?);
        self.put(&key.to_string(), &bytes)?;
        Ok(key)
    }

    /// The sentences of all marks.
    pub(super) fn sentences(
        bucket: &BucketState,
    ) -> impl Iterator<Item = (crate::bucket::fold::Mark, ObjectKey, crate::bucket::log::Position)>
    {
        bucket.marks().iter().filter_map(|mark| match mark.decision {
            Some(Decision::Sentence { condemned, at }) => Some((*mark, condemned, at)),
            Some(Decision::Abandoned) | None => None,
        })
    }
}
