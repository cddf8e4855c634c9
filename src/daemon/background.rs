//! Going to the background.
//!
//! A process with threads cannot fork safely, so nothing is forked: the command starts itself
//! again as a child, with a hidden option, and waits. The child's standard output is a pipe to
//! the parent, over which it says one of two things before it closes it:
//!
//! ```text
//! ready\n            the mount is usable: the parent exits with success
//! {"kind":…,…}       why it failed, a [`ControlError`]: the parent reports it as its own
//! ```
//!
//! Nothing at all means that the child died. The child leads a session of its own and works in `/`.
//!
//! Its standard error is a file in memory at first: the log belongs to the daemon that has the
//! store, and a second one, which only finds the store locked, must not write into it. Once the
//! store is the child's, [`logging::adopt`] moves what was said to the log and goes on there. If
//! the start failed before that, the parent copies that file to the log, unless the store was
//! locked.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode};

use super::error::DaemonError;
use super::logging;
use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind};

/// What the child says when its mount is usable.
const READY: &str = "ready\n";

/// The most that the parent reads of an error.
const TEXT_MAX: u64 = 64 * 1024;

/// Tells the process that waits for the daemon how its start went.
#[derive(Debug)]
#[must_use]
pub struct Readiness(Option<File>);

impl Readiness {
    /// Nobody waits.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Says that the mount is usable. An error means that nobody waits any more: the command was
    /// interrupted, and the daemon should stop.
    ///
    /// # Errors
    ///
    /// Returns [`DaemonError::Interrupted`].
    pub fn ready(&mut self) -> Result<(), DaemonError> {
        self.say(READY).map_err(|_| DaemonError::Interrupted)
    }

    /// Says why the start failed, unless it succeeded before.
    pub fn failed(&mut self, error: &ControlError) {
        let said =
            serde_json::to_string(error).map_err(io::Error::from).and_then(|text| self.say(&text));
        if let Err(lost) = said {
            log::debug!("nobody reads why the start failed: {lost}");
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let pipe = self.0.take();
        pipe.map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()))
    }
}

/// Starts this program again with `arguments`, as a daemon that logs to `log`, and returns when it
/// is ready. `arguments` must lead the child to [`enter`], and hold absolute paths only.
///
/// # Errors
///
/// Returns [`DaemonError::Child`] with what the daemon said, or another error of the start.
pub(crate) fn start(arguments: &[OsString], log: &Path) -> Result<(), DaemonError> {
    // The program that is running now, even if its file was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cairn").args(arguments);
    start_command(command, log)
}

