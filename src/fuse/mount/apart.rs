//! Paths that may lead through a filesystem of this process.
//!
//! A thread that waits for an answer of its own process cannot be killed, and it keeps open what
//! the process has open. So a daemon that is killed while it looks up `MNT/versions` would neither
//! end nor close its connection, and nobody who uses the mount would ever be answered (R8). So
//! whatever walks such a path runs on a thread without the connections. When the daemon is killed,
//! the connections end with its other threads, and with them the wait.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::resume_unwind;

use log::debug;

use super::DEVICE;
use crate::sys;

/// Runs `action` on a thread that has no connection but `kept` open. It must not use descriptors that
/// are opened after this was called, and what it returns must hold none.
///
/// # Errors
///
/// Returns the error of starting the thread.
pub(super) fn apart<T: Send>(
    kept: Option<BorrowedFd<'_>>,
    action: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let kept = kept.map(|device| device.as_raw_fd());
    std::thread::scope(|scope| {
        let name = "mount-apart".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, || {
            if let Err(error) = leave_connections(kept) {
                debug!("a daemon that is killed now may hang: {error}");
            }
            action()
        })?;
        thread.join().map_err(|panic| resume_unwind(panic))
    })
}

fn leave_connections(kept: Option<RawFd>) -> io::Result<()> {
    sys::leave_descriptors(|number, target| {
        Some(number) != kept && target.as_os_str().to_string_lossy().starts_with(DEVICE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    fn is_open(device: &File) -> bool {
        let number = device.as_raw_fd().to_string();
        let target = std::fs::read_link(Path::new("/proc/thread-self/fd").join(number));
        target.is_ok_and(|target| target == Path::new(DEVICE))
    }

    #[test]
    fn connections_are_left_and_stay_open_for_the_process() {
        let open = || File::options().read(true).write(true).open(DEVICE).unwrap();
        let (kept, left) = (open(), open());
        let seen = apart(Some(kept.as_fd()), || (is_open(&kept), is_open(&left))).unwrap();
        assert_eq!(seen, (true, false));
        assert!(is_open(&kept) && is_open(&left));
    }
}
