//! Hardlink groups of bases that release 0.1.0 wrote, where nobody can tell one from another.

use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;

use crate::model::hash::TreeHash;
use crate::model::links::Ambiguous;
use crate::model::tree_format::TreeSource;

/// Versions whose ambiguous groups are remembered. Most have none, so that little is kept.
const VERSIONS_KEPT_MAX: usize = 256;

/// The ambiguous hardlink groups of versions that earlier releases wrote, found when they are first
/// asked for.
pub struct AmbiguousLinks(Mutex<LruCache<TreeHash, Arc<Ambiguous>>>);

impl Default for AmbiguousLinks {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(VERSIONS_KEPT_MAX)))
    }
}

impl std::fmt::Debug for AmbiguousLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AmbiguousLinks")
    }
}

impl AmbiguousLinks {
    /// The groups of the version with this tree.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn of<S: TreeSource>(
        &self,
        source: &S,
        root: &TreeHash,
    ) -> Result<Arc<Ambiguous>, S::Error> {
        let known = self.0.lock().get(root).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Arc::new(Ambiguous::of(source, root)?);
        self.0.lock().insert(*root, Arc::clone(&found));
        Ok(found)
    }
}
