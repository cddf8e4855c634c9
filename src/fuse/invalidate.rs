//! The threads that tell the kernel what to forget (H8).
//!
//! What the notifications do, from the kernel's fs/fuse/inode.c and dir.c:
//!
//! - `inval_inode(ino, offset, len)` makes attributes and ACLs stale and, unless the offset is
//!   negative, drops the pages of that range; length 0 means up to the end. Pages also hold a
//!   symlink's target and a directory's listing. It waits for pages that are being read or
//!   written, and for no directory.
//! - `inval_entry(parent, name)` takes the parent's lock exclusively, so it waits for every
//!   operation in progress there, and then makes the name stale and detaches what is below.
//!
//! Detaching takes microseconds for each name that the kernel knows below, and so seconds for a
//! large version that somebody has walked.
//!
//! - `expire_entry(parent, name)` makes the name stale only: the next look-up asks the daemon, and
//!   its "no" detaches what is below.
//!
//! - `prune(inos)` drops inodes that nobody uses; it waits for nothing.
//!
//! Hence three threads. A job with a name in the read-write filesystem may wait for an operation
//! that itself waits for a reply. If that reply were in a later job of the same thread, both would
//! wait for ever. So such jobs have a thread of their own. Operations in the filesystem of versions
//! never wait for the engine, so names there are harmless. Within each thread jobs keep their
//! order. The third thread detaches what is below names that expired. Nobody waits for that, and it
//! may come late: if the name has become valid again by then, dropping it costs one look-up.
//!
//! A thread that waits for a page cannot be killed, and keeps its connection open. If the READ that holds the page is
//! answered by this process alone and it is killed, the guard ends the connection ([`super::guard`]).
//!
//! The queues have no bound, since the engine must never wait for the kernel. They stay short
//! because nearly every job answers a request, of which the kernel and the control server allow a
//! limited number. A warning is logged beyond [`QUEUE_WARN`].

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::{debug, warn};
use rustix::io::Errno;
use std::sync::Arc;

use super::guard::{Watch, WatchState};
use super::notify::KernelNotifier;
use super::session::MountPart;
use crate::model::id::Ino;
use crate::sys::panics;
use crate::vfs::invalidation::{Forget, Invalidation, Invalidator};
use crate::vfs::versions::KernelPages;

/// Length of a queue above which a warning is logged at each job.
const QUEUE_WARN: usize = 10_000;

/// Tells the kernel what to forget, on threads of its own. Ends when dropped, after what is
/// queued.
#[derive(Debug)]
pub struct KernelInvalidator {
    connections: Arc<Connections>,
    /// Jobs that may wait for a directory of the read-write filesystem.
    names: Sender<Invalidation>,
    /// All others.
    content: Sender<Invalidation>,
}

#[derive(Debug, Default)]
struct Connections {
    versions: OnceLock<KernelNotifier>,
    outer: OnceLock<KernelNotifier>,
}

impl KernelInvalidator {
    /// Starts the threads. Until a connection is known, there is nothing to forget on it.
    ///
    /// # Errors
    ///
    /// Returns the error of starting a thread.
    pub fn start() -> io::Result<Self> {
        let connections = Arc::new(Connections::default());
        let detach = lane("invalidate-below", &connections, None)?;
        let names = lane("invalidate-names", &connections, Some(detach.clone()))?;
        let content = lane("invalidate", &connections, Some(detach))?;
        Ok(Self { connections, names, content })
    }

    /// The kernel's cache of the files of versions.
    pub fn version_pages(&self, watch: WatchState) -> VersionPages {
        VersionPages { connections: Arc::clone(&self.connections), watch }
    }

    /// Makes a connection known; call it before the first request on it is answered.
    pub fn connect(&self, connection: MountPart, notifier: KernelNotifier) {
        let slot = match connection {
            MountPart::Outer => &self.connections.outer,
            MountPart::Versions => &self.connections.versions,
        };
        assert!(slot.set(notifier).is_ok(), "connection {connection:?} was known already");
    }
}

/// Hands content over on the connection of versions, while a guard watches that can end the connection.
#[derive(Debug)]
pub struct VersionPages {
    connections: Arc<Connections>,
    watch: WatchState,
}

impl VersionPages {
    /// Gives the kernel the content of a file; says whether it knows the inode. Waits for pages that are being
    /// read.
    ///
    /// # Errors
    /// The kernel's refusal; there is no connection.
    pub fn store(&self, ino: u64, content: &[u8]) -> io::Result<bool> {
        let notifier = self.connections.versions.get().ok_or(io::ErrorKind::NotConnected)?;
        notifier.store(ino, content)
    }
}

impl KernelPages for VersionPages {
    fn takes_content(&self) -> bool {
        self.watch.get() == Watch::Ends
    }

    fn hand_over(&self, ino: Ino, content: &[u8]) -> io::Result<bool> {
        self.store(ino.0, content)
    }

