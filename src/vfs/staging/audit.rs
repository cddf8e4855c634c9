//! What is logged of the changes that come through the mount to repositories, areas and tags: who made
//! which. Publications are logged by the engine, with those that are refused.

use super::{Caller, Done};
use crate::sys;

/// Logs a change once it is made, and passes its result on.
pub(super) fn logged<T: Send + 'static>(caller: Caller, change: String, done: Done<T>) -> Done<T> {
    // Looked up before the request is sent, since the thread that calls back must not read the
    // table of users.
    let (user, pid) = (user(caller), caller.pid);
    Box::new(move |result| {
        if result.is_ok() {
            log::info!("{change}, by {user} (pid {pid})");
        }
        done(result);
    })
}

/// The name of the user who asks, or the number of one without a name.
pub(super) fn user(caller: Caller) -> String {
    sys::user_name(caller.uid).unwrap_or_else(|| format!("uid {}", caller.uid))
}
