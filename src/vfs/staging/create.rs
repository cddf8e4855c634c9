//! Making and removing names: create, mknod, mkdir, symlink, link, unlink, rmdir.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::FileType;

use super::place::Place;
use super::stray;
use super::{
    Caller, Denied, Done, Entry, OpenMode, Opened, StagingFs, check_open, entry_name, node_attr,
    staged_entry,
};
use crate::engine::staging::charge;
use crate::engine::staging::content::FileContent;
use crate::engine::staging::node::{Body, Directory, Slot};
use crate::engine::staging::state::{Child, NewNode, State};
use crate::model::id::{Ino, NodeId, RepoId};
use crate::model::name::EntryName;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Xattrs};
use crate::model::tree_format;
use crate::vfs::error::FsError;

/// The longest target of a symbolic link, in bytes.
const TARGET_BYTES_MAX: usize = 4095;

/// The most names of one file.
const LINKS_MAX: usize = 65_000;

const SETGID: u16 = 0o2000;

/// What to make.
#[derive(Debug, Clone)]
enum Make {
    File,
    Directory,
    Symlink(Box<[u8]>),
    Fifo,
    Socket,
    CharDevice(u32),
    BlockDevice(u32),
}

impl StagingFs {
    /// Makes and opens a regular file.
    pub(crate) fn create(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u16,
        open: OpenMode,
        done: Done<(Entry, Opened)>,
    ) {
        let name = name.to_vec();
        self.run(done, move |fs| {
            let parent = fs.area_directory(parent)?;
            match fs.make(caller, parent, &name, mode, &Make::File) {
                Ok(entry) => {
                    let opened = fs.open_node(NodeId(entry.attr.ino.0), open)?;
                    Ok((entry, opened))
                }
                // The kernel acted on a name that it remembered, and another process was faster.
                Err(Denied::Error(FsError::Exists)) if !open.exclusive => {
                    let node = fs.resolve(parent, &name)?.ok_or(FsError::NotFound)?;
                    let opened = fs.open_node(node, open)?;
                    if open.truncate {
                        fs.changed_by(caller, node);
                    }
                    Ok((fs.node_entry(node)?, opened))
                }
                Err(denied) => Err(denied),
            }
        });
    }

