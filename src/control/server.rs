//! The daemon's end of the control socket.
//!
//! One thread per connection, [`CONNECTIONS_MAX`] at most; each answers its requests in turn.
//! Only root and the daemon's own user are answered: the store's directory (0700) and the socket
//! (0600) keep others from reaching it, and the peer's credentials are checked all the same (R7).
//! A connection may idle for as long as it likes until its place is needed ([`IDLE_MAX`]), but a
//! message once begun must go on within [`MESSAGE_TIMEOUT`]. The server knows nothing of what the requests do.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::frame::{self, FrameError};
use super::protocol::{ControlError, ErrorKind, Hello, PROTOCOL, Progress, Request, ServerMessage};
use super::service::{Attachment, Caller, ConnectionId, Peer, Service};
use super::socket_path::SocketPath;
use crate::store::panics;

/// The most connections served at once; more are told that the daemon is busy.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection must have asked nothing to be closed in favour of a new one, when there
/// are [`CONNECTIONS_MAX`].
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// The longest wait for the next bytes within a message.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`Server::stop`] waits for requests that are being answered.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// The control socket could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the control socket {}: {source}", path.display())]
pub struct ServerError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A listening control socket. Dropped without [`Server::stop`], it stops as well.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    listener: Arc<UnixListener>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    service: Arc<dyn Service>,
    own_uid: u32,
    stopping: AtomicBool,
    idle_max: Duration,
    connections: Mutex<Connections>,
    ended: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("own_uid", &self.own_uid).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Connections {
    last: u64,
    open: HashMap<ConnectionId, Open>,
}

struct Open {
    stream: Arc<UnixStream>,
    /// Since when it has asked nothing; `None` while it is being answered.
    idle_since: Option<Instant>,
}

impl Server {
    /// Listens on `path` and serves until stopped. The caller owns the store's lock, so a socket
    /// that is already there belongs to a dead daemon and is replaced.
    ///
    /// # Errors
    /// The socket cannot be made, or no thread started.
    pub fn start(path: &Path, service: Arc<dyn Service>) -> Result<Self, ServerError> {
        Self::start_with(path, service, IDLE_MAX)
    }