/// As [`start`], for any command. Takes it by value: it owns our copy of the pipe's end for
/// writing, which must be closed before we wait for the other copy to be closed.
fn start_command(mut command: Command, log: &Path) -> Result<(), DaemonError> {
    let process = |action| move |source| DaemonError::Process { action, source };
    let (mut reader, writer) = io::pipe().map_err(process("make a pipe"))?;
    let early = rustix::fs::memfd_create("early-log", MemfdFlags::empty());
    let early = File::from(early.map_err(|error| process("make a file in memory")(error.into()))?);
    let stderr = early.try_clone().map_err(process("share a file in memory"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(stderr);
    let mut child = command.spawn().map_err(process("start the daemon"))?;
    drop(command);
    let mut text = Vec::new();
    let wait = process("wait for the daemon");
    reader.by_ref().take(TEXT_MAX).read_to_end(&mut text).map_err(wait)?;
    let text = String::from_utf8_lossy(&text);
    if text == READY {
        return Ok(());
    }
    let status = child.wait().map_err(wait)?;
    match serde_json::from_str::<ControlError>(&text) {
        Ok(error) => {
            if !matches!(error.detail.as_deref(), Some(ErrorDetail::Locked { .. })) {
                logging::copy(&early, log)?;
            }
            Err(DaemonError::Child(Box::new(error)))
        }
        Err(_) => {
            logging::copy(&early, log)?;
            Err(DaemonError::ChildDied { status: status.to_string(), log: log.to_owned() })
        }
    }
}

/// Turns this process into the daemon that [`start`] started.
///
/// # Errors
///
/// Returns [`DaemonError::Process`].
pub(crate) fn enter() -> Result<Readiness, DaemonError> {
    let process = |action| move |error: io::Error| DaemonError::Process { action, source: error };
    let stdout = io::stdout();
    let pipe = rustix::io::fcntl_dupfd_cloexec(&stdout, 3);
    let pipe = pipe.map_err(|error| process("keep the pipe to the parent")(error.into()))?;
    let mut readiness = Readiness(Some(File::from(pipe)));
    let entered = detach();
    match entered {
        Ok(()) => Ok(readiness),
        Err(source) => {
            let message = format!("cannot leave the terminal: {source}");
            readiness.failed(&ControlError::new(ErrorKind::Failed, message));
            Err(DaemonError::Process { action: "leave the terminal", source })
        }
    }
}

fn detach() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::process::setsid()?;
    // A working directory would keep its filesystem busy.
    std::env::set_current_dir("/")?;
    predictable_modes();
    Ok(())
}

/// Makes the modes of the files we create independent of who started us.
pub(crate) fn predictable_modes() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the child with a shell script; its process id is `$$`.
    fn child(script: &str) -> (Result<(), DaemonError>, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let result = start_command(command, &log);
        (result, std::fs::read_to_string(log).ok())
    }

    #[test]
    fn the_parent_returns_when_the_child_is_ready_and_goes_on() {
        // The child lives until the test lets it go, by the end of a pipe named in /proc.
        let (reader, writer) = io::pipe().unwrap();
        let pid = std::process::id();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let script = format!("exec 3</proc/{pid}/fd/{fd}; echo ready; exec >/dev/null; cat <&3");
        let (result, log) = child(&script);
        result.unwrap();
        assert_eq!(log, None);
        drop(writer);
    }

    #[test]
    fn the_parent_repeats_what_the_child_says_and_leaves_the_log_alone() {
        let error = ControlError::new(ErrorKind::StoreUnusable, "it is locked").with_hint("wait");
        let error = error.with_detail(ErrorDetail::Locked { pid: None });
        let json = serde_json::to_string(&error).unwrap();
        let (result, log) = child(&format!("echo early >&2; printf '{json}'; exit 1"));
        let DaemonError::Child(said) = result.unwrap_err() else { panic!() };
        assert_eq!((said.kind, said.message), (error.kind, error.message));
        assert_eq!(said.hint, error.hint);
        assert_eq!(log, None, "the log is another daemon's");
        let json = serde_json::to_string(&ControlError::new(ErrorKind::Failed, "no")).unwrap();
        let (_, log) = child(&format!("echo early >&2; printf '{json}'; exit 1"));
        assert_eq!(log.as_deref(), Some("early\n"), "nobody else has the store");
    }

    #[test]
    fn a_child_that_dies_silently_is_reported_with_its_log() {
        let (result, log) = child("echo early >&2; kill -9 $$");
        let message = result.unwrap_err().to_string();
        assert!(message.contains("SIGKILL") && message.contains("/log"), "{message}");
        assert_eq!(log.as_deref(), Some("early\n"));
        let message = child("exit 3").0.unwrap_err().to_string();
        assert!(message.contains("exit status: 3"), "{message}");
    }

    #[test]
    fn readiness_is_said_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut readiness = Readiness(Some(File::from(std::os::fd::OwnedFd::from(writer))));
        readiness.ready().unwrap();
        readiness.failed(&ControlError::new(ErrorKind::Failed, "late"));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, READY);
    }

    #[test]
    fn a_command_that_was_interrupted_stops_the_daemon() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut readiness = Readiness(Some(File::from(std::os::fd::OwnedFd::from(writer))));
        assert!(matches!(readiness.ready(), Err(DaemonError::Interrupted)));
    }
}
