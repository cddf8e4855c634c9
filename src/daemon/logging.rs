//! The daemon's log lines.
//!
//! Everything goes to standard error, which is the terminal in the foreground and the log file in
//! the background: a panic's message, or a library's, lands in the same place. `CAIRN_LOG`
//! chooses what is logged, in the syntax of env_logger (`debug`, `cairn::fuse=trace`).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::DaemonError;

/// The variable that chooses what is logged.
pub const FILTER: &str = "CAIRN_LOG";

/// What is logged when the variable is not set.
const DEFAULT_FILTER: &str = "info";

/// Name of the log of a daemon in the background, in its store.
pub const FILE_NAME: &str = "daemon.log";

/// For `open(2)`.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Starts logging. A second call changes nothing.
pub fn start() {
    let filter = env_logger::Env::new().filter_or(FILTER, DEFAULT_FILTER);
    let mut builder = env_logger::Builder::from_env(filter);
    builder.format_timestamp_millis();
    if let Err(error) = builder.try_init() {
        log::debug!("logging was started before: {error}");
    }
}

/// Opens a log file to append to. Only its owner may read one that is created: it names users'
/// files. A symlink in its place is refused: it may lie where others write.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub fn open(path: &Path) -> Result<File, DaemonError> {
    let opened =
        OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(NOFOLLOW).open(path);
    opened.map_err(|source| DaemonError::Log { path: path.to_owned(), source })
}

/// Sends standard error, and with it the log, to a file.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub fn to_file(path: &Path) -> Result<(), DaemonError> {
    let file = open(path)?;
    rustix::stdio::dup2_stderr(&file)
        .map_err(|error| DaemonError::Log { path: path.to_owned(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_its_owners_and_no_symlink() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (log, link) = (directory.path().join("log"), directory.path().join("link"));
        let file = open(&log).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        std::os::unix::fs::symlink(&log, &link).unwrap();
        let error = open(&link).unwrap_err();
        assert!(matches!(error, DaemonError::Log { .. }), "{error}");
    }
}
