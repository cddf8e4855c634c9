//! The durability thread: everything that waits for the disk.
//!
//! The metadata thread never syncs (H6). It writes to the WAL and hands the promise to this
//! thread, which flushes content first, then the WAL, then answers: so a row that survives a power
//! loss names content that survived too. Requests that arrive while a flush runs share the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::io::Errno;

use super::names::Names;
use super::to_disk::{ToDisk, Unsettled};
use crate::engine::error::{EngineError, Result};
use crate::engine::pins::BlobPin;
use crate::engine::poison::Blocked;
use crate::engine::staging::Staging;
use crate::engine::staging::content::FileContent;
use crate::engine::stop_point::{StopPoint, StopPoints};
use crate::model::id::NodeId;
use crate::store::catalog::Checkpointer;
use crate::store::durable;
use crate::store::error::{CatalogErrorKind, StoreError};
use crate::store::layout::Layout;
use crate::store::pool::{Damage, Pool};
use crate::store::reserve::{CHANGE_BYTES, RESERVE_BYTES};
use crate::sys;
use crate::sys::panics;

/// Jobs that may wait, apart from those of the metadata thread. When the queue is full, whoever wants to
/// add a job waits.
pub(in crate::engine) const JOB_QUEUE_MAX: usize = 1024;

/// Commits of at most this many new blobs sync them one by one; above it one `syncfs` of the
/// whole file system is cheaper, although it also writes the dirty data of other programs (H18).
pub(in crate::engine) const SYNC_ONE_BY_ONE_MAX: usize = 64;

/// Wait for the next try to settle what could not be.
const SETTLE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long the WAL may become.
#[derive(Debug, PartialEq, Eq)]
struct WalLimits {
    /// More than this is copied into the catalog after the next flush.
    copied: u64,
    /// A longer file is cut.
    file: u64,
}

/// Usually, and where the disk is full.
const WAL_LIMITS: WalLimits = WalLimits { copied: 16 << 20, file: 48 << 20 };

/// While the collector asks for copies by itself, and the disk has room: only if others write much
/// meanwhile, or a reader keeps the copy from its end.
const WAL_LIMITS_COLLECTING: WalLimits = WalLimits { copied: 256 << 20, file: 512 << 20 };

/// Bytes that must be free for a longer WAL than usual.
const ROOM_MIN: u64 = 2 << 30;

type Told = Box<dyn FnOnce(Result<()>) + Send>;

/// What runs when a promise is kept or broken. One that is lost counts as broken: somebody waits.
pub struct Then(Option<Told>);

impl Then {
    /// Runs `told` once.
    pub fn new(told: impl FnOnce(Result<()>) + Send + 'static) -> Self {
        Self(Some(Box::new(told)))
    }

    /// The promise was kept, or why it was not.
    pub(in crate::engine) fn tell(mut self, result: Result<()>) {
        if let Some(told) = self.0.take() {
            told(result);
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            told(Err(EngineError::Poisoned));
        }
    }
}

/// Content to bring to disk.
pub(in crate::engine) enum Scope {
    /// These blobs. They are pinned, because nothing may name some of them yet.
    Blobs(Vec<BlobPin>),
    /// Everything on the store's file system.
    Everything,
}

/// One job.
pub(in crate::engine) enum DurabilityJob {
    /// Content, then `then`.
    Content { scope: Scope, then: Then },
    /// The WAL as it is now, then `then`.
    Rows { then: Then },
    /// A file with its row, its names and those of the directories above it.
    File { content: Arc<FileContent>, then: Then },
    /// A directory with the names in it and those above it.
    Directory { node: NodeId, then: Then },
    /// The journal as it is now, and the WAL.
    Journal { then: Then },
    /// The content of files that were synced before and have changed since. Until it is on disk, their rows
    /// name the content that was synced.
    Settle { contents: Vec<Arc<FileContent>> },
    /// Only a look at the length of the WAL, because much was written since the last look, or to prepare
    /// the WAL at the start.
    Checkpoint,
    /// Whether the collector writes, and so says when the WAL is to be copied.
    Collecting(bool),
    /// A copy of the WAL into the catalog, as far as readers and writers let it, then `then`.
    CopyWal { then: Then },
}

/// Where jobs come from.
pub(in crate::engine) struct Jobs {
    /// Of workers that wait for the disk on somebody's behalf: bounded by [`JOB_QUEUE_MAX`].
    pub(in crate::engine) asked: Receiver<DurabilityJob>,
    /// Of the metadata thread, which never waits for this one: this one waits for it, when it has the
    /// journal flushed. Each is for a request whose client waits, or one of the few of its own.
    pub(in crate::engine) own: Receiver<DurabilityJob>,
}

