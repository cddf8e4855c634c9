//! Finding and forgetting: lookup, getattr, readlink, forget.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::place::{self, Place};
use super::{Entry, Found, Keep, StagingFs, engine_error, keep_attr, node_attr, staged_entry};
use crate::engine::registry::Repository;
use crate::model::id::{AreaId, Ino, NodeId, RepoId};
use crate::model::kind::FileKind;
use crate::model::name::{AreaName, LATEST, TagName};
use crate::model::time::Timestamp;
use crate::sys::FsSpace;
use crate::vfs::attr::{Attr, SPARSE_BYTES_MIN};
use crate::vfs::error::FsError;
use crate::vfs::quota;

impl StagingFs {
    /// Finds a name.
    ///
    /// # Errors
    /// `NotFound` where the kernel must not remember the absence.
    pub(crate) fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Found, FsError> {
        match Place::of(parent).ok_or(FsError::Stale)? {
            Place::Root => match name {
                b"versions" => Ok(Found::Entry(self.fixed(place::VERSIONS))),
                b"staging" => Ok(Found::Entry(self.fixed(place::STAGING))),
                b"tags" => Ok(Found::Entry(self.fixed(place::TAGS))),
                _ => Ok(Found::Negative),
            },
            Place::Staging => self.lookup_repository(name, place::areas_ino),
            Place::Tags => self.lookup_repository(name, place::tags_ino),
            Place::Areas(repo) => self.lookup_area(repo, name).map(Found::Entry),
            Place::TagsOf(repo) => self.lookup_tag(repo, name).map(Found::Entry),
            Place::Node(node) => self.lookup_node(node, name),
            Place::Versions | Place::Tag(_) => Err(FsError::NotFound),
        }
    }

    fn fixed(&self, ino: Ino) -> Entry {
        let attr = self.fixed_attr(ino);
        Entry { attr, keep_name: Keep::Forever, keep_attr: Keep::Forever }
    }

    pub(super) fn fixed_attr(&self, ino: Ino) -> Attr {
        let owner = (self.options.uid, self.options.gid);
        let mut attr = Attr::of_directory(ino, 0o755, owner, Timestamp::default());
        if ino == place::VERSIONS
            && let Some(target) = &self.options.versions_beside
        {
            attr.kind = FileKind::Symlink;
            attr.size = target.as_os_str().len() as u64;
        }
        attr
    }

    pub(super) fn repository(&self, repo: RepoId) -> Result<Arc<Repository>, FsError> {
        self.engine.registry.by_id(repo).ok_or(FsError::Stale)
    }

    fn lookup_repository(&self, name: &[u8], ino: fn(RepoId) -> Ino) -> Result<Found, FsError> {
        if name.len() > crate::model::name::NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        let name = std::str::from_utf8(name).map_err(|_| FsError::NotFound)?;
        let repository = self.engine.registry.by_name(name).ok_or(FsError::NotFound)?;
        Ok(Found::Entry(repository_entry(&repository, ino(repository.id))))
    }

    /// An area. The name is kept briefly: a commit or discard takes it away.
    pub(super) fn lookup_area(&self, repo: RepoId, name: &[u8]) -> Result<Entry, FsError> {
        let repository = self.repository(repo)?;
        let area = AreaName::new(name).ok().and_then(|name| repository.areas.get(&name).copied());
        let Some(area) = area else {
            if name.len() > crate::model::name::NAME_BYTES_MAX {
                return Err(FsError::NameTooLong);
            }
            return Err(FsError::NotFound);
        };
        self.area_entry(area)
    }

    pub(super) fn area_entry(&self, area: AreaId) -> Result<Entry, FsError> {
        self.engine.load_area(area).map_err(engine_error)?;
        let mut entry = self.node_entry(NodeId(area.0))?;
        let shared = self.engine.staging.area(area);
        let kept = shared.is_some_and(|shared| shared.keep_name(Instant::now()));
        entry.keep_name = if kept { Keep::Briefly } else { Keep::Never };
        Ok(entry)
    }

    /// A tag. `latest` and existing tags keep their inode, whose content is invalidated when they
    /// move, so walking through them costs nothing (N9).
    pub(super) fn lookup_tag(&self, repo: RepoId, name: &[u8]) -> Result<Entry, FsError> {
        let repository = self.repository(repo)?;
        if name.len() > crate::model::name::NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        let tag = std::str::from_utf8(name).map_err(|_| FsError::NotFound)?;
        let target = tag_target(&repository, tag).ok_or(FsError::NotFound)?;
        let attr = tag_attr(&repository, self.tags.ino(repo, tag), target.len());
        let keep = if tag == LATEST { Keep::Forever } else { Keep::Never };
        Ok(Entry { attr, keep_name: keep, keep_attr: Keep::Forever })
    }

