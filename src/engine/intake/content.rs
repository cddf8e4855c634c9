//! Content of imported files: hashed while it is copied into the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

use super::{Batch, Import, at};
use crate::engine::error::{EngineError, Result};
use crate::engine::gc::Leftover;
use crate::engine::pins::BlobPin;
use crate::engine::request::{IncomingBlob, Request, Reuse};
use crate::engine::stop_point::StopPoint;
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::import::{FileSource, ImportContent, ImportEntry};
use crate::model::text::count;
use crate::model::tree::FILE_BYTES_MAX;
use crate::store::error::StoreError;
use crate::store::pool::Incoming;

/// Threads that write a batch.
const WRITERS_MAX: usize = 4;
/// A further thread is started for each so many entries.
const ENTRIES_PER_WRITER: usize = 64;

/// Bytes copied at a time.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// The content of an entry: `None` for what has none, and for empty files.
pub(super) type StoredContent = Option<ContentName>;

/// Contents of a batch, written to files of their own.
#[derive(Default)]
pub(super) struct Written {
    /// The content of each entry.
    pub(super) contents: Vec<StoredContent>,
    /// The files.
    pub(super) blobs: Vec<IncomingBlob>,
}

/// Files on their way into the pool.
pub(super) struct Adopting {
    names: Vec<(BlobHash, u64)>,
    pins: Receiver<Result<Vec<BlobPin>>>,
}

impl Adopting {
    /// What the files have.
    pub(super) fn blobs(&self) -> impl Iterator<Item = BlobHash> {
        self.names.iter().map(|(blob, _)| *blob)
    }
}

