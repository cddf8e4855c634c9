//! What of versions, tags and flags goes from one side to the other.
//!
//! Of a tag that both sides have, and that differs, only what both had in common before tells who changed it: so that is
//! remembered after each push and pull. What both changed is left as it is, and said. Numbers of versions are the log's: what has
//! the same number is the same version, or the two histories have diverged.

use std::collections::{BTreeMap, BTreeSet};

use super::fold::RepositoryState;
use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;

/// One thing that is to change on the side that receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K, V> {
    /// What.
    pub key: K,
    /// What it is there; `None` when it is not there.
    pub before: Option<V>,
    /// What it is to be.
    pub after: Option<V>,
}

/// What is to change on the side that receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement<K, V> {
    /// Changed since by the side that sends alone.
    pub changes: Vec<Change<K, V>>,
    /// Changed by both, differently.
    pub conflicts: Vec<K>,
}

/// Compares what the sender has with what the receiver has. `base` is what both had at last; without it nothing is removed or moved.
pub fn agree<K: Ord + Clone, V: PartialEq + Clone>(
    sender: &BTreeMap<K, V>,
    receiver: &BTreeMap<K, V>,
    base: Option<&BTreeMap<K, V>>,
) -> Agreement<K, V> {
    let mut agreement = Agreement { changes: Vec::new(), conflicts: Vec::new() };
    let keys: BTreeSet<&K> = sender.keys().chain(receiver.keys()).collect();
    for key in keys {
        let (from, to) = (sender.get(key), receiver.get(key));
        let before = base.and_then(|base| base.get(key));
        let change = || Change { key: key.clone(), before: to.cloned(), after: from.cloned() };
        // Without a base nobody knows whether the sender removed what it does not have, or never had it: then it stays.
        let is_sent = from.is_some() || base.is_some();
        if from == to || !is_sent {
            continue;
        } else if to == before {
            agreement.changes.push(change());
        } else if base.is_none() || from != before {
            agreement.conflicts.push(key.clone());
        }
    }
    agreement
}

/// What both have in common after that: what is to be remembered.
pub fn in_common<K: Ord + Clone, V: PartialEq + Clone>(
    sender: &BTreeMap<K, V>,
    receiver: &BTreeMap<K, V>,
    base: Option<&BTreeMap<K, V>>,
) -> BTreeMap<K, V> {
    let mut common: BTreeMap<K, V> = base.cloned().unwrap_or_default();
    let keys: BTreeSet<K> =
        sender.keys().chain(receiver.keys()).chain(common.keys()).cloned().collect();
    for key in keys {
        if sender.get(&key) == receiver.get(&key) {
            match sender.get(&key) {
                Some(value) => common.insert(key, value.clone()),
                None => common.remove(&key),
            };
        }
    }
    common
}

/// Why versions are not to be pushed or pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Both sides have a version of that number, and not the same.
    #[error("version {0} of the bucket is another one than version {0} here")]
    Diverged(VersionNumber),
    /// The bucket has used higher numbers already, so it does not take this version.
    #[error("version {number} cannot be pushed: the bucket has used all numbers up to {highest}")]
    NumberUsed {
        /// The version.
        number: VersionNumber,
        /// The highest number that was used.
        highest: VersionNumber,
    },
    /// The log does not reach a version that came from it.
    #[error(
        "version {number} came from the bucket, whose log of the repository now says that none above {highest} was ever \
         published"
    )]
    Lost {
        /// The version.
        number: VersionNumber,
        /// The highest number that the log knows.
        highest: VersionNumber,
    },
}

/// Which versions are to go to a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Versions {
    /// To be transferred, in this order.
    pub missing: Vec<VersionNumber>,
    /// Not there, and never to be: their numbers lie below one that was used.
    pub passed: Vec<VersionNumber>,
}

fn check_common(
    state: &RepositoryState,
    local: &BTreeMap<VersionNumber, TreeHash>,
) -> Result<(), Disagreement> {
    let differs = |(number, version): (&VersionNumber, &super::fold::FoldedVersion)| {
        let here = local.get(number)?;
        (*here != version.commit.hash()).then_some(*number)
    };
    match state.versions().iter().find_map(differs) {
        Some(number) => Err(Disagreement::Diverged(number)),
        None => Ok(()),
    }
}

