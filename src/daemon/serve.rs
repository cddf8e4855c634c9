//! Serving a store: opens the engine, shows it on both mounts and on the control socket, and takes
//! everything down again in the opposite order.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::process::{getgid, getuid};

use super::background::Readiness;
use super::config::DaemonConfig;
use super::error::DaemonError;
use super::guard::Guarded;
use super::hook::{Hook, HookCommand, HookObserver};
use super::housekeeping::Housekeeper;
use super::logging;
use super::privileges;
use super::run::{self, Filesystems, Hooks};
use super::service::{DaemonFacts, EdgeThread, StoreService, is_edge, store_error};
use super::service_manager::ServiceManager;
use super::signals;
use super::web::Web;
use crate::control::protocol::ControlError;
use crate::control::public_socket;
use crate::control::server::Server;
use crate::engine::error::EngineError;
use crate::engine::gc::RunKind;
use crate::engine::request::Request;
use crate::engine::scrub::Scrubber;
use crate::engine::{Engine, REPOSITORY_AREAS_MAX};
use crate::fuse::guard::WatchState;
use crate::fuse::invalidate::KernelInvalidator;
use crate::fuse::mount::{Method, MountOptions, MountPlan, VersionsPlacement};
use crate::fuse::session::default_workers;
use crate::fuse::staging::StagingConnection;
use crate::fuse::versions::VersionsConnection;
use crate::model::time::Timestamp;
use crate::sys::{self, open_files};
use crate::vfs::staging::{MountObserver, StagingFs, StagingOptions};
use crate::vfs::versions::{Numbering, PoolBlobs, RootOwner, Sources, VersionFs};

/// File descriptors that a daemon asks for: clients' open files, and the cache of blobs.
const OPEN_FILES_MAX: u64 = 1 << 20;

/// Bytes that the allocator keeps of what was freed, for each arena; there are as many as workers.
/// More than the buffer of a file, which would otherwise be new pages each time.
const FREE_BYTES_MAX: i32 = 2 << 20;

/// Opens a store and serves it until it is stopped.
///
/// # Errors
/// What kept it from starting.
pub fn serve(config: &DaemonConfig, readiness: &mut Readiness) -> Result<(), DaemonError> {
    prepare_process(config.on_commit.is_some(), config.http.map_or(0, |address| address.port()));
    let manager = ServiceManager::from_environment();
    let start = |error| DaemonError::Start(Box::new(error));
    let kernel = Arc::new(KernelInvalidator::start().map_err(no_thread)?);
    let observer = Arc::new(MountObserver::new(Arc::clone(&kernel) as Arc<_>));
    let hooked = Arc::new(HookObserver::new(Arc::clone(&observer) as Arc<_>));
    let engine = open(config, &hooked)?;
    let config = &mounted_as(config, &engine)?;
    log_limits(&engine);
    // This process holds the store's lock from here on, so other mounts of the store are leftovers.
    let plan =
        MountPlan::prepare(&config.target, &config.store, config.options.clone(), Method::Auto)?;
    let guard = Guarded::start(config, &plan);
    let web = Web::start(&engine, config.http)?;
    let versions = versions(&engine, &config.options);
    let file_bytes_max = Arc::new(AtomicU64::new(config.file_bytes_max));
    let staging = staging(&engine, config, &plan, &file_bytes_max);
    connect((&observer, &kernel), &staging, &versions, guard.state());
    let housekeeper = housekeeper(&engine, &kernel, &versions)?;
    let (controller, events) = run::controller();
    let stop = controller.clone();
    let facts = facts(config, &plan, file_bytes_max, &web, guard.state());
    let service = Arc::new(StoreService::new(Arc::clone(&engine), move || stop.stop(), facts));
    service.look_at_cache();
    let hook = start_hook(config, &plan, &engine, &hooked)?;
    let socket = engine.layout.control_socket();
    let mut server = Server::start(&socket, service.clone()).map_err(start)?;
    serve_others(&mut server, &engine, config.options.allow_other);
    let signals = signals::start(controller.clone(), config.log.clone())?;
    let edge = service.follow_bucket().map_err(start_error)?;
    let mut scrubber = Scrubber::start(&engine, config.scrub).map_err(no_thread)?;
    let (waits, collector, mut closed) = (Arc::clone(&staging), Arc::clone(&engine), Ok(()));
    let hooks = Hooks {
        mounted: Box::new(|mount| guard.watch(mount)),
        ready: Box::new(|| {
            edge.iter().try_for_each(EdgeThread::wait_for_first).map_err(start_error)?;
            readiness.ready()?;
            manager.ready(&format!("serving {}", plan.target.display()));
            Ok(())
        }),
        collect: Box::new(move || collect(&collector)),
        may_stop: Box::new(|answer| engine.may_stop(answer)),
        stopping: Box::new(|| {
            manager.stopping("unmounting, and writing out what is left");
            service.stop_fetching();
        }),
        shutdown: Box::new(|| {
            guard.end();
            web.stop();
            service.stop_waiting();
            server.stop();
            service.wait_for_jobs();
            edge.iter().for_each(EdgeThread::stop);
            scrubber.stop();
            drop(housekeeper);
            if let Some(hook) = hook {
                hook.stop();
            }
            waits.end_waits();
            drop(waits);
            observer.disconnect();
            closed = close(&engine);
        }),
    };
    let (outer, versions) = (StagingConnection::new(staging), VersionsConnection::new(versions));
    let filesystems = Filesystems { outer, versions };
    let served =
        run::serve(&plan, filesystems, default_workers(), &kernel, (&controller, &events), hooks);
    drop(signals);
    served.and(closed)
}

