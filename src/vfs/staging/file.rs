//! Open files: open, read, write, release, fsync, fallocate, lseek, copy_file_range.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::handles::{OpenFile, OpenMode, Opened};
use super::place::Place;
use super::places::Change;
use super::{Caller, Denied, Done, Handle, StagingFs, check_open, engine_error, log_store};
use crate::engine::Then;
use crate::engine::pins::NamePin;
use crate::engine::staging::content::{FileContent, PrefixNumber};
use crate::engine::staging::state::State;
use crate::model::id::{Ino, NodeId};
use crate::model::time::Timestamp;
use crate::vfs::error::FsError;

/// Bytes that one `copy_file_range` request copies at most; the caller asks again for the rest.
const COPY_BYTES_MAX: u64 = 8 << 20;

/// Bytes per step of a copy.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Mode of `fallocate(2)` that makes the file longer by the range.
const INSERT_RANGE: i32 = 0x20;

/// The mode bits that make a program run as its owner or group.
pub(super) const SETUID: u16 = 0o4000;
pub(super) const SETGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;

/// The attribute that gives a program capabilities.
const CAPABILITY: &[u8] = b"security.capability";

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The bytes are written. If they continue the part of a large file that has been hashed already,
    /// the number of that part, which [`StagingFs::hash_ahead`] wants.
    Done(Option<PrefixNumber>),
    /// Nothing was written: the file needs a place among the private files, for which
    /// [`StagingFs::wait_for_place`] waits.
    Crowded(Arc<FileContent>),
}

impl StagingFs {
    /// Opens a regular file.
    pub(crate) fn open(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        mode: OpenMode,
        done: Done<Opened>,
    ) {
        self.run(done, move |fs| {
            let Some(Place::Node(node)) = Place::of(ino) else {
                return Err(FsError::NotPermitted.into());
            };
            let opened = fs.open_node(node, mode)?;
            if mode.truncate {
                fs.changed_by(caller, node);
            }
            Ok(opened)
        });
    }

    pub(super) fn open_node(&self, id: NodeId, mode: OpenMode) -> Result<Opened, Denied> {
        let OpenMode { writable, truncate, exclusive: _, synchronous, may_skip_cache } = mode;
        // `O_RDONLY | O_TRUNC` changes the file as well, so it counts as a writer meanwhile.
        let changes = writable || truncate;
        if changes {
            self.check_writable()?;
            self.complete_links(id)?;
        }
        let (content, only_writer, pin) = {
            // Under this lock a commit either sees the writer or is seen by it (H13).
            let state = self.engine.staging.read();
            let node = state.node(id).ok_or(FsError::Stale)?;
            let content = Arc::clone(node.content().ok_or(FsError::Invalid)?);
            if changes {
                check_open(&state, id)?;
            }
            // Pinned before it is looked up, so that it is not reclaimed in between.
            let pin = match content.blob() {
                Ok(Some(name)) => Some(NamePin::new(&self.engine.pins, name)),
                Ok(None) | Err(()) => None,
            };
            if writable && !truncate {
                content.check_present().map_err(log_store)?;
            }
            let only_writer = changes && content.open_writer();
            node.opens.fetch_add(1, Ordering::SeqCst);
            (content, only_writer, pin)
        };
        // An empty file too: truncating sets its time.
        if truncate {
            if let Err(error) = content.truncate(0, Timestamp::now()) {
                self.close(id, &content, true);
                return Err(log_store(error).into());
            }
            self.engine.staging.content_modified(&content);
            if !writable {
                self.close_writer(&content);
            }
        }
        let around_cache = may_skip_cache && only_writer;
        let file = OpenFile { node: id, content, writable, synchronous, around_cache, _pin: pin };
        Ok(Opened { handle: self.handles.add_file(file), around_cache })
    }

    fn close(&self, id: NodeId, content: &Arc<FileContent>, writable: bool) {
        if writable {
            self.close_writer(content);
        }
        let unused = {
            let state = self.engine.staging.read();
            let Some(node) = state.node(id) else { return };
            node.opens.fetch_sub(1, Ordering::SeqCst) == 1
                && node.lookups.load(Ordering::SeqCst) == 0
        };
        if unused {
            self.engine.staging.change(|state, dirty| state.drop_if_unused(dirty, id));
        }
    }

    fn close_writer(&self, content: &Arc<FileContent>) {
        let after = content.close_writer();
        self.engine.staging.after_close(content, after);
        // A commit may be waiting for this writer.
        self.engine.staging.wake();
    }

    /// Closes a file: the last close, mappings included.
    pub(crate) fn release(&self, handle: Handle) {
        if let Ok(file) = self.handles.remove_file(handle) {
            self.close(file.node, &file.content, file.writable);
        }
    }

    /// Reads into `buffer`; less than its length only at the end of the file.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub(crate) fn read(
        &self,
        handle: Handle,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, FsError> {
        let file = self.handles.file(handle)?;
        let read = file.content.read(offset, buffer).map_err(log_store)?;
        if let Ok(Some(name)) = file.content.blob() {
            self.engine.note_use_of(&name);
        }
        Ok(read)
    }

