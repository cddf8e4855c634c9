//! Reading and writing content.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::private_file::OpenFileSlot;
use super::{BUFFER_BYTES_MAX, BUFFERED_BYTES_MAX, Data, FileContent, FileState, PrefixNumber};
use crate::engine::pins::NamePin;
use crate::model::time::Timestamp;
use crate::store::catalog::NodeData;
use crate::store::error::StoreError;
use crate::store::layout::PrivateId;
use crate::sys;

impl FileContent {
    /// Reads at most `buffer.len()` bytes at `offset`; less only at the end of the file.
    ///
    /// # Errors
    /// When the store cannot read, or a blob is shorter than recorded.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let (data, size) = {
            let state = self.state.lock();
            (state.data.clone(), state.size)
        };
        let available = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(available);
        let buffer = &mut buffer[..length];
        match data {
            Data::Empty => buffer.fill(0),
            Data::Buffer(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let have = length.min(bytes.len() - start);
                buffer[..have].copy_from_slice(&bytes[start..start + have]);
                buffer[have..].fill(0);
            }
            Data::Private { id, file } => {
                let path = self.store.private_files.path(self.area.id, id);
                let read = read_at(&file, buffer, offset).map_err(|source| StoreError::Io {
                    action: "read",
                    path,
                    source,
                })?;
                // A concurrent truncate may have shortened it; the rest reads as it then was.
                return Ok(read);
            }
            Data::Blob(name) => {
                let blob = self.store.names.resolve(&name)?;
                self.store.pool.read_exact_at(&blob, buffer, offset)?;
            }
        }
        Ok(length)
    }

    /// Writes `bytes` at `offset`, extending the file as needed. Says for
    /// [`FileContent::hash_ahead`] which prefix they have prolonged, if any.
    ///
    /// # Errors
    /// When the store cannot hold them; the old content is untouched then.
    pub fn write(
        self: &Arc<Self>,
        offset: u64,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Option<PrefixNumber>, StoreError> {
        if bytes.is_empty() {
            // As with write(2): nothing happens, wherever it is.
            return Ok(None);
        }
        let mut state = self.state.lock();
        let end = offset.saturating_add(bytes.len() as u64);
        let size = end.max(state.size);
        self.charge_change(&mut state, size, |state| {
            self.write_locked(state, (offset, bytes), size, now)
        })
    }

    fn write_locked(
        self: &Arc<Self>,
        state: &mut FileState,
        (offset, bytes): (u64, &[u8]),
        size: u64,
        now: Timestamp,
    ) -> Result<Option<PrefixNumber>, StoreError> {
        self.make_writable(state, size, false)?;
        state.prefix.will_change(offset);
        match &mut state.data {
            Data::Buffer(buffer) => {
                let before = buffer.len();
                let buffer = Arc::make_mut(buffer);
                // A buffer is bounded by BUFFER_BYTES_MAX, so both fit.
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                if start == buffer.len() {
                    buffer.extend_from_slice(bytes);
                } else {
                    if buffer.len() < start + bytes.len() {
                        buffer.resize(start + bytes.len(), 0);
                    }
                    buffer[start..start + bytes.len()].copy_from_slice(bytes);
                }
                let grown = (buffer.len() - before) as u64;
                self.store.buffered_bytes.fetch_add(grown, Ordering::Relaxed);
            }
            Data::Private { id, file } => {
                if let Err(error) = self.store.pool.room().take(bytes.len() as u64) {
                    self.failed_half_way(state, now);
                    return Err(error);
                }
                if let Err(source) = file.write_all_at(bytes, offset) {
                    let path = self.private_path(*id);
                    self.failed_half_way(state, now);
                    return Err(StoreError::Io { action: "write", path, source });
                }
            }
            Data::Empty | Data::Blob(_) => unreachable!("made writable above"),
        }
        let prolonged = state.prefix.wrote(offset, bytes.len() as u64);
        state.size = size;
        self.modified(state, now);
        Ok(prolonged)
    }

    /// Sets the length.
    ///
    /// # Errors
    /// When the store cannot hold it; the old content is untouched then.
    pub fn truncate(self: &Arc<Self>, size: u64, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if size == state.size && matches!(state.data, Data::Blob(_)) {
            // A blob that keeps its length stays that blob, so there is nothing to seal or to charge.
            state.mtime = now;
            state.ctime = now;
            return Ok(());
        }
        self.charge_change(&mut state, size, |state| self.truncate_locked(state, size, now))
    }

    fn truncate_locked(
        self: &Arc<Self>,
        state: &mut FileState,
        size: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if size == 0 {
            state.prefix.restart();
            self.replace_data(state, Data::Empty);
        } else if size != state.size {
            self.make_writable(state, size, true)?;
            state.prefix.will_change(size);
            match &mut state.data {
                Data::Buffer(buffer) => {
                    let before = buffer.len() as u64;
                    let buffer = Arc::make_mut(buffer);
                    buffer.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
                    self.rebalance(before, size);
                }
                Data::Private { id, file } => {
                    if let Err(source) = file.set_len(size) {
                        let path = self.private_path(*id);
                        self.failed_half_way(state, now);
                        return Err(StoreError::Io { action: "truncate", path, source });
                    }
                }
                Data::Empty | Data::Blob(_) => unreachable!("made writable above"),
            }
        }
        state.size = size;
        self.modified(state, now);
        Ok(())
    }

    /// Allocates, punches or zeroes a range, with the mode bits of `fallocate(2)`.
    ///
    /// # Errors
    /// When the store cannot, including `EOPNOTSUPP` for a mode it does not know.
    pub fn fallocate(
        self: &Arc<Self>,
        mode: i32,
        offset: u64,
        length: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let size = fallocated_size(state.size, mode, offset, length);
        self.charge_change(&mut state, size, |state| {
            self.fallocate_locked(state, mode, (offset, length), now)
        })
    }

    fn fallocate_locked(
        self: &Arc<Self>,
        state: &mut FileState,
        mode: i32,
        (offset, length): (u64, u64),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Ranges are the file system's business: the private file does exactly what it can do.
        if mode & !KEEP_SIZE == 0 {
            self.store.pool.room().take(length)?;
        }
        self.make_private(state)?;
        if mode & !KEEP_SIZE != 0 {
            state.prefix.will_change(0);
        }
        if let Data::Private { id, file } = &state.data {
            // Some modes extend the file, some shorten it.
            let done = sys::fallocate(file, mode, offset, length);
            match done.and_then(|()| file.metadata()) {
                Ok(metadata) => state.size = metadata.len(),
                Err(source) => {
                    let path = self.private_path(*id);
                    self.failed_half_way(state, now);
                    return Err(StoreError::Io { action: "fallocate", path, source });
                }
            }
        }
        if state.size == 0 {
            // Reserved space is not kept; an empty file has no data (and so no blob).
            self.replace_data(state, Data::Empty);
        }
        self.modified(state, now);
        Ok(())
    }

    /// A step on the private file failed. What it may have added is cut off, because it would show as content
    /// when the file grows again. The file counts as changed nevertheless: it may just have been copied from
    /// a blob, and the hash so far may not be of this content any more.
    fn failed_half_way(self: &Arc<Self>, state: &mut FileState, now: Timestamp) {
        if let Data::Private { id, file } = &state.data
            && let Err(error) = file.set_len(state.size)
        {
            let path = self.private_path(*id);
            log::warn!("cannot cut {} back to {} bytes: {error}", path.display(), state.size);
        }
        if state.size == 0 {
            // An empty file has no data, and so no blob.
            self.replace_data(state, Data::Empty);
        }
        self.modified(state, now);
    }

    /// Finds data or a hole as `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE` does.
    /// `Ok(None)` is `ENXIO`.
    ///
    /// # Errors
    /// When the store cannot look.
    pub fn seek(&self, offset: u64, hole: bool) -> Result<Option<u64>, StoreError> {
        let (data, size) = {
            let state = self.state.lock();
            (state.data.clone(), state.size)
        };
        if offset >= size {
            return Ok(None);
        }
        let found = match data {
            Data::Empty | Data::Buffer(_) => return Ok(Some(if hole { size } else { offset })),
            Data::Private { file, .. } => sys::seek_hole_data(&file, offset, hole),
            Data::Blob(name) => {
                let blob = self.store.names.resolve(&name);
                let opened = blob.and_then(|blob| Ok((blob, self.store.pool.open(&blob)?)));
                let (blob, file) = match opened {
                    // Looking fetches nothing (L3): it is all data, as far as can be told.
                    Err(StoreError::AbsentContent(_)) => {
                        return Ok(Some(if hole { size } else { offset }));
                    }
                    opened => opened?,
                };
                sys::seek_hole_data(&file, offset, hole)
                    .inspect_err(|error| self.store.pool.read_failed(&blob, &file, error))
            }
        };
        found.map_err(|source| StoreError::Io {
            action: "seek in",
            path: self.node.to_string().into(),
            source,
        })
    }

    /// Replaces the whole content by that of `source`, sharing its blob. `false` when the source
    /// is not sealed or this file is not empty: the bytes must be copied then.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`]; [`StoreError::DamagedBlob`], as reading the source gives.
    pub fn share(
        self: &Arc<Self>,
        source: &FileContent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (name, size, pin) = {
            let state = source.state.lock();
            let Data::Blob(name) = state.data else { return Ok(false) };
            match self.store.names.resolve(&name) {
                Ok(blob) if self.store.pool.is_damaged(&blob) => {
                    return Err(StoreError::DamagedBlob(blob));
                }
                // The name alone is shared, and fetches nothing (L13).
                Ok(_) | Err(StoreError::AbsentContent(_)) => {}
                Err(error) => return Err(error),
            }
            (name, state.size, NamePin::new(&self.store.pins, name))
        };
        let mut state = self.state.lock();
        if !matches!(state.data, Data::Empty) {
            return Ok(false);
        }
        self.charge_change(&mut state, size, |state| {
            self.modified(state, now);
            state.prefix.restart();
            state.data = Data::Blob(name);
            state.size = size;
            self.mark_saved(state, NodeData::Blob(name), Some(pin));
            self.mark_sealed(state);
            Ok(true)
        })
    }

    /// Whether a change that may need a private file should wait: there is no place for one, but
    /// closed files of the area are being sealed, which makes some. To be asked without the lock.
    pub fn waits_for_place(&self) -> bool {
        self.store.slots.is_full_for(&self.area)
            && self.area.unsealed() > self.area.writers()
            && !matches!(self.state.lock().data, Data::Private { .. })
    }

    /// Makes `data` a buffer or a private file that can grow to `size` bytes. `cut` says that
    /// nothing at or beyond `size` is needed.
    fn make_writable(
        self: &Arc<Self>,
        state: &mut FileState,
        size: u64,
        cut: bool,
    ) -> Result<(), StoreError> {
        let buffered = self.store.buffered_bytes.load(Ordering::Relaxed);
        // What is accepted into memory must fit on the disk later, where nobody could be told.
        let small = size <= BUFFER_BYTES_MAX
            && buffered < BUFFERED_BYTES_MAX
            && self.store.pool.room().is_plenty_for(buffered);
        match &state.data {
            Data::Private { .. } => Ok(()),
            // One that grows when there is no room goes to disk, and so makes some.
            Data::Buffer(held) if small || size <= held.len() as u64 => Ok(()),
            Data::Empty if small => {
                state.data = Data::Buffer(Arc::new(Vec::new()));
                Ok(())
            }
            Data::Blob(name) if small => {
                let keep = if cut { size.min(state.size) } else { state.size };
                let mut bytes = vec![0; usize::try_from(keep).unwrap_or(usize::MAX)];
                let blob = self.store.names.resolve(name)?;
                self.store.pool.read_exact_at(&blob, &mut bytes, 0)?;
                self.store.buffered_bytes.fetch_add(keep, Ordering::Relaxed);
                state.data = Data::Buffer(Arc::new(bytes));
                Ok(())
            }
            Data::Empty | Data::Buffer(_) | Data::Blob(_) => self.make_private(state),
        }
    }

    /// Moves the content to a private file of its own.
    pub(super) fn make_private(self: &Arc<Self>, state: &mut FileState) -> Result<(), StoreError> {
        if matches!(state.data, Data::Private { .. }) {
            return Ok(());
        }
        let held = match &state.data {
            Data::Buffer(buffer) => buffer.len() as u64,
            Data::Blob(_) => state.size,
            Data::Empty | Data::Private { .. } => 0,
        };
        self.store.pool.room().take(held)?;
        let slot = OpenFileSlot::take(&self.store.slots, &self.area, false)?;
        let id = PrivateId(self.store.new_id());
        let file = self.store.private_files.create(self.area.id, id)?;
        let path = self.private_path(id);
        let failed = |source| StoreError::Io { action: "write", path: path.clone(), source };
        let filled = match &state.data {
            Data::Empty | Data::Private { .. } => Ok(()),
            Data::Buffer(buffer) => file.write_all_at(buffer, 0).map_err(failed),
            Data::Blob(name) => self.store.names.resolve(name).and_then(|blob| {
                let content = self.store.pool.open(&blob)?;
                sys::copy_range(&content, &file, state.size)
                    .inspect_err(|error| self.store.pool.read_failed(&blob, &content, error))
                    .map_err(failed)
            }),
        };
        if let Err(error) = filled {
            // At once, since the disk may be full; the name goes when the journal is written.
            if let Err(error) = file.set_len(0) {
                log::warn!("cannot empty {}: {error}", path.display());
            }
            self.store.obsolete.lock().push((Arc::clone(self), id));
            return Err(error);
        }
        let copied = matches!(state.data, Data::Blob(_));
        self.replace_data(state, Data::Private { id, file: slot.hold(file) });
        state.copied = copied;
        Ok(())
    }
}

/// Mode of `fallocate(2)` that changes no content.
const KEEP_SIZE: i32 = 0x01;

/// The most that a file of `size` bytes can have after `fallocate(2)`.
pub(super) fn fallocated_size(size: u64, mode: i32, offset: u64, length: u64) -> u64 {
    const COLLAPSE_RANGE: i32 = 0x08;
    const INSERT_RANGE: i32 = 0x20;
    if mode & INSERT_RANGE != 0 {
        size.saturating_add(length)
    } else if mode & (KEEP_SIZE | COLLAPSE_RANGE) != 0 {
        size
    } else {
        size.max(offset.saturating_add(length))
    }
}

/// Reads until `buffer` is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
