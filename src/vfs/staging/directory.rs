//! Listing directories: opendir, readdir, readdirplus.
//!
//! The whole listing is taken when a directory is read from its start. So names that are there all
//! the time appear exactly once, whatever comes and goes meanwhile, and positions keep their
//! meaning.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lookup::tag_target;
use super::place::{self, Place};
use super::{Entry, Found, Handle, StagingFs, log_store, node_attr, resolve_error};
use crate::engine::staging::node::{Node, Slot};
use crate::model::id::{Ino, NodeId, RepoId};
use crate::model::kind::FileKind;
use crate::model::name::LATEST;
use crate::model::tree_format;
use crate::vfs::error::FsError;

/// One name in a listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileKind,
}

/// A directory as it was when it was read from its start. `.` and `..` come first.
pub(super) type Listing = Vec<Listed>;

impl StagingFs {
    /// Opens a directory.
    ///
    /// # Errors
    /// None at present: whether it is a directory shows when it is read.
    pub(crate) fn opendir(&self, ino: Ino) -> Result<Handle, FsError> {
        Ok(self.handles.add_directory(ino))
    }

    /// Closes a directory.
    pub(crate) fn releasedir(&self, handle: Handle) {
        self.handles.remove_directory(handle);
    }

    /// Gives the names from `position` on to `add`, with the position after each, until `add`
    /// says that its buffer is full.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn readdir(
        &self,
        handle: Handle,
        position: u64,
        mut add: impl FnMut(&Listed, u64) -> bool,
    ) -> Result<(), FsError> {
        let (_, listing) = self.listing(handle, position)?;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(listing.len());
        for (index, listed) in listing.iter().enumerate().skip(start) {
            if add(listed, index as u64 + 1) {
                break;
            }
        }
        Ok(())
    }

    /// As [`StagingFs::readdir`], with what a lookup of each name gives. `.` and `..`, and what was
    /// deleted since the listing was taken, have no entry.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn readdirplus(
        &self,
        handle: Handle,
        position: u64,
        mut add: impl FnMut(&Listed, Option<&Entry>, u64) -> bool,
    ) -> Result<(), FsError> {
        let (ino, listing) = self.listing(handle, position)?;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(listing.len());
        for (index, listed) in listing.iter().enumerate().skip(start) {
            let next = index as u64 + 1;
            if index < 2 {
                if add(listed, None, next) {
                    break;
                }
                continue;
            }
            let entry = match self.lookup(ino, &listed.name) {
                Ok(Found::Entry(entry)) => entry,
                Ok(Found::Negative) | Err(FsError::NotFound) => continue,
                Err(error) => return Err(error),
            };
            if add(listed, Some(&entry), next) {
                // The name did not fit into the reply, so the kernel does not count this lookup.
                self.forget(entry.attr.ino, 1);
                break;
            }
        }
        Ok(())
    }

    fn listing(&self, handle: Handle, position: u64) -> Result<(Ino, Arc<Listing>), FsError> {
        let open = self.handles.directory(handle)?;
        let kept = open.listing.lock().clone();
        if let Some(listing) = kept.filter(|_| position > 0) {
            return Ok((open.ino, listing));
        }
        let listing = Arc::new(self.list(open.ino)?);
        *open.listing.lock() = Some(Arc::clone(&listing));
        Ok((open.ino, listing))
    }

    fn list(&self, ino: Ino) -> Result<Listing, FsError> {
        let place = Place::of(ino).ok_or(FsError::Stale)?;
        let mut listing = vec![directory(b".", ino), directory(b"..", self.parent(place, ino))];
        match place {
            Place::Root => {
                listing.push(Listed {
                    name: b"versions".to_vec(),
                    ino: place::VERSIONS,
                    kind: self.fixed_attr(place::VERSIONS).kind,
                });
                listing.push(directory(b"staging", place::STAGING));
                listing.push(directory(b"tags", place::TAGS));
            }
            Place::Staging => self.list_repositories(&mut listing, place::areas_ino),
            Place::Tags => self.list_repositories(&mut listing, place::tags_ino),
            Place::Areas(repo) => {
                let repository = self.repository(repo)?;
                listing.extend(
                    repository
                        .areas
                        .iter()
                        .map(|(name, id)| directory(name.as_str().as_bytes(), Ino(id.0))),
                );
            }
            Place::TagsOf(repo) => self.list_tags(repo, &mut listing)?,
            Place::Versions => {}
            Place::Node(node) => self.list_node(node, &mut listing)?,
            Place::Tag(_) => return Err(FsError::NotDirectory),
        }
        Ok(listing)
    }

    fn parent(&self, place: Place, ino: Ino) -> Ino {
        match place {
            Place::Root | Place::Versions | Place::Staging | Place::Tags => place::ROOT,
            Place::Areas(_) => place::STAGING,
            Place::TagsOf(_) => place::TAGS,
            Place::Tag(_) => ino,
            Place::Node(id) => {
                let state = self.engine.staging.read();
                let Some(node) = state.node(id) else {
                    return ino;
                };
                let root = place::areas_ino(node.area.repo);
                node.names.first().map_or(root, |(parent, _)| Ino(parent.0))
            }
        }
    }

    fn list_repositories(&self, listing: &mut Listing, ino: fn(RepoId) -> Ino) {
        for repository in self.engine.registry.all() {
            listing.push(directory(repository.name.as_str().as_bytes(), ino(repository.id)));
        }
    }

    fn list_tags(&self, repo: RepoId, listing: &mut Listing) -> Result<(), FsError> {
        let repository = self.repository(repo)?;
        let latest = tag_target(&repository, LATEST).map(|_| LATEST);
        let names = repository.tags.keys().map(crate::model::name::TagName::as_str);
        for name in latest.into_iter().chain(names) {
            listing.push(Listed {
                name: name.as_bytes().to_vec(),
                ino: self.tags.ino(repo, name),
                kind: FileKind::Symlink,
            });
        }
        Ok(())
    }

    fn list_node(&self, id: NodeId, listing: &mut Listing) -> Result<(), FsError> {
        let base = {
            let state = self.engine.staging.read();
            let node = state.node(id).ok_or(FsError::Stale)?;
            node.directory().ok_or(FsError::NotDirectory)?.base
        };
        let mut names: BTreeMap<Vec<u8>, (Ino, FileKind)> = BTreeMap::new();
        if let Some(tree) = base {
            for entry in tree_format::entries(&*self.engine.trees, &tree, 0) {
                let entry = entry.map_err(log_store)?;
                let ino = Ino(self.engine.base_id(id, &entry).map_err(resolve_error)?.0);
                let kind = FileKind::of(&entry.content);
                names.insert(entry.name.as_bytes().to_vec(), (ino, kind));
            }
        }
        let state = self.engine.staging.read();
        let node = state.node(id).ok_or(FsError::Stale)?;
        let slots = node.directory().map(|directory| &directory.slots).into_iter().flatten();
        for (name, slot) in slots {
            match slot {
                Slot::Whiteout => {
                    names.remove(name.as_bytes());
                }
                Slot::Node(child) => {
                    if let Some(node) = state.node(*child) {
                        let kind = kind_of(*child, node);
                        names.insert(name.as_bytes().to_vec(), (Ino(child.0), kind));
                    }
                }
            }
        }
        drop(state);
        listing.extend(names.into_iter().map(|(name, (ino, kind))| Listed { name, ino, kind }));
        Ok(())
    }
}

fn kind_of(id: NodeId, node: &Node) -> FileKind {
    node_attr(id, node).kind
}

fn directory(name: &[u8], ino: Ino) -> Listed {
    Listed { name: name.to_vec(), ino, kind: FileKind::Directory }
}
