//! An object store in memory, which fails as real ones do: for tests.
//!
//! A handle may have faults: a function that is asked before each operation and says what becomes of it. Objects have
//! times of a clock that stands until somebody moves it.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rpds::RedBlackTreeMapSync;

use super::store::{Created, GET_BYTES_MAX, Listed, ObjectStore, StoreError, StoreErrorKind};

/// States of the past that a list may show.
const PAST_MAX: usize = 16;

/// An operation that is about to happen.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// [`ObjectStore::get`] or [`ObjectStore::get_range`].
    Get(&'a str),
    /// [`ObjectStore::put`] or [`ObjectStore::put_reader`].
    Put(&'a str),
    /// [`ObjectStore::create`].
    Create(&'a str),
    /// [`ObjectStore::head`].
    Head(&'a str),
    /// [`ObjectStore::list`].
    List(&'a str),
    /// [`ObjectStore::delete`].
    Delete(&'a [String]),
}

/// What becomes of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// It does not reach the store.
    Lost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// A write is kept until [`Memory::land`] and the answer is lost. Other operations do not reach the store.
    Late,
    /// A list shows what was there so many changes ago. Other operations go well.
    Stale(usize),
    /// A condition is not looked at: [`ObjectStore::create`] overwrites.
    NoCondition,
    /// It fails with this.
    Fails(StoreError),
}

/// Says what becomes of an operation.
pub type Faults = dyn FnMut(Operation<'_>) -> Fault + Send;

#[derive(Debug, Clone)]
struct Object {
    bytes: Arc<[u8]>,
    modified: SystemTime,
}

type Objects = RedBlackTreeMapSync<String, Object>;

/// A write that has not landed.
#[derive(Debug)]
struct Write {
    key: String,
    bytes: Arc<[u8]>,
    only_new: bool,
}

#[derive(Debug)]
struct State {
    objects: Objects,
    /// States before the last changes, the latest last.
    past: VecDeque<Objects>,
    late: Vec<Write>,
    now: SystemTime,
}

impl State {
    fn change(&mut self, change: impl FnOnce(&mut Objects, SystemTime)) {
        if self.past.len() == PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(self.objects.clone());
        change(&mut self.objects, self.now);
    }

    fn write(&mut self, write: Write) -> Created {
        if write.only_new && self.objects.contains_key(&write.key) {
            return Created::Occupied;
        }
        self.change(|objects, modified| {
            objects.insert_mut(write.key, Object { bytes: write.bytes, modified });
        });
        Created::Done
    }
}

/// A handle of a store in memory.
pub struct Memory {
    state: Arc<Mutex<State>>,
    faults: Option<Mutex<Box<Faults>>>,
    /// What it is a cache of.
    origin: Option<Box<Memory>>,
}

impl Default for Memory {
    /// An empty store.
    fn default() -> Self {
        let state = State {
            objects: Objects::new_sync(),
            past: VecDeque::new(),
            late: Vec::new(),
            now: UNIX_EPOCH + Duration::from_secs(1 << 30),
        };
        Self { state: Arc::new(Mutex::new(state)), faults: None, origin: None }
    }
}

impl Clone for Memory {
    /// A handle of the same store, without faults.
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), faults: None, origin: None }
    }
}

impl Memory {
    /// A handle of the same store as a cache of another one, which is asked when this is passed.
    pub fn before(&self, origin: &Self) -> Self {
        Self { origin: Some(Box::new(origin.clone())), ..self.clone() }
    }

    /// A handle of the same store, with faults.
    pub fn with_faults(&self, faults: Box<Faults>) -> Self {
        Self { faults: Some(Mutex::new(faults)), ..self.clone() }
    }

    /// What the store's clock shows.
    pub fn now(&self) -> SystemTime {
        self.state.lock().now
    }

    /// Moves the store's clock on.
    pub fn advance(&self, time: Duration) {
        self.state.lock().now += time;
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    /// Whether there is an object of that key.
    pub fn has(&self, key: &str) -> bool {
        self.state.lock().objects.contains_key(key)
    }

    /// Writes that have not landed.
    pub fn late_writes(&self) -> usize {
        self.state.lock().late.len()
    }

    /// Lets a late write land, and returns its key. A conditional one is refused as ever.
    pub fn land(&self, index: usize) -> String {
        let mut state = self.state.lock();
        let write = state.late.remove(index);
        let key = write.key.clone();
        state.write(write);
        key
    }

    fn fault(&self, operation: Operation<'_>) -> Fault {
        self.faults.as_ref().map_or(Fault::None, |faults| (faults.lock())(operation))
    }

    fn write(&self, write: Write, operation: Operation<'_>) -> Result<Created, StoreError> {
        let key = write.key.clone();
        match self.fault(operation) {
            Fault::None | Fault::Stale(_) => Ok(self.state.lock().write(write)),
            Fault::NoCondition => Ok(self.state.lock().write(Write { only_new: false, ..write })),
            Fault::Lost => Err(lost(&key)),
            Fault::AnswerLost => {
                self.state.lock().write(write);
                Err(lost(&key))
            }
            Fault::Late => {
                self.state.lock().late.push(write);
                Err(lost(&key))
            }
            Fault::Fails(error) => Err(error),
        }
    }

    fn read<T>(
        &self,
        operation: Operation<'_>,
        what: &str,
        read: impl FnOnce(&State) -> T,
    ) -> Result<T, StoreError> {
        match self.fault(operation) {
            Fault::None | Fault::Stale(_) | Fault::NoCondition => Ok(read(&self.state.lock())),
            Fault::Lost | Fault::AnswerLost | Fault::Late => Err(lost(what)),
            Fault::Fails(error) => Err(error),
        }
    }
}

fn lost(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Temporary, format!("{what}: the answer was lost"))
}

fn listed(key: &str, object: &Object) -> Listed {
    Listed { key: key.to_owned(), size: object.bytes.len() as u64, modified: object.modified }
}

impl ObjectStore for Memory {
    fn past_caches(&self) -> Option<Box<dyn ObjectStore>> {
        self.origin.as_ref().map(|origin| Box::new((**origin).clone()) as Box<dyn ObjectStore>)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let object =
            self.read(Operation::Get(key), key, |state| state.objects.get(key).cloned())?;
        let is_long = object.as_ref().is_some_and(|it| it.bytes.len() as u64 > GET_BYTES_MAX);
        if is_long {
            let text = format!("{key}: it is longer than {GET_BYTES_MAX} bytes");
            return Err(StoreError::new(StoreErrorKind::Protocol, text));
        }
        Ok(object.map(|object| object.bytes.to_vec()))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        let object =
            self.read(Operation::Get(key), key, |state| state.objects.get(key).cloned())?;
        let Some(object) = object else { return Ok(None) };
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(object.bytes.len());
        let part = object.bytes.get(place(range.start)..place(range.end));
        match part.filter(|part| !part.is_empty()) {
            Some(part) => Ok(Some(part.to_vec())),
            None => {
                let text = format!("{key}: it has no bytes at {range:?}");
                Err(StoreError::new(StoreErrorKind::Protocol, text))
            }
        }
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let write = Write { key: key.to_owned(), bytes: bytes.into(), only_new: false };
        self.write(write, Operation::Put(key)).map(drop)
    }

    fn put_reader(&self, key: &str, source: &mut dyn Read, length: u64) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        let read = source.take(length.saturating_add(1)).read_to_end(&mut bytes);
        match read {
            Ok(read) if read as u64 == length => self.put(key, &bytes),
            Ok(_) => {
                let text = format!("{key}: the source has not {length} bytes");
                Err(StoreError::new(StoreErrorKind::Local, text))
            }
            Err(error) => Err(StoreError::new(StoreErrorKind::Local, format!("{key}: {error}"))),
        }
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let write = Write { key: key.to_owned(), bytes: bytes.into(), only_new: true };
        self.write(write, Operation::Create(key))
    }

    fn head(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        self.read(Operation::Head(key), key, |state| {
            state.objects.get(key).map(|object| listed(key, object))
        })
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let changes = match self.fault(Operation::List(prefix)) {
            Fault::None | Fault::NoCondition => 0,
            Fault::Stale(changes) => changes,
            Fault::Lost | Fault::AnswerLost | Fault::Late => return Err(lost(prefix)),
            Fault::Fails(error) => return Err(error),
        };
        let objects = {
            let state = self.state.lock();
            let past = changes.checked_sub(1).and_then(|back| state.past.iter().nth_back(back));
            past.unwrap_or(&state.objects).clone()
        };
        for (key, object) in objects.range(prefix.to_owned()..) {
            if !key.starts_with(prefix) || each(listed(key, object)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let fault = self.fault(Operation::Delete(keys));
        let remove = || {
            self.state.lock().change(|objects, _| {
                for key in keys {
                    objects.remove_mut(key);
                }
            });
        };
        match fault {
            Fault::None | Fault::Stale(_) | Fault::NoCondition => {
                remove();
                Ok(())
            }
            Fault::AnswerLost => {
                remove();
                Err(lost("a deletion"))
            }
            Fault::Lost | Fault::Late => Err(lost("a deletion")),
            Fault::Fails(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed_keys(store: &Memory, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let each = &mut |listed: Listed| {
            keys.push(listed.key);
            ControlFlow::Continue(())
        };
        store.list(prefix, each).unwrap();
        keys
    }

    #[test]
    fn a_key_is_created_once_and_read_by_parts() {
        let store = Memory::default();
        assert_eq!(store.create("log/a", b"one").unwrap(), Created::Done);
        assert_eq!(store.create("log/a", b"two").unwrap(), Created::Occupied);
        assert_eq!(store.get("log/a").unwrap().unwrap(), b"one");
        assert_eq!(store.get_range("log/a", 1..9).unwrap().unwrap(), b"ne");
        assert!(store.get_range("log/a", 3..9).is_err());
        assert_eq!(store.get("b").unwrap(), None);
        store.put_reader("b", &mut &b"four"[..], 4).unwrap();
        assert!(store.put_reader("c", &mut &b"four"[..], 3).is_err());
        assert_eq!(store.head("b").unwrap().unwrap().size, 4);
        assert_eq!(listed_keys(&store, ""), ["b", "log/a"]);
        assert_eq!(listed_keys(&store, "log/"), ["log/a"]);
        store.delete(&["b".to_owned(), "none".to_owned()]).unwrap();
        assert_eq!(store.keys(), ["log/a"]);
    }

    #[test]
    fn h45_a_write_may_be_lost_be_done_or_land_later() {
        let store = Memory::default();
        let mut faults = vec![Fault::Late, Fault::AnswerLost, Fault::Lost];
        let bad = store.with_faults(Box::new(move |_| faults.pop().unwrap_or(Fault::None)));
        assert!(bad.create("a", b"1").is_err());
        assert!(!store.has("a"));
        assert!(bad.create("a", b"2").is_err());
        assert_eq!(store.get("a").unwrap().unwrap(), b"2");
        assert!(bad.create("b", b"3").is_err());
        assert!(!store.has("b"));
        assert_eq!(store.late_writes(), 1);
        store.land(0);
        assert_eq!(store.get("b").unwrap().unwrap(), b"3");
    }

    #[test]
    fn h48_a_list_may_show_the_past() {
        let store = Memory::default();
        store.put("a", b"").unwrap();
        store.delete(&["a".to_owned()]).unwrap();
        store.put("b", b"").unwrap();
        let stale = store.with_faults(Box::new(|_| Fault::Stale(2)));
        assert_eq!(listed_keys(&stale, ""), ["a"]);
        assert_eq!(listed_keys(&store, ""), ["b"]);
    }

    #[test]
    fn h44_a_condition_may_be_ignored() {
        let store = Memory::default();
        let bad = store.with_faults(Box::new(|_| Fault::NoCondition));
        assert_eq!(bad.create("a", b"1").unwrap(), Created::Done);
        assert_eq!(bad.create("a", b"2").unwrap(), Created::Done);
        assert_eq!(store.get("a").unwrap().unwrap(), b"2");
    }
}
