//! What is needed: by versions and drafts of repositories, and by marks.

use std::collections::BTreeSet;

use super::{CollectError, Collector};
use crate::bucket::event::{Event, Payload};
use crate::bucket::fold::{BucketState, Decision, Refusal, RepositoryState};
use crate::bucket::key::{Nonce, ObjectKey};
use crate::bucket::log::{Fold, Position};
use crate::bucket::store::ObjectStore;
use crate::bucket::uses::Uses;

/// Keys that are needed. What versions share is read once.
#[derive(Debug, Default)]
pub(super) struct Needs {
    keys: BTreeSet<ObjectKey>,
    read: BTreeSet<ObjectKey>,
}

impl Needs {
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        self.keys.contains(key)
    }

    /// Adds what the versions and drafts of a repository need.
    pub(super) fn add_repository(
        &mut self,
        store: &dyn ObjectStore,
        state: &RepositoryState,
    ) -> Result<(), CollectError> {
        for uses in state.uses() {
            if !self.read.insert(uses) {
                continue;
            }
            let get =
                |key: &ObjectKey| store.get(&key.to_string())?.ok_or(CollectError::Missing(*key));
            let damaged = |key: &ObjectKey, error| CollectError::Damaged { key: *key, error };
            self.keys.extend(Uses::read(uses, get, damaged)?.needs());
        }
        Ok(())
    }

    /// Adds the lists by which publishers know what they must not use: of marks that are not decided, and of sentences.
    pub(super) fn add_lists(&mut self, bucket: &BucketState) {
        self.keys.extend(bucket.marks().iter().filter_map(|mark| match mark.decision {
            None => Some(mark.candidates),
            Some(Decision::Sentence { condemned, .. }) => Some(condemned),
            Some(Decision::Abandoned) => None,
        }));
    }
}

/// A repository, and what it was when a barrier was put into its log.
#[derive(Debug, Clone)]
pub(super) struct AtBarrier {
    mark: Nonce,
    now: RepositoryState,
    then: Option<RepositoryState>,
}

impl AtBarrier {
    pub(super) fn of(mark: Nonce) -> Self {
        Self { mark, now: RepositoryState::default(), then: None }
    }

    /// What it was before the barrier, if that is there.
    pub(super) fn state(&self) -> Option<&RepositoryState> {
        self.then.as_ref()
    }
}

impl Fold for AtBarrier {
    fn check(&self, event: &Event) -> Result<(), Refusal> {
        self.now.check(event)
    }

    fn apply(&mut self, event: &Event, at: Position) {
        let is_it = matches!(event.payload, Payload::Barrier { mark, .. } if mark == self.mark);
        if is_it && self.then.is_none() {
            self.then = Some(self.now.clone());
        }
        self.now.apply(event, at);
    }
}

impl Collector<'_> {
    /// What is needed now, as far as it can be seen. Drafts of pushes that died end, unless nothing is to be written.
    pub(super) fn needs_now(
        &self,
        bucket: &BucketState,
        dry_run: bool,
    ) -> Result<Needs, CollectError> {
        let mut needs = Needs::default();
        needs.add_lists(bucket);
        for name in bucket.repositories() {
            self.go_on()?;
            let mut log = crate::bucket::log::Cursor::default();
            self.repository_log(name).follow(&mut log)?;
            if !dry_run {
                self.end_old_drafts(name, &mut log)?;
            }
            needs.add_repository(self.store, log.state())?;
        }
        Ok(needs)
    }
}
