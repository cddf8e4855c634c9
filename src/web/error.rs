//! What can keep the web face from being served.

use std::io;
use std::net::SocketAddr;

/// Failure to begin.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no thread or descriptor for it.
    #[error("cannot start the threads of the web face: {0}")]
    Threads(io::Error),
}
