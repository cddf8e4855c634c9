//! Starting the engine on a store, whatever state the last run left it in.
//!
//! A start takes the same time however large the store is, since no step goes through all blobs or trees (H10). It reads
//! the lists of damaged and of absent blobs. What the last run left unfinished is found in three places: the files in
//! `incoming/`, half-made areas, and the deletion queue. The daemon removes those leftovers in the background. A start for
//! reading writes nothing and removes nothing: all of that waits for the next start that takes changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use parking_lot::Mutex;

use super::blobs::{Blobs, DURABLE_EPOCH, UNCHECKED};
use super::commit::Commits;
use super::durability::{DurabilityJob, DurabilityThread, JOB_QUEUE_MAX, Jobs};
use super::event::Observer;
use super::fsck::Subject;
use super::gc::{Collector, GcOptions, LastRun};
use super::handle::Engine;
use super::intake::checkpoint::ENTRIES_MAX;
use super::journal::{ID_LIMIT, ID_STEP, Journal};
use super::load::load_registry;
use super::pins::Pins;
use super::provisional;
use super::reaper::reaper;
use super::registry::Registry;
use super::request::{self, Request};
use super::seal;
use super::staging::content::ContentStore;
use super::staging::{SealJob, Staging};
use super::stop_point::StopPoints;
use super::thread::MetadataThread;
use super::unsaved::Unsaved;
use super::uses::Uses;
use super::workers::Workers;
use super::writer::{Parts, StoreWriter};
use crate::model::hash::BlobHash;
use crate::model::id::{AreaId, RepoId};
use crate::store::Store;
use crate::store::catalog::{Catalog, QueuedDeletion, Reader};
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::pool::Pool;
use crate::store::tree_cache::TreeCache;
use crate::sys;
use crate::sys::panics;

/// Bytes of decoded tree pages kept for readers.
const TREE_CACHE_BYTES: usize = 64 << 20;

/// First id of nodes and areas; smaller inode numbers belong to the fixed directories. An id is also the
/// inode number that the kernel sees, so ids start low: programs that were built for 32 bits refuse large
/// inode numbers. Stores that were made when the first id was 2^32 go on from where they are.
const FIRST_ID: u64 = 1 << 20;

/// Blobs looked at after an outage.
const UNVERIFIED_MAX: u32 = u32::MAX;

/// Requests that may wait for the metadata thread.
const REQUEST_QUEUE_MAX: usize = 4096;

/// What an earlier run left.
#[derive(Debug)]
struct Recovered {
    next_id: u64,
    id_limit: u64,
    epoch: u64,
    durable_epoch: u64,
    unverified: Vec<(BlobHash, u64)>,
}

impl Recovered {
    fn blobs(&self) -> Blobs {
        let unverified = self.unverified.iter().map(|(hash, _)| *hash);
        Blobs::new(self.epoch, self.durable_epoch, unverified)
    }
}

/// An open store with what readers share, before any thread runs.
struct Opened {
    store: Store,
    reader: Reader,
    recovered: Recovered,
    pins: Arc<Pins>,
    trees: Arc<TreeCache>,
    staging: Arc<Staging>,
    seal_queue: Receiver<SealJob>,
    wake: Receiver<()>,
    registry: Arc<Registry>,
}

fn open(path: &Path, read_only: bool) -> Result<Opened, StoreError> {
    let mut store = Store::open(path)?;
    let reader = store.catalog.reader()?;
    let recovered = recover(&store.layout, &mut store.catalog, &reader)?;
    store.pool.mark_damaged(reader.damaged_blobs()?);
    store.pool.mark_absent(&reader.absent_blobs()?);
    if !read_only {
        note_start(&mut store.catalog)?;
        sweep_incoming(&store)?;
        fill_reserve(&store);
    }
    let (pins, trees) = (Arc::new(Pins::default()), tree_cache(&store));
    let (staging, seal_queue, wake) =
        Staging::new(ContentStore::new(&store, trees.blob_names(), &pins, recovered.next_id));
    let staging = Arc::new(staging);
    if read_only {
        staging.poison.read_only();
    } else if store.catalog.is_owing() {
        staging.poison.full();
    }
    if !read_only {
        provisional::take_away(&mut store.catalog, &reader)?;
    }
    let registry = Arc::new(Registry::default());
    let leftovers = load_registry(&reader, &registry, &staging)?;
    if !read_only {
        queue_deletions(&mut store.catalog, &reader, &leftovers)?;
    }
    Ok(Opened { store, reader, recovered, pins, trees, staging, seal_queue, wake, registry })
}

