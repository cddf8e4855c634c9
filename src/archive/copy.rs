//! Copies a blob's content into a new file: shared blocks where the file system can, holes kept.

use crate::model::text::count;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{copy_file_range, ftruncate, ioctl_ficlone};
use rustix::io::Errno;

use super::read::data_segment;
use super::stat::Stat;

/// Bytes moved at a time where the kernel cannot copy by itself.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that one `copy_file_range` is asked for.
const RANGE_BYTES: usize = 64 * 1024 * 1024;

/// Whether blocks must be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Shares blocks where the file system can; otherwise copies bytes.
    WherePossible,
    /// Or the copy fails.
    Required,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("the store's content has {}, the version says {expected}", count(*found, "byte"))]
    WrongSize { expected: u64, found: u64 },
    #[error("the destination cannot share blocks with the store ({}); both must be on one file system that can, such as btrfs or xfs, or leave out --link reflink", std::io::Error::from(*.0))]
    CannotShare(Errno),
    #[error("{}", std::io::Error::from(*.0))]
    System(#[from] Errno),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Copies blobs to one destination and remembers what its file system cannot do.
#[derive(Debug)]
pub(super) struct Copier {
    sharing: Sharing,
    can_clone: AtomicBool,
    can_copy_range: AtomicBool,
}

impl Copier {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self { sharing, can_clone: AtomicBool::new(true), can_copy_range: AtomicBool::new(true) }
    }

    /// Fills the empty file `to` with the `size` bytes of `blob`.
    pub(super) fn copy(&self, blob: &File, to: &File, size: u64) -> Result<(), CopyError> {
        let stat = Stat::of(blob)?;
        if stat.size != size {
            return Err(CopyError::WrongSize { expected: size, found: stat.size });
        }
        if self.try_clone(blob, to)? {
            return Ok(());
        }
        let mut end = 0;
        let mut buffer = Vec::new();
        while end < size {
            let segment = match stat.allocated < size {
                true => data_segment(blob, end, size)?,
                false => end..size,
            };
            end = segment.end;
            self.copy_range(blob, to, segment, &mut buffer)?;
        }
        if stat.allocated < size {
            // A hole at the end is no write.
            ftruncate(to, size)?;
        }
        Ok(())
    }

    fn try_clone(&self, blob: &File, to: &File) -> Result<bool, CopyError> {
        if !self.can_clone.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match ioctl_ficlone(to, blob) {
            Ok(()) => Ok(true),
            Err(error) if self.sharing == Sharing::Required => Err(CopyError::CannotShare(error)),
            // Errors such as ENOSPC are left to the copy, which meets them as well.
            Err(_) => {
                self.can_clone.store(false, Ordering::Relaxed);
                Ok(false)
            }
        }
    }

    fn copy_range(
        &self,
        blob: &File,
        to: &File,
        range: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CopyError> {
        let std::ops::Range { mut start, end } = range;
        // For a small file, two calls with a buffer are faster than the kernel's splice.
        let by_kernel = end - start > u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
        while by_kernel && start < end && self.can_copy_range.load(Ordering::Relaxed) {
            let want = usize::try_from(end - start).unwrap_or(usize::MAX).min(RANGE_BYTES);
            let (mut from_offset, mut to_offset) = (start, start);
            match copy_file_range(blob, Some(&mut from_offset), to, Some(&mut to_offset), want) {
                Ok(0) => return Err(short()),
                Ok(_) => start = from_offset,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                    self.can_copy_range.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        while start < end {
            let want = usize::try_from(end - start).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            if buffer.len() < want {
                buffer.resize(want, 0);
            }
            match blob.read_at(&mut buffer[..want], start) {
                Ok(0) => return Err(short()),
                Ok(count) => {
                    to.write_all_at(&buffer[..count], start)?;
                    start += u64::try_from(count).unwrap_or(end);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn short() -> CopyError {
    CopyError::Io(std::io::ErrorKind::UnexpectedEof.into())
}
