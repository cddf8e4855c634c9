//! What a daemon tells its guard: one JSON document for each message of a socket that keeps them apart.
//! What ends the connection of a mount, if that could be opened, travels with the message that names
//! the mount.
//!
//! Both ends are the same program, so the form may change at any time.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// The longest message: paths have 4095 bytes at most, and each byte takes up to four characters.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 17;

/// What a guard is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Charge {
    /// The store that is mounted, as the kernel lists it as the source of the mounts.
    pub source: OsString,
    /// Where its mounts are or will be, the outer one first.
    pub targets: Vec<OsString>,
    /// Where to write what was done.
    pub log: Option<OsString>,
    /// The form of its lines, as `--log-format` names it.
    pub log_format: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Major and minor number of its device.
    pub device: (u32, u32),
    /// Where it is.
    pub target: OsString,
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The first one.
    Charge(Charge),
    /// A mount was made.
    Watch(Watched),
    /// All mounts were taken away: the guard is not needed any more.
    Bye,
}
