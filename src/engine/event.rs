//! What the engine tells those who show the registry: the mounts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::registry::Repository;
use crate::model::content_name::ContentName;
use crate::model::id::{RepoId, VersionNumber};
use crate::model::name::{AreaName, TagName};

/// A change of what readers may have cached.
#[derive(Debug, Clone)]
pub enum Event {
    /// A repository appeared.
    RepositoryAdded(RepoId),
    /// A repository's owner or mode changed.
    RepositoryChanged(RepoId),
    /// A repository is gone.
    RepositoryRemoved(Arc<Repository>),
    /// A version was published; `latest` points at it now.
    VersionAdded(RepoId, VersionNumber),
    /// A version was deleted; `latest` may have changed.
    VersionRemoved(RepoId, VersionNumber),
    /// A tag was made, moved or deleted.
    TagChanged(RepoId, TagName),
    /// An area was opened, published or discarded.
    AreaChanged(RepoId, AreaName),
    /// The collector had to leave the blobs that have these names because the kernel holds their inodes. The kernel is to
    /// forget those that it only caches. The observer looks at every inode that the kernel knows, so this
    /// is told from a thread of its own.
    BlobsHeld(Arc<BTreeSet<ContentName>>),
    /// The files of the blobs that have these names were replaced, or found damaged: pages that the kernel has read from them
    /// may be wrong (H5). Told from a thread of its own, too.
    BlobsChanged(Arc<BTreeSet<ContentName>>),
}

/// Is told of changes. A call must return at once and have the work done by another thread.
pub trait Observer: Send + Sync {
    /// Makes the kernel forget what the events made stale, then runs `then`.
    fn notify(&self, events: Vec<Event>, then: Box<dyn FnOnce() + Send>);
}

/// For a store without a mount: nothing caches anything.
#[derive(Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn notify(&self, _events: Vec<Event>, then: Box<dyn FnOnce() + Send>) {
        then();
    }
}
