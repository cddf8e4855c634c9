//! Answers control requests on an engine: in the daemon for the socket, in a command that opened
//! the store itself for that command.

mod areas;
mod audit;
mod backup;
#[cfg(feature = "net")]
mod bucket;
mod commit;
mod describe;
mod du;
mod edge;
mod errors;
mod export;
mod fetching;
mod find;
mod flags;
mod fsck;
mod gc;
mod health;
mod import;
#[cfg(feature = "net")]
mod jobs;
mod log;
mod metrics;
mod names;
mod partial;
mod policy;
mod prefetch;
mod quota;
mod reclaim;
#[cfg(feature = "net")]
mod remote_notes;
mod remotes;
mod remount;
mod repositories;
mod rights;
mod status;
#[cfg(feature = "net")]
mod sync;
mod tags;
#[cfg(feature = "net")]
mod transfer;
mod undelete;
mod versions;
mod wait;
mod why;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::control::import::ImportId;
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, ConnectionId, Peer, Service};
use crate::control::settings::Setting;
use crate::control::upkeep::UpkeepRequest;
use crate::engine::Engine;
use crate::engine::event::NoObserver;
use crate::engine::pins::BlobsHold;
use crate::engine::registry::Repository;
use crate::fuse::guard::WatchState;
use crate::model::name::{BaseName, RepoName};
use crate::model::version::Version;

pub use edge::{EdgeThread, is_edge};
pub use errors::{control_error, init_error, store_error};
use export::Export;
pub use fsck::open_bare;
use import::ConnectedImport;
pub use names::open_glance;

/// A reply without attachments, or why there is none.
type Answer = Result<Reply, ControlError>;

/// What a build without the network says of all that needs it.
#[cfg(not(feature = "net"))]
pub(super) fn without_net() -> ControlError {
    ControlError::new(ErrorKind::Failed, "this cairn was built without the feature `net`")
}

/// How a daemon shows itself in `cairn status`.
#[derive(Debug, Clone, Default)]
pub struct DaemonFacts {
    /// Process id; `None` when no daemon runs.
    pub pid: Option<u32>,
    /// Where the store is mounted.
    pub mount: Option<PathBuf>,
    /// Whether the mount takes no changes.
    pub read_only: bool,
    /// What happens to the mounts if the daemon is killed.
    pub watch: WatchState,
    /// What it was told at the mount and does not change, by the names of fstab.
    pub settings: Vec<Setting>,
    /// How long a file may become, in bytes.
    pub file_bytes_max: Arc<AtomicU64>,
    /// How many bytes of content of `streamed` remotes are kept; 0: as much as the disk has room for.
    pub cache_bytes_max: Arc<AtomicU64>,
}

/// The service of one store.
pub struct StoreService {
    engine: Arc<Engine>,
    facts: DaemonFacts,
    shutdown: Box<dyn Fn() + Send + Sync>,
    imports: Mutex<HashMap<ImportId, ConnectedImport>>,
    /// How many imports run, those that are just beginning among them.
    running_imports: Arc<AtomicUsize>,
    exports: Mutex<HashMap<ConnectionId, Export>>,
    #[cfg(feature = "net")]
    partial_files: Arc<crate::sync::PartialFiles>,
    #[cfg(feature = "net")]
    lazy: Arc<crate::lazy::Lazy>,
    #[cfg(feature = "net")]
    jobs: Arc<jobs::Jobs>,
    /// How far the bucket of an edge is followed, once that has begun.
    #[cfg(feature = "net")]
    edge_state: std::sync::OnceLock<Arc<edge::EdgeState>>,
    /// Blobs kept in place for backups.
    holds: Mutex<HashMap<ConnectionId, BlobsHold>>,
    next_import: AtomicU64,
    next_prefetch: AtomicU64,
    /// The other ends of the connections.
    peers: Mutex<HashMap<ConnectionId, Peer>>,
    /// Number in the name of the next area that nobody sees.
    next_hidden: AtomicU64,
    /// Nobody is to wait any more.
    stopping: AtomicBool,
    /// Opened by a command for itself: the engine ends with the service.
    owned: bool,
    /// When it was made.
    began: Instant,
}

impl std::fmt::Debug for StoreService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreService").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Opens a store in this process, for a command that runs without a daemon.
///
/// # Errors
/// When the store cannot be opened.
pub fn open_local(store: &Path) -> Result<Box<dyn Service>, ControlError> {
    let engine = Engine::start(store, Arc::new(NoObserver)).map_err(errors::store_error)?;
    Ok(Box::new(StoreService::make(engine, || {}, DaemonFacts::default(), true)))
}

