//! Bodies of answers: bytes that are there, parts of a file, and what a thread writes meanwhile.
//!
//! A file is read piece by piece, each when the one before is on its way, on threads that may block. Its first
//! pieces are small, so that a client that takes little costs little memory; only a bounded number of files are sent in
//! large ones, so that many clients that begin fast and then stall cost little as well. What a thread writes goes through a
//! short queue: the thread waits for the client, and ends when the client goes or when others need its place ([`streams`]).
//!
//! [`streams`]: super::streams

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::streams::{StreamPlace, Streams, gone};
use crate::engine::Engine;
use crate::engine::pins::BlobPin;
use crate::model::hash::BlobHash;

/// The first piece of a file, in bytes.
const PIECE_BYTES_FIRST: usize = 64 << 10;

/// The largest piece of a file, in bytes; each is twice the one before.
const PIECE_BYTES_MAX: usize = 512 << 10;

/// Files that are sent in large pieces at a time. Such a file costs two pieces.
const LARGE_MAX: usize = 32;

/// Room for files that are sent in large pieces.
static LARGE: Semaphore = Semaphore::const_new(LARGE_MAX);

/// Bytes that are collected of what a thread writes, before they are sent.
const WRITTEN_BYTES: usize = 64 << 10;

/// Collected pieces that wait for a client.
const WRITTEN_PIECES_MAX: usize = 1;

/// A body, and what it holds until it was sent.
pub(super) enum Body {
    /// Bytes in memory.
    Whole(Option<Bytes>),
    /// Part of a file.
    File(FileBody),
    /// What a thread writes.
    Written(WrittenBody),
}

impl Body {
    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => bytes.take().map(Ok),
            Self::File(file) => ready!(file.poll(context)),
            Self::Written(written) => ready!(written.poll(context)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::File(file) => file.is_sent(),
            Self::Written(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| length(b.len())))
            }
            Self::File(file) => SizeHint::with_exact(file.end - file.sent),
            Self::Written(_) => SizeHint::default(),
        }
    }
}

/// Bytes `from` to `end` of a blob, which stays pinned meanwhile (H57).
pub(super) struct FileBody {
    engine: Arc<Engine>,
    file: Arc<File>,
    pin: BlobPin,
    /// Where what has not been handed over begins.
    sent: u64,
    /// Where the next piece is read.
    next: u64,
    end: u64,
    piece_bytes: usize,
    /// Held while pieces are large.
    large: Option<SemaphorePermit<'static>>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// Sends bytes `from` to `end` of the pinned blob.
    pub(super) fn new(
        engine: Arc<Engine>,
        file: Arc<File>,
        pin: BlobPin,
        (from, end): (u64, u64),
    ) -> Self {
        Self {
            engine,
            file,
            pin,
            sent: from,
            next: from,
            end,
            piece_bytes: PIECE_BYTES_FIRST,
            large: None,
            reading: None,
        }
    }

    fn is_sent(&self) -> bool {
        self.sent >= self.end
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.is_sent() {
            return Poll::Ready(None);
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.read_next());
        let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Ok(bytes) = &read {
            self.sent += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            // The next piece is read while this one is sent, if the client is fast.
            if self.piece_bytes == PIECE_BYTES_MAX && self.next < self.end {
                self.reading = Some(self.read_next());
            }
            self.large = self.large.take().or_else(|| LARGE.try_acquire().ok());
            if self.large.is_some() {
                self.piece_bytes = PIECE_BYTES_MAX.min(self.piece_bytes * 2);
            }
        }
        Poll::Ready(Some(read))
    }

    fn read_next(&mut self) -> JoinHandle<io::Result<Bytes>> {
        let from = self.next;
        let rest = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        let length = rest.min(self.piece_bytes);
        self.next += u64::try_from(length).unwrap_or(u64::MAX);
        let (engine, file, hash) =
            (Arc::clone(&self.engine), Arc::clone(&self.file), *self.pin.hash());
        tokio::task::spawn_blocking(move || {
            read(&engine, &file, &hash, from, length).map(Bytes::from)
        })
    }
}

