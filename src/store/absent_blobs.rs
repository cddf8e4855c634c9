//! The blobs that are absent: trees name them, and a bucket has them.
//!
//! The set follows the column `state` of the catalog, from which a start loads it, and is kept in memory so that a read of
//! stored content costs no query. It is what counts, not whether a file has the blob's name: an import may be writing
//! that file just now, or a crash may have left a part of it (H1). A blob leaves the set when the metadata thread has put
//! checked content into the pool.
//!
//! 16 bytes of each hash are kept. Two blobs that agree in those have never been seen.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::model::hash::BlobHash;

/// The absent blobs: some 36 bytes each.
#[derive(Default)]
pub struct AbsentBlobs {
    keys: RwLock<HashSet<u128>>,
    /// How many they are, so that nobody takes the lock where there are none.
    count: AtomicUsize,
}

impl fmt::Debug for AbsentBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbsentBlobs").field("count", &self.count).finish_non_exhaustive()
    }
}

fn key(hash: &BlobHash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

impl AbsentBlobs {
    /// Whether a blob is absent.
    pub fn has(&self, hash: &BlobHash) -> bool {
        !self.is_empty() && self.keys.read().contains(&key(hash))
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds blobs; returns those that were not there.
    pub(super) fn add(&self, hashes: &[BlobHash]) -> Vec<BlobHash> {
        let mut keys = self.keys.write();
        let added = hashes.iter().filter(|hash| keys.insert(key(hash))).copied().collect();
        self.count.store(keys.len(), Ordering::Release);
        added
    }

    pub(super) fn remove(&self, hash: &BlobHash) {
        if self.is_empty() {
            return;
        }
        let mut keys = self.keys.write();
        keys.remove(&key(hash));
        self.count.store(keys.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_absent_until_it_is_removed() {
        let absent = AbsentBlobs::default();
        let [one, two] = [b"1", b"2"].map(|content| BlobHash::of(content));
        assert_eq!(absent.add(&[one, one]), [one]);
        assert_eq!(absent.add(&[one]), []);
        assert!(absent.has(&one) && !absent.has(&two) && absent.len() == 1);
        absent.remove(&two);
        absent.remove(&one);
        assert!(!absent.has(&one) && absent.is_empty());
    }
}
