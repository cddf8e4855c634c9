//! What the kernel says about a file, in fixed widths and with cairn's own kinds.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;

use crate::model::kind::FileKind;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Xattrs};

/// The result of `statx`, reduced to what an archive needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Kind of file.
    pub(super) kind: FileKind,
    /// Permission bits (`0o7777`).
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    /// Length in bytes.
    pub(super) size: u64,
    /// Allocated bytes.
    pub(super) allocated: u64,
    pub(super) mtime: Timestamp,
    /// When content or attributes changed last; only the kernel sets it.
    pub(super) ctime: Timestamp,
    /// Device number of a device file, in the kernel's 32-bit encoding.
    pub(super) rdev: u32,
    pub(super) id: FileId,
}

/// Device and inode number: names a file on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

impl FileId {
    /// The identity of an open file or directory.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn of(file: impl AsFd) -> Result<Self, Errno> {
        Stat::of(file).map(|stat| stat.id)
    }
}

impl Stat {
    /// The status of an open file.
    pub(super) fn of(file: impl AsFd) -> Result<Self, Errno> {
        statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|raw| Self::from(&raw))
    }

    /// The status of `name` in `directory`; a symbolic link is not followed.
    pub(super) fn at(directory: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(directory, name, flags, StatxFlags::BASIC_STATS).map(|raw| Self::from(&raw))
    }

    /// The attributes of an entry of a version.
    pub(super) fn attributes(&self, xattrs: Xattrs) -> Attributes {
        Attributes { mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs }
    }

    /// Whether `later` shows that the content may have changed since `self`.
    pub(super) fn content_changed(&self, later: &Self) -> bool {
        (self.id, self.size, self.mtime) != (later.id, later.size, later.mtime)
    }
}

impl From<&Statx> for Stat {
    fn from(raw: &Statx) -> Self {
        Self {
            kind: kind(raw.stx_mode),
            mode: raw.stx_mode & 0o7777,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            nlink: raw.stx_nlink,
            size: raw.stx_size,
            allocated: raw.stx_blocks.saturating_mul(512),
            mtime: Timestamp { seconds: raw.stx_mtime.tv_sec, nanoseconds: raw.stx_mtime.tv_nsec },
            ctime: Timestamp { seconds: raw.stx_ctime.tv_sec, nanoseconds: raw.stx_ctime.tv_nsec },
            rdev: encode_rdev(raw.stx_rdev_major, raw.stx_rdev_minor).unwrap_or(0),
            id: FileId { device: (raw.stx_dev_major, raw.stx_dev_minor), inode: raw.stx_ino },
        }
    }
}

fn kind(mode: u16) -> FileKind {
    match mode & 0o170_000 {
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        0o010_000 => FileKind::Fifo,
        0o140_000 => FileKind::Socket,
        0o020_000 => FileKind::CharDevice,
        0o060_000 => FileKind::BlockDevice,
        // The kernel has no other kind.
        _ => FileKind::File,
    }
}

/// The kernel's 32-bit encoding of a device number (`new_encode_dev`): 12 bits of major, 20 of
/// minor. `None` when one does not fit.
pub(super) fn encode_rdev(major: u32, minor: u32) -> Option<u32> {
    let fits = major <= 0xfff && minor <= 0xf_ffff;
    fits.then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Major and minor number of what [`encode_rdev`] made.
pub(super) fn decode_rdev(rdev: u32) -> (u32, u32) {
    ((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_round_trip() {
        for (major, minor) in [(0, 0), (1, 3), (8, 0x1_2345), (0xfff, 0xf_ffff)] {
            assert_eq!(decode_rdev(encode_rdev(major, minor).unwrap()), (major, minor));
        }
        assert_eq!(encode_rdev(1, 3), Some(0x103));
        assert_eq!(encode_rdev(0x1000, 0), None);
        assert_eq!(encode_rdev(0, 0x10_0000), None);
    }
}
