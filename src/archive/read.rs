//! Reads and hashes the files that the walk found.
//!
//! A file must not change while it is read: if size, time or identity differ afterwards, it is read
//! once more; if they differ again, it is a problem. Small files are held in memory, large ones
//! hashed as a stream and kept open. Holes are not read.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, SeekFrom, openat, readlinkat, seek};
use rustix::io::Errno;

use super::INLINE_FILE_BYTES_MAX;
use super::error::Problem;
use super::path::ArchivePath;
use super::payload::{Bytes, Filling};
use super::stat::{FileId, Stat};
use super::stat_cache::{Record, Remembered, StatCache};
use super::walk::{EntryHandle, Walked};
use super::xattr::{self, Subject};
use crate::model::hash::BlobHash;
use crate::model::import::ImportContent;
use crate::model::kind::FileKind;
use crate::model::raw::RawBytes;
use crate::model::tree::Attributes;
use crate::model::tree_format::{TreeError, check_attributes};
use crate::store::caller_path::own_path;

/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a hole that are hashed until it is looked whether to stop.
const ZEROS_MAX: u64 = 64 * 1024 * 1024;
/// How often a file is read that keeps changing.
pub(super) const ATTEMPTS: u32 = 2;

/// Reads a regular file by its path; it must be the file that is given, if one is.
pub(super) type ReadFile<'a> =
    dyn Fn(ArchivePath, Option<FileId>) -> Result<Prepared, Problem> + 'a;

/// An entry that has been read, ready for a batch.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Where it goes.
    pub(super) path: ArchivePath,
    /// Mode, owner, time, extended attributes.
    pub(super) attributes: Attributes,
    /// Content.
    pub(super) content: PreparedContent,
    /// Whether the file changed while it was read, and was read again.
    pub(super) reread: bool,
    /// Whether it has a POSIX ACL, which is not kept.
    pub(super) acl: bool,
    /// Whether it may have other names.
    pub(super) has_links: bool,
    /// What to remember of it.
    pub(super) record: Option<Record>,
}

/// Content of a [`Prepared`] entry.
#[derive(Debug)]
pub(super) enum PreparedContent {
    /// A regular file in memory.
    Small {
        /// Hash of `bytes`.
        hash: BlobHash,
        /// The whole content; may be empty.
        bytes: Bytes,
    },
    /// A regular file that stays on disk.
    Large {
        /// Hash of the content.
        hash: BlobHash,
        /// Length in bytes.
        size: u64,
        /// The file, open for reading.
        file: File,
        /// What the file looked like when it was hashed, where others can still change it.
        stable: Option<Stat>,
    },
    /// A regular file that was not read: it is as an earlier import read it.
    Remembered {
        /// Hash of the content.
        hash: BlobHash,
        /// Length in bytes.
        size: u64,
    },
    /// A large regular file whose content the store has taken by itself.
    Taken {
        /// Hash of the content.
        hash: BlobHash,
        /// Length in bytes.
        size: u64,
    },
    /// Everything that is no regular file.
    Other(ImportContent),
}

/// How to read.
#[derive(Clone, Copy)]
pub(super) struct FileReader<'a> {
    /// What is known of the files already.
    pub(super) stat_cache: Option<&'a StatCache>,
    /// Ends the reading of a large file.
    pub(super) stop: &'a AtomicBool,
    /// Called after each reading and before the check that the file is still the same; it does
    /// nothing but in tests.
    pub(super) between: &'a (dyn Fn(&ArchivePath) + Sync),
}

