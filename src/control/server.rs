//! The daemon's end of the control socket.
//!
//! One thread per connection, of which there are not more than [`super::places`] says; each answers
//! its requests in turn. There are two doors. At the one in the store, only root and the daemon's
//! own user are answered: the store's directory (0700) and the socket (0600) keep others from
//! reaching it, and the peer's credentials are checked all the same (R7). At the public one
//! everybody may ask, in short messages without files. Requests of users other than those two go to
//! [`Service::call_other`]. A connection may idle for as long as it likes until its place is
//! needed, but a message once begun must go on within [`MESSAGE_TIMEOUT`]. The server knows nothing
//! of what the requests do.

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
use super::places::{Holder, IDLE_MAX, Places};
use super::protocol::{ControlError, ErrorKind, Hello, PROTOCOL, Progress, Request, ServerMessage};
use super::service::{Attachment, Caller, ConnectionId, Peer, Service};
use super::socket_path::SocketPath;
use crate::sys::{self, panics};

/// The longest wait for the next bytes within a message.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`Server::stop`] waits for requests that are being answered.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// The longest message at the public door, in bytes: a message and an author of a version, escaped.
pub const PUBLIC_JSON_BYTES_MAX: usize = 256 << 10;

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
    shared: Arc<Shared>,
    entrances: Vec<Entrance>,
}

/// Where connections are accepted.
#[derive(Debug)]
struct Entrance {
    path: PathBuf,
    listener: Arc<UnixListener>,
    accepting: JoinHandle<()>,
}

/// What kind of entrance a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// In the store's directory.
    Store,
    /// Where everybody may connect.
    Public,
}

impl Door {
    /// Permission bits of the socket.
    fn mode(self) -> u32 {
        match self {
            Self::Store => 0o600,
            Self::Public => 0o666,
        }
    }

    fn receive(self, stream: &UnixStream) -> Result<Option<frame::Frame>, FrameError> {
        match self {
            Self::Store => frame::receive(stream),
            Self::Public => frame::receive_within(stream, PUBLIC_JSON_BYTES_MAX, 0),
        }
    }
}