/// Listens for the commands of other users, if the mount is open to them. The store's owner does not need
/// that, so a daemon that cannot make the socket (an ordinary user's, in `/run`) goes on without it.
fn serve_others(server: &mut Server, engine: &Engine, allow_other: bool) {
    if !allow_other {
        return;
    }
    let path = match public_socket::prepare(engine.layout.root()) {
        Ok(path) => path,
        Err(error) => {
            // The daemon of an ordinary user cannot make it, which deserves no warning.
            let expected = error.kind() == std::io::ErrorKind::PermissionDenied;
            let level = if expected { log::Level::Info } else { log::Level::Warn };
            return log::log!(
                level,
                "only the store's owner and root are served by commands: {error}"
            );
        }
    };
    if let Err(error) = server.serve_others(&path) {
        log::warn!("only the store's owner and root are served by commands: {error}");
    }
}

/// Opens the store. From then on it is ours, and so is its log.
fn open(config: &DaemonConfig, observer: &Arc<HookObserver>) -> Result<Arc<Engine>, DaemonError> {
    let open = if config.options.read_only { Engine::start_read_only } else { Engine::start_with };
    let engine = open(&config.store, Arc::clone(observer) as Arc<_>, config.gc)
        .map_err(|error| DaemonError::Start(Box::new(store_error(error))))?;
    match &config.log {
        Some(log) if config.foreground => logging::to_file(log)?,
        Some(log) => logging::adopt(log)?,
        None => {}
    }
    Ok(engine)
}

/// Closes the store. Fails only if something is lost by that.
fn close(engine: &Engine) -> Result<(), DaemonError> {
    let Err(error) = engine.stop() else { return Ok(()) };
    log::error!("the store was not closed cleanly: {error}");
    match error {
        EngineError::Unsaved(_) => Err(DaemonError::Start(Box::new(error))),
        _ => Ok(()),
    }
}

/// How it is served: an edge takes changes from its bucket, and its mount none.
fn mounted_as(config: &DaemonConfig, engine: &Engine) -> Result<DaemonConfig, DaemonError> {
    let mut config = config.clone();
    config.options.read_only |= is_edge(engine).map_err(start_error)?;
    Ok(config)
}

fn start_error(error: ControlError) -> DaemonError {
    DaemonError::Start(Box::new(error))
}

/// Limits and privileges of the process, before any thread is started. `port` is that of the web face, or 0.
pub(super) fn prepare_process(starts_programs: bool, port: u16) {
    privileges::drop_unneeded(starts_programs, port);
    let arenas = i32::try_from(default_workers()).unwrap_or(i32::MAX);
    sys::bound_free_memory(arenas, FREE_BYTES_MAX);
    match open_files::set_nofile_limit(OPEN_FILES_MAX) {
        Ok(limit) => log::debug!("at most {limit} open files"),
        Err(error) => log::warn!("cannot raise the limit of open files: {error}"),
    }
}

fn log_limits(engine: &Engine) {
    let slots = &engine.staging.store.slots;
    log::info!(
        "at most {} large files are written at a time ({} per repository), {} areas per repository",
        slots.max(),
        slots.share(),
        REPOSITORY_AREAS_MAX
    );
}

