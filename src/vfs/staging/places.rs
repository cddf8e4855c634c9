//! Changes that wait for a place among the private files that may be open.
//!
//! A program that closes large files faster than the disk takes them is slowed down and not
//! refused: its next change waits until a closed file is sealed, which frees a place. It does not
//! wait on a FUSE worker, of which there may be two for everybody, but on a thread that exists only
//! while something waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::engine::staging::content::FileContent;
use crate::sys::panics;

/// Time between two looks for a free place.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The longest wait for a place. After that the change fails.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The most bytes of writes that wait; a write beyond them is refused.
const BYTES_MAX: u64 = 64 << 20;

/// What a change that waited is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There may be a place now: try again.
    Again,
    /// There was none in time.
    Late,
}

/// When a change that begins to wait now will have waited too long.
pub(crate) fn wait_end() -> Instant {
    Instant::now() + WAIT_MAX
}

/// A change, to be run once.
pub(crate) type Change = Box<dyn FnOnce(Turn) + Send>;

struct Waiting {
    content: Arc<FileContent>,
    /// When it is late.
    due: Instant,
    bytes: u64,
    change: Change,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    bytes: u64,
    /// The thread is there.
    served: bool,
    ended: bool,
}

/// The changes that wait.
#[derive(Default)]
pub(super) struct Places {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl Places {
    /// Runs `change`, which holds `bytes`, once there may be a place for `content`, or at `due`.
    pub(super) fn wait(
        self: &Arc<Self>,
        content: Arc<FileContent>,
        due: Instant,
        bytes: u64,
        change: Change,
    ) {
        let mut queue = self.queue.lock();
        if queue.ended || queue.bytes.saturating_add(bytes) > BYTES_MAX || due <= Instant::now() {
            drop(queue);
            return change(Turn::Late);
        }
        queue.bytes += bytes;
        queue.waiting.push(Waiting { content, due, bytes, change });
        if queue.served {
            return;
        }
        let own = Arc::clone(self);
        let thread = std::thread::Builder::new().name("places".to_owned());
        match thread.spawn(move || own.serve()) {
            Ok(_) => queue.served = true,
            Err(error) => {
                log::error!("cannot start the thread for changes that wait: {error}");
                let waiting = std::mem::take(&mut queue.waiting);
                queue.bytes = 0;
                drop(queue);
                waiting.into_iter().for_each(|waiting| (waiting.change)(Turn::Late));
            }
        }
    }

    /// Answers all that waits, and returns when none of it runs any more. What comes later is refused.
    pub(super) fn end(&self) {
        let mut queue = self.queue.lock();
        queue.ended = true;
        self.changed.notify_all();
        while queue.served {
            self.changed.wait(&mut queue);
        }
    }

    fn serve(&self) {
        let mut queue = self.queue.lock();
        loop {
            let (now, ended) = (Instant::now(), queue.ended);
            let (ready, waiting): (Vec<Waiting>, Vec<Waiting>) =
                std::mem::take(&mut queue.waiting).into_iter().partition(|waiting| {
                    ended || waiting.due <= now || !waiting.content.waits_for_place()
                });
            queue.waiting = waiting;
            queue.bytes -= ready.iter().map(|waiting| waiting.bytes).sum::<u64>();
            if ready.is_empty() && queue.waiting.is_empty() {
                queue.served = false;
                self.changed.notify_all();
                return;
            }
            if ready.is_empty() {
                self.changed.wait_for(&mut queue, LOOK_INTERVAL);
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut queue, || {
                for Waiting { due, change, .. } in ready {
                    let turn = if ended || due <= now { Turn::Late } else { Turn::Again };
                    // A panic drops the reply, which answers EIO, and has been logged.
                    panics::contain("a change that waited", || change(turn)).unwrap_or_default();
                }
            });
        }
    }
}
