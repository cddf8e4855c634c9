//! What a daemon is told when it starts.

use std::path::PathBuf;

pub use crate::engine::gc::GcOptions;
pub use crate::engine::scrub::ScrubOptions;
use crate::fuse::mount::MountOptions;

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
    /// A command for the shell, run after each published version.
    pub on_commit: Option<String>,
}