impl StoreService {
    /// Serves an engine. `shutdown` is called when a client asks the daemon to stop; it must
    /// return at once.
    pub fn new(
        engine: Arc<Engine>,
        shutdown: impl Fn() + Send + Sync + 'static,
        facts: DaemonFacts,
    ) -> Arc<Self> {
        Self::make(engine, shutdown, facts, false)
    }

    fn make(
        engine: Arc<Engine>,
        shutdown: impl Fn() + Send + Sync + 'static,
        facts: DaemonFacts,
        owned: bool,
    ) -> Arc<Self> {
        #[cfg(feature = "net")]
        let partial_files = Arc::new(crate::sync::PartialFiles::new(engine.layout.partial()));
        #[cfg(feature = "net")]
        let lazy = {
            let cache_bytes_max = Arc::clone(&facts.cache_bytes_max);
            crate::lazy::Lazy::new(&engine, &partial_files, cache_bytes_max)
        };
        #[cfg(feature = "net")]
        engine.set_fetcher(Arc::clone(&lazy) as Arc<_>);
        let service = Arc::new(Self {
            #[cfg(feature = "net")]
            partial_files,
            #[cfg(feature = "net")]
            lazy,
            #[cfg(feature = "net")]
            jobs: Arc::default(),
            #[cfg(feature = "net")]
            edge_state: std::sync::OnceLock::new(),
            engine,
            facts,
            shutdown: Box::new(shutdown),
            imports: Mutex::default(),
            running_imports: Arc::default(),
            exports: Mutex::default(),
            holds: Mutex::default(),
            next_import: AtomicU64::new(1),
            next_prefetch: AtomicU64::new(1),
            peers: Mutex::default(),
            next_hidden: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            owned,
            began: Instant::now(),
        });
        #[cfg(feature = "net")]
        service.jobs.serve(&service);
        service
    }

    fn repository(&self, name: &RepoName) -> Result<Arc<Repository>, ControlError> {
        self.engine.registry.by_name(name.as_str()).ok_or_else(|| {
            ControlError::new(ErrorKind::NotFound, format!("no repository `{name}`"))
                .with_hint("`cairn list` shows all repositories, `cairn create` makes one")
        })
    }

    fn version(
        &self,
        name: &RepoName,
        version: &BaseName,
    ) -> Result<(Arc<Repository>, Arc<Version>), ControlError> {
        let repository = self.repository(name)?;
        let found = repository.resolve(version).cloned().ok_or_else(|| {
            ControlError::new(ErrorKind::NotFound, format!("no version `{name}/{version}`"))
                .with_hint(format!("`cairn versions {name}` shows all versions"))
        })?;
        Ok((repository, found))
    }

    fn answer(
        &self,
        caller: Caller,
        request: Request,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        match request {
            Request::Status => self.status(),
            Request::CreateRepository { name, mode } => self.create(caller, name, mode),
            Request::DeleteRepository { name } => self.delete_repository(&name),
            Request::Repositories => Ok(self.repositories()),
            Request::Versions { repository, after } => self.versions(&repository, after),
            Request::Show { repository, version } => self.show(&repository, &version),
            Request::Diff { repository, first, other_repository, second } => {
                self.diff((&repository, &first), (&other_repository, &second), progress)
            }
            Request::Metrics => self.metrics(),
            Request::Log(request) => self.log(caller, &request, progress),
            Request::Find(request) => self.find(caller, &request, progress),
            Request::Areas { repository } => self.areas(repository.as_ref()),
            Request::Names { of, prefix } => self.names(&of, &prefix),
            Request::Stage { repository, name, from } => {
                self.stage(caller, &repository, &name, from.as_ref())
            }
            Request::Commit(request) => self.commit(caller, &request),
            Request::Discard { repository, area } => self.discard(&repository, &area),
            Request::Tags { repository } => self.tags(&repository),
            Request::SetTag { repository, tag, version } => {
                self.set_tag(&repository, tag, &version)
            }
            Request::DeleteTag { repository, tag } => self.delete_tag(&repository, tag),
            Request::Delete { repository, versions, force } => {
                self.delete_versions(&repository, &versions, force)
            }
            Request::Fsck(request) => self.fsck(&request, progress),
            Request::Gc(request) => self.gc(&request, progress),
            Request::Upkeep(request) => self.upkeep(request, progress),
            Request::Wait { repository, after, seconds } => self.wait(&repository, after, seconds),
            Request::Prefetch(request) => self.prefetch(caller, &request, None, progress),
            Request::Reclaim(request) => self.reclaim(caller, &request, progress),
            Request::Remote(request) => self.remote(caller, request),
            #[cfg(feature = "net")]
            Request::Sync(request) => self.sync(caller, request, progress),
            #[cfg(feature = "net")]
            Request::Transfer(request) => self.transfer(caller, request, progress),
            #[cfg(feature = "net")]
            Request::Jobs(request) => self.jobs(caller, request, progress),
            #[cfg(not(feature = "net"))]
            Request::Sync(_) | Request::Transfer(_) | Request::Jobs(_) => Err(without_net()),
            Request::Refresh { wait } => self.refresh(caller, wait),
            Request::Save { give_up } => self.save(give_up),
            Request::Remount { settings, check } => self.remount(&settings, check),
            Request::Shutdown => {
                (self.shutdown)();
                Ok(Reply::Done)
            }
            Request::Import(_) | Request::Export(_) | Request::Backup(_) => {
                let message = "import, export and backup carry attachments";
                Err(ControlError::new(ErrorKind::Usage, message))
            }
        }
    }

