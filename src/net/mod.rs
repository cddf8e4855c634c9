//! The network: HTTP as a blocking interface, over one runtime on threads of its own.
//!
//! Nothing starts before the first remote is used. Callers hand over where bytes go and learn what happened; what the
//! bytes mean, and whether they are those that were declared, is theirs to know. Async code stays in this room.

mod client;
mod credentials;
mod error;
mod fetch;
mod http_objects;
mod objects;
mod pace;
mod request_watch;
mod speed;
mod validators;

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

pub use client::Client;
pub use credentials::read_public;
pub use error::{NetError, NetErrorKind};
pub use fetch::{Body, Fetch, Fetched, TRIES_MAX, Watcher};
pub use http_objects::HttpObjects;
pub use objects::{ObjectInfo, Objects};
pub use pace::Pace;
pub use request_watch::RequestWatch;
pub use validators::Validators;

/// Threads that wait for the network. Bodies are handled by the thread that asked.
const RUNTIME_THREADS: usize = 2;

/// The one runtime, made when it is first asked for.
///
/// # Errors
/// When the machine has no thread or descriptor for it.
fn runtime() -> Result<&'static Runtime, NetError> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("net")
            .enable_all()
            .build()
    });
    made.as_ref().map_err(|error| NetError::local("start the network threads", error))
}