impl Engine {
    /// Opens the store at `path` and starts the engine.
    ///
    /// # Errors
    /// When the store cannot be opened: not a store, locked by another owner, damaged.
    pub fn start(path: &Path, observer: Arc<dyn Observer>) -> Result<Arc<Self>, StoreError> {
        run(open(path, false)?, observer, GcOptions::default())
    }

    /// As [`Engine::start`], with settings of the collector.
    ///
    /// # Errors
    /// As those.
    pub fn start_with(
        path: &Path,
        observer: Arc<dyn Observer>,
        options: GcOptions,
    ) -> Result<Arc<Self>, StoreError> {
        run(open(path, false)?, observer, options)
    }

    /// As [`Engine::start_with`], for reading: every change is refused, and nothing is collected or
    /// expires.
    ///
    /// # Errors
    /// As those.
    pub fn start_read_only(
        path: &Path,
        observer: Arc<dyn Observer>,
        options: GcOptions,
    ) -> Result<Arc<Self>, StoreError> {
        run(open(path, true)?, observer, options)
    }
}

/// Starts the threads of an engine on a store that is open.
fn run(
    opened: Opened,
    observer: Arc<dyn Observer>,
    gc_options: GcOptions,
) -> Result<Arc<Engine>, StoreError> {
    let Opened { store, reader, recovered, pins, trees, staging, seal_queue, wake, registry } =
        opened;
    let (requests_sender, requests) = bounded(REQUEST_QUEUE_MAX);
    let (results, seal_results) = bounded(seal::RESULT_QUEUE_MAX);
    let (jobs_sender, own_sender, jobs) = durability_jobs();
    let (sealers, sealers_stop) = bounded(1);
    let pool = request::have_damage_reported(&store.pool, &requests_sender);
    let (layout, last_run) = (store.layout.clone(), LastRun::default());
    let stop_points = Arc::<StopPoints>::default();
    let durable = durability_thread(&store, &staging, &requests_sender, jobs, &stop_points)?;
    let lines = seal::Lines { jobs: seal_queue, stop: sealers_stop.clone(), results };
    let mut threads = seal::start(&store.catalog, &pool, lines, &stop_points)?;
    let (engine_reader, subject) = (store.catalog.reader()?, Subject::new(&store));
    let buckets_give_back = engine_reader.any_places()?.into();
    let (reaper, reaper_thread) = reaper();
    let writer = StoreWriter::new(Parts {
        store,
        reader,
        reaper,
        registry: Arc::clone(&registry),
        staging: Arc::clone(&staging),
        pins: Arc::clone(&pins),
        observer,
        durability_jobs: own_sender,
        first_id: recovered.next_id,
    });
    let gc_workers = workers(&requests_sender, &trees, &stop_points);
    let mut metadata = MetadataThread {
        writer,
        requests,
        requests_sender: requests_sender.clone(),
        seal_results,
        wake,
        journal: Journal::new(recovered.id_limit),
        gc: Collector::new(gc_options, Arc::clone(&last_run), uncharged(&registry), gc_workers),
        rounds_without_slice: 0,
        commits: Commits::new(workers(&requests_sender, &trees, &stop_points), Instant::now()),
        blobs: recovered.blobs(),
        unsaved: Unsaved::default(),
    };
    metadata.collect_at_start();
    threads.push(spawn("metadata", move || metadata.run())?);
    threads.push(spawn("durability", move || durable.run())?);
    threads.push(spawn("reaper", move || reaper_thread.run())?);
    let check = (Arc::clone(&pool), recovered.unverified, requests_sender.clone(), sealers_stop);
    threads.push(spawn("check-blobs", move || verify_blobs(check))?);
    Ok(Arc::new(Engine {
        registry,
        staging,
        trees,
        pool,
        pins,
        layout,
        gc_options,
        intake_entries_max: AtomicUsize::new(ENTRIES_MAX),
        stop_points,
        last_run,
        uses: Uses::default(),
        buckets_give_back,
        fetcher: OnceLock::new(),
        subject,
        reader: Mutex::new(engine_reader),
        requests: requests_sender,
        durability_jobs: Mutex::new(Some(jobs_sender)),
        threads: Mutex::new(threads),
        gives_up: AtomicBool::new(false),
        sealers: Mutex::new(Some(sealers)),
    }))
}

