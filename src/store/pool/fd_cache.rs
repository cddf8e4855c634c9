//! Open blob files, bounded: least recently used ones are closed.
//!
//! Files are handed out as `Arc`, so a reader keeps its file when the cache closes it. A blob that
//! is removed or replaced is forgotten; a file that was opened before that and arrives here after
//! it is used once and not kept (each shard counts its forgettings).

use std::fs::File;
use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;

use crate::model::hash::BlobHash;
use crate::store::error::Result;

/// Parts with a lock each, so that readers on different threads rarely meet.
const SHARDS: usize = 16;

#[derive(Debug)]
struct Shard {
    files: LruCache<BlobHash, Arc<File>>,
    forgettings: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct FdCache {
    shards: [Mutex<Shard>; SHARDS],
    files_per_shard: usize,
}

impl FdCache {
    /// Keeps at most `files_max` files open (rounded up to one per shard).
    pub(super) fn new(files_max: usize) -> Self {
        let shard = || Mutex::new(Shard { files: LruCache::new_unbounded(), forgettings: 0 });
        Self {
            shards: std::array::from_fn(|_| shard()),
            files_per_shard: (files_max / SHARDS).max(1),
        }
    }

    fn shard(&self, hash: &BlobHash) -> &Mutex<Shard> {
        &self.shards[usize::from(hash.as_bytes()[0]) % SHARDS]
    }

    /// The open file of a blob; `open` opens it when it is not here.
    pub(super) fn get_or_open(
        &self,
        hash: &BlobHash,
        open: impl FnOnce() -> Result<File>,
    ) -> Result<Arc<File>> {
        let forgettings = {
            let mut shard = self.shard(hash).lock();
            if let Some(file) = shard.files.get(hash) {
                return Ok(Arc::clone(file));
            }
            shard.forgettings
        };
        let file = Arc::new(open()?);
        let mut shard = self.shard(hash).lock();
        if shard.forgettings != forgettings {
            return Ok(file);
        }
        let evicted =
            if shard.files.len() >= self.files_per_shard && shard.files.peek(hash).is_none() {
                shard.files.remove_lru()
            } else {
                None
            };
        let replaced = shard.files.insert(*hash, Arc::clone(&file));
        drop(shard);
        // Closing is a system call: not under the lock.
        drop((evicted, replaced));
        Ok(file)
    }

    /// Closes the blob's file: its name now means another file, or none.
    pub(super) fn forget(&self, hash: &BlobHash) {
        let mut shard = self.shard(hash).lock();
        shard.forgettings += 1;
        let file = shard.files.remove(hash);
        drop(shard);
        drop(file);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().files.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Result<File> {
        Ok(tempfile::tempfile().unwrap())
    }

    #[test]
    fn the_number_of_open_files_is_bounded() {
        let cache = FdCache::new(32);
        for number in 0..500_u32 {
            cache.get_or_open(&BlobHash::of(&number.to_le_bytes()), open).unwrap();
        }
        assert!(cache.len() <= 32, "{}", cache.len());
    }

    #[test]
    fn a_file_is_opened_once_until_forgotten() {
        let cache = FdCache::new(32);
        let hash = BlobHash::of(b"x");
        let first = cache.get_or_open(&hash, open).unwrap();
        let second = cache.get_or_open(&hash, || panic!("opened twice")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        cache.forget(&hash);
        let third = cache.get_or_open(&hash, open).unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
    }

    #[test]
    fn a_file_opened_before_a_forgetting_is_not_kept() {
        let cache = FdCache::new(32);
        let hash = BlobHash::of(b"x");
        cache
            .get_or_open(&hash, || {
                cache.forget(&hash);
                open()
            })
            .unwrap();
        assert_eq!(cache.len(), 0);
    }
}