    /// Writes, which takes capabilities away. `kill_privileges` takes set-user-ID and set-group-ID
    /// too, as the kernel asks.
    ///
    /// # Errors
    /// When the store cannot hold the bytes; the old content is untouched then.
    pub(crate) fn write(
        &self,
        caller: Caller,
        handle: Handle,
        offset: u64,
        bytes: &[u8],
        kill_privileges: bool,
    ) -> Result<Written, FsError> {
        self.check_growable()?;
        let file = self.handles.file(handle)?;
        if !file.writable {
            return Err(FsError::BadHandle);
        }
        self.check_length(&file.content, offset.saturating_add(bytes.len() as u64))?;
        if file.content.waits_for_place() {
            return Ok(Written::Crowded(Arc::clone(&file.content)));
        }
        let written = file.content.write(offset, bytes, Timestamp::now());
        // Part of one that failed may be there.
        self.engine.staging.content_modified(&file.content);
        let prolonged = written.map_err(log_store)?;
        // After a write around its cache, the kernel leaves it to us to remove capabilities,
        // whoever writes.
        self.take_privileges(caller, file.node, kill_privileges);
        Ok(Written::Done(prolonged))
    }

    /// Runs a change of `content`, which holds `bytes`, once there may be a place for it among the
    /// private files, or at `due`, which [`super::wait_end`] gives.
    pub(crate) fn wait_for_place(
        &self,
        content: Arc<FileContent>,
        due: Instant,
        bytes: u64,
        change: Change,
    ) {
        self.places.wait(content, due, bytes, change);
    }

    /// Hashes what [`StagingFs::write`] wrote, after the writer got its answer. Nothing depends on
    /// it.
    pub(crate) fn hash_ahead(
        &self,
        handle: Handle,
        written: PrefixNumber,
        offset: u64,
        bytes: &[u8],
    ) {
        if let Ok(file) = self.handles.file(handle) {
            file.content.hash_ahead(written, offset, bytes);
        }
    }

    /// Makes content and name durable.
    pub(crate) fn fsync(&self, handle: Handle, done: Done<()>) {
        match self.handles.file(handle) {
            Ok(file) => {
                let then = Then::new(move |result| {
                    done(result.map_err(engine_error));
                });
                self.engine.sync_file(Arc::clone(&file.content), then);
            }
            Err(error) => done(Err(error)),
        }
    }

    /// Whether the answer to a synchronous write (`O_DSYNC`, `RWF_DSYNC`) must wait for
    /// [`StagingFs::fsync`]. After one through the page cache the kernel sends an FSYNC by itself,
    /// after one around it nothing.
    pub(crate) fn syncs_writes(&self, handle: Handle) -> bool {
        self.handles.file(handle).is_ok_and(|file| file.around_cache)
    }

