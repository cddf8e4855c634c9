//! The catalog of the next backup: a copy of the store's, made fit to stand alone.
//!
//! Staging areas are left out. Their files change while they are copied, and a backup that holds
//! half of a write is worse than one that says what it does not hold. With them go the blobs that
//! nothing else names: a backup has no pins and nobody who is about to name them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::{BackupError, Result};
use crate::control::backup::BackupReport;
use crate::model::hash::BlobHash;
use crate::model::id::AreaId;
use crate::store::catalog::{
    AreaState, BlobRow, Catalog, Checkpointer, NodeData, QueuedDeletion, Reader, Snapshot, Tx,
};
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::layout::Layout;

/// Rows changed in one transaction.
const ROWS_PER_STEP: u32 = 1024;

/// Transactions after which the WAL is emptied: each may leave as many pages there as it has rows.
const STEPS_PER_CHECKPOINT: u32 = 32;

/// More than any epoch.
const EVERY_EPOCH: u64 = i64::MAX.unsigned_abs();

/// A catalog that nobody else knows.
pub(super) struct Draft {
    layout: Layout,
    catalog: Catalog,
    checkpointer: Checkpointer,
    reader: Reader,
    areas_left_out: u64,
    steps: u32,
}

impl Draft {
    /// Opens the copy in a directory of its own, and takes out of it what a backup does not have.
    pub(super) fn open(layout: Layout) -> Result<Self> {
        let catalog = Catalog::open(&layout)?;
        let (checkpointer, reader) = (catalog.checkpointer()?, catalog.reader()?);
        let mut draft = Self { layout, catalog, checkpointer, reader, areas_left_out: 0, steps: 0 };
        draft.leave_areas_out()?;
        // Each blob is going to be on disk before this catalog is anybody's.
        while draft.step(|tx| tx.settle_blob_epochs(EVERY_EPOCH, ROWS_PER_STEP))? > 0 {}
        while draft.step(leave_orphans_out)? > 0 {}
        draft.step(|tx| tx.set_meta("clean", "yes"))?;
        Ok(draft)
    }

    /// One transaction.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&Tx<'_>) -> std::result::Result<T, StoreError>,
    ) -> Result<T> {
        let tx = self.catalog.begin()?;
        let value = step(&tx)?;
        tx.commit()?;
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_CHECKPOINT) {
            self.checkpointer.passive()?;
        }
        Ok(value)
    }

    fn leave_areas_out(&mut self) -> Result<()> {
        let rows = self.reader.areas()?;
        let open = rows.iter().filter(|row| row.state == AreaState::Open).count();
        self.areas_left_out = open as u64;
        let queue = self.step(|tx| tx.deletion_queue(u32::MAX))?;
        let queued = queue.iter().filter_map(|(_, deletion)| match deletion {
            QueuedDeletion::Area(area) => Some(*area),
            QueuedDeletion::Tree(_) => None,
        });
        let areas: BTreeSet<AreaId> = rows.iter().map(|row| row.id).chain(queued).collect();
        for area in areas {
            while self.step(|tx| take_nodes(tx, area))? > 0 {}
            while self.step(|tx| tx.take_names(area, ROWS_PER_STEP))? > 0 {}
        }
        self.step(|tx| {
            for row in &rows {
                if let Some(root) = &row.base_root {
                    tx.add_tree_refs(&root.tree, -1)?;
                }
                tx.delete_area(row.id)?;
            }
            let areas =
                queue.iter().filter(|(_, deletion)| matches!(deletion, QueuedDeletion::Area(_)));
            areas.map(|(seq, _)| *seq).try_for_each(|seq| tx.finish_deletion(seq))
        })
    }

    /// Its rows, as they are now.
    pub(super) fn rows(&self) -> Result<Snapshot> {
        Ok(self.catalog.snapshots().latest()?)
    }

    /// What it was copied from, by id and number.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether it names content that only remotes have.
    pub(super) fn lacks_content(&self) -> Result<bool> {
        Ok(self.reader.absent_totals()?.contents > 0)
    }

    /// A blob's row.
    pub(super) fn blob(&self, hash: &BlobHash) -> Result<Option<BlobRow>> {
        Ok(self.reader.blob(hash)?)
    }

    /// Notes which blobs the backup lacks, and which it has although the store said otherwise.
    pub(super) fn mark(&mut self, damaged: &[(BlobHash, bool)]) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        self.step(|tx| {
            damaged.iter().try_for_each(|(hash, damaged)| tx.set_blob_damaged(hash, *damaged))
        })
    }

    /// Says what is in it.
    pub(super) fn describe(&self, report: &mut BackupReport) -> Result<()> {
        let mut bad = None;
        let rows = self.rows()?;
        rows.repositories(&mut |row| match row {
            Ok(_) => report.repositories += 1,
            Err(row) => bad = Some(row),
        })?;
        rows.versions(&mut |row| match row {
            Ok(_) => report.versions += 1,
            Err(row) => bad = Some(row),
        })?;
        report.areas_left_out = self.areas_left_out;
        let absent = self.reader.absent_totals()?;
        (report.absent, report.absent_bytes) = (absent.contents, absent.bytes);
        bad.map_or(Ok(()), |row| Err(BackupError::Row(row)))
    }

    /// Closes it; it is one file from then on, and its data is the caller's to sync.
    pub(super) fn close(self) -> Result<PathBuf> {
        let path = self.layout.catalog();
        close(self.catalog, self.reader, &self.checkpointer, &self.layout)?;
        Ok(path)
    }
}

/// Closes a catalog so that its file holds all of it, on disk.
pub(super) fn close(
    catalog: Catalog,
    reader: Reader,
    checkpointer: &Checkpointer,
    layout: &Layout,
) -> Result<()> {
    drop(reader);
    if !checkpointer.truncate()? {
        let path = layout.catalog();
        let source = std::io::ErrorKind::ResourceBusy.into();
        return Err(StoreError::Io { action: "close the catalog", path, source }.into());
    }
    checkpointer.remove_log_at_close()?;
    drop(catalog);
    Ok(())
}

/// Removes what SQLite keeps beside a catalog that [`close`] has closed, and that it removes itself
/// unless it is interrupted.
pub(super) fn remove_log(layout: &Layout) -> Result<()> {
    let index = layout.root().join("catalog.db-shm");
    for path in [layout.wal(), index] {
        match durable::unlink(&path) {
            Err(error) if error.is_not_found() => {}
            removed => removed?,
        }
    }
    Ok(())
}

fn take_nodes(tx: &Tx<'_>, area: AreaId) -> std::result::Result<usize, StoreError> {
    let nodes = tx.take_nodes(area, ROWS_PER_STEP)?;
    for node in &nodes {
        if let NodeData::Blob(name) = &node.data {
            tx.add_content_refs(name, -1)?;
        }
    }
    Ok(nodes.len())
}

fn leave_orphans_out(tx: &Tx<'_>) -> std::result::Result<usize, StoreError> {
    let orphans = tx.orphan_blobs(i64::MAX, None, ROWS_PER_STEP)?;
    orphans.iter().try_for_each(|orphan| tx.delete_blob(&orphan.hash))?;
    Ok(orphans.len())
}
