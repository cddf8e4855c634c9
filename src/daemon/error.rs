//! What can keep a daemon from starting.

use std::io;
use std::path::PathBuf;

use super::logging::FILTER;
use crate::control::protocol::ControlError;
use crate::fuse::mount::{self, MountError, User};

/// Failure to start or to serve.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Mounting failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel and the daemon could not agree on a version of the FUSE protocol.
    #[error("cannot serve {target}: {source}", target = target.display())]
    Session {
        /// The mount point.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Mounting took too long.
    #[error("mounting {} took too long", .0.display())]
    Slow(PathBuf),
    /// A stop was asked for before everything was mounted.
    #[error("stopped while starting")]
    Interrupted,
    /// A thread, a signal handler or a file that the process needs could not be made.
    #[error("cannot {action}: {source}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The log file cannot be written.
    #[error("cannot write the log {path}: {source}", path = path.display())]
    Log {
        /// The log file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no store at the path.
    #[error("{} is not a store of cairn", .0.display())]
    NotAStore(PathBuf),
    /// The store belongs to another user.
    #[error("permission denied on the store {}", .0.display())]
    NoAccess(PathBuf),
    /// What is to be logged cannot be told.
    #[error("{FILTER}={value}: {reason}")]
    LogFilter {
        /// What the variable holds.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A mount or its daemon did not end in time.
    #[error("{what} after {seconds} s{}", mount::users_text(users))]
    StillRunning {
        /// What has not ended.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// The processes that use the mount.
        users: Vec<User>,
    },
    /// The daemon in the background reported this.
    #[error("{}", .0.message)]
    Child(Box<ControlError>),
    /// The daemon in the background ended without saying why.
    #[error("the daemon ended before it was ready ({status}); its log is {log}", log = log.display())]
    ChildDied {
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
    },
    /// The web face cannot be served.
    #[cfg(feature = "net")]
    #[error("no web face: {0}")]
    Web(#[from] crate::web::WebError),
    /// Why the caller's part of the start failed.
    #[error("{0}")]
    Start(Box<dyn std::error::Error + Send + Sync>),
}

impl DaemonError {
    /// What the user can do about it, as a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Mount(error) => error.hint(),
            Self::NotAStore(_) => Some("make one with `cairn init`"),
            Self::NoAccess(_) => Some("only its owner and root may use a store"),
            Self::LogFilter { .. } => {
                Some("a level (off, error, warn, info, debug, trace), or cairn::ROOM=LEVEL,…")
            }
            Self::StillRunning { .. } => {
                Some("`cairn unmount --lazy` detaches the mount; the daemon's log may say more")
            }
            #[cfg(feature = "net")]
            Self::Web(crate::web::WebError::Listen { .. }) => {
                Some("choose another address with `--http`; port 0 takes any that is free")
            }
            Self::Log { .. } => Some("choose another file with `--log`"),
            _ => None,
        }
    }

    /// The message with the hint on a line of its own.
    pub fn full_text(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}