impl Jobs {
    /// The next job with all that wait beside it, or nothing at `time`; `None` when all senders are
    /// gone.
    fn next(&self, time: Option<Instant>) -> Option<Vec<DurabilityJob>> {
        let time = time.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
        let first = crossbeam_channel::select! {
            recv(self.own) -> job => job.ok().or_else(|| self.asked.recv().ok())?,
            recv(self.asked) -> job => job.ok().or_else(|| self.own.recv().ok())?,
            recv(time) -> _ => return Some(Vec::new()),
        };
        let waiting = self.own.try_iter().chain(self.asked.try_iter()).take(JOB_QUEUE_MAX);
        Some(std::iter::once(first).chain(waiting).collect())
    }
}

/// What this thread asks of the metadata thread, and waits for.
pub(in crate::engine) trait Metadata {
    /// Has the journal written.
    fn flush(&self) -> Result<()>;

    /// Has the rows of these files and directories written. Returns those of them whose rows wait for content.
    fn flush_nodes(&self, nodes: BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>>;

    /// A blob was found damaged. Does not wait for the answer.
    fn damaged(&self, damage: Damage);
}

pub(in crate::engine) struct DurabilityThread {
    pub(in crate::engine) layout: Layout,
    pub(in crate::engine) pool: Arc<Pool>,
    pub(in crate::engine) staging: Arc<Staging>,
    pub(in crate::engine) checkpointer: Checkpointer,
    pub(in crate::engine) metadata: Box<dyn Metadata + Send>,
    pub(in crate::engine) jobs: Jobs,
    /// What could not be settled, and when it is tried again.
    pub(in crate::engine) put_off: Option<(Instant, Vec<Arc<FileContent>>)>,
    /// The collector says when the WAL is to be copied.
    pub(in crate::engine) collecting: bool,
    /// Who waits for a copy of the WAL.
    pub(in crate::engine) copies: Vec<Then>,
    /// Where tests hold this thread.
    pub(in crate::engine) stop_points: Arc<StopPoints>,
}

impl DurabilityThread {
    /// Runs until all senders are gone.
    pub(in crate::engine) fn run(mut self) {
        while let Some(jobs) = self.jobs.next(self.put_off.as_ref().map(|(time, _)| *time)) {
            // After a panic half-way nobody knows what reached the disk.
            if panics::contain("the durability thread", || self.serve(jobs)).is_err() {
                self.staging.poison.set("the durability thread panicked");
            }
            let checkpointed = panics::contain("a checkpoint", || self.checkpoint());
            if let Ok(Err(error)) = checkpointed {
                self.checkpoint_failed(error);
            }
            for then in std::mem::take(&mut self.copies) {
                then.tell(match self.staging.poison.blocked() {
                    Blocked::Poisoned => Err(EngineError::Poisoned),
                    Blocked::No | Blocked::Full | Blocked::ReadOnly => Ok(()),
                });
            }
            self.prepare();
        }
        if let Err(error) = self.checkpointer.leave_room() {
            log::warn!("cannot checkpoint the catalog: {error}");
        }
    }

