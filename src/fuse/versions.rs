//! The read-only connection: published versions, mounted on `versions`.
//!
//! It is fast because the kernel need not ask it often. OPEN and OPENDIR are answered with ENOSYS
//! once, after which the kernel opens without asking, keeps the pages of files and (implied by an
//! unimplemented OPENDIR) the listings of directories. Names and attributes are valid for ever;
//! [`crate::vfs::versions::invalidate`] says what to drop when versions come and go.
//!
//! `AUTO_INVAL_DATA` is negotiated for one of its two effects: the kernel then compares a
//! directory's mtime, if it was invalidated, before it reuses a listing. So one that was read
//! while a version was being published is not kept. (The other, dropping a file's pages when its
//! mtime changes, never happens here.)

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use crate::engine::fetcher::{FetchOutcome, Fetched};
use crate::model::content_name::ContentName;
use crate::model::tree_format::TreeSource;
use crate::vfs::error::FsError;
use crate::vfs::versions::{Blobs, Seek, VersionFs};

use super::negotiate;
use super::operation::{Operation, attempt, guard, run};
use super::reply::{FOREVER, GENERATION, absent, file_attr, file_type, ino, statfs, xattr};

/// Wanted where the kernel offers it. Not `READDIRPLUS_AUTO`: with it, the rest of a large directory
/// is listed without attributes and then looked up name by name. In one of 20,000 files, cold,
/// always listing them took 0.4 of the time for `find -printf %s`, 0.75 for tar, 0.6 for grep; only
/// a bare `ls` was slower (1.9).
const CAPABILITIES: [InitFlags; 9] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_ASYNC_DIO,
];

/// Read-ahead requests that may be under way at once. Those that wait for content to be fetched count, and when there are
/// so many, no other read-ahead of the mount goes on (H34).
const BACKGROUND_MAX: u16 = 4096;

/// `SEEK_DATA` and `SEEK_HOLE` of Linux; the kernel handles the others itself.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

thread_local! {
    /// Each worker's read buffer; it grows to the largest request, which is 1 MiB.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The connection.
pub(crate) struct VersionsConnection<T, B: Blobs> {
    fs: Arc<VersionFs<T, B>>,
}

impl<T, B: Blobs> VersionsConnection<T, B> {
    /// Serves `fs`.
    pub(crate) fn new(fs: Arc<VersionFs<T, B>>) -> Self {
        Self { fs }
    }
}

impl<T, B> VersionsConnection<T, B>
where
    T: TreeSource + Send + Sync + 'static,
    T::Error: Display,
    B: Blobs,
{
    /// Answers a READ once the content is fetched. The worker goes on with other requests meanwhile (L14).
    fn read_later(
        &self,
        name: ContentName,
        number: INodeNo,
        (offset, size): (u64, usize),
        reply: ReplyData,
    ) {
        let fs = Arc::clone(&self.fs);
        let then = move |fetched: FetchOutcome| {
            let mut buffer = vec![0; size];
            let read = || match fetched.map_err(|_| FsError::Io)? {
                Fetched::Kept | Fetched::Part => fs.read(ino(number), offset, &mut buffer),
                Fetched::Unkept(bytes) => fs.read_of(ino(number), &bytes, offset, &mut buffer),
            };
            match guard("read", number, read) {
                Ok(length) => reply.data(&buffer[..length]),
                Err(errno) => reply.error(errno),
            }
        };
        let part = offset..offset.saturating_add(size as u64);
        self.fs.fetch(name, part, Box::new(then));
    }
}

impl<T, B> Filesystem for VersionsConnection<T, B>
where
    T: TreeSource + Send + Sync + 'static,
    T::Error: Display,
    B: Blobs,
{
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config, &CAPABILITIES, BACKGROUND_MAX)
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match guard("lookup", parent, || self.fs.lookup(ino(parent), name.as_bytes())) {
            Ok(Some(attr)) => reply.entry(&FOREVER, &file_attr(&attr), GENERATION),
            Ok(None) => reply.entry(&FOREVER, &absent(), GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, count: u64) {
        run("forget", number, |_| self.fs.forget(ino(number), count));
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match guard("getattr", number, || self.fs.getattr(ino(number))) {
            Ok(attr) => reply.attr(&FOREVER, &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match guard("readlink", number, || self.fs.readlink(ino(number))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let buffer = &mut buffer[..size];
            match attempt("read", || self.fs.read(ino(number), offset, buffer)) {
                Ok(length) => reply.data(&buffer[..length]),
                Err(FsError::Absent(digest)) => {
                    self.read_later(digest, number, (offset, size), reply)
                }
                Err(error) => reply.error(Operation::new("read", number).errno(error)),
            }
        });
    }

    fn flush(
        &self,
        _request: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _request: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _request: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = guard("readdir", number, || {
            self.fs.readdir(ino(number), offset, &mut |entry| {
                let kind = file_type(entry.kind);
                let name = OsStr::from_bytes(entry.name);
                reply.add(INodeNo(entry.ino.0), entry.next, kind, name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = guard("readdirplus", number, || {
            self.fs.readdirplus(ino(number), offset, &mut |entry| {
                let attr = file_attr(&entry.attr);
                let name = OsStr::from_bytes(entry.name);
                reply.add(attr.ino, entry.next, name, &FOREVER, &attr, GENERATION)
            })
        });
        match listed {
            Ok(files) => {
                reply.ok();
                self.fs.listed(files);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _request: &Request, number: INodeNo, reply: ReplyStatfs) {
        match guard("statfs", number, || self.fs.statfs(ino(number))) {
            Ok(space) => statfs(reply, &space),
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(
        &self,
        _request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let value = guard("getxattr", number, || self.fs.getxattr(ino(number), name.as_bytes()));
        xattr(reply, size, value);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let superuser = request.uid() == 0;
        let names = guard("listxattr", number, || self.fs.listxattr(ino(number), superuser));
        xattr(reply, size, names);
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = guard("lseek", number, || {
            let whence = match whence {
                SEEK_DATA => Seek::Data,
                SEEK_HOLE => Seek::Hole,
                _ => return Err(FsError::Invalid),
            };
            let offset = u64::try_from(offset).map_err(|_| FsError::NoSuchOffset)?;
            let found = self.fs.lseek(ino(number), offset, whence)?;
            i64::try_from(found).map_err(|_| FsError::Range)
        });
        match found {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(errno),
        }
    }

    // Unimplemented on purpose: the kernel then does what a local filesystem would.

    fn access(&self, _request: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _request: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    // Mutations. On a read-only mount the kernel refuses them before it asks.

    fn setattr(
        &self,
        _request: &Request,
        _: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _request: &Request,
        _: INodeNo,
        _: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(
        &self,
        _request: &Request,
        _: INodeNo,
        _: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _request: &Request,
        _: INodeNo,
        _: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _request: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _request: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _request: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _request: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _request: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _request: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _: FileHandle,
        _: u64,
        _to: INodeNo,
        _: FileHandle,
        _: u64,
        _length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _request: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}
