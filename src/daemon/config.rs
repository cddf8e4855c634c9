//! What a daemon is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::logging::LogFormat;
use crate::control::settings::{INODE32, Setting};
pub(crate) use crate::engine::gc::GcOptions;
pub(crate) use crate::engine::scrub::ScrubOptions;
use crate::fuse::mount::MountOptions;

/// How many bytes of content of `streamed` remotes are kept if nobody says it.
pub(crate) const CACHE_BYTES_MAX: u64 = 10 << 30;

/// What to serve, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonConfig {
    /// The store, absolute.
    pub store: PathBuf,
    /// The mount point, absolute.
    pub target: PathBuf,
    /// Mount options of the outer filesystem; `read_only` holds for the whole daemon.
    pub options: MountOptions,
    /// When and how fast content is scrubbed.
    pub scrub: ScrubOptions,
    /// File that the log goes to; `None`: standard error.
    pub log: Option<PathBuf>,
    /// It runs in the foreground: its standard error is the caller's until the log is opened.
    pub foreground: bool,
    /// When to collect garbage, and what is protected from it.
    pub gc: GcOptions,
    /// How long a file may become, in bytes.
    pub file_bytes_max: u64,
    /// How many bytes of content of `streamed` remotes are kept; 0: as much as the disk has room for.
    pub cache_bytes_max: u64,
    /// Form of the log's lines.
    pub log_format: LogFormat,
    /// A command for the shell, run after each published version.
    pub on_commit: Option<String>,
    /// Where the web face listens; `None`: there is none.
    pub http: Option<SocketAddr>,
}

/// What to serve without a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The store, absolute.
    pub store: PathBuf,
    /// Where the web face listens.
    pub address: SocketAddr,
    /// Nothing is changed.
    pub read_only: bool,
    /// When to collect garbage, and what is protected from it.
    pub gc: GcOptions,
    /// When and how fast content is scrubbed.
    pub scrub: ScrubOptions,
}

impl DaemonConfig {
    /// Returns the settings that only a new mount can change, under their names in fstab. A remount may
    /// repeat them with the same value, and is refused with another.
    pub fn fixed_settings(&self) -> Vec<Setting> {
        let log = self.log.as_ref().map(|log| log.display().to_string());
        [
            ("gc_period", self.gc.period_seconds.unwrap_or(0).to_string()),
            ("protect", self.gc.protect_seconds.to_string()),
            ("scrub_period", self.scrub.period_seconds.to_string()),
            ("scrub_rate", self.scrub.rate_bytes.to_string()),
            ("on_commit", self.on_commit.clone().unwrap_or_default()),
            ("log", log.unwrap_or_default()),
            ("log_format", self.log_format.name().to_owned()),
            ("http", self.http.map(|address| address.to_string()).unwrap_or_default()),
            (INODE32, self.options.inode32.to_string()),
        ]
        .map(|(name, value)| Setting::new(name, value))
        .into()
    }
}
