//! Removing unreferenced blobs. They are listed; what made them unreferenced is brought to disk; then they
//! are removed.

use std::time::Instant;

use super::{Collector, FILES_PER_SLICE, RunPhase, SLICE_TIME_MAX, protection_limit};
use crate::engine::after::After;
use crate::engine::blobs::Blobs;
use crate::engine::durability::Durable;
use crate::engine::error::Result;
use crate::engine::now::Now;
use crate::engine::stop_point::StopPoint;
use crate::engine::writer::StoreWriter;
use crate::model::hash::BlobHash;
use crate::store::catalog::OrphanBlob;

/// Blobs per list, that is per flush of the WAL.
const BLOBS_PER_LIST: u32 = 4096;

/// Held blobs that the kernel is asked to forget at the end of a run, at most; the next run asks for more.
const HELD_TOLD_MAX: usize = 1 << 16;

/// How far the removal has come.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// The last blob of the lists so far: the next list begins after it.
    after: Option<(i64, BlobHash)>,
    list: List,
    /// [`Catalog::unreferences`](crate::store::catalog::Catalog::unreferences) when the WAL was last
    /// asked to disk, and then is.
    asked: u64,
    durable: Option<u64>,
}

#[derive(Debug, Default)]
enum List {
    /// To be taken.
    #[default]
    None,
    /// Taken, waiting for the WAL.
    Waiting(Vec<OrphanBlob>),
    /// May go; taken from the end.
    Durable(Vec<OrphanBlob>),
}

impl List {
    fn durable(mut list: Vec<OrphanBlob>) -> Self {
        list.reverse();
        Self::Durable(list)
    }
}

impl Orphans {
    /// Whether nothing can be done before the WAL is durable.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.list, List::Waiting(_))
    }

    /// Whether there is a list that a use of a blob would make outdated.
    pub(super) fn has_list(&self) -> bool {
        !matches!(self.list, List::None)
    }
}

impl Collector {
    pub(super) fn blobs_slice(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) -> Result<()> {
        if self.workers.stop_points.is_held(StopPoint::OrphansListed) && self.orphans.has_list() {
            self.workers.stop_points.reached(StopPoint::OrphansListed);
            return Ok(());
        }
        match std::mem::take(&mut self.orphans.list) {
            List::None => self.list_orphans(writer, blobs, now),
            List::Waiting(list) => {
                self.orphans.list = List::Waiting(list);
                Ok(())
            }
            List::Durable(mut list) => {
                let rest = list.len().saturating_sub(FILES_PER_SLICE);
                let slice = list.split_off(rest);
                let left = self.remove_blobs(writer, blobs, slice)?;
                list.extend(left);
                if list.is_empty() {
                    blobs.end_watch();
                } else {
                    self.orphans.list = List::Durable(list);
                }
                Ok(())
            }
        }
    }

