//! The daemon's log lines.
//!
//! Everything goes to standard error, which is the terminal in the foreground and the log file in
//! the background: a panic's message, or a library's, lands in the same place. `CAIRN_LOG`
//! chooses what is logged, in the syntax of env_logger (`debug`, `cairn::fuse=trace`).
//!
//! A line is text, or one JSON document:
//!
//! ```text
//! [2026-11-30T12:00:00.000Z INFO  cairn::engine::commit] published web/7
//! {"time":"2026-11-30T12:00:00.000Z","level":"info","target":"cairn::engine::commit","message":"…"}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;

use log::LevelFilter;
use rustix::fs::OFlags;

use super::error::DaemonError;

/// The variable that chooses what is logged.
pub(crate) const FILTER: &str = "CAIRN_LOG";

/// What is logged when the variable is not set.
const DEFAULT_FILTER: &str = "info";

/// Name of the log of a daemon in the background, in its store.
pub(crate) const FILE_NAME: &str = "daemon.log";

/// The most that is copied of what was logged before the log could be opened.
const EARLY_MAX: u64 = 1 << 20;

/// For `open(2)`.
const NOFOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// The form of a log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON document per line, for log collectors.
    Json,
}

impl LogFormat {
    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Starts logging. A second call changes nothing.
pub(crate) fn start(format: LogFormat) {
    let filter = env_logger::Env::new().filter_or(FILTER, DEFAULT_FILTER);
    let mut builder = env_logger::Builder::from_env(filter);
    match format {
        LogFormat::Text => builder.format_timestamp_millis(),
        LogFormat::Json => builder.format(|out, record| {
            let time = out.timestamp_millis();
            writeln!(out, "{}", json_line(&time.to_string(), record))
        }),
    };
    if let Err(error) = builder.try_init() {
        log::debug!("logging was started before: {error}");
    }
}

fn json_line(time: &str, record: &log::Record<'_>) -> serde_json::Value {
    serde_json::json!({
        "time": time,
        "level": record.level().as_str().to_ascii_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    })
}

/// Refuses a value of `CAIRN_LOG` that would silence the log: env_logger takes a word that is no
/// level for the name of a part of the program, and then shows that part alone.
///
/// # Errors
///
/// Returns [`DaemonError::LogFilter`].
pub(crate) fn check_filter() -> Result<(), DaemonError> {
    match std::env::var(FILTER) {
        Err(std::env::VarError::NotPresent) => Ok(()),
        Ok(value) => {
            check_filter_text(&value).map_err(|reason| DaemonError::LogFilter { value, reason })
        }
        Err(std::env::VarError::NotUnicode(value)) => Err(DaemonError::LogFilter {
            value: value.to_string_lossy().into_owned(),
            reason: "it is no text".to_owned(),
        }),
    }
}

fn check_filter_text(text: &str) -> Result<(), String> {
    // What follows a slash is a pattern for messages.
    let directives = text.split('/').next().unwrap_or_default();
    for directive in directives.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None if directive.contains("::") || directive == "cairn" => (Some(directive), ""),
            None => (None, directive),
        };
        if !level.is_empty() && LevelFilter::from_str(level).is_err() {
            return Err(format!("`{level}` is no level"));
        }
        if target.is_some_and(str::is_empty) {
            return Err(format!("`{directive}` names no part"));
        }
    }
    Ok(())
}

/// Opens a log file to append to. Only its owner may read one that is created: it names users'
/// files. A symlink in its place is refused: it may lie where others write.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub(crate) fn open(path: &Path) -> Result<File, DaemonError> {
    let opened =
        OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(NOFOLLOW).open(path);
    opened.map_err(|source| DaemonError::Log { path: path.to_owned(), source })
}

/// Sends standard error, and with it the log, to a file.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub(crate) fn to_file(path: &Path) -> Result<(), DaemonError> {
    let file = open(path)?;
    rustix::stdio::dup2_stderr(&file)
        .map_err(|error| DaemonError::Log { path: path.to_owned(), source: error.into() })
}

/// As [`to_file`], where standard error has been a file in memory so far: what is in there is moved to
/// the log first.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub(crate) fn adopt(path: &Path) -> Result<(), DaemonError> {
    let early = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)
        .map_err(|error| DaemonError::Log { path: path.to_owned(), source: error.into() })?;
    let early = File::from(early);
    copy(&early, path)?;
    early.set_len(0).map_err(|source| DaemonError::Log { path: path.to_owned(), source })?;
    to_file(path)
}

/// Appends what a file in memory has to the log at `path`.
///
/// # Errors
///
/// Returns [`DaemonError::Log`].
pub(crate) fn copy(early: &File, path: &Path) -> Result<(), DaemonError> {
    let mut log = open(path)?;
    // By position: whoever writes to the file has moved its offset to the end.
    let mut early = Positioned { file: early, offset: 0 }.take(EARLY_MAX);
    io::copy(&mut early, &mut log)
        .map(|_| ())
        .map_err(|source| DaemonError::Log { path: path.to_owned(), source })
}

/// Reads a file from its beginning, whatever its own offset is.
struct Positioned<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
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

    #[test]
    fn a_word_that_would_silence_the_log_is_refused() {
        for right in
            ["", "info", "OFF", "cairn", "cairn::fuse=trace,warn", "debug/commit", "cairn::gc"]
        {
            assert_eq!(check_filter_text(right), Ok(()), "{right}");
        }
        for wrong in ["verbose", "info,loud", "cairn::fuse=loud", "=info", "1"] {
            assert!(check_filter_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_said_before_the_log_was_open_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut early = tempfile::tempfile().unwrap();
        early.write_all(b"early\n").unwrap();
        copy(&early, &log).unwrap();
        open(&log).unwrap().write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read_to_string(log).unwrap(), "early\nlate\n");
    }

    #[test]
    fn a_line_of_json_is_one_document_whatever_the_message() {
        let arguments = format_args!("a \"name\"\nof two lines");
        let record = log::Record::builder()
            .args(arguments)
            .level(log::Level::Warn)
            .target("cairn::x")
            .build();
        assert_eq!(
            json_line("T", &record).to_string(),
            r#"{"level":"warn","message":"a \"name\"\nof two lines","target":"cairn::x","time":"T"}"#
        );
    }
}
