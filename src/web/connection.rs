//! Connections: how many there are, which of them make progress, and which end so that others can go on (H57).
//!
//! A connection that is between two requests, sends its request slowly or takes its answer slowly costs memory and
//! gives nothing back. When all places are taken, the one that has made no progress for the longest time ends. One
//! that waits for an answer that we owe it is never chosen. Where all make progress, the peer that has the most
//! connections gives one up: after its answer, or at once if this peer has more than its share and another one comes.
//! There is no fixed number for each peer, since a proxy in front of us is one peer and brings everybody.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::metrics::COUNTERS;

/// A new connection that sent no whole request yet may be ended for others after this time.
const EVICT_NEW: Duration = Duration::from_millis(250);

/// One that was answered before, or is taking its answer, after this time without progress.
const EVICT_STALLED: Duration = Duration::from_secs(1);

/// The time over which the least rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A client that takes fewer bytes than these in [`RATE_WINDOW`], although more are there, ends.
const WINDOW_BYTES_MIN: u64 = 60 << 10;

/// Connections that one peer keeps although others want a place.
const PEER_SHARE: usize = 512;

/// Low bits of an address of IPv6 that tell apart what one peer may have.
const PEER_HOST_BITS: u32 = 64;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    /// When it last made progress, in milliseconds after the start.
    last: AtomicU64,
    /// Bytes that it took.
    taken: AtomicU64,
    /// Whether it sent a whole request.
    asked: AtomicBool,
    /// Whether the next step is ours: an answer is being made.
    ours: AtomicBool,
    /// Whether it would not take more bytes when it was last offered some.
    blocked: AtomicBool,
    /// Notified when it is to end.
    pub(super) end: Notify,
    /// Notified when it is to end after the answer that is under way.
    pub(super) retire: Notify,
    /// Whether it was told so.
    retired: AtomicBool,
    /// When the window of its rate began, and what it had taken then.
    window: Mutex<(Instant, u64)>,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            start: now,
            last: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            ours: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            end: Notify::new(),
            retire: Notify::new(),
            retired: AtomicBool::new(false),
            window: Mutex::new((now, 0)),
        }
    }

    fn note(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// It sent a whole request, which we answer now.
    pub(super) fn asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
        self.ours.store(true, Ordering::Relaxed);
        self.note();
    }

    /// The answer begins: from here on the client is to take it.
    pub(super) fn answered(&self) {
        self.ours.store(false, Ordering::Relaxed);
        self.note();
    }

    /// How long ago it last made progress.
    fn since_progress(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    /// How long it has done nothing, if it may be ended for that.
    fn idle(&self) -> Option<Duration> {
        if self.ours.load(Ordering::Relaxed) {
            return None;
        }
        let idle = self.since_progress();
        let is_new = !self.asked.load(Ordering::Relaxed);
        (idle >= if is_new { EVICT_NEW } else { EVICT_STALLED }).then_some(idle)
    }

    /// Whether it takes its answer too slowly.
    fn is_slow(&self, now: Instant) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        let mut window = self.window.lock();
        let (began, before) = *window;
        if !self.blocked.load(Ordering::Relaxed) || taken.saturating_sub(before) >= WINDOW_BYTES_MIN
        {
            *window = (now, taken);
            return false;
        }
        now.saturating_duration_since(began) >= RATE_WINDOW
    }
}

/// Who has a connection: an address, or the network of one, since a host of IPv6 has many addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer(IpAddr);

impl Peer {
    /// Of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> PEER_HOST_BITS << PEER_HOST_BITS;
                IpAddr::V6(network.into())
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: Mutex<HashMap<u64, (Peer, Arc<Progress>)>>,
    next: AtomicU64,
}

/// A place in [`Connections`], given up when dropped.
#[derive(Debug)]
pub(super) struct Joined {
    connections: Arc<Connections>,
    id: u64,
    /// The connection's progress.
    pub(super) progress: Arc<Progress>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.connections.all.lock().remove(&self.id);
    }
}

impl Connections {
    /// Adds a connection.
    pub(super) fn join(self: &Arc<Self>, peer: Peer) -> Joined {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress::new());
        self.all.lock().insert(id, (peer, Arc::clone(&progress)));
        Joined { connections: Arc::clone(self), id, progress }
    }

    /// Ends the connection that has been idle for the longest time, if one may be ended.
    pub(super) fn evict(&self) -> bool {
        let all = self.all.lock();
        let idle = all.values().filter_map(|(_, progress)| Some((progress.idle()?, progress)));
        let Some((_, longest)) = idle.max_by_key(|(idle, _)| *idle) else { return false };
        longest.end.notify_one();
        true
    }

    /// Makes a place for a newcomer when all are taken.
    pub(super) fn make_room(&self, newcomer: Peer) {
        if self.evict() {
            return;
        }
        let all = self.all.lock();
        let mut held: HashMap<Peer, usize> = HashMap::new();
        all.values().for_each(|(peer, _)| *held.entry(*peer).or_default() += 1);
        let Some((most, count)) = held.into_iter().max_by_key(|(_, count)| *count) else { return };
        let of_most = || all.iter().filter(|(_, (peer, _))| *peer == most);
        let answered = |progress: &Progress| {
            progress.asked.load(Ordering::Relaxed) && !progress.retired.load(Ordering::Relaxed)
        };
        let oldest =
            of_most().filter(|(_, (_, progress))| answered(progress)).min_by_key(|(id, _)| **id);
        if let Some((_, (_, progress))) = oldest {
            progress.retired.store(true, Ordering::Relaxed);
            progress.retire.notify_one();
        }
        if most != newcomer && count > PEER_SHARE {
            let slowest = of_most().max_by_key(|(_, (_, progress))| progress.since_progress());
            if let Some((_, (_, progress))) = slowest {
                progress.end.notify_one();
            }
        }
    }

    /// Ends those that take their answers too slowly.
    pub(super) fn end_slow(&self) {
        let now = Instant::now();
        for (_, progress) in self.all.lock().values().filter(|(_, progress)| progress.is_slow(now))
        {
            progress.end.notify_one();
        }
    }
}

