//! Conversions from the filesystem's values to the protocol's, for all adapters.

use std::time::{Duration, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyStatfs, ReplyXattr};

use crate::model::id::Ino;
use crate::model::kind::FileKind;
use crate::model::name::NAME_BYTES_MAX;
use crate::sys::FsSpace;
use crate::vfs::attr::Attr;

/// How long the kernel may keep what never changes, or changes with a notification only.
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Inode numbers are not reused for something else, so there is one generation.
pub(crate) const GENERATION: Generation = Generation(0);

/// Unit in which `stat` advises to read.
const BLOCK_BYTES: u32 = 4096;

/// The inode number of a request.
pub(crate) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

/// The kind of a file.
pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The attributes of an inode.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.to_system_time(),
        mtime: attr.mtime.to_system_time(),
        ctime: attr.ctime.to_system_time(),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// An entry that says a name is absent and may be cached as such: the protocol's inode 0.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// Answers `getxattr` or `listxattr`: the size when `size` is 0, else the bytes when they fit.
pub(crate) fn xattr(reply: ReplyXattr, size: u32, value: Result<impl AsRef<[u8]>, Errno>) {
    let value = match value {
        Ok(value) => value,
        Err(errno) => return reply.error(errno),
    };
    let value = value.as_ref();
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}

/// Answers `statfs`.
pub(crate) fn statfs(reply: ReplyStatfs, space: &FsSpace) {
    let block_size = u32::try_from(space.block_size).unwrap_or(BLOCK_BYTES);
    reply.statfs(
        space.blocks,
        space.blocks_free,
        space.blocks_available,
        space.files,
        space.files_free,
        block_size,
        u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX),
        block_size,
    );
}