    fn list_orphans(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        now: Now,
    ) -> Result<()> {
        // Blobs that were stored before this run and that nothing names have no rows yet, so that no list
        // would find them.
        if self.orphans.after.is_none() && blobs.are_pending() {
            match blobs.write_pending(writer, now) {
                Ok(_) => return Ok(()),
                // Pending blobs are not removed, so the others can be listed, which makes room.
                Err(error) if error.is_full() => log::debug!("listed without new blobs: {error}"),
                Err(error) => return Err(error),
            }
        }
        let seconds = now.time.seconds;
        let limit = protection_limit(now.time, self.protect_seconds());
        // Last-used times from when the clock was ahead are changed to now.
        if limit < seconds && writer.write(|tx| tx.date_orphans_back(seconds, BLOBS_PER_LIST))? > 0
        {
            return Ok(());
        }
        let listed = {
            let tx = writer.begin()?;
            tx.orphan_blobs(limit, self.orphans.after, BLOBS_PER_LIST)?
        };
        let Some(last) = listed.last() else {
            // The run ends only when the space is free, because whoever asked for it relies on that.
            if writer.reaper().is_idle() {
                self.begin_unneeded(writer, blobs, now);
            } else {
                self.pause(now.instant);
            }
            return Ok(());
        };
        self.orphans.after = Some((last.last_used, last.hash));
        let (held, list): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|orphan| is_blob_held(writer, blobs, &orphan.hash));
        let room = HELD_TOLD_MAX.saturating_sub(self.held.len());
        self.held.extend(held.iter().take(room).map(|orphan| orphan.hash));
        self.report(|report| {
            report.pinned_blobs += held.len() as u64;
            report.pinned_bytes += held.iter().map(|orphan| orphan.size).sum::<u64>();
        });
        if list.is_empty() {
            return Ok(());
        }
        blobs.watch_uses();
        let unreferences = writer.store().catalog.unreferences();
        if self.orphans.durable == Some(unreferences) {
            // The flush for an earlier list of this run covers these, too.
            self.orphans.list = List::durable(list);
            return Ok(());
        }
        self.orphans.asked = unreferences;
        self.orphans.list = List::Waiting(list);
        writer.effects().when_durable(Durable::Rows, After::RemoveOrphans { unreferences });
        Ok(())
    }

    /// The rows that made the blobs unreferenced are on disk, up to this count of
    /// [`Catalog::unreferences`](crate::store::catalog::Catalog::unreferences). The listed blobs may go, unless
    /// this flush was asked for by an earlier run.
    pub(in crate::engine) fn orphans_durable(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &mut Blobs,
        unreferences: u64,
        result: Result<()>,
        now: Now,
    ) {
        match (result, std::mem::take(&mut self.orphans.list)) {
            (Ok(()), List::Waiting(list)) if unreferences >= self.orphans.asked => {
                self.orphans.durable = Some(unreferences);
                self.orphans.list = List::durable(list);
            }
            (Ok(()), other) => self.orphans.list = other,
            (Err(error), _) => {
                self.fail(format!("clean-up stops: {error}"));
                self.end_run(writer, blobs, now);
            }
        }
    }

    /// Checks blobs, deletes their rows and unlinks their files, in one slice, so that nothing can come in
    /// between (G3). Returns those that the slice had no time for.
    fn remove_blobs(
        &mut self,
        writer: &mut StoreWriter,
        blobs: &Blobs,
        mut slice: Vec<OrphanBlob>,
    ) -> Result<Vec<OrphanBlob>> {
        let began = Instant::now();
        slice.retain(|orphan| {
            !is_blob_held(writer, blobs, &orphan.hash) && !blobs.was_used(&orphan.hash)
        });
        let removed = writer.write(|tx| {
            let mut removed = Vec::with_capacity(slice.len());
            while began.elapsed() < SLICE_TIME_MAX || removed.is_empty() {
                let Some(orphan) = slice.pop() else { break };
                if tx.blob(&orphan.hash)?.is_some_and(|row| row.refs == 0) {
                    tx.delete_blob(&orphan.hash)?;
                    removed.push(orphan);
                }
            }
            Ok(removed)
        })?;
        self.note_removed(writer, removed.len() as u64);
        if !removed.is_empty() {
            writer.staging().store.names.removed();
        }
        for orphan in removed {
            writer.store().pool.unmark_absent(&orphan.hash);
            // The row is gone: a file that cannot be removed is a leftover, replaced when the
            // content is stored again, or swept by the next full run.
            match writer.store().pool.remove(&writer.store().lock, &orphan.hash, Some(orphan.size))
            {
                Ok(unlinked) => {
                    writer.let_go(unlinked);
                    self.report(|report| {
                        report.blobs += 1;
                        report.bytes += orphan.size;
                    });
                }
                Err(error) => {
                    self.fail(format!("cannot remove blob {}: {error}", orphan.hash));
                }
            }
        }
        Ok(slice)
    }

    /// The last phase of a full run; others end here.
    pub(super) fn sweep(&mut self, writer: &mut StoreWriter, blobs: &mut Blobs, now: Now) {
        let full = self.run.as_ref().is_some_and(|run| run.kind.full);
        if full {
            self.enter(RunPhase::Sweep);
            self.start_sweep(writer, blobs, now);
        } else {
            self.end_run(writer, blobs, now);
        }
    }
}

/// Whether somebody holds the blob or is about to name it.
fn is_blob_held(writer: &StoreWriter, blobs: &Blobs, hash: &BlobHash) -> bool {
    writer.watch_blob(hash) || blobs.is_pending(hash)
}
