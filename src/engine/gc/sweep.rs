//! The search for what a crash left behind, on a thread of its own, in full runs only (G10).
//!
//! The sweeper reads the names in the pool and in `staging/` and compares them with the catalog.
//! What it finds is only a suspicion. The metadata thread looks again before it removes anything, because a
//! name may have got its row after the sweeper looked for one.

use std::sync::Arc;

use super::{Collector, RunPhase, WorkerReport};
use crate::engine::blobs::Blobs;
use crate::engine::durability::ToDisk;
use crate::engine::error::Result;
use crate::engine::now::Now;
use crate::engine::staging::Staging;
use crate::engine::workers::Tell;
use crate::engine::writer::StoreWriter;
use crate::model::hash::BlobHash;
use crate::model::id::AreaId;
use crate::store::catalog::Reader;
use crate::store::error::StoreError;
use crate::store::layout::{Layout, PrivateId};
use crate::store::pool::{Pool, PoolName};
use crate::store::staging_dir::StagingDir;
use crate::sys::panics;

/// Files handed to the metadata thread at a time: an unlink each.
const LEFTOVERS_PER_BATCH: usize = 64;

/// A file or directory of the store that no row names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// In the pool.
    Blob(BlobHash),
    /// A private file of an area.
    Private(AreaId, PrivateId),
    /// The directory of an area that does not exist.
    Area(AreaId),
}

struct Sweeper {
    layout: Layout,
    pool: Arc<Pool>,
    private_files: Arc<StagingDir>,
    /// Areas and private files with this number and above belong to this process, which removes them itself.
    first_id: u64,
    staging: Arc<Staging>,
    tell: Tell<WorkerReport>,
    found: Vec<Leftover>,
}

impl Collector {
    pub(super) fn start_sweep(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Now) {
        let sweeper = Sweeper {
            layout: writer.store().layout.clone(),
            pool: Arc::clone(&writer.store().pool),
            private_files: Arc::clone(&writer.store().private_files),
            first_id: writer.first_id(),
            staging: Arc::clone(writer.staging()),
            tell: Arc::clone(&self.workers.tell),
            found: Vec::new(),
        };
        let tell = Arc::clone(&self.workers.tell);
        let body = move || {
            let result = panics::contain("the search for leftovers", || {
                panics::point("sweep");
                sweeper.run()
            });
            let result = result.unwrap_or_else(|panicked| Err(StoreError::from(panicked).into()));
            // Where the engine has stopped, nobody needs to know.
            tell(WorkerReport::SweepEnded(result)).unwrap_or_default();
        };
        if let Err(error) = std::thread::Builder::new().name("sweep".to_owned()).spawn(body) {
            log::error!("leftovers cannot be looked for: {error}");
            self.end_run(writer, blobs, now);
        }
    }

    /// Looks again, and removes what really is left over.
    pub(in crate::engine) fn remove_leftovers(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &Blobs,
        leftovers: Vec<Leftover>,
    ) {
        for leftover in leftovers {
            match remove_leftover(writer, blobs, leftover) {
                Ok(true) => self.report(|report| report.leftovers += 1),
                Ok(false) => {}
                Err(error) => self.fail(format!("cannot remove {leftover:?}: {error}")),
            }
        }
    }

    /// All names were looked at.
    pub(in crate::engine) fn sweep_ended(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        result: Result<()>,
        now: Now,
    ) {
        if let Err(error) = result {
            self.fail(format!("the search for leftovers ended early: {error}"));
        }
        if self.run.as_ref().is_some_and(|run| matches!(run.phase, RunPhase::Sweep)) {
            self.end_run(writer, blobs, now);
        }
    }
}

fn remove_leftover(writer: &mut StoreWriter, blobs: &Blobs, leftover: Leftover) -> Result<bool> {
    writer.check_writable()?;
    let lock = &writer.store().lock;
    match leftover {
        Leftover::Blob(hash) => {
            let held = writer.watch_blob(&hash) || blobs.is_pending(&hash);
            if held || has_file(writer.reader(), &hash)? {
                return Ok(false);
            }
            writer.let_go(writer.store().pool.remove(lock, &hash, None)?);
        }
        Leftover::Private(area, file) => {
            if writer.durability().is_obsolete(area, file) {
                return Ok(false);
            }
            writer.let_go(writer.store().private_files.remove(lock, area, file)?);
        }
        Leftover::Area(area) => {
            return writer.remove_area_files(area);
        }
    }
    Ok(true)
}

/// Whether a blob should have a file. One that is absent should not: a crash left it before it was noted as stored, or somebody
/// is writing it.
fn has_file(reader: &Reader, hash: &BlobHash) -> Result<bool> {
    Ok(reader.blob(hash)?.is_some_and(|row| !row.is_absent()))
}

impl Sweeper {
    fn run(mut self) -> Result<()> {
        let reader = Reader::open(&self.layout)?;
        for first_byte in 0..=u8::MAX {
            for name in self.pool.names(first_byte)? {
                // Other names are no leftovers of a crash; `cairn fsck` reports them.
                let PoolName::Blob(hash) = name else { continue };
                if !has_file(&reader, &hash)? {
                    self.report(Leftover::Blob(hash))?;
                }
            }
        }
        self.sweep_staging(&reader)?;
        self.send()
    }

    fn sweep_staging(&mut self, reader: &Reader) -> Result<()> {
        let areas: Vec<AreaId> = reader.areas()?.into_iter().map(|row| row.id).collect();
        for area in self.private_files.areas()? {
            if area.0 >= self.first_id {
                continue;
            }
            if !areas.contains(&area) {
                self.report(Leftover::Area(area))?;
                continue;
            }
            let named = reader.private_files(area)?;
            for file in self.private_files.list(area)? {
                if file.0 < self.first_id && !named.contains(&file) {
                    self.report(Leftover::Private(area, file))?;
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, leftover: Leftover) -> Result<()> {
        self.found.push(leftover);
        if self.found.len() < LEFTOVERS_PER_BATCH {
            return Ok(());
        }
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        let leftovers = std::mem::take(&mut self.found);
        if leftovers.is_empty() {
            return Ok(());
        }
        // The deletion of their rows must reach the disk before the files go: otherwise a power loss could
        // bring a row back without its file (H2).
        ToDisk { layout: &self.layout, pool: &self.pool, staging: &self.staging }.rows()?;
        (self.tell)(WorkerReport::Swept(leftovers))
    }
}