impl FileReader<'_> {
    /// Reads what `walked` names, unless its content is remembered; a small file goes `into` a
    /// buffer.
    pub(super) fn read(self, walked: Walked, into: &mut Filling) -> Result<Prepared, Problem> {
        let Walked { path, stat, handle } = walked;
        let result = match handle {
            EntryHandle::Hardlink(to) => Ok(other(
                stat,
                ImportContent::Hardlink { to: to.to_raw() },
                xattr::Found::default(),
            )),
            EntryHandle::Directory(directory) => xattr::read(Subject::Open(directory.as_fd()))
                .map(|found| other(stat, ImportContent::Directory, found))
                .map_err(Failure::from),
            EntryHandle::Name { parent, name } if stat.kind == FileKind::File => {
                // The file's other names become links of the file that the walk saw, so this must
                // be that file.
                let only = (stat.nlink > 1).then_some(stat.id);
                match self.stat_cache.and_then(|cache| cache.find(&stat)) {
                    Some(found) => self.take_remembered(stat, found, &parent, &name),
                    None => self.read_stable(&parent, &name, &path, only, into),
                }
            }
            EntryHandle::Name { parent, name } => read_special(&stat, &parent, &name),
        };
        finish(path, result, stat.nlink > 1)
    }

    /// Reads the regular file `path` below `top`, without asking the stat cache. It must be the file `only`, where that
    /// is given.
    pub(super) fn read_file(
        self,
        top: &OwnedFd,
        path: ArchivePath,
        only: Option<FileId>,
        into: &mut Filling,
    ) -> Result<Prepared, Problem> {
        let result = open_parent(top, &path)
            .map_err(Failure::from)
            .and_then(|(parent, name)| self.read_stable(&parent, &name, &path, only, into));
        finish(path, result, true)
    }

    fn take_remembered(
        self,
        stat: Stat,
        found: Remembered,
        parent: &OwnedFd,
        name: &CString,
    ) -> Result<Read, Failure> {
        let Remembered { hash, plain } = found;
        let xattrs =
            if plain { xattr::Found::default() } else { xattrs_of(&hold(parent, name, &stat)?.0)? };
        Ok(Read {
            attributes: stat.attributes(xattrs.kept),
            content: PreparedContent::Remembered { hash, size: stat.size },
            reread: false,
            acl: xattrs.acl,
            record: self.stat_cache.and_then(|cache| cache.record(&stat, hash, plain)),
        })
    }

    fn read_stable(
        self,
        parent: &OwnedFd,
        name: &CString,
        path: &ArchivePath,
        only: Option<FileId>,
        into: &mut Filling,
    ) -> Result<Read, Failure> {
        for attempt in 0..ATTEMPTS {
            if let Some(mut read) = self.read_once(parent, name, path, only, into)? {
                read.reread = attempt > 0;
                return Ok(read);
            }
        }
        Err(Failure::Changed)
    }

    /// Reads a file, which must be the file `only` where that is given; `None` when it changed
    /// meanwhile.
    fn read_once(
        self,
        parent: &OwnedFd,
        name: &CString,
        path: &ArchivePath,
        only: Option<FileId>,
        into: &mut Filling,
    ) -> Result<Option<Read>, Failure> {
        // NONBLOCK, since a named pipe may have taken this name since the walk, and opening it
        // would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(parent, name, flags, Mode::empty())?);
        let before = Stat::of(&file)?;
        if before.kind != FileKind::File {
            return Err(Failure::Replaced);
        }
        if only.is_some_and(|only| only != before.id) {
            return Err(Failure::OtherFile);
        }
        let found = xattr::read(Subject::Open(file.as_fd()))?;
        let small = before.size <= INLINE_FILE_BYTES_MAX;
        let (hash, bytes) = if small {
            let bytes = read_small(&file, before.size, into)?;
            (BlobHash::of(into.get(&bytes)), Some(bytes))
        } else {
            (hash_file(&file, &before, self.stop)?, None)
        };
        (self.between)(path);
        let whole =
            bytes.as_ref().is_none_or(|bytes| u64::try_from(bytes.len()).ok() == Some(before.size));
        if !whole || before.content_changed(&Stat::of(&file)?) {
            return Ok(None);
        }
        let content = match bytes {
            Some(bytes) => PreparedContent::Small { hash, bytes },
            None => PreparedContent::Large { hash, size: before.size, file, stable: Some(before) },
        };
        let plain = found.kept.is_empty() && !found.acl;
        let record = self.stat_cache.and_then(|cache| cache.record(&before, hash, plain));
        let attributes = before.attributes(found.kept);
        Ok(Some(Read { attributes, content, reread: false, acl: found.acl, record }))
    }
}

fn finish(
    path: ArchivePath,
    result: Result<Read, Failure>,
    has_links: bool,
) -> Result<Prepared, Problem> {
    let checked = result.and_then(|read| {
        check_attributes(&read.attributes)?;
        Ok(read)
    });
    match checked {
        Ok(Read { attributes, content, reread, acl, record }) => {
            Ok(Prepared { path, attributes, content, reread, acl, has_links, record })
        }
        Err(failure) => Err(Problem { path, reason: failure.to_string() }),
    }
}

/// Says that a file changed each time it was read.
pub(super) fn kept_changing(path: ArchivePath) -> Problem {
    Problem { path, reason: Failure::Changed.to_string() }
}

/// Opens the directory that holds `path`, following no symbolic link below `top`.
fn open_parent(top: &OwnedFd, path: &ArchivePath) -> Result<(OwnedFd, CString), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (parent, name) = path.split();
    let mut directory = openat(top, c".", flags, Mode::empty())?;
    for step in parent.split(|byte| *byte == b'/').filter(|step| !step.is_empty()) {
        directory = openat(&directory, step, flags, Mode::empty())?;
    }
    Ok((directory, CString::new(name).map_err(|_| Errno::INVAL)?))
}

/// A [`Prepared`] without its path.
struct Read {
    attributes: Attributes,
    content: PreparedContent,
    reread: bool,
    acl: bool,
    record: Option<Record>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read: {}", std::io::Error::from(*.0))]
    System(#[from] Errno),
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    #[error("its attributes cannot be kept: {}", .0.0)]
    Attributes(#[from] TreeError),
    #[error("reading it was stopped")]
    Stopped,
    #[error("it changed while it was read, twice; try again when nobody writes to it")]
    Changed,
    #[error("it was replaced by another kind of file while it was read")]
    Replaced,
    #[error(
        "it was replaced by another file while it was read; try again when nobody writes there"
    )]
    OtherFile,
}