fn staging(
    engine: &Arc<Engine>,
    config: &DaemonConfig,
    plan: &MountPlan,
    file_bytes_max: &Arc<AtomicU64>,
) -> Arc<StagingFs> {
    let options = StagingOptions {
        read_only: config.options.read_only,
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
        file_bytes_max: Arc::clone(file_bytes_max),
        versions_beside: match &plan.versions {
            VersionsPlacement::Nested => None,
            VersionsPlacement::Beside(path) => Some(path.clone()),
        },
    };
    StagingFs::new(Arc::clone(engine), options)
}

/// What the daemon says of itself, and can be asked to change.
fn facts(
    config: &DaemonConfig,
    plan: &MountPlan,
    file_bytes_max: Arc<AtomicU64>,
    web: &Web,
    watch: WatchState,
) -> DaemonFacts {
    // Port 0 stands for the port that was free.
    let config = &DaemonConfig { http: web.address(), ..config.clone() };
    DaemonFacts {
        pid: Some(std::process::id()),
        mount: Some(plan.target.clone()),
        read_only: config.options.read_only,
        watch,
        settings: config.fixed_settings(),
        file_bytes_max,
        cache_bytes_max: Arc::new(AtomicU64::new(config.cache_bytes_max)),
    }
}

/// From now on events concern these filesystems.
fn connect(
    (observer, kernel): (&MountObserver, &KernelInvalidator),
    staging: &StagingFs,
    versions: &Arc<VersionFs<crate::store::tree_cache::TreeCache, PoolBlobs>>,
    watch: WatchState,
) {
    versions.connect(Arc::new(kernel.version_pages(watch)));
    let (root, held) = (Arc::clone(versions), Arc::clone(versions));
    observer.connect(
        staging,
        Box::new(move |now| root.set_root_changed(now)),
        Box::new(move |blobs| held.holders(blobs)),
    );
}

/// Gives memory back that areas and versions which are gone have left.
fn housekeeper(
    engine: &Engine,
    kernel: &Arc<KernelInvalidator>,
    versions: &Arc<VersionFs<crate::store::tree_cache::TreeCache, PoolBlobs>>,
) -> Result<Housekeeper, DaemonError> {
    let (staging, versions) = (Arc::clone(&engine.staging), Arc::clone(versions));
    let held = move || staging.read().node_count() + versions.inode_count();
    Housekeeper::start(&engine.staging, Arc::clone(kernel) as Arc<_>, Box::new(held))
        .map_err(no_thread)
}

/// Runs the command of `--on-commit` from now on, if there is one.
fn start_hook(
    config: &DaemonConfig,
    plan: &MountPlan,
    engine: &Arc<Engine>,
    observer: &HookObserver,
) -> Result<Option<Hook>, DaemonError> {
    let Some(command) = config.on_commit.clone() else { return Ok(None) };
    let (store, mount) = (config.store.clone(), plan.target.clone());
    let what = HookCommand { command, store, mount };
    let registry = Arc::clone(&engine.registry);
    Ok(Some(Hook::start(what, registry, observer).map_err(no_thread)?))
}

pub(super) fn no_thread(source: std::io::Error) -> DaemonError {
    DaemonError::Process { action: "start a thread", source }
}

fn versions(
    engine: &Arc<Engine>,
    options: &MountOptions,
) -> Arc<VersionFs<crate::store::tree_cache::TreeCache, PoolBlobs>> {
    let blobs = PoolBlobs::new(Arc::clone(engine));
    let sources = Sources {
        registry: Arc::clone(&engine.registry),
        trees: Arc::clone(&engine.trees),
        blobs: Arc::new(blobs),
        pins: Arc::clone(&engine.pins),
    };
    let owner = RootOwner { uid: getuid().as_raw(), gid: getgid().as_raw() };
    let numbering = if options.inode32 { Numbering::Counted } else { Numbering::Hashed };
    Arc::new(VersionFs::new(sources, owner, Timestamp::now(), numbering))
}

/// SIGUSR1: a full run, whose result goes to the log (G7).
pub(super) fn collect(engine: &Engine) {
    let reply = Box::new(|result| {
        if let Err(error) = result {
            log::error!("collection failed: {error}");
        }
    });
    if engine.submit(Request::Collect { kind: RunKind::FULL, reply }).is_err() {
        log::debug!("a signal came after the engine had stopped");
    }
}
