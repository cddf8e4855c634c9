//! System calls that have no better home; the only file of the store with `unsafe`.
//!
//! Thin on purpose: arguments in, `io::Result` out. Callers know the paths and add them to errors.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Most files that one message over a socket carries; the kernel's limit is 253.
pub const FDS_PER_MESSAGE_MAX: usize = 64;

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

/// Sets the nice value and the I/O priority (`linux/ioprio.h`) of the calling thread.
///
/// # Errors
/// The system calls'.
pub fn set_priority(nice: i32, io_priority: i32) -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS`: with 0, the calling thread.
    const WHO_PROCESS: libc::c_int = 1;
    // On Linux a thread has a priority of its own.
    rustix::process::setpriority_process(None, nice)?;
    // SAFETY: the call takes three integers and no pointer.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, io_priority) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bounds what the allocator keeps of the memory that is freed: `arenas` times `kept` bytes, and what is
/// between pieces in use. Call it before other threads start. By default glibc has eight arenas per processor,
/// and each keeps twice as much as the largest allocation that was ever given back, up to 64 MiB.
#[cfg_attr(
    not(target_env = "gnu"),
    expect(unused_variables, reason = "others have no such settings")
)]
pub fn bound_free_memory(arenas: i32, kept: i32) {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_TRIM_THRESHOLD, kept),
        (libc::M_MMAP_THRESHOLD, kept),
    ] {
        // SAFETY: the call takes two numbers.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            log::warn!("the allocator refused the value {value} of its parameter {parameter}");
        }
    }
}

/// Has the allocator return free memory to the system, where it can do that.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number of bytes to keep and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the calling thread a table of descriptors of its own, without those that are `unwanted`, of
/// which it is told the number and what the kernel calls the file. The process keeps them open for its
/// other threads. The calling thread must not use any of those, nor own one.
///
/// # Errors
/// The system call's; what is unwanted may be open then.
pub fn leave_descriptors(unwanted: impl Fn(RawFd, &Path) -> bool) -> io::Result<()> {
    // SAFETY: all numbers stay open in this thread's copy, and untouched in the table of the others.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for entry in std::fs::read_dir("/proc/thread-self/fd")? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The descriptor of this listing is in it, too.
        if std::fs::read_link(entry.path()).is_ok_and(|target| unwanted(number, &target)) {
            // SAFETY: nothing of this thread owns or uses the number, as the caller has to see to.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
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

/// The id of this boot of the machine: it differs after a power loss.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    random_file("/proc/sys/kernel/random/boot_id")
}

/// A new random uuid, as text.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn new_uuid() -> io::Result<String> {
    random_file("/proc/sys/kernel/random/uuid")
}

fn random_file(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// Who is at the other end of a unix socket, as the kernel saw it connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its process; 0 when it is of a process namespace that this one cannot see.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// Asks who is at the other end of a socket.
///
/// # Errors
/// The system call's.
pub fn peer_credentials(socket: &UnixStream) -> io::Result<PeerCredentials> {
    // Not rustix: its process id cannot be 0, which is what the kernel says across namespaces.
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for the call; `found` and `length` are valid for writes, and
    // `length` is the size of `found`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = u32::try_from(found.pid).unwrap_or(0);
    Ok(PeerCredentials { pid, uid: found.uid, gid: found.gid })
}

/// Asks for the supplementary groups of who is at the other end of a socket, as they were when it
/// connected.
///
/// # Errors
/// The system call's.
pub fn peer_groups(socket: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let bytes = groups.len() * size_of::<libc::gid_t>();
        let mut length =
            libc::socklen_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the descriptor is open for the call; `groups` and `length` are valid for writes,
        // and `length` is the size of `groups` in bytes.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).unwrap_or(0) / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The kernel says how much it has.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// Sends bytes and, with the first of them, files. Returns how many bytes went out; the files go
/// with the first call that sends any.
///
/// # Errors
/// The socket's; `InvalidInput` for more than [`FDS_PER_MESSAGE_MAX`] files or files without data.
pub fn send_fds(socket: &UnixStream, data: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if files.len() > FDS_PER_MESSAGE_MAX || (data.is_empty() && !files.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match rustix::net::sendmsg(socket, &[IoSlice::new(data)], &mut control, SendFlags::NOSIGNAL)
        {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Receives bytes and the files that came with them (close-on-exec). 0 bytes: the peer closed.
///
/// # Errors
/// The socket's; `InvalidData` when the peer sent more than [`FDS_PER_MESSAGE_MAX`] files.
pub fn recv_fds(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((received.bytes, files))
}

/// Name of a user in `/etc/passwd`; `None` when it is not there (directory services are not asked,
/// since they may block).
pub fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests;
