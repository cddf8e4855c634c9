//! Content of imported files: hashed by the daemon while it is copied into the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use crossbeam_channel::{Receiver, bounded};

use super::super::errors::{control_error, store_error};
use super::{Import, at};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::service::Attachment;
use crate::control::transfer::{FileSource, ImportContent, ImportEntry};
use crate::engine::error::EngineError;
use crate::engine::pins::BlobPin;
use crate::engine::request::{IncomingBlob, Request};
use crate::model::hash::BlobHash;
use crate::model::tree::FILE_BYTES_MAX;
use crate::store::error::StoreError;
use crate::store::pool::Incoming;

/// Bytes copied at a time.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// The blob of an entry: `None` for what has none, and for empty files.
pub(super) type StoredContent = Option<BlobHash>;

/// Contents of a batch, written to files of their own.
pub(super) struct Written {
    /// The blob of each entry.
    pub(super) contents: Vec<StoredContent>,
    /// The files.
    pub(super) blobs: Vec<IncomingBlob>,
}

/// Files on their way into the pool.
pub(super) struct Adopting {
    names: Vec<(BlobHash, u64)>,
    pins: Receiver<crate::engine::error::Result<Vec<BlobPin>>>,
}

impl Import {
    /// Writes the contents of a batch.
    pub(super) fn write_contents(
        &self,
        entries: &[ImportEntry],
        attachment: &Attachment,
    ) -> Result<Written, ControlError> {
        // All before the first byte is written: a batch that lies leaves nothing.
        for entry in entries {
            self.check_source(entry, attachment).map_err(|error| at(entry, error))?;
        }
        let mut blobs = Vec::new();
        let mut contents = Vec::with_capacity(entries.len());
        // Equal files of a batch share their bytes in the message.
        let mut taken = HashMap::new();
        for entry in entries {
            let bytes = inline(entry);
            if let Some(content) = bytes.and_then(|bytes| taken.get(&bytes)) {
                contents.push(*content);
                continue;
            }
            match self.take(entry, attachment, &mut blobs) {
                Ok(content) if let Some(bytes) = bytes => {
                    taken.insert(bytes, content);
                    contents.push(content);
                }
                Ok(content) => contents.push(content),
                Err(error) => {
                    self.let_go(blobs);
                    return Err(at(entry, error));
                }
            }
        }
        Ok(Written { contents, blobs })
    }

    /// Files of no use: content that nothing names is collected, a file on its way is not.
    pub(super) fn let_go(&self, blobs: Vec<IncomingBlob>) {
        let adopted = self.adopt(blobs).and_then(|adopting| self.hold(adopting));
        if let Err(error) = adopted {
            log::warn!("content of a failed import stays until the next start: {error}");
        }
    }

    /// Has files taken into the pool, in one request to the metadata thread; does not wait for it.
    pub(super) fn adopt(&self, blobs: Vec<IncomingBlob>) -> Result<Adopting, ControlError> {
        let names = blobs.iter().map(|blob| (blob.hash, blob.size)).collect();
        let (send, pins) = bounded(1);
        // Who went away meanwhile does not need the answer.
        let reply = Box::new(move |result| drop(send.send(result)));
        self.engine.submit(Request::AdoptBlobs { blobs, reply }).map_err(control_error)?;
        Ok(Adopting { names, pins })
    }

    /// Waits until the files are in the pool, and holds them.
    pub(super) fn hold(&self, adopting: Adopting) -> Result<(), ControlError> {
        let Adopting { names, pins } = adopting;
        let pins = pins.recv().unwrap_or(Err(EngineError::Stopping)).map_err(control_error)?;
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
        attachment: &Attachment,
        blobs: &mut Vec<IncomingBlob>,
    ) -> Result<StoredContent, ControlError> {
        let ImportContent::File { size_bytes, source } = &entry.content else {
            return Ok(None);
        };
        match source {
            FileSource::Empty => Ok(None),
            FileSource::Known(hash) => Ok(Some(*hash)),
            FileSource::Inline { offset, len } => {
                self.take_bytes(slice(&attachment.payload, *offset, *len)?, blobs)
            }
            FileSource::Attached { index } => {
                self.take_file(attached(attachment, *index)?, *size_bytes, blobs)
            }
        }
    }

    fn take_bytes(
        &self,
        bytes: &[u8],
        blobs: &mut Vec<IncomingBlob>,
    ) -> Result<StoredContent, ControlError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let hash = BlobHash::of(bytes);
        let file = self.engine.pool.write_incoming(bytes, &hash).map_err(store_error)?;
        blobs.push(IncomingBlob { file, hash, size: bytes.len() as u64 });
        Ok(Some(hash))
    }

    /// Copies an open file of the caller's. It is copied, never linked: the caller could change
    /// it afterwards (H24).
    fn take_file(
        &self,
        source: &File,
        size: u64,
        blobs: &mut Vec<IncomingBlob>,
    ) -> Result<StoredContent, ControlError> {
        if size == 0 {
            return Ok(None);
        }
        let (path, mut target) = self.engine.pool.incoming_file().map_err(store_error)?;
        let copied = copy(source, &mut target, size);
        if !matches!(copied, Ok(Some(_))) {
            self.engine.pool.drop_incoming(&path);
        }
        let hash = copied.map_err(|source| {
            store_error(StoreError::Io { action: "copy into", path: path.clone(), source })
        })?;
        let Some(hash) = hash else {
            let message = "it became shorter while it was imported";
            return Err(ControlError::new(ErrorKind::Failed, message)
                .with_hint("import again when nobody writes to it"));
        };
        blobs.push(IncomingBlob { file: Incoming::Named(path), hash, size });
        Ok(Some(hash))
    }

    /// Whether an entry's content is where it says and as long as it says. A version made of what
    /// a client claims would be damaged from the start (R6).
    fn check_source(
        &self,
        entry: &ImportEntry,
        attachment: &Attachment,
    ) -> Result<(), ControlError> {
        let ImportContent::File { size_bytes, source } = &entry.content else {
            return Ok(());
        };
        if *size_bytes > FILE_BYTES_MAX {
            return Err(bad(format!("{size_bytes} bytes are too many for a file")));
        }
        let found = match source {
            FileSource::Empty => 0,
            // Only what this import was told of: that is pinned, and of known size.
            FileSource::Known(hash) => {
                let size = self.held.lock().get(hash).map(|(size, _)| *size);
                size.ok_or_else(|| bad(format!("content {hash} was not found for this import")))?
            }
            FileSource::Inline { offset, len } => {
                slice(&attachment.payload, *offset, *len)?.len() as u64
            }
            // How long it is shows when it is copied.
            FileSource::Attached { index } => {
                return attached(attachment, *index).map(drop);
            }
        };
        if found == *size_bytes {
            return Ok(());
        }
        Err(bad(format!("{size_bytes} bytes were declared, but the content has {found}")))
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

fn attached(attachment: &Attachment, index: u32) -> Result<&File, ControlError> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    attachment.files.get(index).ok_or_else(|| bad("its open file did not come along"))
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

fn slice(payload: &[u8], offset: u32, len: u32) -> Result<&[u8], ControlError> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let length = usize::try_from(len).unwrap_or(usize::MAX);
    let end = start.checked_add(length).filter(|end| *end <= payload.len());
    end.map(|end| &payload[start..end]).ok_or_else(|| bad("content outside the payload"))
}

fn bad(what: impl Into<String>) -> ControlError {
    ControlError::new(ErrorKind::Usage, what)
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
