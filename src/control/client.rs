//! The command's end: one [`Connection`], whether a daemon answers or the command itself.
//!
//! Knows where a store's socket is and how to speak on it, not what the requests mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frame::{self, FrameError};
use super::protocol::{
    ControlError, ErrorDetail, ErrorKind, Hello, PROTOCOL, Progress, Request, ServerMessage,
};
use super::public_socket;
use super::reply::Reply;
use super::service::{Attachment, Caller, ConnectionId, Service};
use super::socket_path::SocketPath;
use crate::sys;

/// Name of the socket in the store's directory.
pub const SOCKET_NAME: &str = "control.sock";

/// How long to wait for a store that another command holds.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a daemon may take to greet.
const GREETING_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Opens a store in this process; passed in, since this layer does not know the engine.
pub type OpenLocal = fn(&Path) -> Result<Box<dyn Service>, ControlError>;

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    hello: Hello,
}

impl Client {
    /// Connects to the daemon of the store at `store`; `None` when none is running.
    ///
    /// # Errors
    /// The socket cannot be reached for another reason, or the daemon refuses this caller.
    pub fn connect(store: &Path) -> Result<Option<Self>, ControlError> {
        Self::reach(store, Self::greet)
    }

    /// As [`Client::connect`], but accepts a daemon of another protocol. For the requests that end
    /// a daemon, which have the same form in all protocols (see [`PROTOCOL`]).
    ///
    /// # Errors
    /// As those.
    pub fn connect_to_stop(store: &Path) -> Result<Option<Self>, ControlError> {
        Self::reach(store, Self::greet_any)
    }

    fn reach(
        store: &Path,
        greet: fn(UnixStream) -> Result<Self, ControlError>,
    ) -> Result<Option<Self>, ControlError> {
        let path = store.join(SOCKET_NAME);
        let stream = SocketPath::new(&path).and_then(|path| UnixStream::connect(path.as_path()));
        match stream {
            Ok(stream) => greet(stream).map(Some),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotADirectory => Ok(None),
                io::ErrorKind::PermissionDenied => match Self::connect_as_other(store) {
                    Some(stream) => Self::greet(stream).map(Some),
                    None => Err(denied(store)),
                },
                _ => Err(ControlError::new(
                    ErrorKind::Failed,
                    format!("cannot connect to {}: {error}", path.display()),
                )),
            },
        }
    }

    /// Connects by the socket for users who do not own the store, if its owner's daemon listens there.
    fn connect_as_other(store: &Path) -> Option<UnixStream> {
        let found = std::fs::metadata(store).ok()?;
        let path = public_socket::path(&found);
        let path = SocketPath::new(&path).ok()?;
        let stream = UnixStream::connect(path.as_path()).ok()?;
        let is_owner = sys::peer_credentials(&stream).is_ok_and(|peer| peer.uid == found.uid());
        is_owner.then_some(stream)
    }

    /// Takes over a connected socket and reads the daemon's greeting.
    ///
    /// # Errors
    /// The daemon refuses this caller, or speaks another protocol.
    pub fn greet(stream: UnixStream) -> Result<Self, ControlError> {
        let client = Self::greet_any(stream)?;
        if client.hello.protocol == PROTOCOL {
            return Ok(client);
        }
        let Hello { version, protocol, .. } = &client.hello;
        let message = format!(
            "the daemon is cairn {version} and speaks protocol {protocol}, this command speaks \
             {PROTOCOL}"
        );
        let hint = "use the command of the same version, or unmount and mount again";
        Err(ControlError::new(ErrorKind::Failed, message).with_hint(hint))
    }

    fn greet_any(stream: UnixStream) -> Result<Self, ControlError> {
        wait_for_greeting(&stream)?;
        let (message, _) = receive(&stream)?;
        match message {
            ServerMessage::Hello(hello) => Ok(Self { stream, hello }),
            ServerMessage::Error(error) => Err(error),
            ServerMessage::Progress(_) | ServerMessage::Reply(_) => Err(unexpected()),
        }
    }

    /// What the daemon greeted with.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// What the daemon answers, or that the connection failed.
    pub fn call(
        &mut self,
        request: &Request,
        attachment: &Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        self.send(request, &[&attachment.payload], &attachment.files)?;
        self.answer(progress)
    }

    /// Sends one request; the parts of its payload follow each other.
    fn send(
        &self,
        request: &Request,
        payload: &[&[u8]],
        files: &[File],
    ) -> Result<(), ControlError> {
        let json = serde_json::to_vec(request).map_err(|error| {
            ControlError::new(ErrorKind::Usage, format!("cannot encode the request: {error}"))
        })?;
        frame::send_parts(&self.stream, &json, payload, files).map_err(|error| broken(&error))
    }

    fn answer(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        loop {
            let (message, attachment) = receive(&self.stream)?;
            match message {
                ServerMessage::Progress(step) => progress(step),
                ServerMessage::Reply(reply) => return Ok((*reply, attachment)),
                ServerMessage::Error(error) => return Err(error),
                ServerMessage::Hello(_) => return Err(unexpected()),
            }
        }
    }
}