    /// Makes the next flushes short, while nobody waits for one.
    fn prepare(&self) {
        let synced = match self.checkpointer.prepare() {
            // The kernel reports a failed sync only once, and rows may have been written by now: this one
            // must count as theirs.
            Ok(true) => self.to_disk().rows(),
            Ok(false) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = synced {
            log::debug!("the next flushes take longer: {error}");
        }
    }

    fn serve(&mut self, jobs: Vec<DurabilityJob>) {
        let mut kept = Vec::new();
        let mut journal = false;
        let mut nodes: BTreeMap<NodeId, Vec<Then>> = BTreeMap::new();
        let mut unsettled = Vec::new();
        panics::point("sync");
        for job in jobs {
            match job {
                DurabilityJob::Content { scope, then } => then.tell(self.sync_scope(&scope)),
                DurabilityJob::Rows { then } => kept.push(then),
                DurabilityJob::File { content, then } => match self.to_disk().content(&content) {
                    Ok(()) => nodes.entry(content.node).or_default().push(then),
                    Err(error) => then.tell(Err(error)),
                },
                DurabilityJob::Directory { node, then } => {
                    nodes.entry(node).or_default().push(then);
                }
                DurabilityJob::Journal { then } => {
                    journal = true;
                    kept.push(then);
                }
                DurabilityJob::Settle { contents } => unsettled.extend(contents),
                DurabilityJob::Checkpoint => {}
                DurabilityJob::Collecting(collecting) => self.collecting = collecting,
                DurabilityJob::CopyWal { then } => self.copies.push(then),
            }
        }
        self.settle(unsettled);
        kept.extend(self.names().flush(nodes));
        if kept.is_empty() {
            return;
        }
        let flushed = if journal { self.flush_journal() } else { Ok(()) };
        self.stop_points.pass(StopPoint::Flushing);
        let synced = flushed.and_then(|()| {
            durable::sync_file(&self.layout.wal()).map_err(|error| self.poison(error))
        });
        for then in kept {
            then.tell(match &synced {
                Ok(()) => Ok(()),
                Err(EngineError::Store(error)) if error.lacks_descriptors() => {
                    Err(StoreError::io("open", &self.layout.wal())(Errno::MFILE.into()).into())
                }
                Err(_) => Err(EngineError::Poisoned),
            });
        }
    }

    /// Settles these, and what was put off when its time has come. What fails, for instance on a
    /// full disk, keeps in the journal the content that was synced, and is put off.
    fn settle(&mut self, mut contents: Vec<Arc<FileContent>>) {
        let put_off = self.put_off.take();
        let was_put_off = put_off.is_some();
        let mut waiting = match put_off {
            Some((time, waiting)) if time > Instant::now() => Some((time, waiting)),
            Some((_, waiting)) => {
                contents.extend(waiting);
                None
            }
            None => None,
        };
        if let Err(Unsettled { contents, error }) = self.to_disk().settle(contents) {
            if !was_put_off {
                log::error!("changed files keep the content that was synced for now: {error}");
            }
            let next = Instant::now() + SETTLE_RETRY_INTERVAL;
            waiting.get_or_insert_with(|| (next, Vec::new())).1.extend(contents);
        }
        self.put_off = waiting.filter(|(_, contents)| !contents.is_empty());
    }

    fn flush_journal(&self) -> Result<()> {
        self.metadata.flush()
    }

    fn names(&self) -> Names<'_> {
        Names { to_disk: self.to_disk(), metadata: &*self.metadata }
    }

    fn to_disk(&self) -> ToDisk<'_> {
        ToDisk { layout: &self.layout, pool: &self.pool, staging: &self.staging }
    }

    fn sync_scope(&self, scope: &Scope) -> Result<()> {
        match scope {
            Scope::Everything => self.to_disk().everything(),
            Scope::Blobs(pins) => pins.iter().map(BlobPin::hash).try_for_each(|hash| {
                self.to_disk().blob(hash).inspect_err(|error| self.report_missing(error))
            }),
        }
    }

    /// Reports a blob whose file is missing. As long as it is not marked, each commit of each area would try
    /// to sync it and be refused. The report is sent before the refusal, so the next commit knows.
    fn report_missing(&self, error: &EngineError) {
        if let EngineError::Store(StoreError::MissingBlob(hash)) = error {
            self.metadata.damaged(Damage { hash: *hash, file: None });
        }
    }

    fn poison(&self, error: StoreError) -> EngineError {
        self.to_disk().poison(error)
    }

    /// A copy may fail because the disk is full or a reader stays; then the WAL just remains long. But if a
    /// sync failed in it, the next sync would not tell what was lost, so the store is poisoned (R4).
    fn checkpoint_failed(&self, error: StoreError) {
        let io = matches!(
            error,
            StoreError::Io { .. } | StoreError::Catalog { kind: CatalogErrorKind::Io, .. }
        );
        if io && !error.is_full() {
            // `poison` logs the error.
            drop(self.poison(error));
        } else {
            log::warn!("cannot checkpoint the catalog: {error}");
        }
    }

