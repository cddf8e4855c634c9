//! Places for long answers: archives, manifests, large lists. Each is written by a thread, and there are few of them.
//!
//! A client that takes nothing holds a thread. When others wait for a place, the stream that has waited for its client
//! for the longest time ends (H57), and its answer is cut where everybody notices it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// Threads that write long answers.
const STREAMS_MAX: usize = 16;

/// When all places are taken, a stream may be ended for another if its client has read nothing for this long.
const STALLED: Duration = Duration::from_secs(2);

/// How long a request waits for a place.
const PLACE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks for a stream that stalls.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a thread that has begun to write waits for the place of a stream that was ended for it.
const FREED_TIMEOUT: Duration = Duration::from_millis(500);

/// All streams.
pub(super) struct Streams {
    places: Arc<Semaphore>,
    running: Mutex<(u64, BTreeMap<u64, Arc<Stream>>)>,
}

/// What is known of one stream.
#[derive(Default)]
struct Stream {
    /// Since when it has waited for its client.
    blocked: Mutex<Option<Instant>>,
    end: Notify,
}

/// A place, given up when dropped.
pub(super) struct StreamPlace {
    streams: Arc<Streams>,
    id: u64,
    stream: Arc<Stream>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.streams.running.lock().1.remove(&self.id);
    }
}

impl Streams {
    /// No stream yet.
    pub(super) fn new() -> Arc<Self> {
        let places = Arc::new(Semaphore::new(STREAMS_MAX));
        Arc::new(Self { places, running: Mutex::new((0, BTreeMap::new())) })
    }

    /// Waits for a place; if none is free, ends a stream that stalls. `None` if there was neither within [`PLACE_TIMEOUT`].
    pub(super) async fn place(self: &Arc<Self>) -> Option<StreamPlace> {
        let until = Instant::now() + PLACE_TIMEOUT;
        loop {
            if let Some(place) = self.place_within(LOOK_INTERVAL).await {
                return Some(place);
            }
            if Instant::now() >= until {
                return None;
            }
            self.end_stalled(Instant::now());
        }
    }

    /// A place for a thread that has begun to write already, and may not wait for long.
    pub(super) fn place_now(self: &Arc<Self>) -> Option<StreamPlace> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(self.join(permit));
        }
        let is_ended = self.end_stalled(Instant::now());
        is_ended.then(|| Handle::current().block_on(self.place_within(FREED_TIMEOUT))).flatten()
    }

    async fn place_within(self: &Arc<Self>, time: Duration) -> Option<StreamPlace> {
        let permit = tokio::time::timeout(time, Arc::clone(&self.places).acquire_owned()).await;
        Some(self.join(permit.ok()?.ok()?))
    }

    fn join(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> StreamPlace {
        let stream = Arc::new(Stream::default());
        let mut running = self.running.lock();
        let (next, all) = &mut *running;
        *next += 1;
        all.insert(*next, Arc::clone(&stream));
        StreamPlace { streams: Arc::clone(self), id: *next, stream, _permit: permit }
    }

    /// Ends the stream that has stalled for the longest time, if there is one.
    fn end_stalled(&self, now: Instant) -> bool {
        let running = self.running.lock();
        let since = |stream: &Arc<Stream>| *stream.blocked.lock();
        let stalled = running.1.values().filter_map(|stream| Some((since(stream)?, stream)));
        let Some((since, longest)) = stalled.min_by_key(|(since, _)| *since) else { return false };
        let is_stalled = now.saturating_duration_since(since) >= STALLED;
        if is_stalled {
            longest.end.notify_one();
        }
        is_stalled
    }
}

impl StreamPlace {
    /// Hands over a piece; waits until the client has taken enough of what came before.
    ///
    /// # Errors
    /// The client is gone, or its place was given to another.
    pub(super) fn send(&self, pieces: &mpsc::Sender<Bytes>, piece: Bytes) -> io::Result<()> {
        let piece = match pieces.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(gone()),
            Err(TrySendError::Full(piece)) => piece,
        };
        *self.stream.blocked.lock() = Some(Instant::now());
        let is_sent = Handle::current().block_on(async {
            tokio::select! {
                sent = pieces.send(piece) => sent.is_ok(),
                () = self.stream.end.notified() => false,
            }
        });
        *self.stream.blocked.lock() = None;
        is_sent.then_some(()).ok_or_else(gone)
    }
}

/// Nobody listens any more.
pub(super) fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_that_stalls_for_the_longest_time_ends_h57() {
        let streams = Streams::new();
        let place = || streams.join(Arc::clone(&streams.places).try_acquire_owned().unwrap());
        let places: Vec<_> = (0..STREAMS_MAX).map(|_| place()).collect();
        let now = Instant::now() + STALLED * 10;
        assert!(!streams.end_stalled(now), "all write");
        *places[3].stream.blocked.lock() = Some(now - STALLED);
        *places[5].stream.blocked.lock() = Some(now - STALLED * 2);
        *places[7].stream.blocked.lock() = Some(now - STALLED / 2);
        assert!(streams.end_stalled(now));
        // It is told, and its next wait ends.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(places[5].stream.end.notified());
        *places[3].stream.blocked.lock() = None;
        *places[5].stream.blocked.lock() = None;
        assert!(!streams.end_stalled(now), "half a time is not enough");
        drop(places);
        assert!(streams.running.lock().1.is_empty());
    }
}
