//! The two RENAMEs of a publication by `mv`.
//!
//! A RENAME between directories holds the rename lock of the whole mount, and both directories, until
//! it is answered, and whoever asked for it cannot be killed meanwhile. So where the area is not ready
//! (files are open, not sealed yet, or perhaps not on disk), or the kernel may keep its name, the first
//! RENAME is answered ESTALE: the kernel lets go of its locks, walks both paths once more, asking for
//! each name, and renames again; once, not more often. The LOOKUP of the repository in that walk is
//! answered when the area is ready. The kernel takes no lock to ask for a name that it knows, so nobody
//! but the caller waits, and the second RENAME finds little left to do.
//!
//! A request tells the number of the thread that made it, and by that the second RENAME is recognised.
//! There is no LOOKUP to wait in where both paths begin in the two directories themselves, and no number
//! where the thread is in another namespace of processes. Then the RENAME itself waits, for
//! [`RENAME_WAIT_MAX`](crate::engine::commit::RENAME_WAIT_MAX) at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::place::Place;
use super::{Caller, StagingFs};
use crate::engine::commit::ForRename;
use crate::engine::request::Request;
use crate::model::id::{AreaId, Ino, RepoId};
use crate::sys::signals;
use crate::vfs::error::FsError;

/// How long after the first RENAME, or after the wait, the second one may come.
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// The most bytes that an area may have written for its content to be synced within the RENAME
/// itself.
const SMALL_BYTES: u64 = 4 << 20;

/// A request that waits until an area is ready.
pub(crate) type Waiting = Box<dyn FnOnce(Result<(), FsError>) + Send>;

/// Threads whose first RENAME was answered ESTALE.
#[derive(Debug, Default)]
pub(super) struct Publications {
    threads: Mutex<HashMap<u32, Publication>>,
    /// How many they are: nearly always none.
    count: AtomicUsize,
}

struct Publication {
    repo: RepoId,
    area: AreaId,
    stage: Stage,
}

enum Stage {
    /// The area is not ready; these wait until it is.
    Preparing(Vec<Waiting>),
    /// The second RENAME is to come.
    Ready(Instant),
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication").field("area", &self.area).finish_non_exhaustive()
    }
}

impl Publication {
    fn is_expected(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Preparing(_) => true,
            Stage::Ready(since) => now.duration_since(since) < AGAIN_MAX,
        }
    }
}

impl Publications {
    fn change<T>(&self, step: impl FnOnce(&mut HashMap<u32, Publication>) -> T) -> T {
        let mut threads = self.threads.lock();
        let value = step(&mut threads);
        self.count.store(threads.len(), Ordering::Relaxed);
        value
    }

    /// The first RENAME of a thread is about to be answered.
    fn begin(&self, thread: u32, (repo, area): (RepoId, AreaId), ready: bool) {
        let now = Instant::now();
        let stage = if ready { Stage::Ready(now) } else { Stage::Preparing(Vec::new()) };
        self.change(|threads| {
            // Threads that did not come again are gone.
            threads.retain(|_, publication| publication.is_expected(now));
            threads.insert(thread, Publication { repo, area, stage });
        });
    }

