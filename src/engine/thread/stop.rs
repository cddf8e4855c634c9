//! The end of the metadata thread: everything that was promised is written, and the store is marked clean
//! if all of it reached the disk.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::MetadataThread;
use crate::engine::commit::refuse;
use crate::engine::durability::{SYNC_ONE_BY_ONE_MAX, ToDisk};
use crate::engine::error::{EngineError, Result};
use crate::engine::journal::ID_LIMIT;
use crate::engine::now::Now;
use crate::engine::poison::Blocked;
use crate::engine::reply::Reply;

/// Ids beyond the last one given out that are not used at the next start: a worker may still have
/// taken some while the store was being closed.
const IDS_LEFT_OUT: u64 = 4096;

impl MetadataThread {
    /// Writes what is in memory, marks the store clean if that worked, and answers.
    pub(super) fn stop(&mut self, reply: Reply<()>) {
        for task in self.commits.end(|| EngineError::Stopping) {
            refuse(&mut self.writer, task, EngineError::Stopping);
        }
        // Seals under way end by themselves; what they do not finish is sealed at the next start.
        while let Ok(results) = self.seal_results.recv_timeout(Duration::from_millis(50)) {
            self.apply_seals(results);
        }
        // Nobody waits for this thread any more, so it may wait for the disk itself.
        let to_disk = ToDisk {
            layout: &self.writer.store().layout,
            pool: &self.writer.store().pool,
            staging: self.writer.staging(),
        };
        let mut result =
            to_disk.settle(self.writer.staging().withheld()).map_err(|unsettled| unsettled.error);
        // Rows that wait for content which could not be saved stay as they were.
        let remaining = self.save_all(Now::read());
        if let Some(lost) = remaining.text() {
            log::error!("{lost}");
            result = Err(EngineError::Unsaved(lost));
        }
        while result.is_ok() && self.blobs.are_pending() {
            if let Err(error) = self.blobs.write_pending(&mut self.writer, Now::read()) {
                log::error!("rows of new content could not be written: {error}");
                result = Err(error);
            }
        }
        // If the start was not noted, since the disk was full or the store is served read-only, the catalog still has
        // the marks of the last run, which are right.
        if result.is_ok()
            && !self.writer.store().catalog.is_owing()
            && self.writer.poison().blocked() == Blocked::No
            && let Err(error) = self.end_cleanly()
        {
            log::warn!("the store is not marked clean: {error}");
        }
        // The durability thread flushes and checkpoints when its queue is gone.
        self.writer.close();
        reply(result);
    }

    /// Says that all content is on disk, after it is: the next start trusts that (H3).
    fn end_cleanly(&mut self) -> Result<()> {
        let unsynced = self.blobs.unsynced(&mut self.writer, SYNC_ONE_BY_ONE_MAX + 1)?;
        let to_disk = ToDisk {
            layout: &self.writer.store().layout,
            pool: &self.writer.store().pool,
            staging: self.writer.staging(),
        };
        if unsynced.len() <= SYNC_ONE_BY_ONE_MAX {
            unsynced.iter().try_for_each(|hash| to_disk.blob(hash))?;
        } else {
            to_disk.everything()?;
        }
        to_disk.rows()?;
        self.writer.all_rows_durable();
        // Reserved ids that were not used are given back; otherwise each start would use up 2^20 of them.
        let next_id = self.writer.staging().store.next_id.load(Ordering::Relaxed);
        let limit = (next_id + IDS_LEFT_OUT).to_string();
        self.writer.write(|tx| {
            tx.set_meta(ID_LIMIT, &limit)?;
            tx.set_meta("clean", "yes")
        })
    }
}
