//! What answers requests: implemented by the engine, called by the socket's server or, without a
//! daemon, by the command itself.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::{ControlError, ErrorKind, Progress, Request};
use super::reply::Reply;
use crate::sys;

/// Who asks, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Effective user id of the peer when it connected.
    pub uid: u32,
    /// Effective group id of the peer when it connected.
    pub gid: u32,
    /// Process id of the peer; 0 when it is of a process namespace that the daemon cannot see.
    pub pid: u32,
    /// The connection it asks through: what it began ends with it.
    pub connection: ConnectionId,
}

/// A connection, for as long as the daemon runs; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The other end of a connection. A request that waits asks it whether anybody is left to be
/// answered.
#[derive(Debug, Clone)]
pub struct Peer(Weak<UnixStream>);

impl Peer {
    /// The other end of `stream`.
    pub fn of(stream: &Arc<UnixStream>) -> Self {
        Self(Arc::downgrade(stream))
    }

    /// The supplementary groups of the process that connected.
    ///
    /// # Errors
    /// The system call's; that the connection has ended.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        let stream = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        sys::peer_groups(&stream)
    }

    /// Whether the other end was closed. However a command ends, this closes it. Never blocks.
    pub fn is_gone(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return true };
        let mut closed = [PollFd::new(&*stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An error tells nothing of the peer.
        poll(&mut closed, Some(&at_once)).is_ok_and(|events| events > 0)
    }
}

/// What travels beside a request or reply.
#[derive(Debug, Default)]
pub struct Attachment {
    /// Raw bytes.
    pub payload: Vec<u8>,
    /// Open files.
    pub files: Vec<File>,
}

impl Attachment {
    /// Nothing attached.
    pub fn none() -> Self {
        Self::default()
    }

    /// Raw bytes only.
    pub fn of_payload(payload: Vec<u8>) -> Self {
        Self { payload, files: Vec::new() }
    }

    /// Open files only.
    pub fn of_files(files: Vec<File>) -> Self {
        Self { payload: Vec::new(), files }
    }
}

/// Answers requests.
pub trait Service: Send + Sync {
    /// Answers one request. Called from many threads at once; blocks until the answer is there.
    /// `progress` may be called any number of times; it never fails and may be slow.
    ///
    /// # Errors
    /// Why the request was refused or failed.
    fn call(
        &self,
        caller: Caller,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError>;

    /// Answers one request of a user who is neither root nor the daemon's own, and refuses what that
    /// user has no right to. Otherwise as [`Service::call`].
    ///
    /// # Errors
    /// Why the request was refused or failed.
    fn call_other(
        &self,
        _caller: Caller,
        _request: Request,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, ControlError> {
        Err(ControlError::new(ErrorKind::Permission, "permission denied"))
    }

    /// Tells of a new connection, before its first call.
    fn connected(&self, _connection: ConnectionId, _peer: Peer) {}

    /// Tells that a connection has ended: its imports are to be aborted, its pins released.
    /// Called once per connection, after its last call.
    fn disconnected(&self, _connection: ConnectionId) {}
}

/// A service that several own.
impl<T: Service + ?Sized> Service for Arc<T> {
    fn call(
        &self,
        caller: Caller,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        (**self).call(caller, request, attachment, progress)
    }

    fn call_other(
        &self,
        caller: Caller,
        request: Request,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, ControlError> {
        (**self).call_other(caller, request, progress)
    }

    fn connected(&self, connection: ConnectionId, peer: Peer) {
        (**self).connected(connection, peer);
    }

    fn disconnected(&self, connection: ConnectionId) {
        (**self).disconnected(connection);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_peer_is_gone_once_its_end_is_closed_whatever_it_sent_before() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Arc::new(ours);
        let peer = Peer::of(&ours);
        assert!(!peer.is_gone());
        theirs.write_all(b"a request that nobody has read").unwrap();
        assert!(!peer.is_gone());
        drop(theirs);
        assert!(peer.is_gone());
        drop(ours);
        assert!(peer.is_gone());
    }
}