/// Makes the two queues to the durability thread: one for threads that wait for the disk, one for the
/// metadata thread. A first job is queued, which prepares the WAL before anybody waits for it.
fn durability_jobs() -> (Sender<DurabilityJob>, Sender<DurabilityJob>, Jobs) {
    let ((asking, asked), (own_sender, own)) = (bounded(JOB_QUEUE_MAX), unbounded());
    if own_sender.send(DurabilityJob::Checkpoint).is_err() {
        log::error!("a line without a bound takes nothing");
    }
    (asking, own_sender, Jobs { asked, own })
}

fn durability_thread(
    store: &Store,
    staging: &Arc<Staging>,
    requests: &Sender<Request>,
    jobs: Jobs,
    stop_points: &Arc<StopPoints>,
) -> Result<DurabilityThread, StoreError> {
    Ok(DurabilityThread {
        layout: store.layout.clone(),
        pool: Arc::clone(&store.pool),
        staging: Arc::clone(staging),
        checkpointer: store.catalog.checkpointer()?,
        metadata: Box::new(requests.clone()),
        jobs,
        put_off: None,
        collecting: false,
        copies: Vec::new(),
        stop_points: Arc::clone(stop_points),
    })
}

fn workers<T: Into<Request>>(
    requests: &Sender<Request>,
    trees: &Arc<TreeCache>,
    stop_points: &Arc<StopPoints>,
) -> Workers<T> {
    Workers {
        trees: Arc::clone(trees),
        tell: request::line(requests),
        stop_points: Arc::clone(stop_points),
    }
}

fn tree_cache(store: &Store) -> Arc<TreeCache> {
    let layout = store.layout.clone();
    let open = move || Reader::open(&layout);
    Arc::new(TreeCache::new(open, TREE_CACHE_BYTES, store.pool.absent()))
}

/// Repositories with versions whose charge is out of date.
fn uncharged(registry: &Registry) -> BTreeSet<RepoId> {
    let all = registry.all();
    let stale = all.iter().filter(|repository| repository.versions.uncharged().next().is_some());
    stale.map(|repository| repository.id).collect()
}

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|source| StoreError::Io {
        action: "start a thread",
        path: name.into(),
        source,
    })
}

/// Reads the counters, and has the first change mark the store as in use.
fn recover(
    layout: &Layout,
    catalog: &mut Catalog,
    reader: &Reader,
) -> Result<Recovered, StoreError> {
    let number = |key: &str| -> Result<Option<u64>, StoreError> {
        Ok(reader.meta(key)?.and_then(|text| text.parse().ok()))
    };
    let next_id = number(ID_LIMIT)?.unwrap_or(FIRST_ID);
    let durable_epoch = number(DURABLE_EPOCH)?.unwrap_or(0);
    let last_epoch = number("epoch")?.unwrap_or(durable_epoch);
    // If the kernel does not tell it, every crash counts as a power loss.
    let boot = sys::boot_id().unwrap_or_default();
    let clean = reader.meta("clean")?.as_deref() == Some("yes");
    let same_boot = !boot.is_empty() && reader.meta("boot")?.as_deref() == Some(boot.as_str());
    // After a clean stop everything was flushed; after a crash of the daemon alone the kernel still has
    // what was written. Only after a crash of the machine content may be lost (H3). It stays unverified
    // until it was checked, also over further stops and crashes.
    let outage = (!clean && !same_boot).then_some(durable_epoch);
    let since = number(UNCHECKED)?.into_iter().chain(outage).min();
    let unverified = match since {
        Some(epoch) => catalog.begin()?.blobs_since_epoch(epoch, UNVERIFIED_MAX)?,
        None => Vec::new(),
    };
    let unchecked = since.filter(|_| !unverified.is_empty());
    let epoch = last_epoch.max(durable_epoch) + 1;
    // Reserved before the first id is used: an area's row is written before any batch.
    let id_limit = next_id + ID_STEP;
    catalog.owe(vec![
        (UNCHECKED, unchecked.map_or_else(String::new, |epoch| epoch.to_string())),
        ("clean", "no".to_owned()),
        ("boot", boot),
        ("epoch", epoch.to_string()),
        (ID_LIMIT, id_limit.to_string()),
    ]);
    if !clean {
        // The last run deleted rows whose files are swept from now on. Those deletions may be in the
        // kernel's cache only; they must be on disk before the files go (H2).
        durable::sync_file(&layout.wal())?;
    }
    Ok(Recovered { next_id, id_limit, epoch, durable_epoch, unverified })
}

