//! Tree pages in memory, bounded by bytes: least recently used ones go.
//!
//! A page is immutable and named by its hash, so nothing here is ever stale. A page that is read
//! from the catalog is checked against its hash and validated once; readers share it. Two threads
//! that miss the same page both read it: rare, and cheaper than making one wait.

use std::fmt;
use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;

use super::absent_blobs::AbsentBlobs;
use super::blob_names::BlobNames;
use super::catalog::Reader;
use super::error::{Result, StoreError};
use super::readers::Readers;
use crate::metrics::COUNTERS;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree_format::{TreePage, TreeSource};

/// Parts with a lock each, so that readers on different threads rarely meet.
const SHARDS: usize = 16;

/// What a cached page costs beside its bytes: the map's node, the `Arc`, the page's own fields.
const PAGE_OVERHEAD_BYTES: usize = 256;

#[derive(Debug)]
struct Shard {
    pages: LruCache<TreeHash, Cached>,
    bytes: usize,
}

impl Shard {
    fn new() -> Self {
        Self { pages: LruCache::new_unbounded(), bytes: 0 }
    }

    fn get(&mut self, hash: &TreeHash) -> Option<Arc<TreePage>> {
        self.pages.get(hash).map(|cached| Arc::clone(&cached.page))
    }
}

#[derive(Debug)]
struct Cached {
    page: Arc<TreePage>,
    bytes: usize,
}

/// Where pages of published and staged trees come from.
pub struct TreeCache {
    shards: [Mutex<Shard>; SHARDS],
    bytes_per_shard: usize,
    readers: Arc<Readers>,
    blob_names: Arc<BlobNames>,
}

impl fmt::Debug for TreeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeCache").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl TreeCache {
    /// Keeps about `bytes_max` bytes of pages; `new_reader` opens a connection to the catalog. `absent` are the blobs that
    /// the store lacks.
    pub fn new(
        new_reader: impl Fn() -> Result<Reader> + Send + Sync + 'static,
        bytes_max: usize,
        absent: &Arc<AbsentBlobs>,
    ) -> Self {
        let readers = Arc::new(Readers::new(new_reader));
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            bytes_per_shard: bytes_max / SHARDS,
            blob_names: Arc::new(BlobNames::new(Arc::clone(&readers), Arc::clone(absent))),
            readers,
        }
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    fn shard(&self, hash: &TreeHash) -> &Mutex<Shard> {
        &self.shards[usize::from(hash.as_bytes()[0]) % SHARDS]
    }

    /// Finds the blobs of the names that these trees have.
    pub fn blob_names(&self) -> &Arc<BlobNames> {
        &self.blob_names
    }

    fn fetch(&self, hash: &TreeHash) -> Result<Vec<u8>> {
        self.readers.read(|reader| reader.tree(hash))?.ok_or(StoreError::MissingTree(*hash))
    }

    fn keep(&self, hash: &TreeHash, page: &Arc<TreePage>, bytes: usize) {
        if bytes > self.bytes_per_shard {
            return;
        }
        let mut evicted = Vec::new();
        let mut shard = self.shard(hash).lock();
        let cached = Cached { page: Arc::clone(page), bytes };
        shard.bytes += bytes;
        if let Some(replaced) = shard.pages.insert(*hash, cached) {
            shard.bytes -= replaced.bytes;
            evicted.push(replaced);
        }
        while shard.bytes > self.bytes_per_shard
            && let Some((_, oldest)) = shard.pages.remove_lru()
        {
            shard.bytes -= oldest.bytes;
            evicted.push(oldest);
        }
        drop(shard);
        // Large pages are freed after the lock.
        drop(evicted);
    }
}

impl TreeSource for TreeCache {
    type Error = StoreError;

    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>> {
        let cached = self.shard(hash).lock().get(hash);
        if let Some(page) = cached {
            COUNTERS.tree_hits.add(1);
            return Ok(page);
        }
        COUNTERS.tree_misses.add(1);
        let bytes = self.fetch(hash)?;
        if TreeHash::of(&bytes) != *hash {
            return Err(StoreError::DamagedTree(*hash));
        }
        let cost = bytes.len() + PAGE_OVERHEAD_BYTES;
        let page =
            TreePage::parse(bytes).map_err(|source| StoreError::Tree { hash: *hash, source })?;
        let page = Arc::new(page);
        self.keep(hash, &page, cost);
        Ok(page)
    }

    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>> {
        self.blob_names.blob_of(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::EntryName;
    use crate::model::time::Timestamp;
    use crate::model::tree::{Attributes, Content, Entry, Xattrs};
    use crate::model::tree_format;
    use crate::store::catalog::Catalog;
    use crate::store::layout::Layout;
    use crate::store::testing::TestStore;

    fn page_named(name: &str) -> (TreeHash, Vec<u8>) {
        let attributes = Attributes {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Xattrs::new(),
        };
        let entry = Entry {
            name: EntryName::new(name.as_bytes()).unwrap(),
            attributes,
            link_group: None,
            content: Content::File { size: 0, blob: None },
        };
        tree_format::build([entry]).unwrap().pages.pop().unwrap()
    }

    fn insert(catalog: &mut Catalog, hash: &TreeHash, bytes: &[u8]) {
        let tx = catalog.begin().unwrap();
        tx.insert_tree(hash, bytes, Timestamp::default()).unwrap();
        tx.commit().unwrap();
    }

    fn cache(layout: &Layout, bytes_max: usize) -> TreeCache {
        let layout = layout.clone();
        TreeCache::new(move || Reader::open(&layout), bytes_max, &Arc::default())
    }

    #[test]
    fn a_page_is_read_once() {
        let mut store = TestStore::new();
        let cache = cache(&store.layout, 1 << 20);
        let (hash, bytes) = page_named("a");
        assert!(matches!(cache.page(&hash), Err(StoreError::MissingTree(_))));
        insert(&mut store.catalog, &hash, &bytes);
        let first = cache.page(&hash).unwrap();
        assert_eq!(first.summary().files, 1);
        let tx = store.catalog.begin().unwrap();
        tx.delete_tree(&hash).unwrap();
        tx.commit().unwrap();
        assert!(Arc::ptr_eq(&first, &cache.page(&hash).unwrap()));
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut store = TestStore::new();
        let bytes_max = 64 << 10;
        let cache = cache(&store.layout, bytes_max);
        let pages: Vec<_> = (0..400).map(|number| page_named(&number.to_string())).collect();
        let tx = store.catalog.begin().unwrap();
        for (hash, bytes) in &pages {
            tx.insert_tree(hash, bytes, Timestamp::default()).unwrap();
        }
        tx.commit().unwrap();
        for (hash, _) in &pages {
            cache.page(hash).unwrap();
        }
        assert!(cache.bytes() <= bytes_max && cache.bytes() > bytes_max / 2, "{cache:?}");
        assert_eq!(cache.readers.idle(), 1);
    }

    #[test]
    fn altered_pages_are_refused() {
        let mut store = TestStore::new();
        let cache = cache(&store.layout, 1 << 20);
        let (hash, mut bytes) = page_named("a");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        insert(&mut store.catalog, &hash, &bytes);
        assert!(matches!(cache.page(&hash), Err(StoreError::DamagedTree(_))));
        let junk = TreeHash::of(b"junk");
        insert(&mut store.catalog, &junk, b"junk");
        assert!(matches!(cache.page(&junk), Err(StoreError::Tree { .. })));
    }
}
