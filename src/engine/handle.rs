//! The handle to a running engine.
//!
//! Whoever holds an [`Engine`] may read the registry, the trees and the staging areas directly;
//! what must be durable is requested from the metadata thread. More methods are in the files that their
//! subject has: `check`, `dry_run`, `backup`, `why`, `links`, `resolve`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;

use super::durability::{DurabilityJob, Then};
use super::error::{EngineError, Result};
use super::fetcher::Fetcher;
use super::fsck::Subject;
use super::gc::{GcOptions, LastRun, RunReport};
use super::load::{count_areas, load_area};
use super::pins::Pins;
use super::poison::Blocked;
use super::registry::{Registry, Repository};
use super::reply::Reply;
use super::request::{self, Request};
use super::staging::Staging;
use super::staging::content::FileContent;
use super::stop_point::StopPoints;
use super::unsaved::Remaining;
use super::uses::Uses;
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, NodeId};
use crate::store::catalog::Reader;
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::{Damage, Pool};
use crate::store::tree_cache::TreeCache;
use crate::sys::{self, FsSpace};

/// The running engine of one store.
pub struct Engine {
    /// Repositories, versions, tags.
    pub registry: Arc<Registry>,
    /// Staging areas.
    pub staging: Arc<Staging>,
    /// Trees, cached.
    pub trees: Arc<TreeCache>,
    /// Blobs.
    pub pool: Arc<Pool>,
    /// Blobs held by others than the catalog.
    pub pins: Arc<Pins>,
    /// Paths of the store.
    pub layout: Layout,
    /// When content was last read, as far as the catalog does not say it yet.
    pub uses: Uses,
    /// A bucket is known to have blobs, so that those may be reclaimed which have no declared name.
    pub(super) buckets_give_back: AtomicBool,
    /// Who fetches content that is absent.
    pub(super) fetcher: OnceLock<Arc<dyn Fetcher>>,
    pub(super) subject: Subject,
    pub(super) reader: Mutex<Reader>,
    pub(super) requests: Sender<Request>,
    pub(super) durability_jobs: Mutex<Option<Sender<DurabilityJob>>>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Settings of the collector.
    pub gc_options: GcOptions,
    /// So many entries of an import are in memory at a time. Tests set less.
    pub intake_entries_max: AtomicUsize,
    /// Where tests hold threads.
    pub stop_points: Arc<StopPoints>,
    pub(super) last_run: LastRun,
    /// Dropped to end the sealers.
    pub(super) gives_up: AtomicBool,
    pub(super) sealers: Mutex<Option<Sender<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Whether the store was opened for reading.
    pub fn is_read_only(&self) -> bool {
        self.staging.poison.blocked() == Blocked::ReadOnly
    }

    /// What the last collection run did; `None` before its end.
    pub fn last_run(&self) -> Option<RunReport> {
        self.last_run.lock().clone()
    }

