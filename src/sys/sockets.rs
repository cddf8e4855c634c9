//! Sockets: who is at the other end of one of unix, open files that travel with bytes, and what TCP may hold for a client.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Most files that one message over a socket carries; the kernel's limit is 253.
pub const FDS_PER_MESSAGE_MAX: usize = 64;

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

/// Has the kernel take no more bytes for a TCP connection when so many wait to be sent. What is on its way does not count,
/// so a fast connection stays fast.
///
/// # Errors
/// The system call's.
pub fn limit_unsent_bytes(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let length =
        libc::socklen_t::try_from(size_of::<u32>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for the call; `bytes` is valid for reads, and `length` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends as much of `parts` as the socket takes at once and, with the first byte, files. Returns how
/// many bytes went out.
///
/// # Errors
/// The socket's; `InvalidInput` for more than [`FDS_PER_MESSAGE_MAX`] files or files without bytes.
pub fn send_fds(
    socket: &UnixStream,
    parts: &[IoSlice<'_>],
    files: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let is_empty = parts.iter().all(|part| part.is_empty());
    if files.len() > FDS_PER_MESSAGE_MAX || (is_empty && !files.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE_MAX))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match rustix::net::sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL) {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn files_travel_with_their_bytes() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"sent", 0).unwrap();
        assert_eq!(
            send_fds(&here, &[IoSlice::new(b"hello")], &[file.as_fd(), file.as_fd()]).unwrap(),
            5
        );
        let mut buffer = [0; 16];
        let (bytes, files) = recv_fds(&there, &mut buffer).unwrap();
        assert_eq!((&buffer[..bytes], files.len()), (&b"hello"[..], 2));
        let mut content = [0; 4];
        File::from(files.into_iter().next().unwrap()).read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"sent");
        drop(here);
        assert_eq!(recv_fds(&there, &mut buffer).unwrap().0, 0);
        assert!(send_fds(&there, &[], &[file.as_fd()]).is_err());
    }

    #[test]
    fn the_kernel_says_who_is_at_the_other_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = peer_credentials(&here).unwrap();
        assert_eq!(peer.pid, std::process::id());
        let mut own: Vec<u32> =
            rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
        let mut groups = peer_groups(&here).unwrap();
        own.sort_unstable();
        groups.sort_unstable();
        assert_eq!(groups, own);
    }
}
