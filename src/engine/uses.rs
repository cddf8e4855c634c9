//! When content that remotes declare was last read, kept in memory until it is noted in the catalog.
//!
//! A reclaim takes the least recently used content first. Reading a store writes nothing, so uses wait here for something
//! else that is written: fetched content, or a reclaim. A restart forgets those that wait.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;

/// Blobs whose use waits to be noted. Of more, none is kept until these were.
const USES_MAX: usize = 65_536;

/// Uses that are not noted yet.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<BlobHash, i64>>);

impl Uses {
    /// A blob was read now.
    pub fn note(&self, blob: &BlobHash, now: Timestamp) {
        let mut uses = self.0.lock();
        if let Some(at) = uses.get_mut(blob) {
            *at = now.seconds;
        } else if uses.len() < USES_MAX {
            uses.insert(*blob, now.seconds);
        }
    }

    /// Takes at most `limit` of them, to be noted, in seconds since 1970.
    pub(super) fn take(&self, limit: usize) -> Vec<(BlobHash, i64)> {
        let mut uses = self.0.lock();
        if uses.len() <= limit {
            return std::mem::take(&mut *uses).into_iter().collect();
        }
        let some: Vec<_> = uses.keys().take(limit).copied().collect();
        some.into_iter().filter_map(|blob| uses.remove_entry(&blob)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0).unwrap()
    }

    #[test]
    fn the_last_use_counts_and_memory_has_a_bound() {
        let uses = Uses::default();
        let first = BlobHash::of(b"first");
        uses.note(&first, at(1));
        for number in 0..USES_MAX as u64 + 10 {
            uses.note(&BlobHash::of(&number.to_le_bytes()), at(2));
        }
        uses.note(&first, at(3));
        let mut taken = uses.take(10);
        assert_eq!(taken.len(), 10);
        taken.extend(uses.take(usize::MAX));
        assert_eq!(taken.len(), USES_MAX);
        assert!(taken.contains(&(first, 3)));
        assert_eq!(uses.take(9), []);
    }
}