    /// [`Server::start`] with another time in place of [`IDLE_MAX`], for tests.
    ///
    /// # Errors
    /// As those.
    pub fn start_with(
        path: &Path,
        service: Arc<dyn Service>,
        idle_max: Duration,
    ) -> Result<Self, ServerError> {
        let failed = |action| move |source| ServerError { action, path: path.to_owned(), source };
        remove_socket(path).map_err(failed("replace"))?;
        let address = SocketPath::new(path).map_err(failed("reach"))?;
        let listener = UnixListener::bind(address.as_path()).map_err(failed("create"))?;
        // Nobody but owner and root gets past the store's 0700 before this takes effect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(failed("protect"))?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            service,
            own_uid: rustix::process::geteuid().as_raw(),
            stopping: AtomicBool::new(false),
            idle_max,
            connections: Mutex::default(),
            ended: Condvar::new(),
        });
        let accepting = {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("control-accept".to_owned())
                .spawn(move || shared.accept(&listener))
                .map_err(failed("serve"))?
        };
        Ok(Self { path: path.to_owned(), listener, shared, accepting: Some(accepting) })
    }

    /// Stops accepting, lets running requests end for at most [`STOP_GRACE`], ends all
    /// connections and removes the socket. Not to be called from within a request, which it
    /// would wait for.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A shutdown of a listening socket makes accept() return EINVAL.
        if let Err(error) = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            log::warn!("cannot shut the control socket down: {error}");
        }
        if accepting.join().is_err() {
            log::error!("the control server's thread panicked");
        }
        self.shared.end_connections();
        if let Err(error) = remove_socket(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Not a durable step: a socket holds no data, and a leftover is replaced at the next start.
fn remove_socket(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    // Mostly EMFILE: without a pause this would spin until files are closed.
                    log::error!("cannot accept a control connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream) {
        let caller = match self.check(&stream) {
            Ok(caller) => caller,
            Err(error) => return refuse(&stream, &error),
        };
        let stream = Arc::new(stream);
        let id = {
            let mut connections = self.connections.lock();
            let room = connections.open.len() < CONNECTIONS_MAX;
            (room || connections.end_idlest(self.idle_max)).then(|| {
                connections.last += 1;
                let id = ConnectionId(connections.last);
                let open = Open { stream: Arc::clone(&stream), idle_since: Some(Instant::now()) };
                connections.open.insert(id, open);
                id
            })
        };
        let Some(id) = id else {
            let message = format!("the daemon already serves {CONNECTIONS_MAX} commands");
            let busy = ControlError::new(ErrorKind::Busy, message).with_hint("try again");
            return refuse(&stream, &busy);
        };
        let caller = Caller { connection: id, ..caller };
        self.service.connected(id, Peer::of(&stream));
        let shared = Arc::clone(self);
        let spawned =
            std::thread::Builder::new().name(format!("control-{}", id.0)).spawn(move || {
                if let Err(error) = shared.serve(&stream, caller) {
                    log::info!("control connection of pid {}: {error}", caller.pid);
                }
                shared.forget(id);
            });
        if let Err(error) = spawned {
            log::error!("cannot start a thread for a control connection: {error}");
            self.forget(id);
        }
    }

    fn check(&self, stream: &UnixStream) -> Result<Caller, ControlError> {
        let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| {
            ControlError::new(ErrorKind::Permission, format!("cannot tell who asks: {error}"))
        })?;
        let uid = peer.uid.as_raw();
        if uid != 0 && uid != self.own_uid {
            log::warn!("refused a control connection of uid {uid}");
            let message = format!("uid {uid} may not control this store");
            let hint = format!("only root and the daemon's own user (uid {}) may", self.own_uid);
            return Err(ControlError::new(ErrorKind::Permission, message).with_hint(hint));
        }
        Ok(Caller {
            uid,
            gid: peer.gid.as_raw(),
            pid: peer.pid.as_raw_nonzero().get().unsigned_abs(),
            connection: ConnectionId(0),
        })
    }

    fn serve(&self, stream: &UnixStream, caller: Caller) -> Result<(), FrameError> {
        stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
        let hello = Hello {
            protocol: PROTOCOL,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        send(stream, &ServerMessage::Hello(hello), &Attachment::none())?;
        while let Some(received) = frame::receive(stream)? {
            let attachment = Attachment { payload: received.payload, files: received.files };
            let answer = match decode(&received.json) {
                Ok(request) => {
                    self.note_idle(caller.connection, None);
                    self.answer(stream, caller, request, attachment)
                }
                Err(error) => Err(error),
            };
            reply(stream, answer)?;
            self.note_idle(caller.connection, Some(Instant::now()));
        }
        Ok(())
    }

    fn note_idle(&self, id: ConnectionId, since: Option<Instant>) {
        if let Some(open) = self.connections.lock().open.get_mut(&id) {
            open.idle_since = since;
        }
    }

    fn answer(
        &self,
        stream: &UnixStream,
        caller: Caller,
        request: Request,
        attachment: Attachment,
    ) -> Result<(ServerMessage, Attachment), ControlError> {
        // A client that has gone is noticed at the next receive; the request itself goes on.
        let mut progress = |progress: Progress| {
            if let Err(error) =
                send(stream, &ServerMessage::Progress(progress), &Attachment::none())
            {
                log::debug!("progress for pid {} was not sent: {error}", caller.pid);
            }
        };
        let call = || {
            panics::point("control");
            self.service.call(caller, request, attachment, &mut progress)
        };
        match panics::contain("a control request", call) {
            Ok(result) => result
                .map(|(reply, attachment)| (ServerMessage::Reply(Box::new(reply)), attachment)),
            Err(panicked) => Err(ControlError::new(ErrorKind::Failed, panicked.to_string())),
        }
    }

    fn forget(&self, id: ConnectionId) {
        // Logged; what it left is thrown away at the next start.
        panics::contain("the end of a connection", || self.service.disconnected(id))
            .unwrap_or_default();
        self.connections.lock().open.remove(&id);
        self.ended.notify_all();
    }

    /// Ends reading first, so that whoever is being answered still gets the answer.
    fn end_connections(&self) {
        let deadline = Instant::now() + STOP_GRACE;
        let mut connections = self.connections.lock();
        connections.shut(Shutdown::Read);
        while !connections.open.is_empty() {
            if self.ended.wait_until(&mut connections, deadline).timed_out() {
                break;
            }
        }
        if !connections.open.is_empty() {
            log::warn!("{} control requests were cut off", connections.open.len());
            connections.shut(Shutdown::Both);
        }
    }
}

impl Connections {
    #[allow(clippy::iter_over_hash_type, reason = "each stream is shut, in no special order")]
    fn shut(&self, how: Shutdown) {
        for open in self.open.values() {
            open.shut(how);
        }
    }

    /// Closes the connection that has asked nothing for longest, if that is `idle_max` at least;
    /// says whether there was one. Its thread then ends by itself.
    fn end_idlest(&mut self, idle_max: Duration) -> bool {
        let idle = self.open.iter().filter_map(|(id, open)| Some((open.idle_since?, *id)));
        let Some((since, id)) = idle.min() else { return false };
        if since.elapsed() < idle_max {
            return false;
        }
        if let Some(open) = self.open.remove(&id) {
            log::info!("control connection {} idled and made room for another", id.0);
            open.shut(Shutdown::Both);
        }
        true
    }
}

impl Open {
    fn shut(&self, how: Shutdown) {
        if let Err(error) = self.stream.shutdown(how) {
            log::debug!("control connection: {error}");
        }
    }
}

/// Decodes a request.
///
/// # Errors
/// It is not a request that this version knows.
pub fn decode(json: &[u8]) -> Result<Request, ControlError> {
    serde_json::from_slice(json).map_err(|error| {
        let message = format!("the daemon does not understand this request: {error}");
        let hint = format!(
            "it is cairn {} with protocol {PROTOCOL}; after an upgrade, unmount and mount again",
            env!("CARGO_PKG_VERSION")
        );
        ControlError::new(ErrorKind::Usage, message).with_hint(hint)
    })
}

fn reply(
    stream: &UnixStream,
    answer: Result<(ServerMessage, Attachment), ControlError>,
) -> Result<(), FrameError> {
    let (message, attachment) =
        answer.unwrap_or_else(|error| (ServerMessage::Error(error), Attachment::none()));
    match send(stream, &message, &attachment) {
        Err(
            error @ (FrameError::JsonTooLong(_)
            | FrameError::PayloadTooLong(_)
            | FrameError::TooManyFiles),
        ) => {
            let message = format!("the answer does not fit a message: {error}");
            let error = ControlError::new(ErrorKind::Failed, message);
            send(stream, &ServerMessage::Error(error), &Attachment::none())
        }
        sent => sent,
    }
}

fn send(
    stream: &UnixStream,
    message: &ServerMessage,
    attachment: &Attachment,
) -> Result<(), FrameError> {
    let json = serde_json::to_vec(message).map_err(io::Error::from)?;
    frame::send(stream, &json, &attachment.payload, &attachment.files)
}

fn refuse(stream: &UnixStream, error: &ControlError) {
    let message = ServerMessage::Error(error.clone());
    if let Err(error) = send(stream, &message, &Attachment::none()) {
        log::debug!("a refused control connection ended early: {error}");
    }
}