    /// Has the answer to a change through a synchronous handle wait until the change is durable.
    /// For all changes but writes, after which the kernel never sends an FSYNC by itself.
    pub(crate) fn when_durable<T: Send + 'static>(
        self: &Arc<Self>,
        handle: Handle,
        done: Done<T>,
    ) -> Done<T> {
        if !self.handles.file(handle).is_ok_and(|file| file.synchronous) {
            return done;
        }
        let fs = Arc::clone(self);
        Box::new(move |result| match result {
            Ok(value) => fs.fsync(handle, Box::new(move |synced| done(synced.map(|()| value)))),
            Err(error) => done(Err(error)),
        })
    }

    /// Makes the names in a directory durable.
    pub(crate) fn fsyncdir(&self, ino: Ino, done: Done<()>) {
        let then = Then::new(move |result| done(result.map_err(engine_error)));
        match Place::of(ino) {
            Some(Place::Node(node)) => self.engine.sync_directory(node, then),
            _ => self.engine.sync_journal(then),
        }
    }

    /// Allocates, punches or zeroes a range.
    pub(crate) fn fallocate(
        self: &Arc<Self>,
        caller: Caller,
        handle: Handle,
        mode: i32,
        range: Range<u64>,
        done: Done<()>,
    ) {
        self.run(done, move |fs| fs.allocate(caller, handle, mode, &range));
    }

    fn allocate(
        &self,
        caller: Caller,
        handle: Handle,
        mode: i32,
        range: &Range<u64>,
    ) -> Result<(), Denied> {
        let (offset, length) = (range.start, range.end - range.start);
        self.check_growable()?;
        let file = self.handles.file(handle)?;
        if !file.writable {
            return Err(FsError::BadHandle.into());
        }
        if file.content.waits_for_place() {
            return Err(Denied::Crowded(Arc::clone(&file.content)));
        }
        // Inserting a range moves what is behind it.
        let from = if mode & INSERT_RANGE == 0 { offset } else { file.content.attr().size };
        self.check_length(&file.content, from.saturating_add(length))?;
        let changed = file.content.fallocate(mode, offset, length, Timestamp::now());
        self.engine.staging.content_modified(&file.content);
        changed.map_err(log_store)?;
        self.changed_by(caller, file.node);
        Ok(())
    }

    /// Finds data or a hole.
    ///
    /// # Errors
    /// `NoSuchOffset` beyond the end.
    pub(crate) fn lseek(&self, handle: Handle, offset: u64, hole: bool) -> Result<u64, FsError> {
        let file = self.handles.file(handle)?;
        file.content.seek(offset, hole).map_err(log_store)?.ok_or(FsError::NoSuchOffset)
    }

    /// Copies between files; a whole sealed file into an empty one shares its blob (N14).
    /// Answers with the number of bytes copied, which may be less than asked for.
    pub(crate) fn copy_file_range(
        self: &Arc<Self>,
        caller: Caller,
        from: (Handle, u64),
        to: (Handle, u64),
        length: u64,
        done: Done<u64>,
    ) {
        self.run(done, move |fs| fs.copy(caller, from, to, length));
    }

    fn copy(
        &self,
        caller: Caller,
        from: (Handle, u64),
        to: (Handle, u64),
        length: u64,
    ) -> Result<u64, Denied> {
        self.check_growable()?;
        let (source, target) = (self.handles.file(from.0)?, self.handles.file(to.0)?);
        if !target.writable {
            return Err(FsError::BadHandle.into());
        }
        let size = source.content.attr().size;
        let whole = from.1 == 0 && to.1 == 0 && length >= size && size > 0;
        let now = Timestamp::now();
        if whole {
            self.check_length(&target.content, size)?;
        }
        if whole
            && source.node != target.node
            && target.content.share(&source.content, now).map_err(log_store)?
        {
            self.changed_by(caller, target.node);
            self.engine.staging.content_modified(&target.content);
            return Ok(size);
        }
        if target.content.waits_for_place() {
            return Err(Denied::Crowded(Arc::clone(&target.content)));
        }
        let end = size.saturating_sub(from.1).min(length).min(COPY_BYTES_MAX);
        self.check_length(&target.content, to.1.saturating_add(end))?;
        let mut chunk = vec![0; COPY_CHUNK_BYTES];
        let mut done = 0;
        while done < end {
            let want = usize::try_from(end - done).unwrap_or(usize::MAX).min(chunk.len());
            let read = source.content.read(from.1 + done, &mut chunk[..want]).map_err(log_store)?;
            if read == 0 {
                break;
            }
            let written = target.content.write(to.1 + done, &chunk[..read], now);
            match written {
                Ok(_) => done += read as u64,
                Err(_) if done > 0 => break,
                Err(error) => {
                    self.engine.staging.content_modified(&target.content);
                    return Err(log_store(error).into());
                }
            }
        }
        self.changed_by(caller, target.node);
        self.engine.staging.content_modified(&target.content);
        Ok(done)
    }

    /// Whether a file may become so long (H9). One that is longer already may still be changed or
    /// truncated.
    pub(super) fn check_length(&self, content: &FileContent, length: u64) -> Result<(), FsError> {
        let longest = self.options.file_bytes_max.load(Ordering::Relaxed);
        let grows_too_much = length > longest && length > content.attr().size;
        if grows_too_much { Err(FsError::TooLarge) } else { Ok(()) }
    }

    /// Takes away what a file must not keep once `caller` has changed its content. The kernel
    /// leaves that to us (`HANDLE_KILLPRIV_V2`), and only for a write does it say whether the
    /// set-ID bits must go. For other changes they go unless the caller is the superuser.
    pub(super) fn changed_by(&self, caller: Caller, id: NodeId) {
        self.take_privileges(caller, id, caller.uid != 0);
    }

    fn take_privileges(&self, caller: Caller, id: NodeId, set_id_too: bool) {
        let privileged = {
            let state = self.engine.staging.read();
            state.node(id).is_some_and(|node| {
                let set_id = set_id_too && node.mode & (SETUID | SETGID) != 0;
                set_id || node.xattrs.contains_key(CAPABILITY)
            })
        };
        if privileged {
            self.engine.staging.change(|state, dirty| {
                if set_id_too {
                    drop_privileges(state, id, caller);
                } else {
                    drop_capability(state, id);
                }
                state.mark_changed(dirty, id);
            });
        }
    }
}

/// Takes away set-user-ID, set-group-ID and capabilities. Where set-group-ID does not mean
/// execution, those of the file's group may keep it; other groups of the caller are unknown here.
pub(super) fn drop_privileges(state: &mut State, id: NodeId, caller: Caller) {
    drop_capability(state, id);
    if let Some(node) = state.node_mut(id) {
        node.mode &= !SETUID;
        let trusted = caller.uid == 0 || caller.gid == node.gid;
        if node.mode & GROUP_EXECUTE != 0 || !trusted {
            node.mode &= !SETGID;
        }
    }
}

fn drop_capability(state: &mut State, id: NodeId) {
    if let Some(node) = state.node_mut(id) {
        node.xattrs.remove(CAPABILITY);
    }
}