/// A daemon greets at once. Without this limit, a daemon that is stopped (SIGSTOP) would never
/// answer: the kernel connects to it all the same.
fn wait_for_greeting(stream: &UnixStream) -> Result<(), ControlError> {
    let mut ready = [PollFd::new(stream, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut ready, Some(&GREETING_TIMEOUT))) {
        Ok(0) => {
            let seconds = GREETING_TIMEOUT.tv_sec;
            let message = format!("the daemon does not answer within {seconds} s");
            let hint = "it is stopped or hangs; `cairn unmount --lazy` takes its mount away";
            Err(ControlError::new(ErrorKind::Busy, message).with_hint(hint))
        }
        Ok(_) => Ok(()),
        Err(errno) => Err(broken(&FrameError::Io(errno.into()))),
    }
}

fn receive(stream: &UnixStream) -> Result<(ServerMessage, Attachment), ControlError> {
    let frame = frame::receive(stream)
        .map_err(|error| broken(&error))?
        .ok_or_else(|| broken(&FrameError::Cut))?;
    let message = serde_json::from_slice(&frame.json).map_err(|error| {
        ControlError::new(
            ErrorKind::Failed,
            format!("the daemon's answer is not understood: {error}"),
        )
    })?;
    let attachment = Attachment { payload: frame.payload, files: frame.files };
    Ok((message, attachment))
}

fn denied(store: &Path) -> ControlError {
    let message = format!("permission denied on the store {}", store.display());
    ControlError::new(ErrorKind::Permission, message).with_hint(
        "only its owner and root may use a store; others, what its repositories allow them, while it \
         is mounted with `-o allow_other`",
    )
}

fn broken(error: &FrameError) -> ControlError {
    let ended = match error {
        FrameError::Cut => true,
        FrameError::Io(error) => {
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        }
        FrameError::JsonTooLong(_) | FrameError::PayloadTooLong(_) | FrameError::TooManyFiles => {
            false
        }
    };
    if ended {
        let message = "the daemon ended the connection before it answered";
        ControlError::new(ErrorKind::Failed, message)
            .with_hint("see its log; `cairn status` shows what was done")
    } else {
        ControlError::new(ErrorKind::Failed, error.to_string())
    }
}

fn unexpected() -> ControlError {
    let message = "the daemon's answer came out of order";
    ControlError::new(ErrorKind::Failed, message)
}

/// Whoever answers this command's requests.
pub enum Connection {
    /// A running daemon.
    Daemon(Client),
    /// This process, which holds the store's lock for as long.
    Local {
        /// The opened store.
        service: Box<dyn Service>,
        /// This process.
        caller: Caller,
    },
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Daemon(client) => f.debug_tuple("Daemon").field(client).finish(),
            Self::Local { caller, .. } => f.debug_tuple("Local").field(caller).finish(),
        }
    }
}

impl Connection {
    /// Connects to the store's daemon, or opens the store here when none is running. Waits up to
    /// [`LOCK_WAIT`] for another command that has it open.
    ///
    /// # Errors
    /// Neither is possible.
    pub fn open(store: &Path, open_local: OpenLocal) -> Result<Self, ControlError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            if let Some(client) = Client::connect(store)? {
                return Ok(Self::Daemon(client));
            }
            match open_local(store) {
                Ok(service) => return Ok(Self::local(service)),
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers requests in this process.
    pub fn local(service: Box<dyn Service>) -> Self {
        Self::Local {
            service,
            caller: Caller {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                pid: std::process::id(),
                connection: ConnectionId(0),
            },
        }
    }

    /// Process id of the daemon; `None` when this process answers itself.
    pub fn daemon_pid(&self) -> Option<u32> {
        match self {
            Self::Daemon(client) => Some(client.hello().pid),
            Self::Local { .. } => None,
        }
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub fn call(
        &mut self,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        match self {
            Self::Daemon(client) => client.call(&request, &attachment, progress),
            Self::Local { service, caller } => service.call(*caller, request, attachment, progress),
        }
    }

    /// Asks one thing with a payload that lies in several places, and with open files.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub fn send(
        &mut self,
        request: Request,
        payload: &[&[u8]],
        files: Vec<File>,
    ) -> Result<Reply, ControlError> {
        let (reply, _) = match self {
            Self::Daemon(client) => {
                client.send(&request, payload, &files)?;
                client.answer(&mut |_| {})?
            }
            Self::Local { service, caller } => {
                let attachment = Attachment { payload: payload.concat(), files };
                service.call(*caller, request, attachment, &mut |_| {})?
            }
        };
        Ok(reply)
    }

    /// Asks one thing that has neither attachment nor progress.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub fn ask(&mut self, request: Request) -> Result<Reply, ControlError> {
        let (reply, _) = self.call(request, Attachment::none(), &mut |_| {})?;
        Ok(reply)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Self::Local { service, caller } = self {
            service.disconnected(caller.connection);
        }
    }
}

fn is_locked(error: &ControlError) -> bool {
    matches!(error.detail.as_deref(), Some(ErrorDetail::Locked { .. }))
}
