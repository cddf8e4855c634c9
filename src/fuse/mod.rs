//! The kernel's side: mounting, sessions, and the adapters, which decode a request, call
//! [`crate::vfs`] and reply.
//!
//! The only place that imports `fuser`. Nothing is decided here: an adapter knows the protocol, the
//! filesystem behind it knows what the answer is.

pub mod errno;
pub mod invalidate;
pub mod mount;
pub mod reply;
pub mod session;
pub mod staging;
pub mod versions;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::vfs::error::FsError;

/// Runs an operation and turns its error into an errno.
///
/// A panic in it becomes EIO and is logged: it would otherwise end the worker, and with the last
/// worker the mount. What the operation had locked is unlocked (locks do not poison, rule 9 is the
/// engine's concern), so other requests go on.
///
/// # Errors
/// The operation's, or EIO after a panic.
pub fn guard<R>(
    operation: &'static str,
    body: impl FnOnce() -> Result<R, FsError>,
) -> Result<R, fuser::Errno> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(errno::errno),
        Err(panic) => {
            log::error!("{operation} panicked: {}", panic_text(&*panic));
            Err(fuser::Errno::EIO)
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(no text)"
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