    fn upkeep(&self, request: UpkeepRequest, progress: &mut dyn FnMut(Progress)) -> Answer {
        match request {
            UpkeepRequest::Flag { repository, versions, flag, set } => {
                self.flag(&repository, &versions, flag, set)
            }
            UpkeepRequest::Deleted { repository, after } => self.deleted(&repository, after),
            UpkeepRequest::Undelete { repository, versions } => {
                self.undelete(&repository, &versions)
            }
            UpkeepRequest::UndeleteRepository { name } => self.undelete_repository(name),
            UpkeepRequest::Policy { repository } => self.policy(&repository, progress),
            UpkeepRequest::SetPolicy { repository, policy } => self.set_policy(&repository, policy),
            UpkeepRequest::ChangePolicy { repository, rules } => {
                self.change_policy(&repository, rules)
            }
            UpkeepRequest::Quota { repository } => self.quota(&repository),
            UpkeepRequest::SetQuota { repository, bytes, files } => {
                self.set_quota(&repository, bytes, files)
            }
            UpkeepRequest::Du { targets } => self.du(&targets, progress),
            UpkeepRequest::Why(target) => self.why(&target, progress),
        }
    }

    /// Saves what is in memory only, for somebody who wants to stop the daemon.
    fn save(&self, give_up: bool) -> Answer {
        if give_up {
            self.engine.give_up();
        }
        match self.engine.save().map_err(control_error)?.text() {
            Some(text) if !give_up => Err(ControlError::new(ErrorKind::Failed, text).with_hint(
                "make room on the store's disk and unmount again; `--force` gives these files up",
            )),
            Some(_) | None => Ok(Reply::Done),
        }
    }

    fn dispatch(
        &self,
        caller: Caller,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        match request {
            Request::Import(request) => {
                let reply = self.import(caller, request, attachment)?;
                Ok((reply, Attachment::none()))
            }
            Request::Export(request) => self.export(caller, request),
            Request::Backup(request) => self.backup(caller, request, progress),
            other => Ok((self.answer(caller, other, progress)?, Attachment::none())),
        }
    }

    /// Id of the next import.
    fn new_import(&self) -> ImportId {
        ImportId(self.next_import.fetch_add(1, Ordering::Relaxed))
    }
}

impl Service for StoreService {
    fn call(
        &self,
        caller: Caller,
        request: Request,
        attachment: Attachment,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        let change = audit::change(&request);
        let result = self
            .refuse_at_edge(&request)
            .and_then(|()| self.dispatch(caller, request, attachment, progress));
        if let Some(change) = change {
            audit::log(caller, &change, result.as_ref().map(drop));
        }
        result
    }

    fn call_other(
        &self,
        caller: Caller,
        request: Request,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Reply, ControlError> {
        self.refuse_at_edge(&request)?;
        self.answer_other(caller, request, progress)
    }

    fn connected(&self, connection: ConnectionId, peer: Peer) {
        self.peers.lock().insert(connection, peer);
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.peers.lock().remove(&connection);
        self.abort_imports(connection);
        self.end_exports(connection);
        self.end_hold(connection);
    }
}

impl Drop for StoreService {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = self.engine.stop()
        {
            ::log::error!("the store was not closed cleanly: {error}");
        }
    }
}
