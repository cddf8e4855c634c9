//! Uploads, several at a time.
//!
//! Nothing names an object before it is uploaded: whoever kills this leaves keys that nobody needs, and the next push finds them
//! by listing.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::bucket::key::{Nonce, ObjectKey, ObjectKind};
use crate::bucket::store::ObjectStore;
use crate::bucket::transfer::{PacedReader, TransferError, Watch, add, store_error};
use crate::model::hash::ObjectHash;
use crate::store::durable;

/// Uploads at a time. Each has a pack of 32 MiB at most in memory.
const UPLOADS: usize = 4;

/// What an object is made of.
pub(super) enum Body {
    /// Its bytes.
    Memory(Vec<u8>),
    /// A file of the store.
    File {
        /// The file.
        file: Arc<File>,
        /// How many bytes of it.
        bytes: u64,
        /// What comes after them.
        trailer: Vec<u8>,
    },
}

/// The key for an object of these bytes: one that was never used.
pub(super) fn new_key(kind: ObjectKind, hash: ObjectHash) -> Result<ObjectKey, TransferError> {
    let nonce = Nonce::random().map_err(TransferError::local)?;
    Ok(ObjectKey { kind, hash, nonce })
}

/// Uploads one object, and returns once the store has it.
pub(super) fn upload(
    store: &dyn ObjectStore,
    watch: &Watch<'_>,
    key: ObjectKey,
    body: &Body,
) -> Result<(), TransferError> {
    watch.check()?;
    durable::step("upload").map_err(TransferError::local)?;
    let text = key.to_string();
    let length = match body {
        Body::Memory(bytes) => {
            watch.keep_pace(bytes.len())?;
            store.put(&text, bytes).map_err(|error| store_error(watch, error))?;
            bytes.len() as u64
        }
        Body::File { file, bytes, trailer } => {
            let length = bytes + trailer.len() as u64;
            let object = FileReader { file, done: 0 }.take(*bytes).chain(&trailer[..]);
            let put = store.put_reader(&text, &mut PacedReader::new(object, watch), length);
            put.map_err(|error| store_error(watch, error))?;
            length
        }
    };
    add(&watch.tally().moved_bytes, length);
    Ok(())
}

/// Reads a file from its beginning, whoever else reads it by the same descriptor.
struct FileReader<'a> {
    file: &'a File,
    done: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.done)?;
        self.done += read as u64;
        Ok(read)
    }
}

/// Threads that upload what they are handed.
pub(super) struct Uploads<'scope> {
    tasks: Sender<(ObjectKey, Body)>,
    has_failed: Arc<AtomicBool>,
    threads: Vec<ScopedJoinHandle<'scope, Result<(), TransferError>>>,
}

impl<'scope> Uploads<'scope> {
    /// Starts the threads that upload. They end when [`Uploads::finish`] is called, or this is dropped.
    pub(super) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env dyn ObjectStore,
        watch: &'env Watch<'env>,
    ) -> Result<Self, TransferError> {
        let (tasks, waiting) = bounded(0);
        let has_failed = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(UPLOADS);
        for _ in 0..UPLOADS {
            let waiting: Receiver<(ObjectKey, Body)> = waiting.clone();
            let has_failed = Arc::clone(&has_failed);
            let builder = std::thread::Builder::new().name("upload".to_owned());
            let thread = builder.spawn_scoped(scope, move || {
                let mut tasks = waiting.iter();
                let done = tasks.try_for_each(|(key, body)| upload(store, watch, key, &body));
                done.inspect_err(|_| has_failed.store(true, Ordering::Relaxed))
            });
            threads.push(thread.map_err(TransferError::local)?);
        }
        Ok(Self { tasks, has_failed, threads })
    }

    /// Hands over an object, once a thread is free. Why an upload failed is said by [`Uploads::finish`].
    pub(super) fn hand_over(&self, key: ObjectKey, body: Body) -> Result<(), TransferError> {
        if self.has_failed.load(Ordering::Relaxed) {
            return Err(TransferError::Stopped);
        }
        self.tasks.send((key, body)).map_err(|_| TransferError::Stopped)
    }

    /// Waits until all that was handed over is in the store.
    pub(super) fn finish(self) -> Result<(), TransferError> {
        drop(self.tasks);
        let mut failed = None;
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    failed.get_or_insert(error);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