/// A connection whose progress is noted.
pub(super) struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl Watched {
    /// Watches a connection.
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.progress.blocked.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = &written {
            let bytes = u64::try_from(*bytes).unwrap_or(u64::MAX);
            COUNTERS.sent_bytes.add(bytes);
            self.progress.taken.fetch_add(bytes, Ordering::Relaxed);
            self.progress.note();
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Bytes of a request are no progress: only a whole request is.
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle_for(joined: &Joined, time: Duration) {
        // The start is moved back, so that no test waits.
        let connections = &joined.connections;
        let mut moved = Progress::new();
        moved.start = moved.start.checked_sub(time).unwrap();
        moved.asked = AtomicBool::new(joined.progress.asked.load(Ordering::Relaxed));
        moved.ours = AtomicBool::new(joined.progress.ours.load(Ordering::Relaxed));
        let mut all = connections.all.lock();
        let peer = all[&joined.id].0;
        all.insert(joined.id, (peer, Arc::new(moved)));
    }

    fn peer(last: u8) -> Peer {
        Peer::of(IpAddr::from([192, 0, 2, last]))
    }

    fn is_told(notify: &Notify) -> bool {
        use std::task::Waker;
        let mut told = std::pin::pin!(notify.notified());
        told.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn is_ended(connections: &Connections, joined: &Joined) -> bool {
        let progress = Arc::clone(&connections.all.lock()[&joined.id].1);
        is_told(&progress.end)
    }

    #[test]
    fn who_has_the_most_gives_way_where_all_make_progress_h57() {
        let connections = Arc::new(Connections::default());
        let ask = |joined: &Joined| {
            joined.progress.asked();
            joined.progress.answered();
        };
        let small = connections.join(peer(1));
        let many: Vec<_> = (0..PEER_SHARE).map(|_| connections.join(peer(2))).collect();
        ask(&small);
        many.iter().for_each(ask);
        let retired = || many.iter().filter(|joined| is_told(&joined.progress.retire)).count();
        connections.make_room(peer(2));
        assert!(is_told(&many[0].progress.retire), "the oldest one ends after its answer");
        connections.make_room(peer(3));
        connections.make_room(peer(3));
        assert_eq!(retired(), 2, "each time another one");
        assert!(!is_told(&small.progress.retire));
        assert!(!many.iter().chain([&small]).any(|joined| is_ended(&connections, joined)));
        // More than its share: another peer does not wait for its answers.
        let one_more = connections.join(peer(2));
        one_more.progress.asked();
        connections.make_room(peer(2));
        assert!(!many.iter().chain([&one_more]).any(|joined| is_ended(&connections, joined)));
        connections.make_room(peer(3));
        assert!(many.iter().chain([&one_more]).any(|joined| is_ended(&connections, joined)));
        assert!(!is_ended(&connections, &small));
    }

    #[test]
    fn a_peer_is_a_network_of_ipv6_h57() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2:3"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn the_longest_idle_one_ends_and_none_that_waits_for_us_h57() {
        let connections = Arc::new(Connections::default());
        let (new, idle, ours) =
            (connections.join(peer(1)), connections.join(peer(1)), connections.join(peer(2)));
        assert!(!connections.evict(), "all have just come");
        idle.progress.asked();
        idle.progress.answered();
        ours.progress.asked();
        idle_for(&ours, Duration::from_secs(50));
        assert!(!connections.evict(), "we owe it an answer");
        idle_for(&idle, Duration::from_millis(900));
        assert!(!connections.evict());
        idle_for(&new, Duration::from_millis(300));
        assert!(connections.evict() && is_ended(&connections, &new));
        idle_for(&idle, Duration::from_secs(5));
        assert!(connections.evict() && is_ended(&connections, &idle));
        assert!(!is_ended(&connections, &ours));
        drop((new, idle, ours));
        assert!(connections.all.lock().is_empty());
    }

    #[test]
    fn who_takes_little_of_much_is_slow_h57() {
        let progress = Progress::new();
        let began = progress.start;
        assert!(!progress.is_slow(began + RATE_WINDOW * 2), "it has taken all there is");
        progress.blocked.store(true, Ordering::Relaxed);
        let began = began + RATE_WINDOW * 2;
        assert!(!progress.is_slow(began + RATE_WINDOW / 2));
        progress.taken.store(WINDOW_BYTES_MIN - 1, Ordering::Relaxed);
        assert!(progress.is_slow(began + RATE_WINDOW));
        progress.taken.store(WINDOW_BYTES_MIN, Ordering::Relaxed);
        assert!(!progress.is_slow(began + RATE_WINDOW), "fast enough");
        assert!(!progress.is_slow(began + RATE_WINDOW + RATE_WINDOW / 2), "a new window");
    }
}
