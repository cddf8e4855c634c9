//! The kernel's side: mounting, sessions, and the adapters, which decode a request, call
//! [`crate::vfs`] and reply.
//!
//! The only place that imports `fuser`. Nothing is decided here: an adapter knows the protocol, the
//! filesystem behind it knows what the answer is.

pub(crate) mod errno;
pub mod guard;
pub mod invalidate;
pub mod mount;
mod notify;
pub(crate) mod operation;
pub(crate) mod reply;
pub mod session;
pub(crate) mod staging;
pub(crate) mod versions;

use std::io;

use fuser::{InitFlags, KernelConfig};

/// Asks the kernel for what a connection wants, as far as it is offered, and for the longest
/// read-ahead.
///
/// # Errors
/// When fuser refuses values that the kernel offered, which is a fault of fuser.
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
    // fuser's refusal names the nearest value that it accepts.
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
