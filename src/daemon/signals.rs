//! Signals, received by a thread of their own.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | stop; the second one stops at once, although files are in use |
//! | SIGHUP | open the log file anew; stop where there is none, since then the terminal is gone |
//! | SIGUSR1 | full clean-up: retention, quotas, orphans |

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::error::DaemonError;
use super::logging;
use super::run::Controller;

/// The thread that receives signals; it ends when this is dropped.
#[derive(Debug)]
pub struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Starts to receive signals and passes them on to `controller`. Call it before anything is
/// mounted, so that no signal can end the process with a mount left behind. `log` is the file that the
/// log goes to.
///
/// # Errors
///
/// Returns [`DaemonError::Process`].
pub fn start(controller: Controller, log: Option<PathBuf>) -> Result<SignalThread, DaemonError> {
    let process = |source| DaemonError::Process { action: "receive signals", source };
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(process)?;
    let handle = signals.handle();
    let receive = move || {
        for signal in &mut signals {
            match (signal, &log) {
                (SIGUSR1, _) => controller.collect(),
                (SIGHUP, Some(log)) => reopen(log),
                _ => {
                    let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                    log::info!("stopping on {name}");
                    controller.stop();
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".into()).spawn(receive);
    let thread = Some(thread.map_err(process)?);
    Ok(SignalThread { handle, thread })
}

/// Opens the log anew after logrotate renamed the file. If that fails, the log goes on in the old
/// file.
fn reopen(log: &Path) {
    match logging::to_file(log) {
        Ok(()) => log::info!("SIGHUP: the log goes on in {}", log.display()),
        Err(error) => log::error!("SIGHUP: {error}; the log goes on where it was"),
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that receives signals panicked");
        }
    }
}
