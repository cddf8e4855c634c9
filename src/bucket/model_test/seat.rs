//! The store as an actor of the model test has it: at each call other actors may run first, and the call may fail.

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use corosensei::Yielder;
use send_wrapper::SendWrapper;

use super::world::Shared;
use crate::bucket::memory::{Fault, Memory, Operation};
use crate::bucket::store::{Created, Listed, ObjectStore, StoreError};

/// Of a hundred reads, so many go on without letting another actor run: most calls are reads, and histories would have little else.
const READS_AT_ONCE: usize = 70;

/// The store as one actor sees it. All actors run on one thread; the wrapper panics where another one would use it.
pub(super) struct Seat<'a> {
    yielder: SendWrapper<&'a Yielder<(), ()>>,
    memory: Memory,
    pub(super) shared: Arc<Shared>,
}

impl<'a> Seat<'a> {
    pub(super) fn new(yielder: &'a Yielder<(), ()>, shared: Arc<Shared>) -> Self {
        let of_faults = Arc::clone(&shared);
        let memory =
            shared.memory.with_faults(Box::new(move |operation| fault(&of_faults, operation)));
        Self { yielder: SendWrapper::new(yielder), memory, shared }
    }

    /// Lets others go first.
    pub(super) fn pause(&self) {
        self.shared.counts.lock().calls += 1;
        self.yielder.suspend(());
    }

    fn pause_before_read(&self) {
        let at_once = self.shared.random.lock().percent(READS_AT_ONCE);
        if !at_once {
            self.pause();
        }
    }
}

fn fault(shared: &Shared, operation: Operation<'_>) -> Fault {
    let mut random = shared.random.lock();
    let mut counts = shared.counts.lock();
    let chosen = random.below(100);
    let fault = match operation {
        Operation::Create(_) | Operation::Put(_) => match chosen {
            0..6 => Fault::Lost,
            6..12 => Fault::AnswerLost,
            12..18 => Fault::Late,
            _ => Fault::None,
        },
        Operation::Delete(_) => match chosen {
            0..5 => Fault::Lost,
            5..10 => Fault::AnswerLost,
            _ => Fault::None,
        },
        Operation::List(_) if chosen < 30 => Fault::Stale(1 + random.below(8)),
        Operation::List(_) | Operation::Get(_) | Operation::Head(_) => Fault::None,
    };
    match fault {
        Fault::Lost | Fault::AnswerLost => counts.lost += 1,
        Fault::Late => counts.late += 1,
        Fault::Stale(_) => counts.stale += 1,
        Fault::None | Fault::NoCondition | Fault::Fails(_) => {}
    }
    fault
}

impl ObjectStore for Seat<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.pause_before_read();
        self.memory.get(key)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        self.pause_before_read();
        self.memory.get_range(key, range)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.pause();
        self.memory.put(key, bytes)
    }

    fn put_reader(&self, key: &str, source: &mut dyn Read, length: u64) -> Result<(), StoreError> {
        self.pause();
        self.memory.put_reader(key, source, length)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.pause();
        let created = self.memory.create(key, bytes);
        self.shared.created(key);
        created
    }

    fn head(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        self.pause_before_read();
        self.memory.head(key)
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.pause();
        self.memory.list(prefix, each)
    }

    fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.pause();
        if !keys.iter().all(|key| key.starts_with("probe/")) {
            self.shared.note(|| format!("  deletes {keys:?}"));
            self.shared.counts.lock().deleted += keys.len() as u64;
        }
        let deleted = self.memory.delete(keys);
        self.shared.deleted(keys);
        deleted
    }
}
