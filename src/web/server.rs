//! The server: accepts connections, bounds them, and ends them when it is told to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::answer::Site;
use super::connection::{Connections, Joined, Peer, Watched};
use super::error::WebError;
use crate::engine::Engine;
use crate::metrics::COUNTERS;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 1024;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 1024;

/// Threads that wait for the network.
const RUNTIME_THREADS: usize = 2;

/// Threads that read the store for clients.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long a client may take to send the head of a request, and to begin its next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Lines of the head of a request.
const HEAD_LINES_MAX: usize = 64;

/// Bytes of the head of a request, and of an answer that wait to be sent.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bytes that the kernel keeps for a client that does not take them. It would keep 4 MiB, and memory for all connections
/// of the machine is bounded: where it runs out, the kernel ends those of others.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// Time between two looks for slow clients.
const SLOW_INTERVAL: Duration = Duration::from_secs(5);

/// Pause before another connection is ended for one that waits for a place.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Pause after the kernel could not give us a connection: most often there is no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers that are under way have to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A running web face. Dropping it ends it at once.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
}

impl WebServer {
    /// Listens on `address` and answers from the store.
    ///
    /// # Errors
    /// The address cannot be listened on, or the machine has no threads.
    pub fn start(engine: Arc<Engine>, address: SocketAddr) -> Result<Self, WebError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("web")
            .enable_all()
            .build()
            .map_err(WebError::Threads)?;
        let listener = {
            let _entered = runtime.enter();
            listen(address).map_err(|source| WebError::Listen { address, source })?
        };
        let address =
            listener.local_addr().map_err(|source| WebError::Listen { address, source })?;
        let (stop, stopping) = watch::channel(false);
        let site = Arc::new(Site::new(engine));
        runtime.spawn(accept(listener, site, stopping));
        Ok(Self { address, runtime: Some(runtime), stop })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: answers that are under way have a moment to end, then their connections do.
    pub fn stop(mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.stop.send_replace(true);
        runtime.block_on(async {
            // Every connection holds a receiver.
            drop(tokio::time::timeout(STOP_GRACE, self.stop.closed()).await);
        });
        // Threads that wait for a client notice that its connection is gone.
        runtime.shutdown_timeout(STOP_GRACE);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until the server stops.
async fn accept(listener: TcpListener, site: Arc<Site>, mut stopping: watch::Receiver<bool>) {
    let connections = Arc::new(Connections::default());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(end_slow(Arc::clone(&connections), stopping.clone()));
    loop {
        let accepted = tokio::select! {
            _ = stopping.changed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = Peer::of(address.ip());
                let place = tokio::select! {
                    _ = stopping.changed() => return,
                    place = place(&places, &connections, peer) => place,
                };
                let joined = connections.join(peer);
                tokio::spawn(serve(stream, place, joined, Arc::clone(&site), stopping.clone()));
            }
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                connections.evict();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends slow clients until the server stops, also while new ones wait for a place.
async fn end_slow(connections: Arc<Connections>, mut stopping: watch::Receiver<bool>) {
    let mut slow = tokio::time::interval(SLOW_INTERVAL);
    loop {
        tokio::select! {
            _ = stopping.changed() => return,
            _ = slow.tick() => connections.end_slow(),
        }
    }
}

/// Waits for a place, and ends connections to have one.
async fn place(
    places: &Arc<Semaphore>,
    connections: &Connections,
    newcomer: Peer,
) -> OwnedSemaphorePermit {
    loop {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return place;
        }
        connections.make_room(newcomer);
        let wait = Arc::clone(places).acquire_owned();
        if let Ok(Ok(place)) = tokio::time::timeout(FULL_PAUSE, wait).await {
            return place;
        }
    }
}

/// Answers the requests of one connection.
async fn serve(
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    joined: Joined,
    site: Arc<Site>,
    mut stopping: watch::Receiver<bool>,
) {
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| crate::sys::limit_unsent_bytes(stream.as_fd(), UNSENT_BYTES_MAX));
    if let Err(error) = prepared {
        log::debug!("a connection is gone already: {error}");
    }
    let progress = &joined.progress;
    let answer = service_fn(|request| {
        let (site, progress) = (Arc::clone(&site), Arc::clone(progress));
        async move {
            progress.asked();
            let began = Instant::now();
            let response = site.answer(request).await;
            COUNTERS.answer_times.add(began.elapsed());
            let class = usize::from(response.status().as_u16() / 100);
            COUNTERS.answers[if class < COUNTERS.answers.len() { class } else { 0 }].add(1);
            progress.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Watched::new(stream, Arc::clone(progress)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEAD_LINES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(io, answer));
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = progress.end.notified() => {
                if !is_stopping {
                    COUNTERS.ended_connections.add(1);
                }
                break Ok(());
            }
            () = progress.retire.notified() => connection.as_mut().graceful_shutdown(),
            _ = stopping.changed(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection ended: {error}");
    }
    drop(place);
}
