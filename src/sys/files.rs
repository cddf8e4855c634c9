//! Open files: room, holes, copies, names, the page cache.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

/// Bytes moved at once where the kernel cannot copy by itself.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// The flag of `open(2)`; rustix gives `O_SYNC` for it.
pub const O_DSYNC: i32 = libc::O_DSYNC;

/// Space and inodes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsSpace {
    /// Bytes per block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks that users other than root may take.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

impl FsSpace {
    /// Bytes that users other than root may still take.
    pub fn available_bytes(&self) -> u64 {
        self.blocks_available.saturating_mul(self.block_size)
    }
}

/// Asks how full the file system of `path` is.
///
/// # Errors
/// The system call's.
pub fn statvfs(path: &Path) -> io::Result<FsSpace> {
    let found = rustix::fs::statvfs(path)?;
    Ok(FsSpace {
        block_size: found.f_frsize,
        blocks: found.f_blocks,
        blocks_free: found.f_bfree,
        blocks_available: found.f_bavail,
        files: found.f_files,
        files_free: found.f_ffree,
    })
}

/// Finds the next hole (`hole`) or the next data at or after `offset`; `None` when there is none
/// before the end. Moves the descriptor's position, which nothing in the store uses.
///
/// # Errors
/// The system call's.
pub fn seek_hole_data(file: &File, offset: u64, hole: bool) -> io::Result<Option<u64>> {
    let from = if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
    match rustix::fs::seek(file, from) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Allocates, punches or zeroes a range, with the mode bits of `fallocate(2)`.
///
/// # Errors
/// The system call's, including `EOPNOTSUPP` for modes the file system lacks.
pub fn fallocate(file: &File, mode: i32, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}

/// Makes `target` (empty before) the first `length` bytes of `source`: shares extents where the
/// file system can, else copies data and leaves holes.
///
/// # Errors
/// The disk's; `UnexpectedEof` when the source is shorter.
pub fn copy_range(source: &File, target: &File, length: u64) -> io::Result<()> {
    let source_bytes = source.metadata()?.len();
    if source_bytes < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if length == 0 {
        return Ok(());
    }
    if share_blocks(source, target) {
        return if source_bytes == length { Ok(()) } else { target.set_len(length) };
    }
    target.set_len(length)?;
    let mut offset = 0;
    while offset < length {
        let Some(data) = seek_hole_data(source, offset, false)?.filter(|data| *data < length)
        else {
            break;
        };
        let end = seek_hole_data(source, data, true)?.unwrap_or(length).min(length);
        copy_between(source, data, target, data, end - data)?;
        offset = end;
    }
    Ok(())
}

/// Makes `target` (empty before) share all blocks of `source`; `false` where the file system cannot.
pub fn share_blocks(source: &File, target: &File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

/// Reads at `offset` what is not going to be read again: pages that were not in the page cache
/// leave it afterwards, where the kernel can do that (since 6.14). Returns 0 at the end.
///
/// # Errors
/// The system call's.
pub fn read_passing(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    /// `RWF_DONTCACHE` of `linux/fs.h`.
    const DONT_CACHE: u32 = 0x80;
    let flags = ReadWriteFlags::from_bits_retain(DONT_CACHE);
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, flags) {
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => file.read_at(buffer, offset),
        read => Ok(read?),
    }
}

/// Gives an open file, made without a name, the name `to`.
///
/// # Errors
/// The system call's; `to` must not exist.
pub fn link_open(file: &File, to: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    match linkat(file, c"", CWD, to, AtFlags::EMPTY_PATH) {
        // An older kernel wants CAP_DAC_READ_SEARCH for that; through /proc anybody may.
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, own, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
        }
        linked => Ok(linked?),
    }
}

/// Copies bytes between two files, in the kernel where it can.
///
/// # Errors
/// The disk's; `UnexpectedEof` when the source ends early.
pub fn copy_between(
    source: &File,
    source_offset: u64,
    target: &File,
    target_offset: u64,
    length: u64,
) -> io::Result<()> {
    let (mut from, mut to, mut left) = (source_offset, target_offset, length);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => left -= copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(source, from, target, to, left);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(
    source: &File,
    mut from: u64,
    target: &File,
    mut to: u64,
    mut left: u64,
) -> io::Result<()> {
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        let part = &mut chunk[..want];
        source.read_exact_at(part, from)?;
        target.write_all_at(part, to)?;
        from += want as u64;
        to += want as u64;
        left -= want as u64;
    }
    Ok(())
}

/// Tells the kernel that the pages of a range of a file are not needed soon; 0 is "to the end".
///
/// # Errors
/// The system call's.
pub fn drop_page_cache(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let length = std::num::NonZeroU64::new(length);
    Ok(rustix::fs::fadvise(file, offset, length, Advice::DontNeed)?)
}

/// Sets permission bits exactly, whatever the umask, and only when they differ.
///
/// # Errors
/// The system call's.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o7777 == mode {
        return Ok(());
    }
    permissions.set_mode(mode);
    file.set_permissions(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_holes_and_content() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"start", 0).unwrap();
        source.write_all_at(b"middle", 1 << 20).unwrap();
        source.set_len(2 << 20).unwrap();
        let target = tempfile::tempfile().unwrap();
        copy_range(&source, &target, 2 << 20).unwrap();
        let read = |file: &File| {
            let mut bytes = vec![1; 2 << 20];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!(target.metadata().unwrap().len(), 2 << 20);
        assert!(read(&source) == read(&target));
        assert_eq!(seek_hole_data(&target, 1 << 19, false).unwrap(), Some(1 << 20));
        assert_eq!(seek_hole_data(&target, 3 << 19, false).unwrap(), None);

        let part = tempfile::tempfile().unwrap();
        copy_range(&source, &part, 3).unwrap();
        assert_eq!(part.metadata().unwrap().len(), 3);
        let error = copy_range(&source, &part, 3 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn copying_by_hand_works_where_the_kernel_cannot() {
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"abcdef", 0).unwrap();
        let target = tempfile::tempfile().unwrap();
        copy_by_hand(&source, 1, &target, 2, 3).unwrap();
        let mut bytes = [0; 5];
        target.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0bcd");
    }

    #[test]
    fn unknown_fallocate_modes_are_refused() {
        let file = tempfile::tempfile().unwrap();
        fallocate(&file, 0, 0, 4096).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4096);
        assert!(fallocate(&file, 1 << 20, 0, 4096).is_err());
    }

    #[test]
    fn a_file_system_says_how_full_it_is() {
        assert!(statvfs(Path::new("/")).unwrap().block_size > 0);
    }
}
