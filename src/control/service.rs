//! What answers requests: implemented by the engine, called by the socket's server or, without a
//! daemon, by the command itself.

use std::fs::File;

use super::protocol::{ControlError, Progress, Request};
use super::reply::Reply;

/// Who asks, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Effective user id of the peer when it connected.
    pub uid: u32,
    /// Effective group id of the peer when it connected.
    pub gid: u32,
    /// Process id of the peer.
    pub pid: u32,
    /// The connection it asks through: what it began ends with it.
    pub connection: ConnectionId,
}

/// A connection, for as long as the daemon runs; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

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

    /// Tells that a connection has ended: its imports are to be aborted, its pins released.
    /// Called once per connection, after its last call.
    fn disconnected(&self, _connection: ConnectionId) {}
}