/// The versions that a push publishes: of those that are here, or only of the `wanted` ones.
///
/// # Errors
/// The histories have diverged; a wanted version cannot be pushed any more.
pub fn to_push(
    state: &RepositoryState,
    local: &BTreeMap<VersionNumber, TreeHash>,
    wanted: Option<&BTreeSet<VersionNumber>>,
) -> Result<Versions, Disagreement> {
    check_common(state, local)?;
    let mut versions = Versions::default();
    for number in local.keys().filter(|number| !state.versions().contains_key(number)) {
        let is_wanted = wanted.is_none_or(|wanted| wanted.contains(number));
        if *number > state.highest() {
            versions.missing.extend(is_wanted.then_some(*number));
        } else if wanted.is_none() {
            versions.passed.push(*number);
        } else if is_wanted {
            let highest = state.highest();
            return Err(Disagreement::NumberUsed { number: *number, highest });
        }
    }
    Ok(versions)
}

/// The versions that a pull makes: those that the bucket has and whose numbers were never used here.
///
/// # Errors
/// The histories have diverged.
pub fn to_pull(
    state: &RepositoryState,
    local: &BTreeMap<VersionNumber, TreeHash>,
    next_number: VersionNumber,
) -> Result<Versions, Disagreement> {
    check_common(state, local)?;
    let mut versions = Versions::default();
    for number in state.versions().keys().filter(|number| !local.contains_key(number)) {
        if *number >= next_number {
            versions.missing.push(*number);
        } else {
            versions.passed.push(*number);
        }
    }
    Ok(versions)
}

/// What makes the versions of an edge those of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mirroring {
    /// To be deleted here, since they were deleted there.
    pub deleted: Vec<VersionNumber>,
    /// To be fetched first, in this order: what came since, or of a repository that is new here its newest version.
    pub newer: Vec<VersionNumber>,
    /// To be fetched when there is time, in this order: older ones, the newest of them first.
    pub older: Vec<VersionNumber>,
}

