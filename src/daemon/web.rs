//! The web face as a part of the daemon, which a build without the network does not have.

use std::net::SocketAddr;
use std::sync::Arc;

use super::error::DaemonError;
use crate::engine::Engine;

/// The web face, where it is asked for.
#[derive(Debug, Default)]
pub(super) struct Web {
    #[cfg(feature = "net")]
    server: Option<crate::web::WebServer>,
}

impl Web {
    /// Starts it, if there is an address.
    ///
    /// # Errors
    /// The address cannot be listened on, or this build has no network.
    pub(super) fn start(
        engine: &Arc<Engine>,
        address: Option<SocketAddr>,
    ) -> Result<Self, DaemonError> {
        match address {
            None => Ok(Self::default()),
            Some(address) => Self::listen(engine, address),
        }
    }

    #[cfg(feature = "net")]
    fn listen(engine: &Arc<Engine>, address: SocketAddr) -> Result<Self, DaemonError> {
        let server = crate::web::WebServer::start(Arc::clone(engine), address)?;
        log::info!("web: listening at http://{}/", server.address());
        if !address.ip().is_loopback() {
            log::info!("web: everybody who reaches this address sees what is readable by others");
        }
        Ok(Self { server: Some(server) })
    }

    #[cfg(not(feature = "net"))]
    fn listen(_engine: &Arc<Engine>, _address: SocketAddr) -> Result<Self, DaemonError> {
        Err(DaemonError::Start(Box::new(super::service::without_net())))
    }

    /// The address that it listens on.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        #[cfg(feature = "net")]
        return self.server.as_ref().map(crate::web::WebServer::address);
        #[cfg(not(feature = "net"))]
        None
    }

    /// Ends it: answers that are under way have a moment, then their connections end.
    pub(super) fn stop(self) {
        #[cfg(feature = "net")]
        if let Some(server) = self.server {
            server.stop();
        }
    }
}