    /// Takes back what [`Self::begin`] noted. Says whether this is the second RENAME of the thread.
    fn take(&self, thread: u32, area: AreaId) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let taken = self.change(|threads| threads.remove(&thread));
        taken.is_some_and(|known| known.area == area && known.is_expected(Instant::now()))
    }

    /// Keeps a request of a thread about a repository until the area is ready; gives it back if it
    /// need not wait.
    fn park(&self, thread: u32, repo: RepoId, waiting: Waiting) -> Option<Waiting> {
        let mut threads = self.threads.lock();
        match threads.get_mut(&thread) {
            Some(Publication { repo: own, stage: Stage::Preparing(parked), .. })
                if *own == repo =>
            {
                parked.push(waiting);
                None
            }
            _ => Some(waiting),
        }
    }

    /// The area is ready, or nobody waits for it any more. Returns the requests that waited.
    fn ready(&self, thread: u32, area: AreaId) -> Vec<Waiting> {
        let mut threads = self.threads.lock();
        match threads.get_mut(&thread) {
            Some(known) if known.area == area => {
                match std::mem::replace(&mut known.stage, Stage::Ready(Instant::now())) {
                    Stage::Preparing(parked) => parked,
                    Stage::Ready(_) => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    fn has(&self, thread: u32) -> bool {
        self.threads.lock().contains_key(&thread)
    }
}

impl StagingFs {
    /// A RENAME is to publish an area: whether it may go on. If not, the kernel is to ask again.
    pub(super) fn check_ready(
        self: &Arc<Self>,
        caller: Caller,
        repo: RepoId,
        area: AreaId,
    ) -> Result<(), FsError> {
        let Some(shared) = self.engine.staging.area(area) else {
            return Ok(());
        };
        // A rename moves the kernel's entry for the area's name to the tag's name, with the time
        // for which it may be kept. So the first RENAME is answered ESTALE: the kernel then looks
        // the area up again, and is told not to keep the name (H14).
        let name_kept = shared.let_name_move();
        if self.publications.take(caller.pid, area) {
            return Ok(());
        }
        let is_small = shared.charge.taken().bytes <= SMALL_BYTES;
        let ready = is_small && shared.writers() == 0 && shared.unsealed() == 0;
        let known = caller.pid != 0;
        if ready || !known {
            if !name_kept {
                return Ok(());
            }
            if known {
                self.publications.begin(caller.pid, (repo, area), true);
            }
            return Err(FsError::Stale);
        }
        self.publications.begin(caller.pid, (repo, area), false);
        self.prepare(caller.pid, area);
        Err(FsError::Stale)
    }

    /// Has the area made ready, and then answers what waits for that.
    fn prepare(self: &Arc<Self>, thread: u32, area: AreaId) {
        let killed = Arc::new(AtomicBool::new(false));
        let answer = Answer { fs: Arc::clone(self), thread, area, killed: Arc::clone(&killed) };
        let fs = Arc::clone(self);
        let given_up = Box::new(move || {
            killed.store(signals::is_being_killed(thread), Ordering::Relaxed);
            killed.load(Ordering::Relaxed) || !fs.publications.has(thread)
        });
        let reply = Box::new(move |_| drop(answer));
        let prepare = ForRename::Prepare { area, given_up, reply };
        if self.engine.submit(Request::ForRename(prepare)).is_err() {
            log::debug!("the engine has ended, which the second RENAME is told");
        }
    }

    /// Whether LOOKUPs of this thread may have to wait.
    pub(crate) fn is_publishing(&self, thread: u32) -> bool {
        self.publications.count.load(Ordering::Relaxed) > 0 && self.publications.has(thread)
    }

    /// Keeps a LOOKUP of a thread that publishes until its area is ready; gives it back if it need not
    /// wait.
    pub(crate) fn park_lookup(
        &self,
        thread: u32,
        parent: Ino,
        name: &[u8],
        waiting: Waiting,
    ) -> Option<Waiting> {
        let Some(Place::Staging | Place::Tags) = Place::of(parent) else {
            return Some(waiting);
        };
        let found = std::str::from_utf8(name).ok().and_then(|n| self.engine.registry.by_name(n));
        match found {
            Some(repository) => self.publications.park(thread, repository.id, waiting),
            None => Some(waiting),
        }
    }
}

/// Answers what waits for an area when it is dropped: by whoever made the area ready, or could not.
struct Answer {
    fs: Arc<StagingFs>,
    thread: u32,
    area: AreaId,
    killed: Arc<AtomicBool>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let killed = self.killed.load(Ordering::Relaxed);
        if killed {
            self.fs.engine.staging.let_name_stay(self.area);
        }
        for waiting in self.fs.publications.ready(self.thread, self.area) {
            waiting(if killed { Err(FsError::Interrupted) } else { Ok(()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: RepoId = RepoId(1);
    const AREA: AreaId = AreaId(7);

    fn parked(publications: &Publications, thread: u32, repo: RepoId) -> bool {
        publications.park(thread, repo, Box::new(|_| ())).is_none()
    }

    #[test]
    fn a_thread_waits_where_it_looks_up_its_repository_and_comes_again() {
        let publications = Publications::default();
        publications.begin(5, (REPO, AREA), false);
        assert!(parked(&publications, 5, REPO));
        assert!(!parked(&publications, 5, RepoId(2)), "another repository");
        assert!(!parked(&publications, 6, REPO), "another thread");
        assert_eq!(publications.ready(5, AREA).len(), 1);
        assert!(!parked(&publications, 5, REPO), "it is ready");
        assert!(publications.take(5, AREA), "the second RENAME");
        assert!(!publications.take(5, AREA), "the next one is a first again");
        assert_eq!(publications.ready(5, AREA).len(), 0);
    }

    #[test]
    fn another_area_is_another_publication() {
        let publications = Publications::default();
        publications.begin(5, (REPO, AREA), true);
        assert!(!publications.take(5, AreaId(8)));
        assert!(!publications.has(5));
    }
}
