//! The thread that closes removed files. The last close makes the filesystem free their space, which takes
//! time that the metadata thread does not have (G1; see [`crate::store::unlinked_file`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::store::unlinked_file::UnlinkedFile;

/// Removed files that may wait; each is an open file.
pub(super) const WAITING_MAX: usize = 512;

/// The metadata thread's end of the queue. The thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Reaper {
    queue: Sender<UnlinkedFile>,
    /// Files that were taken and are not closed yet.
    left: Arc<AtomicUsize>,
}

/// The thread's end.
pub(super) struct ReaperThread {
    queue: Receiver<UnlinkedFile>,
    left: Arc<AtomicUsize>,
}

/// The two ends.
pub(super) fn reaper() -> (Reaper, ReaperThread) {
    let (sender, receiver) = bounded(WAITING_MAX);
    let left = Arc::new(AtomicUsize::new(0));
    let thread = ReaperThread { queue: receiver, left: Arc::clone(&left) };
    (Reaper { queue: sender, left }, thread)
}

impl Reaper {
    /// Has the file closed, on the caller's thread if too many wait: see [`Reaper::has_room`].
    pub(super) fn take(&self, file: UnlinkedFile) {
        if file.is_nothing() {
            return;
        }
        self.left.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.queue.try_send(file) {
            drop(refused.into_inner());
            self.left.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether `files` can be taken without waiting.
    pub(super) fn has_room(&self, files: usize) -> bool {
        self.left.load(Ordering::Relaxed) + files <= WAITING_MAX
    }

    /// Whether the space of all that was taken has been given back.
    pub(super) fn is_idle(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }
}

impl ReaperThread {
    pub(super) fn run(self) {
        for file in self.queue {
            drop(file);
            self.left.fetch_sub(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::AreaId;
    use crate::store::layout::PrivateId;
    use crate::store::testing::TestStore;

    fn removed(store: &TestStore, id: u64) -> UnlinkedFile {
        let (area, id) = (AreaId(1), PrivateId(id));
        store.private_files.create(area, id).unwrap().set_len(1 << 20).unwrap();
        store.private_files.remove(&store.lock, area, id).unwrap()
    }

    #[test]
    fn it_is_idle_when_all_was_let_go_of() {
        let store = TestStore::new();
        let (reaper, thread) = reaper();
        assert!(reaper.has_room(WAITING_MAX));
        reaper.take(removed(&store, 1));
        assert!(!reaper.is_idle() && !reaper.has_room(WAITING_MAX));
        let left = Arc::clone(&reaper.left);
        drop(reaper);
        thread.run();
        assert_eq!(left.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_too_much_is_let_go_of_at_once() {
        let store = TestStore::new();
        let (reaper, thread) = reaper();
        for id in 0..WAITING_MAX as u64 + 10 {
            reaper.take(removed(&store, id));
        }
        assert_eq!(thread.queue.len(), WAITING_MAX);
        assert_eq!(reaper.left.load(Ordering::Relaxed), WAITING_MAX);
    }
}