    fn forget(&self, ino: Ino) {
        if let Some(notifier) = self.connections.versions.get() {
            tell(notifier, &Forget::Content { ino: ino.0 });
        }
    }
}

impl Invalidator for KernelInvalidator {
    fn submit(&self, job: Invalidation) {
        let waits = job.staging.iter().any(|forget| matches!(forget, Forget::Name { .. }));
        let queue = if waits { &self.names } else { &self.content };
        if queue.len() > QUEUE_WARN {
            warn!("{} invalidations wait for the kernel", queue.len());
        }
        if let Err(error) = queue.send(job) {
            // The thread has ended, which only a panic explains. The reply must be sent anyway.
            (error.into_inner().then)();
        }
    }
}

fn lane(
    name: &str,
    connections: &Arc<Connections>,
    detach: Option<Sender<Invalidation>>,
) -> io::Result<Sender<Invalidation>> {
    let (sender, jobs) = unbounded();
    let connections = Arc::clone(connections);
    let body = move || run(&connections, &jobs, detach.as_ref());
    std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok(sender)
}

fn run(
    connections: &Connections,
    jobs: &Receiver<Invalidation>,
    detach: Option<&Sender<Invalidation>>,
) {
    for Invalidation { versions, staging, then } in jobs {
        let told = panics::contain("an invalidation", || {
            panics::point("invalidate");
            for (notifier, list) in
                [(&connections.versions, &versions), (&connections.outer, &staging)]
            {
                if let Some(notifier) = notifier.get() {
                    list.iter().for_each(|forget| tell(notifier, forget));
                }
            }
        });
        if told.is_err() {
            log::error!("the kernel may show old names or content until the next mount");
        }
        // The panic was logged. It dropped the reply, which answers EIO.
        panics::contain("a reply", then).unwrap_or_default();
        let (versions, staging) = (expired(versions), expired(staging));
        if let Some(detach) = detach
            && !(versions.is_empty() && staging.is_empty())
        {
            // If the thread has ended, the kernel drops these inodes when it needs memory.
            drop(detach.send(Invalidation::silent(versions, staging)));
        }
    }
}

/// Names that have expired and are still to be detached.
fn expired(told: Vec<Forget>) -> Vec<Forget> {
    let below = |forget| match forget {
        Forget::Expired { parent, name } => Some(Forget::Name { parent, name }),
        Forget::Content { .. }
        | Forget::Attributes { .. }
        | Forget::Unused { .. }
        | Forget::Name { .. } => None,
    };
    told.into_iter().filter_map(below).collect()
}

fn tell(notifier: &KernelNotifier, forget: &Forget) {
    let result = match forget {
        Forget::Content { ino } => notifier.inval_inode(*ino, 0, 0),
        Forget::Attributes { ino } => notifier.inval_inode(*ino, -1, 0),
        Forget::Name { parent, name } => notifier.inval_entry(*parent, OsStr::from_bytes(name)),
        Forget::Unused { inos } => notifier.prune(inos),
        Forget::Expired { parent, name } => notifier.expire_entry(*parent, name),
    };
    match result {
        Ok(()) => {}
        // The mount is gone, so the kernel has forgotten everything in it.
        Err(error) if is_unmounted(&error) => debug!("{forget:?} after the unmount: {error}"),
        Err(error) => warn!("the kernel refused {forget:?}: {error}"),
    }
}

fn is_unmounted(error: &io::Error) -> bool {
    let codes = [Errno::NODEV, Errno::NOTCONN, Errno::CONNABORTED, Errno::PERM];
    error.raw_os_error().is_some_and(|code| codes.iter().any(|known| known.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_in_order_and_replies_are_sent_without_a_connection() {
        let invalidator = KernelInvalidator::start().unwrap();
        let (sender, order) = mpsc::channel();
        for number in 0..100 {
            let sender = sender.clone();
            invalidator.submit(Invalidation {
                versions: vec![Forget::Name { parent: 1, name: b"x".to_vec() }],
                staging: vec![Forget::Content { ino: number }],
                then: Box::new(move || sender.send(number).unwrap()),
            });
        }
        drop((sender, invalidator));
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_that_waits_for_a_directory_holds_up_no_other() {
        let invalidator = KernelInvalidator::start().unwrap();
        let (release, wait) = mpsc::channel::<()>();
        let (sender, done) = mpsc::channel();
        invalidator.submit(Invalidation {
            versions: Vec::new(),
            staging: vec![Forget::Name { parent: 1, name: b"x".to_vec() }],
            then: Box::new(move || wait.recv().unwrap()),
        });
        invalidator.submit(Invalidation {
            versions: Vec::new(),
            staging: vec![Forget::Content { ino: 1 }],
            then: Box::new(move || sender.send(()).unwrap()),
        });
        done.recv().unwrap();
        release.send(()).unwrap();
    }
}
