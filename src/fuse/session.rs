//! Answering the kernel on one connection.
//!
//! A session reads requests from a connection on several threads until the kernel closes it, which
//! happens when the mount is gone and its last user too. It does not mount or unmount.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use fuser::{Config, Session, SessionACL};

use super::notify::KernelNotifier;

/// What answers requests; exported for the layers that must not import fuser.
pub use fuser::Filesystem;

/// Fewest worker threads. One is not enough: a worker may wait for something that another one has
/// to answer.
const WORKERS_MIN: usize = 2;

/// Which of the two filesystems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountPart {
    /// The read-write one, mounted at the mount point.
    Outer,
    /// The read-only one of versions.
    Versions,
}

impl MountPart {
    /// Its name in log lines and of its threads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outer => "staging",
            Self::Versions => "versions",
        }
    }
}

/// A session that was started.
#[derive(Debug)]
pub struct SessionHandle {
    connection: MountPart,
    ended: Receiver<()>,
}

/// The number of worker threads for this machine: one for each CPU, at least two.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(WORKERS_MIN, |cpus| cpus.get().max(WORKERS_MIN))
}

/// Agrees with the kernel on the protocol over `device` and starts `workers` threads that answer
/// with `filesystem`. `before` is given the notifier before the first request is answered;
/// `on_end` runs once no thread answers any more, with the reason if it is not the unmount.
///
/// # Errors
///
/// Returns the error of the handshake or of starting the thread; the connection is then closed.
pub fn start<F: Filesystem>(
    connection: MountPart,
    filesystem: F,
    device: OwnedFd,
    workers: usize,
    before: impl FnOnce(KernelNotifier),
    on_end: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<SessionHandle> {
    let mut config = Config::default();
    config.n_threads = Some(workers.max(WORKERS_MIN));
    // Always All: the kernel itself keeps other users out of a mount without allow_other, and
    // looks at real and saved ids too. fuser would compare the effective user id of each request
    // with ours, and so refuse root and what the kernel asks on its own account.
    let own = device.try_clone()?;
    let session = Session::from_fd(filesystem, device, SessionACL::All, config)?;
    before(KernelNotifier::new(session.notifier(), own));
    let (sender, ended) = bounded(0);
    std::thread::Builder::new().name(format!("fuse-{}", connection.name())).spawn(move || {
        // run() starts the workers and returns when the last of them has ended.
        on_end(session.run());
        drop(sender);
    })?;
    Ok(SessionHandle { connection, ended })
}

impl SessionHandle {
    /// Which filesystem it answers for.
    pub fn connection(&self) -> MountPart {
        self.connection
    }

    /// Waits until the session has ended and `on_end` has run. Says whether it has.
    pub fn join_until(&self, deadline: Instant) -> bool {
        // Nothing is ever sent; the sender is dropped when the session has ended.
        matches!(self.ended.recv_deadline(deadline), Err(RecvTimeoutError::Disconnected))
    }

    /// [`SessionHandle::join_until`] a time from now.
    pub fn join_within(&self, time: Duration) -> bool {
        self.join_until(Instant::now() + time)
    }
}