    /// Copies the WAL into the catalog. While rows keep coming, a passive copy never catches up
    /// and the file only grows; then the writer is held off while the rest is copied. That is
    /// a short time, since a passive copy has just been made. On a full disk the file of the log cannot
    /// grow, so the log is copied as soon as the file has little room left.
    fn checkpoint(&mut self) -> std::result::Result<(), StoreError> {
        let limits =
            wal_limits(self.collecting, self.staging.poison.blocked(), || has_room(&self.layout));
        let free = sys::statvfs(self.layout.root()).map_or(u64::MAX, |disk| disk.available_bytes());
        let is_full = free < CHANGE_BYTES;
        if !self.copies.is_empty()
            || self.checkpointer.wal_bytes()? > limits.copied
            || (is_full && self.checkpointer.log_room()? < CHANGE_BYTES)
        {
            self.checkpointer.passive()?;
        }
        let file_bytes = std::fs::metadata(self.layout.wal()).map_or(0, |wal| wal.len());
        if file_bytes <= limits.file {
            return Ok(());
        }
        if free >= RESERVE_BYTES {
            self.checkpointer.truncate()?;
        } else if self.checkpointer.wal_bytes()? > limits.copied {
            // The file is not cut: other programs would take the space, and the next change had no room.
            self.checkpointer.restart()?;
        }
        Ok(())
    }
}

fn wal_limits(
    collecting: bool,
    blocked: Blocked,
    has_room: impl FnOnce() -> bool,
) -> &'static WalLimits {
    if collecting && blocked == Blocked::No && has_room() {
        &WAL_LIMITS_COLLECTING
    } else {
        &WAL_LIMITS
    }
}

/// Whether the disk has room for a longer WAL than usual.
pub(in crate::engine) fn has_room(layout: &Layout) -> bool {
    match sys::statvfs(layout.root()) {
        Ok(space) => space.available_bytes() >= ROOM_MIN,
        Err(error) => {
            log::debug!("cannot ask for the space of the store: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::engine::staging::content::testing::contents;
    use crate::store::durable::testing::{Fault, on_this_thread};
    use crate::store::testing::TestStore;

    /// A metadata thread that has ended.
    struct Nobody;

    impl Metadata for Nobody {
        fn flush(&self) -> Result<()> {
            Err(EngineError::Stopping)
        }

        fn flush_nodes(&self, _nodes: BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>> {
            Err(EngineError::Stopping)
        }

        fn damaged(&self, _damage: Damage) {}
    }

    fn thread(store: &TestStore) -> DurabilityThread {
        DurabilityThread {
            layout: store.layout.clone(),
            pool: Arc::clone(&store.pool),
            staging: Arc::new(Staging::new(contents(store)).0),
            checkpointer: store.catalog.checkpointer().unwrap(),
            metadata: Box::new(Nobody),
            jobs: Jobs { asked: unbounded().1, own: unbounded().1 },
            put_off: None,
            collecting: false,
            copies: Vec::new(),
            stop_points: Arc::default(),
        }
    }

    /// A WAL that is longer than is usually left.
    fn fill_wal(store: &mut TestStore) {
        let tx = store.catalog.begin().unwrap();
        tx.set_meta("long", &"x".repeat(17 << 20)).unwrap();
        tx.commit().unwrap();
    }

    #[test]
    fn the_wal_becomes_longer_where_the_collector_works_and_there_is_room() {
        assert_eq!(wal_limits(true, Blocked::No, || true), &WAL_LIMITS_COLLECTING);
        for (collecting, blocked, room) in
            [(false, Blocked::No, true), (true, Blocked::Full, true), (true, Blocked::No, false)]
        {
            assert_eq!(wal_limits(collecting, blocked, || room), &WAL_LIMITS);
        }
    }

    #[test]
    fn the_collector_is_told_when_the_wal_was_copied() {
        let mut store = TestStore::new();
        fill_wal(&mut store);
        let long = store.catalog.checkpointer().unwrap();
        let mut thread = thread(&store);
        thread.serve(vec![DurabilityJob::Collecting(true)]);
        let (told, hear) = unbounded();
        let then = Then::new(move |result| told.send(result.is_ok()).unwrap());
        let (own, jobs) = unbounded();
        own.send(DurabilityJob::CopyWal { then }).unwrap();
        drop(own);
        thread.jobs.own = jobs;
        thread.run();
        assert!(hear.recv().unwrap());
        assert!(long.wal_bytes().unwrap() < 64 << 10, "all but the change that empties it");
    }

    #[test]
    fn a_checkpoint_that_fails_is_a_flush_that_failed() {
        let mut store = TestStore::new();
        fill_wal(&mut store);
        for (fault, blocked) in
            [(Fault::full(1), Blocked::No), (Fault::io_error(1), Blocked::Poisoned)]
        {
            let mut thread = thread(&store);
            let guard = on_this_thread(fault);
            let error = thread.checkpoint().unwrap_err();
            drop(guard);
            thread.checkpoint_failed(error);
            assert_eq!(thread.staging.poison.blocked(), blocked);
        }
    }
}
