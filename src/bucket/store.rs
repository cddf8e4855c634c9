//! What a bucket asks of an object store, as a blocking interface.
//!
//! [`ObjectStore::create`] is the one conditional write, and all agreement between publishers rests on it. An error of
//! it says nothing about what happened: the answer may have been lost, and the write may even land later (H45).

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::time::SystemTime;

/// The largest object that [`ObjectStore::get`] returns, in bytes. Larger ones are read by ranges.
pub const GET_BYTES_MAX: u64 = 64 << 20;

/// The most keys of one [`ObjectStore::delete`].
pub const DELETE_KEYS_MAX: usize = 1000;

/// What is known of an object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key, below the prefix of the bucket.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// What became of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object was made.
    Done,
    /// There is an object of that key, perhaps one that an earlier try of ours made.
    Occupied,
}

/// What a failure means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It may be different in a moment. What a write did is unknown.
    Temporary,
    /// The store does not allow it.
    Refused,
    /// The store, or what it keeps, is not as it must be.
    Protocol,
    /// Something on this machine.
    Local,
    /// It was asked to stop.
    Stopped,
}

/// A request to an object store that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

impl StoreError {
    /// A failure, with a text that names the object.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What it means.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

/// An object store, or the part of one below a prefix. Keys are those of [`super::key`].
pub trait ObjectStore: Send + Sync {
    /// The bytes of an object; `None` when there is none.
    ///
    /// # Errors
    /// The store's, and when it has more than [`GET_BYTES_MAX`].
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// As much of that range as the object has; `None` when there is no object.
    ///
    /// # Errors
    /// The store's, and when the range begins at or after the end.
    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes an object, in place of the one that was there.
    ///
    /// # Errors
    /// The store's. Whether it was written is then unknown.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes the `length` bytes of `source`, in parts where they are many.
    ///
    /// # Errors
    /// The store's, and when `source` cannot be read or has another length.
    fn put_reader(&self, key: &str, source: &mut dyn Read, length: u64) -> Result<(), StoreError>;

    /// Writes an object unless there is one of that key.
    ///
    /// # Errors
    /// The store's. Whether it was written is then unknown, and it may still be (H45).
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;

    /// Length and time of an object; `None` when there is none.
    ///
    /// # Errors
    /// The store's.
    fn head(&self, key: &str) -> Result<Option<Listed>, StoreError>;

    /// Hands over the objects whose keys begin with `prefix`, which is empty or ends with `/`, in any order, until
    /// `each` breaks. What was written or deleted a moment ago may be missing or still be there.
    ///
    /// # Errors
    /// The store's.
    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// The same store, asked past the caches before it, for who got something wrong or nothing (H49). `None` where there
    /// are no caches, or they are passed already.
    fn past_caches(&self) -> Option<Box<dyn ObjectStore>> {
        None
    }

    /// How many requests it takes at a time from one who has many.
    fn requests_at_once(&self) -> usize {
        1
    }

    /// Whether it has lists. A plain HTTP server has none, and takes no writes.
    fn has_lists(&self) -> bool {
        true
    }

    /// Deletes objects, [`DELETE_KEYS_MAX`] at most. What is not there is no error.
    ///
    /// # Errors
    /// The store's. Some may be deleted then.
    fn delete(&self, keys: &[String]) -> Result<(), StoreError>;
}
