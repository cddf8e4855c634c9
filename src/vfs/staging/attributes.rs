//! Changing attributes.

use std::sync::Arc;

use super::file::drop_privileges;
use super::place::Place;
use super::{
    Caller, Denied, Done, Handle, Keep, StagingFs, check_open, keep_attr, log_store, node_attr,
};
use crate::model::id::{Ino, NodeId};
use crate::model::time::Timestamp;
use crate::vfs::attr::Attr;
use crate::vfs::error::FsError;

/// What to change; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SetAttr {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Timestamp>,
    /// Last modification.
    pub mtime: Option<Timestamp>,
}

impl StagingFs {
    /// Changes attributes.
    pub(crate) fn setattr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
        change: SetAttr,
        done: Done<(Attr, Keep)>,
    ) {
        match Place::of(ino) {
            Some(Place::Areas(repo) | Place::TagsOf(repo)) => {
                self.change_repository(repo, ino, change, done);
            }
            Some(Place::Node(id)) => {
                let done = match handle {
                    Some(handle) if change.size.is_some() => self.when_durable(handle, done),
                    _ => done,
                };
                self.run_locked(done, move |fs| {
                    let attr = fs.set_node(caller, id, handle, change)?;
                    Ok((fs.with_blocks(attr), keep_attr(&attr)))
                });
            }
            // `ln -s` and `cp -a` set times of links. They succeed, but the time of a tag is when
            // it was set.
            Some(Place::Tag(_)) if change.size.is_none() => done(self.getattr(ino)),
            Some(_) => done(Err(FsError::NotPermitted)),
            None => done(Err(FsError::Stale)),
        }
    }

    fn set_node(
        &self,
        caller: Caller,
        id: NodeId,
        handle: Option<Handle>,
        change: SetAttr,
    ) -> Result<Attr, Denied> {
        self.check_writable()?;
        self.complete_links(id)?;
        if let Some(size) = change.size {
            self.truncate(caller, id, handle, size)?;
        }
        let now = Timestamp::now();
        self.engine.staging.change(|state, dirty| {
            check_open(state, id)?;
            let node = state.node_mut(id).ok_or(FsError::Stale)?;
            let owner = change.uid.is_some() || change.gid.is_some();
            let directory = node.is_directory();
            if let Some(uid) = change.uid {
                node.uid = uid;
            }
            if let Some(gid) = change.gid {
                node.gid = gid;
            }
            if let Some(mode) = change.mode {
                node.mode = mode;
            }
            if let Some(atime) = change.atime {
                node.atime = atime;
            }
            match node.content() {
                Some(content) => content.set_times(change.mtime, now),
                None => {
                    node.mtime = change.mtime.unwrap_or(node.mtime);
                    node.ctime = now;
                }
            }
            if owner && !directory && change.mode.is_none() {
                drop_privileges(state, id, caller);
            }
            state.mark_changed(dirty, id);
            let node = state.node(id).ok_or(FsError::Stale)?;
            Ok(node_attr(id, node))
        })
    }

    fn truncate(
        &self,
        caller: Caller,
        id: NodeId,
        handle: Option<Handle>,
        size: u64,
    ) -> Result<(), Denied> {
        if let Some(handle) = handle
            && !self.handles.file(handle)?.writable
        {
            return Err(FsError::Invalid.into());
        }
        let content = {
            // The truncation counts as a writer meanwhile: either a commit sees it, or it sees the
            // commit (H13).
            let state = self.engine.staging.read();
            check_open(&state, id)?;
            let node = state.node(id).ok_or(FsError::Stale)?;
            let content = Arc::clone(node.content().ok_or(FsError::Invalid)?);
            if size > 0 && content.waits_for_place() {
                return Err(Denied::Crowded(content));
            }
            content.open_writer();
            content
        };
        let allowed = self.check_length(&content, size);
        let grown = if size > content.attr().size { self.check_growable() } else { Ok(()) };
        let truncated = allowed
            .and(grown)
            .and_then(|()| content.truncate(size, Timestamp::now()).map_err(log_store));
        self.engine.staging.content_modified(&content);
        let after = content.close_writer();
        self.engine.staging.after_close(&content, after);
        truncated?;
        self.changed_by(caller, id);
        Ok(())
    }
}