fn other(stat: Stat, content: ImportContent, found: xattr::Found) -> Read {
    Read {
        attributes: stat.attributes(found.kept),
        content: PreparedContent::Other(content),
        reread: false,
        acl: found.acl,
        record: None,
    }
}

fn read_special(seen: &Stat, parent: &OwnedFd, name: &CString) -> Result<Read, Failure> {
    let (file, stat) = hold(parent, name, seen)?;
    let content = match stat.kind {
        FileKind::Symlink => {
            let target = readlinkat(&file, c"", Vec::new())?;
            ImportContent::Symlink { target: RawBytes::from(target.into_bytes()) }
        }
        FileKind::Fifo => ImportContent::Fifo,
        FileKind::Socket => ImportContent::Socket,
        FileKind::CharDevice => ImportContent::CharDevice { rdev: stat.rdev },
        FileKind::BlockDevice => ImportContent::BlockDevice { rdev: stat.rdev },
        FileKind::File | FileKind::Directory => return Err(Failure::Replaced),
    };
    let found = xattrs_of(&file)?;
    Ok(other(stat, content, found))
}

/// Takes hold of the file that the walk has seen, without the side effects of opening it, and looks at
/// it again: a new file may have got the number of the one that was seen.
fn hold(parent: &OwnedFd, name: &CString, seen: &Stat) -> Result<(OwnedFd, Stat), Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())?;
    let found = Stat::of(&file)?;
    if found.kind != seen.kind {
        return Err(Failure::Replaced);
    }
    if found.id != seen.id {
        return Err(Failure::OtherFile);
    }
    Ok((file, found))
}

/// Extended attributes of a file that is not opened for reading.
fn xattrs_of(file: &OwnedFd) -> Result<xattr::Found, Errno> {
    match CString::new(own_path(file)) {
        Ok(path) => xattr::read(Subject::Followed(&path)),
        Err(_) => Ok(xattr::Found::default()),
    }
}

/// Reads up to `size` bytes (at most [`INLINE_FILE_BYTES_MAX`]) from the start.
fn read_small(file: &File, size: u64, into: &mut Filling) -> Result<Bytes, Failure> {
    let size = usize::try_from(size.min(INLINE_FILE_BYTES_MAX)).unwrap_or(usize::MAX);
    into.add(size, |bytes| {
        let mut filled = 0;
        while filled < size {
            let offset = u64::try_from(filled).unwrap_or(u64::MAX);
            match file.read_at(&mut bytes[filled..], offset) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    })
}

fn check_stop(stop: &AtomicBool) -> Result<(), Failure> {
    if stop.load(Ordering::Relaxed) { Err(Failure::Stopped) } else { Ok(()) }
}

/// Hashes the first `stat.size` bytes of `file`; a shorter file gives the hash of what there is,
/// which the caller notices by the changed status.
fn hash_file(file: &File, stat: &Stat, stop: &AtomicBool) -> Result<BlobHash, Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    // Only a file with fewer blocks than bytes has holes worth asking for.
    let sparse = stat.allocated < stat.size;
    while offset < stat.size {
        let segment = match sparse {
            true => data_segment(file, offset, stat.size)?,
            false => offset..stat.size,
        };
        while offset < segment.start {
            check_stop(stop)?;
            let zeros = (segment.start - offset).min(ZEROS_MAX);
            hash_zeros(&mut hasher, zeros);
            offset += zeros;
        }
        while offset < segment.end {
            check_stop(stop)?;
            let want = usize::try_from(segment.end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            match file.read_at(&mut buffer[..want], offset) {
                Ok(0) => return Ok(hasher.finalize().into()),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    offset += u64::try_from(count).unwrap_or(0);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(hasher.finalize().into())
}

/// The next range of data at or after `offset`; empty at `end` when only a hole is left. Where
/// the file system does not know, everything is data.
pub(super) fn data_segment(
    file: &File,
    offset: u64,
    end: u64,
) -> Result<std::ops::Range<u64>, Errno> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start.min(end),
        Err(Errno::NXIO) => return Ok(end..end),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(offset..end),
        Err(error) => return Err(error),
    };
    if start == end {
        return Ok(end..end);
    }
    let hole = match seek(file, SeekFrom::Hole(start)) {
        Ok(hole) => hole.min(end),
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => end,
        Err(error) => return Err(error),
    };
    // A file that shrinks meanwhile must not stall the caller.
    Ok(start..hole.max(start + 1).min(end))
}

/// Feeds `count` zero bytes to `hasher`.
pub(super) fn hash_zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while count > 0 {
        let now = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..now]);
        count -= u64::try_from(now).unwrap_or(count);
    }
}