/// What an edge does to have the versions of the bucket, and no others.
///
/// # Errors
/// A version here is another one than that of the bucket, or the bucket's log does not reach it: then it is not the log that the
/// versions came from, or an old copy of it.
pub fn to_mirror(
    state: &RepositoryState,
    local: &BTreeMap<VersionNumber, TreeHash>,
) -> Result<Mirroring, Disagreement> {
    check_common(state, local)?;
    if let Some((number, _)) = local.last_key_value().filter(|(last, _)| **last > state.highest()) {
        return Err(Disagreement::Lost { number: *number, highest: state.highest() });
    }
    let (kept, deleted): (Vec<_>, Vec<_>) =
        local.keys().partition(|number| state.versions().contains_key(*number));
    let missing: Vec<_> =
        state.versions().keys().filter(|number| !local.contains_key(number)).copied().collect();
    let first_newer = match kept.last() {
        Some(last) => missing.partition_point(|number| number < last),
        None => missing.len().saturating_sub(1),
    };
    let (older, newer) = missing.split_at(first_newer);
    let older = older.iter().rev().copied().collect();
    Ok(Mirroring { deleted, newer: newer.to_vec(), older })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::event::{Event, Payload};
    use crate::bucket::fold::RepositoryState;
    use crate::bucket::key::{LogName, ObjectKind, Seq};
    use crate::bucket::log::{Fold, Position};
    use crate::bucket::testing::{commit, key, nonce};
    use crate::model::hash::ObjectHash;
    use crate::model::time::Timestamp;

    /// What a log says that published these versions and deleted some of them.
    fn state(published: &[u64], deleted: &[u64]) -> RepositoryState {
        let commits = published
            .iter()
            .map(|number| Payload::Commit(Box::new(commit(*number, key(ObjectKind::Uses, 1)))));
        let deletions = deleted
            .iter()
            .map(|number| Payload::Delete { number: VersionNumber(*number), force: true });
        let mut state = RepositoryState::default();
        for payload in commits.chain(deletions) {
            let event = Event {
                bucket: crate::bucket::event::BucketId(nonce(1)),
                log: LogName::Repository("lib".parse().unwrap()),
                seq: Seq::NONE.next(),
                before: ObjectHash::from_bytes([0; 32]),
                nonce: nonce(2),
                time: Timestamp::default(),
                payload,
                signature: Vec::new(),
            };
            state.check(&event).unwrap();
            state.apply(&event, Position::START);
        }
        state
    }

    fn mirrored(state: &RepositoryState, local: &[u64]) -> Result<[Vec<u64>; 3], Disagreement> {
        let hash = commit(1, key(ObjectKind::Uses, 1)).hash();
        let local = local.iter().map(|number| (VersionNumber(*number), hash)).collect();
        let Mirroring { deleted, newer, older } = to_mirror(state, &local)?;
        Ok([deleted, newer, older].map(|some| some.into_iter().map(|number| number.0).collect()))
    }

    #[test]
    fn d2_an_edge_takes_the_newest_version_first_and_then_what_comes_in_order() {
        let log = state(&[1, 2, 3, 5, 6, 8], &[2]);
        assert_eq!(mirrored(&log, &[]), Ok([vec![], vec![8], vec![6, 5, 3, 1]]));
        assert_eq!(mirrored(&log, &[5]), Ok([vec![], vec![6, 8], vec![3, 1]]));
        assert_eq!(mirrored(&log, &[1, 2, 8]), Ok([vec![2], vec![], vec![6, 5, 3]]));
        assert_eq!(mirrored(&log, &[2]), Ok([vec![2], vec![8], vec![6, 5, 3, 1]]));
        assert_eq!(mirrored(&state(&[], &[]), &[]), Ok([vec![], vec![], vec![]]));
        assert_eq!(mirrored(&state(&[1], &[1]), &[1]), Ok([vec![1], vec![], vec![]]));
    }

    #[test]
    fn h48_a_log_that_ends_before_what_came_from_it_deletes_nothing() {
        let lost = Disagreement::Lost { number: VersionNumber(3), highest: VersionNumber(2) };
        assert_eq!(mirrored(&state(&[1, 2], &[1]), &[1, 2, 3]), Err(lost));
        let other = BTreeMap::from([(VersionNumber(1), TreeHash::of(b"other"))]);
        let found = to_mirror(&state(&[1], &[]), &other);
        assert_eq!(found, Err(Disagreement::Diverged(VersionNumber(1))));
    }

    fn map(values: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
        values.iter().copied().collect()
    }

    #[test]
    fn d1_who_changed_a_tag_since_is_followed() {
        let base = map(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 1), ("g", 1)]);
        // Moved by the sender; by the receiver; by both; removed by the sender; by the receiver; removed by the
        // sender and moved by the receiver; the other way round; new at the sender; new at the receiver.
        let sender = map(&[("a", 2), ("b", 1), ("c", 2), ("e", 1), ("g", 2), ("h", 1)]);
        let receiver = map(&[("a", 1), ("b", 2), ("c", 3), ("d", 1), ("f", 2), ("i", 1)]);
        let agreement = agree(&sender, &receiver, Some(&base));
        let changes: Vec<_> = agreement
            .changes
            .iter()
            .map(|change| (change.key, change.before, change.after))
            .collect();
        let expected = [("a", Some(1), Some(2)), ("d", Some(1), None), ("h", None, Some(1))];
        assert_eq!(changes, expected);
        assert_eq!(agreement.conflicts, ["c", "f", "g"]);
    }

    #[test]
    fn without_a_base_only_what_is_missing_is_made() {
        let sender = map(&[("a", 1), ("b", 1), ("c", 1)]);
        let receiver = map(&[("b", 2), ("c", 1), ("d", 1)]);
        let agreement = agree(&sender, &receiver, None);
        assert_eq!(agreement.changes, [Change { key: "a", before: None, after: Some(1) }]);
        assert_eq!(agreement.conflicts, ["b"]);
    }

    #[test]
    fn what_is_not_agreed_on_stays_remembered_as_it_was() {
        let base = map(&[("a", 1), ("b", 1), ("c", 1)]);
        let common =
            in_common(&map(&[("a", 2), ("b", 2)]), &map(&[("a", 2), ("b", 3)]), Some(&base));
        assert_eq!(common, map(&[("a", 2), ("b", 1)]));
        let again = agree(&map(&[("a", 2), ("b", 2)]), &map(&[("a", 2), ("b", 3)]), Some(&common));
        assert_eq!((again.changes.len(), again.conflicts), (0, vec!["b"]));
    }
}
