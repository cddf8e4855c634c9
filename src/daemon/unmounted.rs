//! Serving a store over HTTP and to commands, without a mount.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::config::{CACHE_BYTES_MAX, HttpConfig};
use super::error::DaemonError;
use super::run;
use super::serve::{collect, no_thread, prepare_process};
use super::service::{DaemonFacts, StoreService, store_error};
use super::service_manager::ServiceManager;
use super::signals;
use super::web::Web;
use crate::control::server::Server;
use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::event::NoObserver;
use crate::engine::scrub::Scrubber;

/// Opens a store and serves it until it is stopped; tells `ready` the address of the web face.
///
/// # Errors
/// What kept it from starting, or what could not be saved at the end.
pub fn serve_unmounted(
    config: &HttpConfig,
    ready: &mut dyn FnMut(std::net::SocketAddr),
) -> Result<(), DaemonError> {
    prepare_process(false, config.address.port());
    let manager = ServiceManager::from_environment();
    let start = |error| DaemonError::Start(Box::new(error));
    let open = if config.read_only { Engine::start_read_only } else { Engine::start_with };
    let engine = open(&config.store, Arc::new(NoObserver), config.gc)
        .map_err(|error| DaemonError::Start(Box::new(store_error(error))))?;
    let web = Web::start(&engine, Some(config.address))?;
    let (controller, events) = run::controller();
    let stop = controller.clone();
    let facts = DaemonFacts {
        pid: Some(std::process::id()),
        read_only: config.read_only,
        cache_bytes_max: Arc::new(AtomicU64::new(CACHE_BYTES_MAX)),
        ..DaemonFacts::default()
    };
    let service = Arc::new(StoreService::new(Arc::clone(&engine), move || stop.stop(), facts));
    let socket = engine.layout.control_socket();
    let server = Server::start(&socket, service.clone()).map_err(start)?;
    let signals = signals::start(controller.clone(), None)?;
    let mut scrubber = Scrubber::start(&engine, config.scrub).map_err(no_thread)?;
    let address = web.address().unwrap_or(config.address);
    manager.ready(&format!("serving {} at http://{address}/", config.store.display()));
    ready(address);
    let collector = Arc::clone(&engine);
    run::wait((&controller, &events), &mut move || collect(&collector), &|answer| {
        engine.may_stop(answer)
    });
    manager.stopping("writing out what is left");
    web.stop();
    service.stop_waiting();
    server.stop();
    scrubber.stop();
    let stopped = engine.stop();
    drop(signals);
    match stopped {
        Err(error @ EngineError::Unsaved(_)) => Err(DaemonError::Start(Box::new(error))),
        Err(error) => {
            log::error!("the store was not closed cleanly: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
