//! The inode of an entry: where its path and the scope of its hardlink group come from.

use std::borrow::Cow;
use std::fmt::Display;

use super::inode::{DirectoryInode, DirectoryPlace, FileInode};
use super::number::PathHash;
use super::{Blobs, VersionFs};
use crate::model::id::Ino;
use crate::model::links;
use crate::model::tree::{Content, Entry, LinkGroup, LinkScope};
use crate::model::tree_format::TreeSource;

/// An inode that may be in a table already.
pub(super) enum NewInode {
    Directory(DirectoryInode),
    File(FileInode),
}

impl<T, B> VersionFs<T, B>
where
    T: TreeSource,
    T::Error: Display,
    B: Blobs,
{
    /// Makes the inode of an entry of the directory `parent`, which is at `place`.
    pub(super) fn inode_of(&self, place: &DirectoryPlace, parent: Ino, entry: &Entry) -> NewInode {
        let path = place.path.child(entry.name.as_bytes());
        match &entry.content {
            Content::Directory { tree, .. } => {
                let place = DirectoryPlace { path, tree: *tree, parent, ..*place };
                NewInode::Directory(DirectoryInode::new(place, &entry.attributes))
            }
            Content::File { .. }
            | Content::Symlink { .. }
            | Content::Fifo
            | Content::Socket
            | Content::CharDevice { .. }
            | Content::BlockDevice { .. } => {
                let mut entry = Cow::Borrowed(entry);
                if links::is_of_version(&entry) {
                    self.settle(place, entry.to_mut());
                }
                let scope = entry.link_group.and_then(|group| self.scope(place, group));
                if scope.is_none() && entry.link_group.is_some() {
                    entry.to_mut().link_group = None;
                }
                NewInode::File(FileInode::new(place.repository, path, scope, &entry))
            }
        }
    }

    /// Takes an entry out of a hardlink group if nobody can tell which entries belong to the group.
    fn settle(&self, place: &DirectoryPlace, entry: &mut Entry) {
        let repository = self.registry.by_id(place.repository);
        let version = repository.as_ref().and_then(|found| found.versions.get(&place.version));
        // Without a version the caller answers that it is gone.
        let Some(version) = version else { return };
        match self.ambiguous.of(&*self.trees, &version.root.tree) {
            Ok(ambiguous) => ambiguous.settle(entry),
            Err(error) => {
                // What cannot be told is never put together.
                log::error!("hardlinks of {}/{}: {error}", place.repository, place.version);
                entry.link_group = None;
            }
        }
    }

    /// The place of the directory within which a group counts. The kernel holds the directories
    /// above whatever it looks at.
    fn scope(&self, place: &DirectoryPlace, group: LinkGroup) -> Option<PathHash> {
        let LinkScope::Above(levels) = group.scope else {
            return Some(PathHash::ROOT);
        };
        let mut at = *place;
        for _ in 0..levels {
            if at.is_version() {
                return None;
            }
            at = self.place(at.parent).ok()?;
        }
        Some(at.path)
    }
}