    fn lookup_node(&self, parent: NodeId, name: &[u8]) -> Result<Found, FsError> {
        if name.len() > crate::model::name::NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        loop {
            let Some(node) = self.resolve(parent, name)? else {
                return Ok(Found::Negative);
            };
            match self.node_entry(node) {
                Ok(entry) => return Ok(Found::Entry(entry)),
                // The node was forgotten in between, so it is taken into memory again.
                Err(FsError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A node as the answer to a lookup: the kernel holds it until it forgets it.
    pub(super) fn node_entry(&self, id: NodeId) -> Result<Entry, FsError> {
        let attr = {
            let state = self.engine.staging.read();
            let node = state.node(id).ok_or(FsError::Stale)?;
            node.lookups.fetch_add(1, Ordering::SeqCst);
            node_attr(id, node)
        };
        Ok(staged_entry(self.with_blocks(attr)))
    }

    /// What is allocated to a large file is asked of the disk: without the namespace lock.
    pub(super) fn with_blocks(&self, mut attr: Attr) -> Attr {
        if attr.kind != FileKind::File || attr.size < SPARSE_BYTES_MIN {
            return attr;
        }
        let content = {
            let state = self.engine.staging.read();
            state.node(NodeId(attr.ino.0)).and_then(|node| node.content().cloned())
        };
        if let Some(allocated) = content.and_then(|content| content.allocated_blocks()) {
            attr.blocks = allocated;
        }
        attr
    }

    /// Attributes of an inode.
    ///
    /// # Errors
    /// `Stale` when it is gone.
    pub(crate) fn getattr(&self, ino: Ino) -> Result<(Attr, Keep), FsError> {
        match Place::of(ino).ok_or(FsError::Stale)? {
            Place::Root | Place::Versions | Place::Staging | Place::Tags => {
                Ok((self.fixed_attr(ino), Keep::Forever))
            }
            Place::Areas(repo) | Place::TagsOf(repo) => {
                let entry = repository_entry(&*self.repository(repo)?, ino);
                Ok((entry.attr, entry.keep_attr))
            }
            Place::Tag(ino) => {
                let (repo, tag) = self.tags.tag(ino).ok_or(FsError::Stale)?;
                let repository = self.repository(repo)?;
                let target = tag_target(&repository, &tag).ok_or(FsError::Stale)?;
                Ok((tag_attr(&repository, ino, target.len()), Keep::Forever))
            }
            Place::Node(id) => {
                let attr = {
                    let state = self.engine.staging.read();
                    node_attr(id, state.node(id).ok_or(FsError::Stale)?)
                };
                Ok((self.with_blocks(attr), keep_attr(&attr)))
            }
        }
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// `Invalid` when it is none.
    pub(crate) fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        use std::os::unix::ffi::OsStrExt;
        match Place::of(ino).ok_or(FsError::Stale)? {
            Place::Tag(ino) => {
                let (repo, tag) = self.tags.tag(ino).ok_or(FsError::NotFound)?;
                let repository = self.repository(repo)?;
                Ok(tag_target(&repository, &tag).ok_or(FsError::NotFound)?.into_bytes())
            }
            Place::Versions => {
                let beside = self.options.versions_beside.clone();
                Ok(beside.map(PathBuf::into_os_string).ok_or(FsError::Invalid)?.as_bytes().to_vec())
            }
            Place::Node(id) => {
                let state = self.engine.staging.read();
                match &state.node(id).ok_or(FsError::Stale)?.body {
                    crate::engine::staging::node::Body::Symlink(target) => Ok(target.to_vec()),
                    _ => Err(FsError::Invalid),
                }
            }
            Place::Root | Place::Staging | Place::Tags | Place::Areas(_) | Place::TagsOf(_) => {
                Err(FsError::Invalid)
            }
        }
    }

    /// Space of the store's file system.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) fn statfs(&self, ino: Ino) -> Result<FsSpace, FsError> {
        let space = self.engine.space().map_err(|error| {
            log::error!("cannot ask for the space of the store: {error}");
            FsError::Io
        })?;
        let account = self.repository_of(ino).and_then(|repo| self.engine.registry.by_id(repo));
        Ok(match account {
            Some(repository) => quota::limited(space, &repository.account),
            None => space,
        })
    }

    /// The repository that an inode belongs to.
    fn repository_of(&self, ino: Ino) -> Option<RepoId> {
        match Place::of(ino)? {
            Place::Areas(repo) | Place::TagsOf(repo) => Some(repo),
            Place::Tag(ino) => self.tags.tag(ino).map(|(repo, _)| repo),
            Place::Node(node) => self.engine.staging.read().node(node).map(|node| node.area.repo),
            Place::Root | Place::Versions | Place::Staging | Place::Tags => None,
        }
    }

    /// The kernel let go of `count` lookups.
    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        let Some(Place::Node(id)) = Place::of(ino) else {
            return;
        };
        let unused = {
            let state = self.engine.staging.read();
            let Some(node) = state.node(id) else { return };
            let before = node.lookups.fetch_sub(count, Ordering::SeqCst);
            assert!(before >= count, "the kernel forgot more lookups of {id} than it made");
            before == count
        };
        if unused {
            self.engine.staging.change(|state, dirty| state.drop_if_unused(dirty, id));
        }
    }
}

/// Where a tag points, as a link from `tags/REPO`.
pub(super) fn tag_target(repository: &Repository, tag: &str) -> Option<String> {
    let number = if tag == LATEST {
        repository.latest()?.number
    } else {
        repository.tags.get(&tag.parse::<TagName>().ok()?)?.number
    };
    Some(format!("../../versions/{}/{number}", repository.name))
}

pub(super) fn tag_attr(repository: &Repository, ino: Ino, target_bytes: usize) -> Attr {
    Attr {
        kind: FileKind::Symlink,
        size: target_bytes as u64,
        blocks: 0,
        ..Attr::of_directory(ino, 0o777, (repository.uid, repository.gid), repository.changed)
    }
}

/// A repository's directory. Its name is kept briefly; its attributes are invalidated when they change,
/// and when it is removed: the kernel asks for them, is told that they are stale, and asks for the name
/// again at once.
pub(super) fn repository_entry(repository: &Repository, ino: Ino) -> Entry {
    let owner = (repository.uid, repository.gid);
    let attr = Attr::of_directory(ino, repository.mode, owner, repository.changed);
    Entry { attr, keep_name: Keep::Briefly, keep_attr: Keep::Forever }
}
