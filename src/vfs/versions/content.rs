//! `read` and `lseek`: positioned access to blob files.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use crate::engine::fetcher::OnFetched;
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::id::Ino;
use crate::model::kind::FileKind;
use crate::model::text::count;
use crate::model::tree_format::TreeSource;
use crate::vfs::error::FsError;

use super::number::Class;
use super::{Blobs, VersionFs, class};

/// Reads of this length and more are the kernel's read-ahead of a file that is read in sequence.
const LARGE_READ_BYTES_MIN: usize = 256 << 10;

/// Bytes that the disk is asked to read ahead. The read-ahead of its filesystem is often 128 KiB,
/// and several workers that read one file do not look like a sequential reader to it.
const READ_AHEAD_BYTES: u64 = 4 << 20;

/// Bytes that are asked for at a time: one call reads no more than the device takes at once.
const READ_AHEAD_STEP: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();

/// What to search from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek {
    /// `SEEK_DATA`
    Data,
    /// `SEEK_HOLE`
    Hole,
}

impl<T, B> VersionFs<T, B>
where
    T: TreeSource,
    T::Error: Display,
    B: Blobs,
{
    /// Fills `buffer` from `offset` on and returns how many bytes it got: fewer only at the end
    /// of the file.
    ///
    /// # Errors
    /// [`FsError::Io`] when the blob is missing, unreadable or shorter than it should be; the
    /// reason is logged.
    pub(crate) fn read(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        let (size, name) = self.content(ino)?;
        let Some(name) = name else {
            return Ok(0);
        };
        let rest = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(rest);
        if length == 0 {
            return Ok(0);
        }
        if offset == 0 {
            self.prefetch.note_read(ino);
        }
        let (blob, file) = match self.open(&name) {
            Err(FsError::Absent(name))
                if self.blobs.read_part(&name, offset, &mut buffer[..length]) =>
            {
                return Ok(length);
            }
            opened => opened?,
        };
        self.blobs.note_use(&name, &blob);
        if let ContentName::Sha256(_) = name
            && file.metadata().is_ok_and(|blob| blob.len() != size)
        {
            return Err(self.failed(&blob, &file, size, &io::ErrorKind::UnexpectedEof.into()));
        }
        let end = offset + length as u64;
        if length >= LARGE_READ_BYTES_MIN && end < size {
            read_ahead(&file, end);
        }
        file.read_exact_at(&mut buffer[..length], offset)
            .map_err(|error| self.failed(&blob, &file, size, &error))?;
        Ok(length)
    }

    /// As [`VersionFs::read`], of a file whose content is `bytes` and not stored.
    ///
    /// # Errors
    /// [`FsError::Io`] when the file is declared to have another length.
    pub(crate) fn read_of(
        &self,
        ino: Ino,
        bytes: &[u8],
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, FsError> {
        let (size, _) = self.content(ino)?;
        if size != bytes.len() as u64 {
            return Err(FsError::Io);
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    /// Has a content fetched that a read found absent, or at least the part of it that was to be read, and then calls back.
    pub(crate) fn fetch(&self, name: ContentName, part: Range<u64>, then: OnFetched) {
        self.blobs.fetch(name, part, then);
    }

    /// Finds the next data or hole at or after `offset`.
    ///
    /// # Errors
    /// [`FsError::NoSuchOffset`] beyond the end, or when no data follows.
    pub(crate) fn lseek(&self, ino: Ino, offset: u64, whence: Seek) -> Result<u64, FsError> {
        let (size, name) = self.content(ino)?;
        let Some(name) = name.filter(|_| offset < size) else {
            return Err(FsError::NoSuchOffset);
        };
        let from = match whence {
            Seek::Data => SeekFrom::Data(offset),
            Seek::Hole => SeekFrom::Hole(offset),
        };
        // All readers share the file's position, but none of them uses it.
        let (blob, file) = match self.open(&name) {
            // Looking fetches nothing (L3): it is all data, as far as can be told.
            Err(FsError::Absent(_)) if whence == Seek::Hole => return Ok(size),
            Err(FsError::Absent(_)) => return Ok(offset),
            opened => opened?,
        };
        let found = match rustix::fs::seek(&*file, from) {
            Ok(found) => found,
            Err(Errno::NXIO) => return Err(FsError::NoSuchOffset),
            Err(error) => return Err(self.failed(&blob, &file, size, &error.into())),
        };
        match whence {
            Seek::Data if found >= size => Err(FsError::NoSuchOffset),
            Seek::Data | Seek::Hole => Ok(found.min(size)),
        }
    }

    /// Size and content of a regular file.
    fn content(&self, ino: Ino) -> Result<(u64, Option<ContentName>), FsError> {
        match class(ino)? {
            Class::File => self.file(ino, |inode| match inode.kind() {
                FileKind::File => Ok((inode.size(), inode.blob())),
                FileKind::Directory
                | FileKind::Symlink
                | FileKind::Fifo
                | FileKind::Socket
                | FileKind::CharDevice
                | FileKind::BlockDevice => Err(FsError::Invalid),
            })?,
            Class::Root | Class::Repository(_) | Class::Directory => Err(FsError::IsDirectory),
        }
    }

    fn open(&self, name: &ContentName) -> Result<(BlobHash, Arc<File>), FsError> {
        let opened = self.blobs.resolve(name).and_then(|blob| Ok((blob, self.blobs.open(&blob)?)));
        opened.map_err(|error| {
            if let Some(name) = B::absent(name, &error) {
                return FsError::Absent(name);
            }
            // At debug only: every reader of a damaged blob gets here, and the metadata thread has logged the damage once,
            // when it marked the blob.
            log::debug!("content {name}: {error}");
            FsError::Io
        })
    }

    fn failed(&self, blob: &BlobHash, file: &Arc<File>, size: u64, error: &io::Error) -> FsError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            log::error!(
                "blob {blob} is not as long as its file is declared to be: {}",
                count(size, "byte")
            );
        } else {
            log::error!("blob {blob}: {error}");
        }
        self.blobs.read_failed(blob, file, error);
        FsError::Io
    }
}

/// Has the disk read what probably comes next; does not wait for it.
fn read_ahead(file: &File, offset: u64) {
    let end = offset.saturating_add(READ_AHEAD_BYTES);
    let mut next = offset;
    while next < end {
        if let Err(error) = rustix::fs::fadvise(file, next, Some(READ_AHEAD_STEP), Advice::WillNeed)
        {
            return log::debug!("read-ahead: {error}");
        }
        next += READ_AHEAD_STEP.get();
    }
}
