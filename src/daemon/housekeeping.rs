//! Memory that published and discarded areas, and deleted versions, leave behind.
//!
//! The kernel keeps the names of an area that is gone until its own memory is short, and as long as
//! it does, the daemon must keep a node for each (H13). So the kernel is asked to drop those that nobody
//! uses. That is done by their numbers (`FUSE_NOTIFY_PRUNE`), which waits for no lock: a notification
//! by name would wait for a directory that an operation holds, and a daemon that is killed just
//! then would never end (H8, R8). It is done at once when an area goes, so that its nodes are gone before the
//! next area is full. What is in use stays, and is tried again later, less and less often.
//!
//! The allocator keeps what is freed in between of what is not. It is made to return those pages once
//! much was let go and things are quiet, or after ten seconds: walking its free lists takes milliseconds.
//! What it keeps without that is bounded (`sys::bound_free_memory`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::engine::staging::Staging;
use crate::model::id::AreaId;
use crate::sys::{self, panics};
use crate::vfs::invalidation::{Forget, Invalidation, Invalidator};
use crate::vfs::staging::place;

/// Time between two looks at what is left.
const TICK: Duration = Duration::from_secs(1);

/// Time to the second attempt on an area; it doubles with each further one, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LONGEST: Duration = Duration::from_secs(300);

/// Memory is given back after so many inodes were forgotten: about a megabyte.
const TRIM_INODES_MIN: usize = 1000;

/// Where things never calm down, memory is given back after so many looks.
const TRIM_TICKS_MAX: u32 = 10;

/// Numbers per job: other notifications come in between.
const INODES_PER_JOB: usize = 10_000;

/// Counts the inodes that are in memory because the kernel knows them.
pub(crate) type HeldInodes = Box<dyn Fn() -> usize + Send>;

/// The thread that keeps house; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts it.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        staging: &Arc<Staging>,
        kernel: Arc<dyn Invalidator>,
        held: HeldInodes,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let staging = Arc::clone(staging);
        let attempts = BTreeMap::new();
        let memory = FreeMemory { held, trim: Trim::default(), give_back: sys::return_free_memory };
        let mut work = Work { staging, kernel, attempts, memory };
        let body = move || work.run(&stopped);
        let thread = std::thread::Builder::new().name("housekeeping".to_owned()).spawn(body)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("housekeeping had ended by a panic");
        }
    }
}

struct Work {
    staging: Arc<Staging>,
    kernel: Arc<dyn Invalidator>,
    /// When to try each area again, and how long to wait after that.
    attempts: BTreeMap<AreaId, (Instant, Duration)>,
    memory: FreeMemory,
}

impl Work {
    fn run(&mut self, stopped: &Receiver<()>) {
        let (left, ticks) = (self.staging.left_signal(), crossbeam_channel::tick(TICK));
        loop {
            let is_tick = crossbeam_channel::select! {
                recv(stopped) -> _ => return,
                recv(left) -> _ => false,
                recv(ticks) -> _ => true,
            };
            let looked = panics::contain("housekeeping", || {
                self.prune(Instant::now());
                if is_tick {
                    self.memory.look();
                }
            });
            if looked.is_err() {
                return;
            }
        }
    }

    fn prune(&mut self, now: Instant) {
        let left = self.staging.left_areas();
        self.attempts.retain(|area, _| left.contains(area));
        for area in left {
            let (due, wait) = self.attempts.get(&area).copied().unwrap_or((now, RETRY_FIRST));
            if due > now {
                continue;
            }
            self.attempts.insert(area, (now + wait, (wait * 2).min(RETRY_LONGEST)));
            for nodes in self.staging.left_nodes(area).chunks(INODES_PER_JOB) {
                let inos = nodes.iter().map(|node| place::node_ino(*node).0).collect();
                let forget = vec![Forget::Unused { inos }];
                self.kernel.submit(Invalidation::silent(Vec::new(), forget));
            }
        }
    }
}

/// Memory that the allocator keeps although nothing is in it.
struct FreeMemory {
    held: HeldInodes,
    trim: Trim,
    give_back: fn(),
}

impl FreeMemory {
    fn look(&mut self) {
        if self.trim.is_due((self.held)()) {
            (self.give_back)();
        }
    }
}

/// When to give memory back.
#[derive(Debug, Default)]
struct Trim {
    /// The most inodes since memory was given back.
    most: usize,
    /// At the last look.
    last: usize,
    /// Looks since much was let go.
    ticks: u32,
}

impl Trim {
    /// One look at how many inodes there are.
    fn is_due(&mut self, held: usize) -> bool {
        self.most = self.most.max(held);
        let is_quiet = std::mem::replace(&mut self.last, held) == held;
        if self.most - held < TRIM_INODES_MIN {
            self.ticks = 0;
            return false;
        }
        self.ticks += 1;
        if !is_quiet && self.ticks < TRIM_TICKS_MAX {
            return false;
        }
        *self = Self { most: held, last: held, ticks: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn memory_is_given_back_once_when_much_was_let_go_and_it_is_quiet() {
        let mut trim = Trim::default();
        assert!(!trim.is_due(5000) && !trim.is_due(5000), "it only grows");
        assert!(!trim.is_due(4500) && !trim.is_due(4500), "that is little");
        assert!(!trim.is_due(200), "it may go on");
        assert!(trim.is_due(200));
        assert!(!trim.is_due(200) && !trim.is_due(150));
    }

    #[test]
    fn memory_is_given_back_when_inodes_were_forgotten() {
        static HELD: AtomicUsize = AtomicUsize::new(5000);
        static GIVEN: AtomicUsize = AtomicUsize::new(0);
        let give_back = || {
            GIVEN.fetch_add(1, Ordering::SeqCst);
        };
        let held = Box::new(|| HELD.load(Ordering::SeqCst));
        let mut memory = FreeMemory { held, trim: Trim::default(), give_back };
        memory.look();
        HELD.store(0, Ordering::SeqCst);
        memory.look();
        assert_eq!(GIVEN.load(Ordering::SeqCst), 0, "it may go on");
        memory.look();
        memory.look();
        assert_eq!(GIVEN.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn memory_is_given_back_where_it_is_never_quiet() {
        let mut trim = Trim::default();
        trim.is_due(100_000);
        let due = (1..200).position(|tick| trim.is_due(50_000 + tick % 2)).unwrap();
        assert_eq!(due, usize::try_from(TRIM_TICKS_MAX).unwrap() - 1);
    }
}