struct Shared {
    service: Arc<dyn Service>,
    own_uid: u32,
    stopping: AtomicBool,
    places: Mutex<Places>,
    ended: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("own_uid", &self.own_uid).finish_non_exhaustive()
    }
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
        let shared = Arc::new(Shared {
            service,
            own_uid: rustix::process::geteuid().as_raw(),
            stopping: AtomicBool::new(false),
            places: Mutex::new(Places::new(idle_max)),
            ended: Condvar::new(),
        });
        let mut server = Self { shared, entrances: Vec::new() };
        server.open(path, Door::Store)?;
        Ok(server)
    }

    /// Also listens on `path`, for users who do not own the store.
    ///
    /// # Errors
    /// The socket cannot be made, or no thread started.
    pub fn serve_others(&mut self, path: &Path) -> Result<(), ServerError> {
        self.open(path, Door::Public)
    }

    fn open(&mut self, path: &Path, door: Door) -> Result<(), ServerError> {
        let failed = |action| move |source| ServerError { action, path: path.to_owned(), source };
        remove_socket(path).map_err(failed("replace"))?;
        let address = SocketPath::new(path).map_err(failed("reach"))?;
        let listener = UnixListener::bind(address.as_path()).map_err(failed("create"))?;
        // Until this takes effect, the mode of the store's directory (0700) keeps everybody but its
        // owner and root out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(door.mode()))
            .map_err(failed("protect"))?;
        let listener = Arc::new(listener);
        let accepting = {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&self.shared));
            std::thread::Builder::new()
                .name("control-accept".to_owned())
                .spawn(move || shared.accept(&listener, door))
                .map_err(failed("serve"))?
        };
        self.entrances.push(Entrance { path: path.to_owned(), listener, accepting });
        Ok(())
    }

    /// Stops accepting, lets running requests end for at most [`STOP_GRACE`], ends all
    /// connections and removes the socket. Not to be called from within a request, which it
    /// would wait for.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let entrances = std::mem::take(&mut self.entrances);
        if entrances.is_empty() {
            return;
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        let mut paths = Vec::new();
        for Entrance { path, listener, accepting } in entrances {
            // A shutdown of a listening socket makes accept() return EINVAL.
            if let Err(error) = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both) {
                log::warn!("cannot shut the control socket down: {error}");
            }
            if accepting.join().is_err() {
                log::error!("the control server's thread panicked");
            }
            paths.push(path);
        }
        self.shared.end_connections();
        for path in paths {
            if let Err(error) = remove_socket(&path) {
                log::warn!("cannot remove {}: {error}", path.display());
            }
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
    fn accept(self: &Arc<Self>, listener: &UnixListener, door: Door) {
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            match accepted {
                Ok((stream, _)) => self.admit(stream, door),
                Err(error) => {
                    // Mostly EMFILE: without a pause this would spin until files are closed.
                    log::error!("cannot accept a control connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: UnixStream, door: Door) {
        let (caller, holder) = match self.check(&stream, door) {
            Ok(admitted) => admitted,
            Err(error) => return refuse(&stream, &error),
        };
        let stream = Arc::new(stream);
        let taken = self.places.lock().take(&stream, holder);
        let id = match taken {
            Ok(id) => id,
            Err(most) => {
                let whose = if holder == Holder::Owner { "" } else { " of users like you" };
                let message = format!("the daemon already serves {most} commands{whose}");
                let busy = ControlError::new(ErrorKind::Busy, message).with_hint("try again");
                return refuse(&stream, &busy);
            }
        };
        let caller = Caller { connection: id, ..caller };
        self.service.connected(id, Peer::of(&stream));
        let shared = Arc::clone(self);
        let spawned =
            std::thread::Builder::new().name(format!("control-{}", id.0)).spawn(move || {
                if let Err(error) = shared.serve(&stream, (caller, holder), door) {
                    log::info!("control connection of pid {}: {error}", caller.pid);
                }
                shared.forget(id);
            });
        if let Err(error) = spawned {
            log::error!("cannot start a thread for a control connection: {error}");
            self.forget(id);
        }
    }

    fn check(&self, stream: &UnixStream, door: Door) -> Result<(Caller, Holder), ControlError> {
        let peer = sys::peer_credentials(stream).map_err(|error| {
            ControlError::new(ErrorKind::Permission, format!("cannot tell who asks: {error}"))
        })?;
        let sys::PeerCredentials { uid, gid, pid } = peer;
        let is_owner = uid == 0 || uid == self.own_uid;
        if !is_owner && door == Door::Store {
            log::warn!("refused a control connection of uid {uid}");
            let message = format!("uid {uid} may not control this store");
            let hint = format!("only root and the daemon's own user (uid {}) may", self.own_uid);
            return Err(ControlError::new(ErrorKind::Permission, message).with_hint(hint));
        }
        let holder = if is_owner { Holder::Owner } else { Holder::Other(uid) };
        Ok((Caller { uid, gid, pid, connection: ConnectionId(0) }, holder))
    }

    fn serve(
        &self,
        stream: &UnixStream,
        (caller, holder): (Caller, Holder),
        door: Door,
    ) -> Result<(), FrameError> {
        // A client that reads nothing would keep its thread, and what the answer holds, for ever.
        stream.set_write_timeout((door == Door::Public).then_some(MESSAGE_TIMEOUT))?;
        stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
        let hello = Hello {
            protocol: PROTOCOL,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        send(stream, &ServerMessage::Hello(hello), &Attachment::none())?;
        while let Some(received) = door.receive(stream)? {
            let attachment = Attachment { payload: received.payload, files: received.files };
            let answer = match decode(&received.json) {
                Ok(request) => {
                    self.note_idle(caller.connection, None);
                    self.answer(stream, (caller, holder), request, attachment)
                }
                Err(error) => Err(error),
            };
            reply(stream, answer)?;
            self.note_idle(caller.connection, Some(Instant::now()));
        }
        Ok(())
    }

    fn note_idle(&self, id: ConnectionId, since: Option<Instant>) {
        self.places.lock().note_idle(id, since);
    }

    fn answer(
        &self,
        stream: &UnixStream,
        (caller, holder): (Caller, Holder),
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
            match holder {
                Holder::Owner => self.service.call(caller, request, attachment, &mut progress),
                Holder::Other(_) => self
                    .service
                    .call_other(caller, request, &mut progress)
                    .map(|reply| (reply, Attachment::none())),
            }
        };
        match panics::contain("a control request", call) {
            Ok(result) => result
                .map(|(reply, attachment)| (ServerMessage::Reply(Box::new(reply)), attachment)),
            Err(panicked) => Err(ControlError::new(ErrorKind::Failed, panicked.to_string())),
        }
    }

    fn forget(&self, id: ConnectionId) {
        // The panic was logged. What the request left behind is thrown away at the next start.
        panics::contain("the end of a connection", || self.service.disconnected(id))
            .unwrap_or_default();
        self.places.lock().free(id);
        self.ended.notify_all();
    }

    /// Ends reading first, so that whoever is being answered still gets the answer.
    fn end_connections(&self) {
        let deadline = Instant::now() + STOP_GRACE;
        let mut places = self.places.lock();
        places.shut(Shutdown::Read);
        while places.count() > 0 {
            if self.ended.wait_until(&mut places, deadline).timed_out() {
                break;
            }
        }
        if places.count() > 0 {
            log::warn!("{} control requests were cut off", places.count());
            places.shut(Shutdown::Both);
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