/// Writes now what the first change would write otherwise: that the store is in use.
fn note_start(catalog: &mut Catalog) -> Result<(), StoreError> {
    match catalog.begin()?.commit() {
        // A store that is only read needs no such note. Any later change writes it first.
        Err(error) if error.is_full() => {
            log::warn!("the disk is full, nothing is written: {error}");
            Ok(())
        }
        committed => committed,
    }
}

/// Areas of imports that a crash ended are thrown away. Areas that an earlier run began to purge are among
/// `leftovers` as well; they are in the queue already, and are not added to it at each start.
fn queue_deletions(
    catalog: &mut Catalog,
    reader: &Reader,
    leftovers: &[AreaId],
) -> Result<(), StoreError> {
    // On a full disk they stay where they are until the next start.
    if leftovers.is_empty() || catalog.is_owing() {
        return Ok(());
    }
    let queued: BTreeSet<AreaId> = reader
        .queued_deletions()?
        .into_iter()
        .filter_map(|deletion| match deletion {
            QueuedDeletion::Area(area) => Some(area),
            QueuedDeletion::Tree(_) => None,
        })
        .collect();
    let new: Vec<_> = leftovers.iter().filter(|area| !queued.contains(area)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let tx = catalog.begin()?;
    for area in new {
        tx.queue_deletion(&QueuedDeletion::Area(*area))?;
    }
    tx.commit()
}

/// Removes what was on its way into the pool when the last run ended.
fn sweep_incoming(store: &Store) -> Result<(), StoreError> {
    let incoming = store.layout.incoming();
    let failed = |source| StoreError::Io { action: "list", path: incoming.clone(), source };
    for entry in std::fs::read_dir(&incoming).map_err(failed)? {
        store.pool.remove_incoming(&store.lock, &entry.map_err(failed)?.path())?;
    }
    Ok(())
}

/// Sets space aside for a full disk, if it can be had.
fn fill_reserve(store: &Store) {
    if let Err(error) = store.reserve.fill(&store.lock) {
        log::warn!("no space is set aside for a full disk: {error}");
    }
}

/// What the check after an outage needs: the pool, the unverified blobs with their lengths, the queue to
/// report to, and the signal to stop.
type Check = (Arc<Pool>, Vec<(BlobHash, u64)>, Sender<Request>, Receiver<()>);

/// Hashes blobs that may not have reached the disk before an outage, until the other end of `stop` is
/// dropped. Blobs that it has not hashed by then are still unverified at the next start.
fn verify_blobs((pool, unverified, requests, stop): Check) {
    let go_on = || stop.try_recv() != Err(TryRecvError::Disconnected);
    for (hash, size) in unverified {
        let look = || {
            panics::point("check-blobs");
            pool.open(&hash).and_then(|file| {
                let path = hash.to_string().into();
                seal::hash_file(&file, size, go_on).map_err(|source| StoreError::Io {
                    action: "check",
                    path,
                    source,
                })
            })
        };
        let found = panics::contain("the check of a blob", look);
        if !go_on() {
            return;
        }
        let intact = matches!(found, Ok(Ok(Some(found))) if found == hash);
        if requests.send(Request::BlobVerified { hash, intact }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
