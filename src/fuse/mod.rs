//! The kernel's side: mounting, sessions, and the adapters, which decode a request, call
//! [`crate::vfs`] and reply.
//!
//! The only place that imports `fuser`. Nothing is decided here: an adapter knows the protocol, the
//! filesystem behind it knows what the answer is.

pub mod errno;
pub mod invalidate;
pub mod mount;
mod notify;
pub mod reply;
pub mod session;
pub mod staging;
pub mod versions;

use std::io;

use fuser::{InitFlags, KernelConfig};

use crate::store::panics;
use crate::vfs::error::FsError;

/// Asks the kernel for what a connection wants, as far as it is offered, and for the longest
/// read-ahead.
///
/// # Errors
/// When the kernel's own values are refused: a fault of the library.
fn negotiate(
    config: &mut KernelConfig,
    capabilities: &[InitFlags],
    background_max: u16,
) -> io::Result<()> {
    for capability in capabilities {
        if config.add_capabilities(*capability).is_err() {
            log::debug!("the kernel does not offer {capability:?}");
        }
    }
    // Refused values name the nearest one that is accepted.
    if let Err(largest) = config.set_max_readahead(u32::MAX) {
        config
            .set_max_readahead(largest)
            .map_err(|_| io::Error::other("the kernel's own read-ahead was refused"))?;
    }
    config
        .set_max_background(background_max)
        .map_err(|_| io::Error::other("max_background was refused"))?;
    Ok(())
}

/// Runs an operation and turns its error into an errno.
///
/// A panic in it becomes EIO and is logged: it would otherwise end the worker, and with the last
/// worker the mount. Other requests go on.
///
/// # Errors
/// The operation's, or EIO after a panic.
pub fn guard<R>(
    operation: &'static str,
    body: impl FnOnce() -> Result<R, FsError>,
) -> Result<R, fuser::Errno> {
    let done = panics::contain(operation, || {
        panics::point(operation);
        body()
    });
    match done {
        Ok(result) => result.map_err(errno::errno),
        Err(panics::Panicked(_)) => Err(fuser::Errno::EIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_with_eio() {
        let result = guard("test", || -> Result<(), FsError> { panic!("on purpose") });
        assert_eq!(result, Err(fuser::Errno::EIO));
        let result = guard("test", || Err::<(), _>(FsError::NotFound));
        assert_eq!(result, Err(fuser::Errno::ENOENT));
    }
}