    /// Makes a file of any kind but directory and symbolic link; `mode` has the kind.
    pub(crate) fn mknod(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u32,
        done: Done<Entry>,
    ) {
        let make = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Make::File,
            FileType::Fifo => Make::Fifo,
            FileType::Socket => Make::Socket,
            FileType::CharacterDevice => Make::CharDevice(rdev),
            FileType::BlockDevice => Make::BlockDevice(rdev),
            // No type at all means a regular file.
            FileType::Unknown if mode & !0o7777 == 0 => Make::File,
            FileType::Directory | FileType::Symlink | FileType::Unknown => {
                return done(Err(FsError::Invalid));
            }
        };
        let name = name.to_vec();
        let mode = permissions(mode);
        self.run(done, move |fs| {
            let parent = fs.area_directory(parent)?;
            fs.make(caller, parent, &name, mode, &make)
        });
    }

    /// Makes a directory; among repositories a repository, in one an area.
    pub(crate) fn mkdir(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        done: Done<Entry>,
    ) {
        let mode = permissions(mode);
        match Place::of(parent) {
            Some(Place::Staging) => return self.make_repository(caller, name, mode, done),
            Some(Place::Areas(repo)) => return self.make_area(caller, repo, name, mode, done),
            Some(Place::Node(_)) => {}
            Some(_) => return done(Err(FsError::NotPermitted)),
            None => return done(Err(FsError::Stale)),
        }
        let name = name.to_vec();
        self.run(done, move |fs| {
            let parent = fs.area_directory(parent)?;
            fs.make(caller, parent, &name, mode, &Make::Directory)
        });
    }

    /// Makes a symbolic link; among tags, a tag.
    pub(crate) fn symlink(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
        done: Done<Entry>,
    ) {
        if let Some(Place::TagsOf(repo)) = Place::of(parent) {
            return self.make_tag(caller, repo, name, target, done);
        }
        if target.is_empty() {
            return done(Err(FsError::NotFound));
        }
        if target.len() > TARGET_BYTES_MAX {
            return done(Err(FsError::NameTooLong));
        }
        let (name, target) = (name.to_vec(), target.to_vec());
        self.run(done, move |fs| {
            let parent = fs.area_directory(parent)?;
            let make = Make::Symlink(target.clone().into());
            fs.make(caller, parent, &name, 0o777, &make)
        });
    }

    /// The node of a directory in an area; elsewhere nothing can be made.
    pub(super) fn area_directory(&self, ino: Ino) -> Result<NodeId, Denied> {
        match Place::of(ino).ok_or(FsError::Stale)? {
            Place::Node(node) => Ok(node),
            Place::Root | Place::Versions | Place::Staging | Place::Tags => {
                Err(FsError::NotPermitted.into())
            }
            Place::Areas(repo) => {
                self.note_stray(repo);
                Err(FsError::NotPermitted.into())
            }
            Place::TagsOf(_) | Place::Tag(_) => Err(FsError::NotPermitted.into()),
        }
    }

    fn note_stray(&self, repo: RepoId) {
        let Some(repository) = self.engine.registry.by_id(repo) else { return };
        if self.strays.note(repo, Instant::now()) {
            log::info!("refused: {}", stray::reason(repository.name.as_str()));
        }
    }

    fn make(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &[u8],
        mode: u16,
        make: &Make,
    ) -> Result<Entry, Denied> {
        self.check_growable()?;
        let name = entry_name(name)?;
        if self.resolve(parent, name.as_bytes())?.is_some() {
            return Err(FsError::Exists.into());
        }
        let now = Timestamp::now();
        let store = &self.engine.staging.store;
        let id = NodeId(store.new_id());
        self.engine.staging.change(|state, dirty| {
            check_open(state, parent)?;
            check_absent(state, parent, &name)?;
            let directory = state.node(parent).ok_or(FsError::Stale)?;
            let area = Arc::clone(&directory.area);
            // A set-group-ID directory passes its group on, and to directories the bit as well.
            let inherit = directory.mode & SETGID != 0;
            let gid = if inherit { directory.gid } else { caller.gid };
            let (body, mode) = match make {
                Make::File => {
                    let content = FileContent::new(store, &area, id, now);
                    (Body::File(Arc::new(content)), mode)
                }
                Make::Directory => {
                    let mode = if inherit { mode | SETGID } else { mode };
                    (Body::Directory(Directory::new(None)), mode)
                }
                Make::Symlink(target) => (Body::Symlink(target.clone()), mode),
                Make::Fifo => (Body::Fifo, mode),
                Make::Socket => (Body::Socket, mode),
                Make::CharDevice(rdev) => (Body::CharDevice(*rdev), mode),
                Make::BlockDevice(rdev) => (Body::BlockDevice(*rdev), mode),
            };
            let attributes =
                Attributes { mode, uid: caller.uid, gid, mtime: now, xattrs: Xattrs::new() };
            charge::reserve(&area, &body).map_err(|_| FsError::QuotaExceeded)?;
            state.insert(id, area, NewNode { body, attributes, ctime: now }, false);
            state.set_charged(id);
            state.link(dirty, id, parent, &name, now);
            let node = state.node(id).ok_or(FsError::Io)?;
            node.lookups.fetch_add(1, Ordering::SeqCst);
            Ok(staged_entry(node_attr(id, node)))
        })
    }

    /// Gives a file one more name.
    pub(crate) fn link(self: &Arc<Self>, ino: Ino, parent: Ino, name: &[u8], done: Done<Entry>) {
        let name = name.to_vec();
        self.run(done, move |fs| {
            fs.check_growable()?;
            let node = match Place::of(ino).ok_or(FsError::Stale)? {
                Place::Node(node) => node,
                _ => return Err(FsError::NotPermitted.into()),
            };
            let parent = fs.area_directory(parent)?;
            let name = entry_name(&name)?;
            fs.complete_links(node)?;
            if fs.resolve(parent, name.as_bytes())?.is_some() {
                return Err(FsError::Exists.into());
            }
            let now = Timestamp::now();
            fs.engine.staging.change(|state, dirty| {
                check_open(state, parent)?;
                let source = state.node(node).ok_or(FsError::Stale)?;
                let target = state.node(parent).ok_or(FsError::Stale)?;
                if source.area.id != target.area.id {
                    return Err(FsError::CrossArea.into());
                }
                if source.is_directory() {
                    return Err(FsError::NotPermitted.into());
                }
                if source.names.is_empty() {
                    return Err(FsError::NotFound.into());
                }
                if source.names.len() >= LINKS_MAX {
                    return Err(FsError::TooManyLinks.into());
                }
                check_absent(state, parent, &name)?;
                state.link(dirty, node, parent, &name, now);
                Ok::<(), Denied>(())
            })?;
            Ok(fs.node_entry(node)?)
        });
    }

    /// Removes the name of anything but a directory; among tags, the tag.
    pub(crate) fn unlink(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        done: Done<()>,
    ) {
        if let Some(Place::TagsOf(repo)) = Place::of(parent) {
            return self.remove_tag(caller, repo, name, done);
        }
        let name = name.to_vec();
        self.run(done, move |fs| fs.remove(parent, &name, false));
    }

    /// Removes an empty directory; in a repository an area, among repositories a repository.
    pub(crate) fn rmdir(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        done: Done<()>,
    ) {
        match Place::of(parent) {
            Some(Place::Staging) => return self.remove_repository(caller, name, done),
            Some(Place::Areas(repo)) => return self.remove_area(caller, repo, name, done),
            _ => {}
        }
        let name = name.to_vec();
        self.run(done, move |fs| fs.remove(parent, &name, true));
    }

    fn remove(&self, parent: Ino, name: &[u8], directory: bool) -> Result<(), Denied> {
        self.check_writable()?;
        let parent = self.area_directory(parent)?;
        let name = entry_name(name)?;
        let id = self.resolve(parent, name.as_bytes())?.ok_or(FsError::NotFound)?;
        self.complete_links(id)?;
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            check_open(state, parent)?;
            if state.child(parent, name.as_bytes()) != Some(Child::Node(id)) {
                return Err(FsError::NotFound.into());
            }
            let node = state.node(id).ok_or(FsError::NotFound)?;
            match (directory, node.is_directory()) {
                (true, false) => return Err(FsError::NotDirectory.into()),
                (false, true) => return Err(FsError::IsDirectory.into()),
                (true, true) => self.check_empty(state, id)?,
                (false, false) => {}
            }
            state.unlink(dirty, parent, &name, now);
            Ok(())
        })
    }

    /// Whether a directory shows no name. The base is read under the lock. It is in memory as a
    /// rule, and it is rare that a directory over a base is emptied.
    pub(super) fn check_empty(&self, state: &State, id: NodeId) -> Result<(), FsError> {
        let Some(directory) = state.node(id).and_then(|node| node.directory()) else {
            return Err(FsError::NotDirectory);
        };
        if directory.slots.values().any(|slot| matches!(slot, Slot::Node(_))) {
            return Err(FsError::NotEmpty);
        }
        if let Some(tree) = &directory.base {
            for entry in tree_format::entries(&*self.engine.trees, tree, 0) {
                let entry = entry.map_err(super::log_store)?;
                if directory.slots.get(entry.name.as_bytes()) != Some(&Slot::Whiteout) {
                    return Err(FsError::NotEmpty);
                }
            }
        }
        Ok(())
    }
}

/// Whether a name that was not found is still free. `InBase` counts as free: the base was asked.
pub(super) fn check_absent(state: &State, parent: NodeId, name: &EntryName) -> Result<(), Denied> {
    match state.child(parent, name.as_bytes()) {
        Some(Child::Node(_)) => Err(FsError::Exists.into()),
        Some(Child::Absent | Child::InBase(_)) => {
            // A directory that was removed while it is somebody's working directory.
            let gone = state
                .node(parent)
                .is_some_and(|node| node.names.is_empty() && node.area.id.0 != parent.0);
            if gone { Err(FsError::NotFound.into()) } else { Ok(()) }
        }
        None => Err(FsError::NotDirectory.into()),
    }
}

/// Permission bits of a mode.
pub(super) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or(0)
}
