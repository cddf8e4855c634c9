//! Unreferenced blobs: listed, their cause made durable, removed.

use std::time::Instant;

use super::{FILES_PER_SLICE, Phase, SLICE_TIME_MAX, protection_limit};
use crate::engine::after::After;
use crate::engine::durability::Durable;
use crate::engine::error::{EngineError, Result};
use crate::engine::stop_point::StopPoint;
use crate::engine::thread::MetadataThread;
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;
use crate::store::catalog::OrphanBlob;

/// Blobs per list, that is per flush of the WAL.
const BLOBS_PER_LIST: u32 = 4096;

/// Held blobs that the kernel is asked about at the end of a run; the next asks about the rest.
const HELD_TOLD_MAX: usize = 1 << 16;

/// How far the removal has come.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Where the next list goes on: those before it were looked at.
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

impl MetadataThread {
    pub(super) fn blobs_slice(&mut self) -> Result<()> {
        if self.stop_points.is_held(StopPoint::OrphansListed) && self.gc.blobs.has_list() {
            self.stop_points.reached(StopPoint::OrphansListed);
            return Ok(());
        }
        match std::mem::take(&mut self.gc.blobs.list) {
            List::None => self.list_orphans(),
            List::Waiting(list) => {
                self.gc.blobs.list = List::Waiting(list);
                Ok(())
            }
            List::Durable(mut list) => {
                let rest = list.len().saturating_sub(FILES_PER_SLICE);
                let slice = list.split_off(rest);
                let left = self.remove_blobs(slice)?;
                list.extend(left);
                if list.is_empty() {
                    self.blobs.end_watch();
                } else {
                    self.gc.blobs.list = List::Durable(list);
                }
                Ok(())
            }
        }
    }

    fn list_orphans(&mut self) -> Result<()> {
        // What was stored before this run and is not wanted has no row yet.
        if self.gc.blobs.after.is_none() && self.blobs.are_pending() {
            match self.blobs.write_pending(&mut self.writer) {
                Ok(_) => return Ok(()),
                // They are held, so the rest can be listed, which makes room.
                Err(error) if error.is_full() => log::debug!("listed without new blobs: {error}"),
                Err(error) => return Err(error),
            }
        }
        let now = Timestamp::now();
        let limit = protection_limit(now, self.protect_seconds());
        // What was used while the clock was ahead was used now.
        if limit < now.seconds
            && self.writer.write(|tx| tx.date_orphans_back(now.seconds, BLOBS_PER_LIST))? > 0
        {
            return Ok(());
        }
        let listed = {
            let tx = self.writer.begin()?;
            tx.orphan_blobs(limit, self.gc.blobs.after, BLOBS_PER_LIST)?
        };
        let Some(last) = listed.last() else {
            // Whoever waits for the run finds its space free.
            if self.writer.reaper().is_idle() {
                self.sweep();
            } else {
                self.gc.pause(Instant::now());
            }
            return Ok(());
        };
        self.gc.blobs.after = Some((last.last_used, last.hash));
        let (held, list): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|orphan| self.is_blob_held(&orphan.hash));
        let room = HELD_TOLD_MAX.saturating_sub(self.gc.held.len());
        self.gc.held.extend(held.iter().take(room).map(|orphan| orphan.hash));
        self.gc.report(|report| {
            report.pinned_blobs += held.len() as u64;
            report.pinned_bytes += held.iter().map(|orphan| orphan.size).sum::<u64>();
        });
        if list.is_empty() {
            return Ok(());
        }
        self.blobs.watch_uses();
        let unreferences = self.writer.store().catalog.unreferences();
        if self.gc.blobs.durable == Some(unreferences) {
            // The flush for an earlier list of this run covers these, too.
            self.gc.blobs.list = List::durable(list);
            return Ok(());
        }
        self.gc.blobs.asked = unreferences;
        self.gc.blobs.list = List::Waiting(list);
        self.writer.effects().when_durable(Durable::Rows, After::RemoveOrphans { unreferences });
        Ok(())
    }

    /// Somebody holds it, or is about to name it.
    fn is_blob_held(&self, hash: &BlobHash) -> bool {
        self.writer.pins().watch(hash) || self.blobs.is_pending(hash)
    }

    /// The cause of that many unreferences, counted as in [`Orphans::asked`], is on disk: of the listed
    /// ones, unless it was asked for by a run that ended before.
    pub(in crate::engine) fn orphans_durable(
        &mut self,
        unreferences: u64,
        result: std::result::Result<(), EngineError>,
    ) {
        match (result, std::mem::take(&mut self.gc.blobs.list)) {
            (Ok(()), List::Waiting(list)) if unreferences >= self.gc.blobs.asked => {
                self.gc.blobs.durable = Some(unreferences);
                self.gc.blobs.list = List::durable(list);
            }
            (Ok(()), other) => self.gc.blobs.list = other,
            (Err(error), _) => {
                self.gc.fail(format!("clean-up stops: {error}"));
                self.end_run();
            }
        }
    }

    /// Check, row, commit, unlink: one slice, nothing in between (G3). Returns what the slice's
    /// time did not suffice for.
    fn remove_blobs(&mut self, mut slice: Vec<OrphanBlob>) -> Result<Vec<OrphanBlob>> {
        let began = Instant::now();
        slice.retain(|orphan| {
            !self.is_blob_held(&orphan.hash) && !self.blobs.was_used(&orphan.hash)
        });
        let removed = self.writer.write(|tx| {
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
        self.note_removed(removed.len() as u64);
        for orphan in removed {
            // The row is gone: a file that cannot be removed is a leftover, replaced when the
            // content is stored again, or swept by the next full run.
            match self.writer.store().pool.remove(
                &self.writer.store().lock,
                &orphan.hash,
                Some(orphan.size),
            ) {
                Ok(unlinked) => {
                    self.writer.let_go(unlinked);
                    self.gc.report(|report| {
                        report.blobs += 1;
                        report.bytes += orphan.size;
                    });
                }
                Err(error) => {
                    self.gc.fail(format!("cannot remove blob {}: {error}", orphan.hash));
                }
            }
        }
        Ok(slice)
    }

    /// The last phase of a full run; others end here.
    fn sweep(&mut self) {
        let full = self.gc.run.as_ref().is_some_and(|run| run.kind.full);
        if full {
            self.enter(Phase::Sweep);
            self.start_sweep();
        } else {
            self.end_run();
        }
    }
}