    /// A connection of the caller's own that reads the catalog: for what takes long.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_reader(&self) -> Result<Reader> {
        Ok(Reader::open(&self.layout)?)
    }

    /// Hands a request to the metadata thread; it is answered through its callback.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub fn submit(&self, request: Request) -> Result<()> {
        self.requests.send(request).map_err(|_| self.gone())
    }

    /// Why the metadata thread does not answer any more.
    pub(super) fn gone(&self) -> EngineError {
        match self.staging.poison.blocked() {
            Blocked::Poisoned => EngineError::Poisoned,
            Blocked::No | Blocked::Full | Blocked::ReadOnly => EngineError::Stopping,
        }
    }

    /// Hands over a request and waits for its answer. Not for threads that serve the kernel where
    /// the answer may wait for them.
    ///
    /// # Errors
    /// Those of the request.
    pub fn call<T: Send + 'static>(&self, make: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (send, receive) = crossbeam_channel::bounded(1);
        // A caller that went away does not need the answer.
        self.submit(make(Box::new(move |result| drop(send.send(result)))))?;
        receive.recv().map_err(|_| self.gone())?
    }

    /// Makes a file durable with its name, then runs `then`.
    pub fn sync_file(&self, content: Arc<FileContent>, then: Then) {
        self.sync(DurabilityJob::File { content, then });
    }

    /// Has written content brought to disk before the commit that will wait for it, so that the commit
    /// waits less. It promises nothing, but a failure poisons the store: the kernel reports a failed sync
    /// only once.
    pub fn flush_ahead(&self) {
        if let Err(error) = durable::syncfs(self.layout.root()) {
            self.staging.poison.set(&format!("a sync failed: {error}"));
        }
    }

    /// Makes a directory of an area durable with the names in it, then runs `then`.
    pub fn sync_directory(&self, node: NodeId, then: Then) {
        self.sync(DurabilityJob::Directory { node, then });
    }

    /// Makes all names and attributes that changed so far durable, but those of files that cannot be
    /// saved, then runs `then`.
    pub fn sync_journal(&self, then: Then) {
        self.sync(DurabilityJob::Journal { then });
    }

    pub(super) fn sync(&self, job: DurabilityJob) {
        let jobs = self.durability_jobs.lock().clone();
        let unsent = match jobs {
            Some(jobs) => jobs.send(job).err().map(crossbeam_channel::SendError::into_inner),
            None => Some(job),
        };
        if let Some(
            DurabilityJob::File { then, .. }
            | DurabilityJob::Directory { then, .. }
            | DurabilityJob::Journal { then }
            | DurabilityJob::Rows { then },
        ) = unsent
        {
            then.tell(Err(self.gone()));
        }
    }

    /// Reads an area into memory, if that has not happened yet.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn load_area(&self, area: AreaId) -> Result<()> {
        let loaded = self.staging.read().areas.get(&area).is_none_or(|area| area.loaded);
        if !loaded {
            let lost = load_area(&self.reader.lock(), &self.staging, area)?;
            if let Some(lost) = lost {
                log::error!("{}: {lost}", self.area_path(area));
            }
        }
        Ok(())
    }

    /// An area as people write it.
    fn area_path(&self, area: AreaId) -> String {
        let found = {
            let state = self.staging.read();
            state.areas.get(&area).map(|area| (area.shared.repo, area.name.clone()))
        };
        let named = found.and_then(|(repo, name)| Some((self.registry.by_id(repo)?, name)));
        match named {
            Some((repository, name)) => format!("staging/{}/{name}", repository.name),
            None => format!("staging/#{area}"),
        }
    }

    /// Counts what the areas of a repository use, for those who show it. The first call looks at each node
    /// of the areas that nobody touched since the start; later calls cost nothing.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn count_areas(&self, repository: &Repository) -> Result<()> {
        Ok(count_areas(&self.reader.lock(), &self.staging, repository)?)
    }

    /// Runs `query` on a read-only connection to the catalog.
    ///
    /// # Errors
    /// Those of the query.
    pub fn query<T>(
        &self,
        query: impl FnOnce(&Reader) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        Ok(query(&self.reader.lock())?)
    }

    /// Reports a blob whose file a reader found missing, too short or unreadable. The metadata thread
    /// checks the file and marks the blob as damaged if the reader was right. Does not wait for that.
    pub fn report_damage(&self, hash: BlobHash) {
        request::report_damage(&self.requests, Damage { hash, file: None });
    }

    /// Whether the engine is ending or has ended.
    pub fn is_stopping(&self) -> bool {
        self.sealers.lock().is_none()
    }

    /// Space of the store's file system.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn space(&self) -> std::io::Result<FsSpace> {
        sys::statvfs(self.layout.root())
    }

    /// Brings everything that is in memory only into the store, and says what cannot be.
    ///
    /// # Errors
    /// When the engine has ended.
    pub fn save(&self) -> Result<Remaining> {
        self.call(|reply| Request::Save { reply })
    }

    /// Lets a stop begin although something cannot be saved: it need not wait for room any more.
    pub fn give_up(&self) {
        self.gives_up.store(true, Ordering::SeqCst);
    }

    /// Tells `answer` whether a stop may begin. It may not as long as something cannot be saved, unless
    /// [`Engine::give_up`] was called: then nothing is told. Does not wait for the metadata thread, which a
    /// disk may hold up.
    pub fn may_stop(&self, answer: Sender<bool>) {
        if self.gives_up.load(Ordering::SeqCst) {
            return;
        }
        let tell = |answer: &Sender<bool>, may_stop| {
            if answer.send(may_stop).is_err() {
                log::debug!("the stop did not wait for what can be saved");
            }
        };
        let told = answer.clone();
        let reply = Box::new(move |remaining: Result<Remaining>| {
            tell(&told, remaining.map_or(true, |remaining| remaining.reason.is_none()));
        });
        if let Err(TrySendError::Full(_)) = self.requests.try_send(Request::Save { reply }) {
            tell(&answer, false);
        }
    }

    /// Stops the engine: writes the journal, flushes the WAL and copies it into the catalog, ends all
    /// threads.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn stop(&self) -> Result<()> {
        drop(self.sealers.lock().take());
        let stopped = self.call(|reply| Request::Stop { reply });
        drop(self.durability_jobs.lock().take());
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the engine panicked");
            }
        }
        match stopped {
            Err(EngineError::Stopping) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.threads.lock().is_empty()
            && let Err(error) = self.stop()
        {
            log::error!("the engine did not stop cleanly: {error}");
        }
    }
}