impl Import {
    /// Writes the contents of a batch, on several threads when they are many: making files is most of
    /// what a new content costs.
    pub(super) fn write_contents(&self, batch: &Batch) -> Result<Written> {
        let entries = &batch.entries;
        // All entries are checked before the first byte is written, so that a refused batch leaves nothing.
        for entry in entries {
            self.check_source(entry, batch).map_err(|error| at(entry, error))?;
        }
        let writers = thread::available_parallelism().map_or(1, NonZero::get).min(WRITERS_MAX);
        let mut parts = entries.chunks(entries.len().div_ceil(writers).max(ENTRIES_PER_WRITER));
        let first = parts.next().unwrap_or_default();
        let written = thread::scope(|scope| {
            let write = |part| self.write_part(part, batch);
            let others: Vec<_> = parts
                .map(|part| {
                    let builder = thread::Builder::new().name("import-write".to_owned());
                    (part, builder.spawn_scoped(scope, move || write(part)))
                })
                .collect();
            let mut written = vec![write(first)];
            for (part, thread) in others {
                written.push(match thread.map(thread::ScopedJoinHandle::join) {
                    Ok(Ok(written)) => written,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                    // No more threads: it is done here.
                    Err(_) => write(part),
                });
            }
            written
        });
        let (mut whole, mut failed) = (Written::default(), None);
        for part in written {
            match part {
                Ok(part) => {
                    whole.contents.extend(part.contents);
                    whole.blobs.extend(part.blobs);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            None => Ok(whole),
            Some(error) => {
                self.discard(whole.blobs);
                Err(error)
            }
        }
    }

    fn write_part(&self, entries: &[ImportEntry], batch: &Batch) -> Result<Written> {
        let mut blobs = Vec::new();
        let mut contents = Vec::with_capacity(entries.len());
        // Equal files of a batch share their bytes in the message.
        let mut taken = HashMap::new();
        for entry in entries {
            let bytes = inline(entry);
            if let Some(content) = bytes.and_then(|bytes| taken.get(&bytes)) {
                contents.push(named(entry, *content));
                continue;
            }
            match self.take(entry, batch, &mut blobs) {
                Ok(content) => {
                    if let Some(bytes) = bytes {
                        taken.insert(bytes, content);
                    }
                    contents.push(named(entry, content));
                }
                Err(error) => {
                    self.discard(blobs);
                    return Err(at(entry, error));
                }
            }
        }
        Ok(Written { contents, blobs })
    }

    /// Throws away what was written. Names in the pool are removed by the metadata thread.
    pub(super) fn discard(&self, blobs: Vec<IncomingBlob>) {
        let placed = blobs.iter().filter(|blob| blob.file.is_placed());
        let leftovers = placed.map(|blob| Leftover::Blob(*blob.pin.hash())).collect();
        drop(blobs);
        self.remove_leftovers(leftovers);
    }

    fn remove_leftovers(&self, leftovers: Vec<Leftover>) {
        if self.engine.submit(Request::Swept { leftovers }).is_err() {
            log::debug!("what an import leaves is removed by a later run of the collector");
        }
    }

    /// Has files taken into the pool, in one request to the metadata thread; does not wait for it.
    pub(super) fn adopt(&self, blobs: Vec<IncomingBlob>) -> Result<Adopting> {
        let names = blobs.iter().map(|blob| (*blob.pin.hash(), blob.size)).collect();
        let (send, pins) = bounded(1);
        // Who went away meanwhile does not need the answer.
        let reply = Box::new(move |result| drop(send.send(result)));
        self.engine.submit(Request::AdoptBlobs { blobs, reply })?;
        Ok(Adopting { names, pins })
    }

    /// Waits until the files are in the pool, and holds them.
    pub(super) fn hold(&self, adopting: Adopting) -> Result<()> {
        let Adopting { names, pins } = adopting;
        let pins = pins.recv().unwrap_or(Err(EngineError::Stopping))?;
        let mut held = self.held.lock();
        for ((hash, size), pin) in names.into_iter().zip(pins) {
            held.insert(hash, (size, pin));
        }
        Ok(())
    }

    /// The content of one entry, copied if it came along.
    fn take(
        &self,
        entry: &ImportEntry,
        batch: &Batch,
        blobs: &mut Vec<IncomingBlob>,
    ) -> Result<Option<BlobHash>> {
        let ImportContent::File { size_bytes, source, .. } = &entry.content else {
            return Ok(None);
        };
        match source {
            FileSource::Empty | FileSource::Absent => Ok(None),
            FileSource::Known(hash) => Ok(Some(*hash)),
            FileSource::Inline { offset, len } => {
                self.take_bytes(slice(&batch.payload, *offset, *len)?, blobs)
            }
            FileSource::Attached { index } => {
                self.take_file(attached(batch, *index)?, *size_bytes, blobs)
            }
        }
    }

    fn take_bytes(&self, bytes: &[u8], blobs: &mut Vec<IncomingBlob>) -> Result<Option<BlobHash>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let hash = BlobHash::of(bytes);
        let pin = BlobPin::new(&self.engine.pins, hash);
        let pool = &self.engine.pool;
        let absent = self.absent.lock().remove(&hash);
        let written = match absent {
            true => pool.place(bytes, &hash),
            false => pool.write_incoming(bytes, &hash),
        };
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                drop(pin);
                self.remove_leftovers(vec![Leftover::Blob(hash)]);
                return Err(error.into());
            }
        };
        blobs.push(IncomingBlob { file, pin, size: bytes.len() as u64, is_own: true });
        Ok(Some(hash))
    }

    /// Copies an open file of the caller's. It is copied, never linked: the caller could change
    /// it afterwards (H24).
    fn take_file(
        &self,
        source: &File,
        size: u64,
        blobs: &mut Vec<IncomingBlob>,
    ) -> Result<Option<BlobHash>> {
        if size == 0 {
            return Ok(None);
        }
        let (named, mut target) = self.engine.pool.incoming_file()?;
        let copied = copy(source, &mut target, size);
        let hash = copied.map_err(StoreError::io("copy into", named.path()))?;
        let Some(hash) = hash else {
            return Err(EngineError::SourceShrank);
        };
        let pin = BlobPin::new(&self.engine.pins, hash);
        blobs.push(IncomingBlob { file: Incoming::Named(named), pin, size, is_own: true });
        Ok(Some(hash))
    }

    /// Stores the content of an open file by itself, and holds it; `None` when it is shorter.
    pub(super) fn store_file(&self, source: &File, size: u64) -> Result<Option<BlobHash>> {
        let mut blobs = Vec::new();
        let stored = match self.take_file(source, size, &mut blobs) {
            Err(EngineError::SourceShrank) => return Ok(None),
            stored => stored?,
        };
        self.engine.stop_points.pass(StopPoint::LargeCopied);
        let adopting = self.adopt(blobs)?;
        self.hold(adopting)?;
        Ok(stored)
    }

    /// The length of content that is held. After a checkpoint it is held by the trees alone, and must be found again.
    fn size_held(&self, blob: &BlobHash) -> Result<Option<u64>> {
        if let Some((size, _)) = self.held.lock().get(blob) {
            return Ok(Some(*size));
        }
        if self.checkpoint.lock().is_none() {
            return Ok(None);
        }
        let hashes = vec![*blob];
        let found =
            self.engine.call(|reply| Request::ReuseBlobs { hashes, is_own: true, reply })?;
        let Some(Reuse::Whole(pin, size)) = found.into_iter().next() else { return Ok(None) };
        self.held.lock().insert(*blob, (size, pin));
        Ok(Some(size))
    }

    /// Checks that an entry's content is where the message says, and as long. If the client were believed,
    /// the version could be damaged from the start (R6).
    fn check_source(&self, entry: &ImportEntry, batch: &Batch) -> Result<()> {
        let ImportContent::File { size_bytes, source, .. } = &entry.content else {
            return Ok(());
        };
        if *size_bytes > FILE_BYTES_MAX {
            return Err(bad(format!("{size_bytes} bytes are too many for a file")));
        }
        let found = match source {
            FileSource::Empty => 0,
            // It is as long as was declared, or nobody will ever read it.
            FileSource::Absent => *size_bytes,
            // Only what is pinned, and so of known size.
            FileSource::Known(hash) => self
                .size_held(hash)?
                .ok_or_else(|| bad(format!("content {hash} was not found for this import")))?,
            FileSource::Inline { offset, len } => {
                slice(&batch.payload, *offset, *len)?.len() as u64
            }
            // How long it is shows when it is copied.
            FileSource::Attached { index } => {
                return attached(batch, *index).map(drop);
            }
        };
        if found == *size_bytes {
            return Ok(());
        }
        Err(bad(format!("the content has {}, not {size_bytes}", count(found, "byte"))))
    }
}

