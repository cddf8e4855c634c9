//! The writable connection: decodes, calls [`StagingFs`](crate::vfs::staging::StagingFs), replies.
//!
//! Replies go into the operations as callbacks, since some are answered by other threads: a commit
//! when it is durable, an operation on an area that is being committed when that has ended.
//!
//! `HANDLE_KILLPRIV_V2` is negotiated so that the kernel does not ask for `security.capability`
//! before each write(2) but once (H23), and not at all where writes go around the page cache; in
//! return the filesystem takes set-user-ID and capabilities away itself. Files are
//! opened with `FOPEN_NOFLUSH`: a close costs nothing synchronous, and RELEASE, which comes when
//! the last mapping is gone too, is what seals (DESIGN 2).

mod connection;
mod convert;
mod read;
mod write;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

pub(crate) use connection::StagingConnection;

use convert::{
    caller, is_synchronous, lookup, open_mode, rename_mode, seek_start, seeks_hole, staged_attr,
    time, ttl, xattr_mode,
};
use read::{read, readdir, readdirplus};
use write::Write;

use super::errno::errno;
use super::operation::{guard, run};
use super::reply::{ino, statfs, xattr};
use crate::vfs::error::FsError;
use crate::vfs::staging::{Handle, OpenMode, SetAttr};

impl Filesystem for StagingConnection {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.negotiate(config)
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        lookup(&self.fs, request.pid(), (ino(parent), name.as_bytes()), reply);
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
            Ok((attr, keep)) => reply.attr(&ttl(keep), &staged_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            mode: mode.and_then(|mode| u16::try_from(mode & 0o7777).ok()),
            uid,
            gid,
            size,
            atime: atime.map(time),
            mtime: mtime.map(time),
        };
        let handle = handle.map(|handle| Handle(handle.0));
        run("setattr", number, |op| {
            self.fs.setattr(caller(request), ino(number), handle, change, op.attr(reply));
        });
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match guard("readlink", number, || self.fs.readlink(ino(number))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        run("mknod", parent, |op| {
            let name = name.as_bytes();
            self.fs.mknod(caller(request), ino(parent), name, mode, rdev, op.entry(reply));
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        run("mkdir", parent, |op| {
            self.fs.mkdir(caller(request), ino(parent), name.as_bytes(), mode, op.entry(reply));
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (caller, name) = (caller(request), name.as_bytes());
        run("unlink", parent, |op| self.fs.unlink(caller, ino(parent), name, op.empty(reply)));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (caller, name) = (caller(request), name.as_bytes());
        run("rmdir", parent, |op| self.fs.rmdir(caller, ino(parent), name, op.empty(reply)));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        run("symlink", parent, |op| {
            let name = name.as_bytes();
            self.fs.symlink(caller(request), ino(parent), name, target, op.entry(reply));
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match rename_mode(flags) {
            Ok(mode) => mode,
            Err(errno) => return reply.error(errno),
        };
        run("rename", parent, |op| {
            let from = (ino(parent), name.as_bytes());
            let to = (ino(newparent), newname.as_bytes());
            self.fs.rename(caller(request), from, to, mode, op.empty(reply));
        });
    }

    fn link(
        &self,
        _request: &Request,
        number: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        run("link", number, |op| {
            let name = newname.as_bytes();
            self.fs.link(ino(number), ino(newparent), name, op.entry(reply));
        });
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mode = open_mode(flags, self.writes_around_cache);
        run("open", number, |op| {
            self.fs.open(caller(request), ino(number), mode, op.opened(reply));
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let open = OpenMode {
            // The creator may write to the new file, whatever its mode.
            writable: true,
            ..open_mode(OpenFlags(flags), self.writes_around_cache)
        };
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0);
        run("create", parent, |op| {
            let name = name.as_bytes();
            self.fs.create(caller(request), ino(parent), name, mode, open, op.created(reply));
        });
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        read(&self.fs, (number, Handle(handle.0)), offset, size, reply);
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = Write {
            caller: caller(request),
            handle: Handle(handle.0),
            offset,
            kill_privileges: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            synchronous: is_synchronous(flags),
        };
        run("write", number, |op| write.run(&self.fs, op, data, reply));
    }

    fn flush(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(errno(FsError::NotImplemented));
    }

    fn release(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        run("release", number, |_| self.fs.release(Handle(handle.0)));
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        run("fsync", number, |op| self.fs.fsync(Handle(handle.0), op.empty(reply)));
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match guard("opendir", number, || self.fs.opendir(ino(number))) {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        readdir(&self.fs, (number, Handle(handle.0)), offset, reply);
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        readdirplus(&self.fs, (number, Handle(handle.0)), offset, reply);
    }

    fn releasedir(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        run("releasedir", number, |_| self.fs.releasedir(Handle(handle.0)));
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        run("fsyncdir", number, |op| self.fs.fsyncdir(ino(number), op.empty(reply)));
    }

    fn statfs(&self, _request: &Request, number: INodeNo, reply: ReplyStatfs) {
        match guard("statfs", number, || self.fs.statfs(ino(number))) {
            Ok(space) => statfs(reply, &space),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        _request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let mode = match xattr_mode(flags) {
            Ok(mode) => mode,
            Err(errno) => return reply.error(errno),
        };
        run("setxattr", number, |op| {
            let name = name.as_bytes();
            self.fs.setxattr(ino(number), name, value, mode, op.empty(reply));
        });
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
        xattr(
            reply,
            size,
            guard("listxattr", number, || self.fs.listxattr(ino(number), superuser)),
        );
    }

    fn removexattr(&self, _request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        run("removexattr", number, |op| {
            self.fs.removexattr(ino(number), name.as_bytes(), op.empty(reply));
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let caller = caller(request);
        let handle = Handle(handle.0);
        run("fallocate", number, |op| {
            let done = self.fs.when_durable(handle, op.empty(reply));
            let range = offset..offset.saturating_add(length);
            self.fs.fallocate(caller, handle, mode, range, done);
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        position: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let hole = match seeks_hole(whence) {
            Ok(hole) => hole,
            Err(errno) => return reply.error(errno),
        };
        let found = seek_start(position).and_then(|start| {
            guard("lseek", number, || self.fs.lseek(Handle(handle.0), start, hole))
        });
        match found.map(i64::try_from) {
            Ok(Ok(found)) => reply.offset(found),
            Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
            Err(errno) => reply.error(errno),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        from_handle: FileHandle,
        from_offset: u64,
        _to: INodeNo,
        to_handle: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        run("copy_file_range", from, |op| {
            let from = (Handle(from_handle.0), from_offset);
            let to = (Handle(to_handle.0), to_offset);
            let done = self.fs.when_durable(to.0, op.written(reply));
            self.fs.copy_file_range(caller(request), from, to, length, done);
        });
    }

    /// Regular files have no ioctls. Runtimes that look for a terminal send one at each open.
    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    /// ENOSYS makes the kernel take files as always ready, without asking again.
    fn poll(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(errno(FsError::NotImplemented));
    }
}
