//! Which keys a publisher must not use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::CollectError;
use crate::bucket::fold::{BucketState, Decision, RepositoryState};
use crate::bucket::key::{Nonce, ObjectKey};
use crate::bucket::key_list::KeyList;
use crate::bucket::rules::{Rule, is_left_out};
use crate::bucket::store::ObjectStore;
use crate::model::name::RepoName;

/// Lists of keys that were read; they never change.
#[derive(Debug, Default)]
pub struct KeyLists {
    known: BTreeMap<ObjectKey, Arc<KeyList>>,
}

impl KeyLists {
    /// The list under that key.
    ///
    /// # Errors
    /// The store's; that there is none, or no list.
    pub fn load(
        &mut self,
        store: &dyn ObjectStore,
        key: &ObjectKey,
    ) -> Result<Arc<KeyList>, CollectError> {
        if let Some(list) = self.known.get(key) {
            return Ok(Arc::clone(list));
        }
        let bytes = store.get(&key.to_string())?.ok_or(CollectError::Missing(*key))?;
        let damaged = |error| CollectError::Damaged { key: *key, error };
        let list = Arc::new(KeyList::decode(&bytes).map_err(damaged)?);
        self.known.insert(*key, Arc::clone(&list));
        Ok(list)
    }
}

/// Keys of marks that are honoured and either undecided or sentenced.
#[derive(Debug, Clone, Default)]
pub struct Condemned {
    lists: Vec<Arc<KeyList>>,
}

impl Condemned {
    /// What a publisher of that repository must not use. `bucket` is to be read after the log of the repository, up to
    /// the end of both; what is decided later only sets keys free. A list that is missing was of a mark that is decided
    /// by now: then the bucket's own log is to be followed, and this asked again.
    ///
    /// A version may be published only if none of *all* keys that it needs is named here, those that its publisher
    /// uploaded a moment ago and those that it takes over from another version too.
    ///
    /// # Errors
    /// The store's; that a list is missing or damaged; that the repository was not made yet.
    pub fn for_publisher(
        store: &dyn ObjectStore,
        lists: &mut KeyLists,
        name: &RepoName,
        repository: &RepositoryState,
        bucket: &BucketState,
    ) -> Result<Self, CollectError> {
        if !bucket.has(name) {
            return Err(CollectError::Unmade(name.clone()));
        }
        let barriers = repository.barriers().iter();
        let mut honoured: BTreeMap<Nonce, ObjectKey> =
            barriers.map(|(mark, barrier)| (*mark, barrier.candidates)).collect();
        if !is_left_out(Rule::MarksBeforeRepository) {
            let before = bucket.marks_before(name);
            honoured.extend(before.map(|mark| (mark.id, mark.candidates)));
        }
        Self::of(store, lists, honoured, bucket)
    }

    /// What whoever writes into the bucket's own log must not use: it honours all marks that come before.
    pub(super) fn for_bucket_log(
        store: &dyn ObjectStore,
        lists: &mut KeyLists,
        bucket: &BucketState,
    ) -> Result<Self, CollectError> {
        let marks = bucket.marks().iter().map(|mark| (mark.id, mark.candidates));
        Self::of(store, lists, marks, bucket)
    }

    fn of(
        store: &dyn ObjectStore,
        lists: &mut KeyLists,
        honoured: impl IntoIterator<Item = (Nonce, ObjectKey)>,
        bucket: &BucketState,
    ) -> Result<Self, CollectError> {
        let mut condemned = Self::default();
        for (id, candidates) in honoured {
            let named = match bucket.mark(id).and_then(|mark| mark.decision) {
                Some(Decision::Abandoned) => continue,
                Some(Decision::Sentence { condemned, .. }) => condemned,
                None if is_left_out(Rule::UndecidedMarks) => continue,
                None => candidates,
            };
            condemned.lists.push(lists.load(store, &named)?);
        }
        Ok(condemned)
    }

    /// Whether that key must not be used.
    pub fn names(&self, key: &ObjectKey) -> bool {
        self.lists.iter().any(|list| list.contains(key))
    }
}