/// The name that an entry has for its stored content.
fn named(entry: &ImportEntry, blob: Option<BlobHash>) -> StoredContent {
    match (&entry.content, blob) {
        (ImportContent::File { declared: Some(name), source: FileSource::Absent, .. }, _)
        | (ImportContent::File { declared: Some(name), .. }, Some(_)) => Some((*name).into()),
        (_, blob) => blob.map(ContentName::from),
    }
}

/// Where the message has an entry's content, if it has: offset and length.
fn inline(entry: &ImportEntry) -> Option<(u32, u32)> {
    match &entry.content {
        ImportContent::File { source: FileSource::Inline { offset, len }, .. } => {
            Some((*offset, *len))
        }
        _ => None,
    }
}

fn attached(batch: &Batch, index: u32) -> Result<&File> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    batch.files.get(index).ok_or_else(|| bad("its open file did not come along"))
}

/// Copies `size` bytes and hashes them; whole zero chunks become holes. `None` when there are
/// fewer.
fn copy(source: &File, target: &mut File, size: u64) -> std::io::Result<Option<BlobHash>> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done).unwrap_or(usize::MAX).min(chunk.len());
        let read = source.read_at(&mut chunk[..want], done)?;
        if read == 0 {
            return Ok(None);
        }
        hasher.update(&chunk[..read]);
        if chunk[..read].iter().any(|byte| *byte != 0) {
            target.write_all_at(&chunk[..read], done)?;
        }
        done += read as u64;
    }
    target.set_len(size)?;
    target.flush()?;
    Ok(Some(hasher.finalize().into()))
}

fn slice(payload: &[u8], offset: u32, len: u32) -> Result<&[u8]> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let length = usize::try_from(len).unwrap_or(usize::MAX);
    let end = start.checked_add(length).filter(|end| *end <= payload.len());
    end.map(|end| &payload[start..end]).ok_or_else(|| bad("content outside the payload"))
}

fn bad(what: impl Into<String>) -> EngineError {
    EngineError::Invalid(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_content_must_be_inside_the_payload() {
        let payload = [1, 2, 3];
        assert_eq!(slice(&payload, 1, 2).unwrap(), &[2, 3]);
        assert!(slice(&payload, 1, 3).is_err());
        assert!(slice(&payload, u32::MAX, u32::MAX).is_err());
    }

    #[test]
    fn a_shorter_file_is_noticed() {
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(b"abc").unwrap();
        let mut target = tempfile::tempfile().unwrap();
        assert_eq!(copy(&source, &mut target, 4).unwrap(), None);
        let hash = copy(&source, &mut target, 3).unwrap();
        assert_eq!(hash, Some(BlobHash::of(b"abc")));
    }
}