/// Reads bytes of a blob; what is wrong with it is told to the store.
///
/// # Errors
/// The disk's, or that the blob is too short.
pub(super) fn read(
    engine: &Engine,
    file: &Arc<File>,
    hash: &BlobHash,
    from: u64,
    length: usize,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, from).inspect_err(|error| {
        log::error!("blob {hash}: {error}");
        engine.pool.read_failed(hash, file, error);
    })?;
    Ok(buffer)
}

/// Where the work of a thread goes.
pub(super) trait Output: Write {
    /// Whether nobody listens any more, so that no more work is to be done.
    fn is_gone(&self) -> bool;
}

/// What a thread writes.
pub(super) struct WrittenBody {
    pieces: mpsc::Receiver<Bytes>,
    /// Whether all was written when no more pieces come. Otherwise the connection ends, so that the client notices.
    is_complete: Arc<AtomicBool>,
}

impl WrittenBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(piece) => Some(Ok(piece)),
            None if self.is_complete.load(Ordering::Acquire) => None,
            None => Some(Err(io::Error::other("the answer ends before it is complete"))),
        })
    }
}

/// How what a thread writes begins.
pub(super) enum Beginning {
    /// It was little, and this is all.
    Whole(Vec<u8>),
    /// There is more to come.
    Written(WrittenBody),
    /// Too many threads write for clients already.
    Busy,
}

/// Runs `work` on a thread that may block, and sends what it writes. Little is sent with its length; a failure
/// before that is an error, and one after that ends the connection, so that the client notices. Work that has no place
/// yet takes one when it turns out to be long.
///
/// # Errors
/// That of the work.
pub(super) async fn written(
    streams: &Arc<Streams>,
    place: Option<StreamPlace>,
    work: impl FnOnce(&mut dyn Output) -> io::Result<()> + Send + 'static,
) -> io::Result<Beginning> {
    let (begin, beginning) = oneshot::channel();
    let streams = Arc::clone(streams);
    tokio::task::spawn_blocking(move || {
        let is_complete = Arc::default();
        let (begin, buffer) = (Some(begin), Vec::new());
        let mut writer = PieceWriter { buffer, begin, pieces: None, is_complete, streams, place };
        let result = work(&mut writer);
        writer.finish(result);
    });
    beginning.await.unwrap_or_else(|_| Err(io::Error::other("the work panicked")))
}

/// Collects what is written, and hands it over in pieces.
struct PieceWriter {
    buffer: Vec<u8>,
    begin: Option<oneshot::Sender<io::Result<Beginning>>>,
    pieces: Option<mpsc::Sender<Bytes>>,
    is_complete: Arc<AtomicBool>,
    streams: Arc<Streams>,
    place: Option<StreamPlace>,
}

impl PieceWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(WRITTEN_BYTES));
        if let Some(begin) = self.begin.take() {
            self.place = self.place.take().or_else(|| self.streams.place_now());
            if self.place.is_none() {
                drop(begin.send(Ok(Beginning::Busy)));
                return Err(gone());
            }
            let (sender, pieces) = mpsc::channel(WRITTEN_PIECES_MAX);
            let body = WrittenBody { pieces, is_complete: Arc::clone(&self.is_complete) };
            if begin.send(Ok(Beginning::Written(body))).is_err() {
                return Err(gone());
            }
            self.pieces = Some(sender);
        }
        let (pieces, place) = self.pieces.as_ref().zip(self.place.as_ref()).ok_or_else(gone)?;
        place.send(pieces, piece.into())
    }

    fn finish(mut self, result: io::Result<()>) {
        if let Some(begin) = self.begin.take() {
            if begin.send(result.map(|()| Beginning::Whole(self.buffer))).is_err() {
                log::debug!("a client went away");
            }
            return;
        }
        match result.and_then(|()| self.send()) {
            // Before the sender is dropped, so that the reader sees it.
            Ok(()) => self.is_complete.store(true, Ordering::Release),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                log::debug!("a client went away, or took nothing while others waited");
            }
            Err(error) => log::error!("an answer is cut: {error}"),
        }
    }
}

impl Output for PieceWriter {
    fn is_gone(&self) -> bool {
        match (&self.begin, &self.pieces) {
            (Some(begin), _) => begin.is_closed(),
            (None, Some(pieces)) => pieces.is_closed(),
            (None, None) => true,
        }
    }
}

impl Write for PieceWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= WRITTEN_BYTES {
            self.send()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
