//! What the kernel must forget on both mounts when the engine changes something.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;

use super::StagingFs;
use super::place;
use super::tag_table::TagTable;
use crate::engine::event::{Event, Observer};
use crate::engine::registry::Registry;
use crate::engine::staging::Staging;
use crate::model::content_name::ContentName;
use crate::model::id::{Ino, RepoId};
use crate::model::name::LATEST;
use crate::model::time::Timestamp;
use crate::vfs::invalidation::{Forget, Invalidation, Invalidator};
use crate::vfs::versions::invalidate;

/// Tells the filesystem of versions that its root has changed.
pub(crate) type RootChanged = Box<dyn Fn(Timestamp) + Send + Sync>;

/// Finds the inodes of versions that have one of these contents.
pub(crate) type Holders = Box<dyn Fn(&BTreeSet<ContentName>) -> Vec<Ino> + Send + Sync>;

struct Mounts {
    tags: Arc<TagTable>,
    registry: Arc<Registry>,
    root_changed: RootChanged,
    holders: Holders,
    staging: Arc<Staging>,
}

/// Translates the engine's events for the kernel. Made before the engine, connected after.
pub(crate) struct MountObserver {
    kernel: Arc<dyn Invalidator>,
    mounts: RwLock<Option<Mounts>>,
}

impl std::fmt::Debug for MountObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MountObserver").finish_non_exhaustive()
    }
}

impl MountObserver {
    /// Tells the kernel through `kernel`.
    pub(crate) fn new(kernel: Arc<dyn Invalidator>) -> Self {
        Self { kernel, mounts: RwLock::new(None) }
    }

    /// From now on events concern these mounts. Before, no kernel has cached anything.
    pub(crate) fn connect(&self, staging: &StagingFs, root_changed: RootChanged, holders: Holders) {
        let registry = Arc::clone(&staging.engine.registry);
        let tags = Arc::clone(&staging.tags);
        *self.mounts.write() = Some(Mounts {
            tags,
            registry,
            root_changed,
            holders,
            staging: Arc::clone(&staging.engine.staging),
        });
    }

    /// Lets go of the mounts.
    pub(crate) fn disconnect(&self) {
        *self.mounts.write() = None;
    }
}

impl Mounts {
    fn translate(&self, event: &Event) -> (Vec<Forget>, Vec<Forget>) {
        let repository = |repo: &RepoId| self.registry.by_id(*repo);
        match event {
            Event::RepositoryAdded(_) => {
                (self.root_changed)(Timestamp::now());
                (invalidate::repository_created(), Vec::new())
            }
            Event::RepositoryRemoved(repository) => {
                (self.root_changed)(Timestamp::now());
                (invalidate::repository_deleted(repository), attributes(repository.id))
            }
            Event::RepositoryChanged(repo) => {
                let versions = repository(repo).map(|r| invalidate::repository_changed(&r));
                (versions.unwrap_or_default(), attributes(*repo))
            }
            Event::VersionAdded(repo, _) => {
                let versions = repository(repo).map(|r| invalidate::repository_changed(&r));
                (versions.unwrap_or_default(), self.tag(*repo, LATEST))
            }
            Event::VersionRemoved(repo, number) => {
                let versions = repository(repo).map(|r| invalidate::version_deleted(&r, *number));
                (versions.unwrap_or_default(), self.tag(*repo, LATEST))
            }
            Event::TagChanged(repo, tag) => (Vec::new(), self.tag(*repo, tag.as_str())),
            Event::AreaChanged(..) => (Vec::new(), Vec::new()),
            Event::BlobsHeld(blobs) => {
                let inos = (self.holders)(blobs).into_iter().map(|ino| ino.0).collect();
                // The nodes of published areas are dropped as well, by number and not by name: a
                // notification by name waits for a directory that an operation may hold, and a
                // daemon that is being killed never answers that operation.
                let left = self.staging.read().left_holders(blobs);
                let left = left.into_iter().map(|node| place::node_ino(node).0).collect();
                (vec![Forget::Unused { inos }], vec![Forget::Unused { inos: left }])
            }
            Event::BlobsChanged(blobs) => {
                let content = |ino: Ino| Forget::Content { ino: ino.0 };
                let versions = (self.holders)(blobs).into_iter().map(content).collect();
                let nodes = self.staging.read().holders(blobs);
                let nodes = nodes.into_iter().map(|node| content(place::node_ino(node)));
                (versions, nodes.collect())
            }
        }
    }

    fn tag(&self, repo: RepoId, tag: &str) -> Vec<Forget> {
        let mut stale = attributes(repo);
        let ino = self.tags.known(repo, tag);
        stale.extend(ino.map(|ino| Forget::Content { ino: ino.0 }));
        stale
    }
}

/// Time, mode and owner of a repository's directories.
fn attributes(repo: RepoId) -> Vec<Forget> {
    let both = [place::areas_ino(repo), place::tags_ino(repo)];
    both.map(|ino| Forget::Attributes { ino: ino.0 }).into()
}

impl Observer for MountObserver {
    fn notify(&self, events: Vec<Event>, then: Box<dyn FnOnce() + Send>) {
        let mut job = Invalidation { versions: Vec::new(), staging: Vec::new(), then };
        if let Some(mounts) = &*self.mounts.read() {
            for event in &events {
                let (versions, staging) = mounts.translate(event);
                job.versions.extend(versions);
                job.staging.extend(staging);
            }
        }
        self.kernel.submit(job);
    }
}
