//! Signals, received by a thread of their own.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | stop; the second one stops at once, although files are in use |
//! | SIGHUP | stop in the foreground, where the terminal is gone; nothing in the background |
//! | SIGUSR1 | full clean-up: retention, quotas, orphans |

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use std::thread::JoinHandle;

use super::error::DaemonError;
use super::run::Controller;

/// The thread that receives signals; it ends when this is dropped.
#[derive(Debug)]
pub struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Starts to receive signals and passes them on to `controller`. Call it before anything is
/// mounted, so that no signal can end the process with a mount left behind.
///
/// # Errors
///
/// Returns [`DaemonError::Process`].
pub fn start(controller: Controller, foreground: bool) -> Result<SignalThread, DaemonError> {
    let process = |source| DaemonError::Process { action: "receive signals", source };
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(process)?;
    let handle = signals.handle();
    let receive = move || {
        for signal in &mut signals {
            match signal {
                SIGUSR1 => controller.collect(),
                SIGHUP if !foreground => log::info!("ignoring SIGHUP in the background"),
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
