//! A sorted map whose copies share what they have in common.
//!
//! Readers hold a whole value while the next one is made from it. A copy costs one counter per
//! [`CHUNK_MAX`] entries, a change copies the one chunk that it is in; so neither follows the size
//! of the map. Must not know what it holds.

use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Entries that are copied together.
const CHUNK_MAX: usize = 128;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map. Keys ascend within a chunk and from one to the next; no chunk is empty.
#[derive(Debug, Clone)]
pub struct SharedMap<K, V> {
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

/// A place between entries: the chunk, and the index in it of the entry that follows. The end of a
/// chunk is the start of the next.
type Position = (usize, usize);

impl<K, V> SharedMap<K, V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: &self.chunks, front: (0, 0), back: (self.chunks.len(), 0) }
    }

    /// All keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values in order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The chunk that holds a key, if any does.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let starts = |chunk: &Chunk<K, V>| chunk.first().is_some_and(|(k, _)| k.borrow() <= key);
        self.chunks.partition_point(starts).saturating_sub(1)
    }

    /// Before the first entry whose key is not `before`.
    fn position<Q: Ord + ?Sized>(&self, key: &Q, before: impl Fn(&Q) -> bool) -> Position
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get(at) else { return (0, 0) };
        match chunk.partition_point(|(key, _)| before(key.borrow())) {
            index if index == chunk.len() => (at + 1, 0),
            index => (at, index),
        }
    }

    /// The entries whose keys are in a range.
    pub fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let from = |key| self.position(key, |other| other < key);
        let after = |key| self.position(key, |other| other <= key);
        let front = match range.start_bound() {
            Bound::Included(key) => from(key),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => (0, 0),
        };
        let back = match range.end_bound() {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => from(key),
            Bound::Unbounded => (self.chunks.len(), 0),
        };
        Iter { chunks: &self.chunks, front, back }
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let index = chunk.binary_search_by(|(other, _)| other.borrow().cmp(key)).ok()?;
        chunk.get(index).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets a key's value; returns the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        let index = match chunk.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(index) => {
                let old = chunk.get_mut(index).map(|(_, old)| std::mem::replace(old, value));
                return old;
            }
            Err(index) => index,
        };
        chunk.insert(index, (key, value));
        self.len += 1;
        if chunk.len() > CHUNK_MAX {
            // What only grows at its end is packed tight.
            let kept = if index == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
            let rest = chunk.split_off(kept);
            self.chunks.insert(at + 1, Arc::new(rest));
        }
        None
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let index = chunk.binary_search_by(|(other, _)| other.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(chunk);
        let (_, value) = chunk.remove(index);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

/// Entries of a map, from either end.
#[derive(Debug)]
pub struct Iter<'m, K, V> {
    chunks: &'m [Chunk<K, V>],
    front: Position,
    back: Position,
}

impl<'m, K, V> Iterator for Iter<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let (at, index) = self.front;
        let chunk = self.chunks.get(at)?;
        let (key, value) = chunk.get(index)?;
        self.front = if index + 1 < chunk.len() { (at, index + 1) } else { (at + 1, 0) };
        Some((key, value))
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let (at, index) = match self.back {
            (at, 0) => {
                let at = at.checked_sub(1)?;
                (at, self.chunks.get(at)?.len().checked_sub(1)?)
            }
            (at, index) => (at, index - 1),
        };
        self.back = (at, index);
        self.chunks.get(at)?.get(index).map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entries(map: &SharedMap<u16, u8>) -> Vec<(u16, u8)> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(
            steps in proptest::collection::vec((0_u16..600, proptest::option::of(any::<u8>())), 0..900),
            from in 0_u16..600,
            to in 0_u16..600,
        ) {
            let mut model = BTreeMap::new();
            let mut map = SharedMap::default();
            let mut kept = None;
            for (number, (key, value)) in steps.iter().enumerate() {
                match value {
                    Some(value) => {
                        prop_assert_eq!(map.insert(*key, *value), model.insert(*key, *value));
                    }
                    None => prop_assert_eq!(map.remove(key), model.remove(key)),
                }
                prop_assert_eq!(map.len(), model.len());
                if number == steps.len() / 2 {
                    kept = Some((map.clone(), model.clone()));
                }
            }
            for (map, model) in kept.into_iter().chain([(map, model)]) {
                let listed: Vec<(u16, u8)> = model.iter().map(|(k, v)| (*k, *v)).collect();
                prop_assert_eq!(entries(&map), listed.clone());
                let backwards: Vec<u16> = map.keys().rev().copied().collect();
                prop_assert_eq!(backwards, model.keys().rev().copied().collect::<Vec<_>>());
                prop_assert_eq!(map.get(&from), model.get(&from));
                let (from, to) = (from.min(to), from.max(to));
                let range: Vec<u16> = map.range(from..to).map(|(key, _)| *key).collect();
                prop_assert_eq!(range, model.range(from..to).map(|(k, _)| *k).collect::<Vec<_>>());
                let last = map.range(..=to).next_back().map(|(key, _)| *key);
                prop_assert_eq!(last, model.range(..=to).next_back().map(|(key, _)| *key));
                let first = map.range(from..).next().map(|(key, _)| *key);
                prop_assert_eq!(first, model.range(from..).next().map(|(key, _)| *key));
            }
        }
    }

    #[test]
    fn a_copy_shares_all_chunks_but_the_changed_one() {
        let map: SharedMap<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
        assert_eq!(map.chunks.len(), 10_000_usize.div_ceil(CHUNK_MAX), "packed tight");
        let mut copy = map.clone();
        copy.insert(5_000, 0);
        copy.insert(10_000, 0);
        let shared = map
            .chunks
            .iter()
            .filter(|chunk| copy.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        assert_eq!(shared.count(), map.chunks.len() - 2);
        assert_eq!(map.get(&5_000), Some(&5_000));
    }
}
