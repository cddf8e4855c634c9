//! Memory for the contents of small files: many files share one buffer, and buffers are used again.
//!
//! A page that a process touches for the first time costs the kernel more than reading a small file
//! into it does: with memory of its own for each file, and again for each message, page faults were
//! the largest part of what an import of new content cost the command.
//!
//! Invariant: what a [`Bytes`] shows never changes; a buffer is used again when the last of them is
//! gone. This module knows neither files nor messages.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Buffers that are kept for later.
const FREE_MAX: usize = 32;
/// Longer buffers are not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

type Free = Arc<Mutex<Vec<Vec<u8>>>>;

/// Buffers to fill.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Free);

impl Buffers {
    /// A buffer for some files.
    pub(super) fn take(&self) -> Filling {
        let memory = self.0.lock().pop().unwrap_or_default();
        let buffer = Arc::new(Buffer { memory: OnceLock::new(), free: Arc::clone(&self.0) });
        Filling { memory, used: 0, buffer }
    }
}

/// A full buffer.
#[derive(Debug)]
struct Buffer {
    /// Set when the filling ends.
    memory: OnceLock<Vec<u8>>,
    free: Free,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let mut free = self.free.lock();
        if free.len() < FREE_MAX && memory.len() <= KEPT_BYTES_MAX {
            free.push(memory);
        }
    }
}

/// A buffer that is being filled. What was put in can be seen by others once this is dropped.
#[derive(Debug)]
pub(super) struct Filling {
    /// All of it initialised; what is behind `used` is old.
    memory: Vec<u8>,
    used: usize,
    buffer: Arc<Buffer>,
}

impl Filling {
    /// Makes room for `len` bytes and has `fill` put in as many as it says.
    pub(super) fn add<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        let (start, end) = (self.used, self.used + len);
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        let filled = fill(&mut self.memory[start..end])?.min(len);
        self.used = start + filled;
        Ok(Bytes { buffer: Arc::clone(&self.buffer), range: start..self.used })
    }

    /// Bytes put in so far.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// What was put in as `bytes`.
    pub(super) fn get(&self, bytes: &Bytes) -> &[u8] {
        assert!(Arc::ptr_eq(&bytes.buffer, &self.buffer), "bytes of another buffer");
        &self.memory[bytes.range.clone()]
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        assert!(self.buffer.memory.set(memory).is_ok(), "a buffer is filled once");
    }
}

/// The content of a small file.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl Bytes {
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes themselves.
    fn as_slice(&self) -> &[u8] {
        let memory = self.buffer.memory.get();
        assert!(memory.is_some(), "the buffer is still being filled");
        memory.map_or(&[], |memory| &memory[self.range.clone()])
    }
}

/// Contents that follow each other in a message.
#[derive(Debug, Default)]
pub struct Payload {
    parts: Vec<Bytes>,
    len: usize,
}

impl Payload {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, in order, in as few slices as they are in memory.
    pub fn slices(&self) -> Vec<&[u8]> {
        self.parts.iter().map(Bytes::as_slice).collect()
    }

    /// Adds bytes at the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        match self.parts.last_mut() {
            Some(last)
                if Arc::ptr_eq(&last.buffer, &bytes.buffer)
                    && last.range.end == bytes.range.start =>
            {
                last.range.end = bytes.range.end;
            }
            _ => self.parts.push(bytes),
        }
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        let mut payload = Self::default();
        let mut filling = Buffers::default().take();
        let added = filling.add(bytes.len(), |target| {
            target.copy_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(bytes.len())
        });
        let Ok(bytes) = added;
        payload.push(bytes);
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(filling: &mut Filling, bytes: &[u8], room: usize) -> Bytes {
        let added = filling.add(room, |target| {
            target[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, ()>(bytes.len())
        });
        added.unwrap()
    }

    #[test]
    fn what_lies_together_is_one_slice() {
        let buffers = Buffers::default();
        let mut filling = buffers.take();
        let one = add(&mut filling, b"one", 3);
        let short = add(&mut filling, b"short", 9);
        assert!(filling.add(5, |_| Err(())).is_err());
        let last = add(&mut filling, b"last", 4);
        assert_eq!(filling.get(&short), b"short");
        drop(filling);
        let mut payload = Payload::default();
        for bytes in [&one, &short, &last, &one, &last] {
            payload.push(bytes.clone());
        }
        assert_eq!(payload.slices(), [&b"oneshortlast"[..], b"one", b"last"]);
        assert_eq!((payload.len(), payload.is_empty()), (19, false));
        assert!(Payload::default().is_empty());
        assert_eq!(Payload::from(&b"bytes"[..]).slices(), [b"bytes"]);
    }

    #[test]
    fn a_buffer_is_used_again_when_nobody_sees_it_any_more() {
        let buffers = Buffers::default();
        let mut filling = buffers.take();
        let bytes = add(&mut filling, b"first", 5);
        drop(filling);
        let mut second = buffers.take();
        let other = add(&mut second, b"other", 5);
        drop(second);
        assert_eq!(bytes.as_slice(), b"first", "not overwritten");
        let memory = bytes.as_slice().as_ptr();
        drop(bytes);
        let mut third = buffers.take();
        let again = add(&mut third, b"3", 1);
        drop(third);
        assert_eq!((again.as_slice(), again.as_slice().as_ptr()), (&b"3"[..], memory));
        assert_eq!(other.as_slice(), b"other");
    }

    #[test]
    fn few_and_small_buffers_are_kept() {
        let buffers = Buffers::default();
        let filled: Vec<Bytes> =
            (0..=FREE_MAX).map(|_| add(&mut buffers.take(), b"x", 1)).collect();
        drop(filled);
        assert_eq!(buffers.0.lock().len(), FREE_MAX);
        buffers.0.lock().clear();
        drop(add(&mut buffers.take(), b"x", KEPT_BYTES_MAX + 1));
        assert!(buffers.0.lock().is_empty());
    }
}
