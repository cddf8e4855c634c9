//! Background slices: what was discarded, deleted or orphaned goes, a little at a time.
//!
//! Order of a slice: the deletion queue (areas, roots of deleted versions), then unreferenced
//! trees, whose children lose a reference each, then unreferenced blobs. A slice is one bounded
//! transaction, taken only when no request waits, so that others hardly notice (G1). The cost
//! follows what became garbage: nothing is ever scanned (G12).
//!
//! Blobs are removed in lists: a list is taken, the WAL is made durable, and only then its blobs
//! are checked again, their rows deleted and their files unlinked, in one slice each. So the cause
//! of an unlink is on disk before the unlink can be (H2), and nothing can come between check and
//! unlink, because this thread also makes every link (G3).

use std::collections::BTreeSet;

use super::error::{EngineError, Result};
use super::request::{GcReport, Reply, Request};
use super::sync::{Scope, SyncJob};
use super::thread::MetadataThread;
use crate::model::hash::BlobHash;
use crate::model::id::AreaId;
use crate::model::time::Timestamp;
use crate::model::tree_format::{Reference, TreePage};
use crate::store::catalog::{Doomed, NodeData, Tx};
use crate::store::error::StoreError;

/// Rows of an area per slice: about a millisecond of SQL.
const AREA_ROWS_PER_SLICE: u32 = 256;

/// Trees per slice. A page has up to a few hundred references, each an update.
const TREES_PER_SLICE: u32 = 8;

/// Blobs per slice: an unlink costs 5 to 11 µs on ext4.
const BLOBS_PER_SLICE: usize = 64;

/// Blobs per list, that is per flush of the WAL.
const BLOBS_PER_LIST: u32 = 4096;

/// How long unreferenced content is kept when nobody says otherwise (G4).
pub const PROTECT_SECONDS: u64 = 600;

#[derive(Debug, Default)]
enum Orphans {
    /// No list: take one when asked.
    #[default]
    None,
    /// Taken, waiting for the WAL.
    Listed(Vec<(BlobHash, u64)>),
    /// May go.
    Durable(Vec<(BlobHash, u64)>),
}

/// State of the background work.
#[derive(Default)]
pub(super) struct Purge {
    /// There may be work in the deletion queue or among the trees.
    awake: bool,
    /// Blobs are to be looked for, too.
    collecting: bool,
    protect_seconds: u64,
    orphans: Orphans,
    /// Blobs used again since the list was taken.
    touched: BTreeSet<BlobHash>,
    report: GcReport,
    waiters: Vec<Reply<GcReport>>,
}

impl Purge {
    /// With whatever an earlier run left to do.
    pub(super) fn awake() -> Self {
        Self { awake: true, ..Self::default() }
    }

    /// Something was deleted.
    pub(super) fn wake(&mut self) {
        self.awake = true;
    }

    /// Whether a slice would do something.
    pub(super) fn has_work(&self) -> bool {
        let waiting = matches!(self.orphans, Orphans::Listed(_));
        self.awake || (self.collecting && !waiting)
    }

    /// A blob was used: it is no orphan any more, whatever a list says.
    pub(super) fn touched(&mut self, hash: &BlobHash) {
        if !matches!(self.orphans, Orphans::None) {
            self.touched.insert(*hash);
        }
    }
}

impl MetadataThread {
    /// Starts a collection, or joins the one that runs.
    pub(super) fn collect(&mut self, protect_seconds: u64, reply: Reply<GcReport>) {
        self.purge.awake = true;
        self.purge.collecting = true;
        self.purge.protect_seconds = protect_seconds;
        self.purge.waiters.push(reply);
    }

    /// One slice of background work.
    pub(super) fn purge_slice(&mut self) {
        if !self.purge.has_work() || self.check_not_poisoned().is_err() {
            return;
        }
        let worked = if self.purge.awake { self.purge_metadata() } else { self.purge_blobs() };
        if let Err(error) = worked {
            log::error!("background clean-up stops until it is asked for again: {error}");
            self.purge.awake = false;
            self.end_collection();
        }
    }

    fn purge_metadata(&mut self) -> Result<()> {
        if !self.purge_queue()? && !self.purge_trees()? {
            self.purge.awake = false;
        }
        Ok(())
    }

    /// A slice of the deletion queue; `false` when it is empty.
    fn purge_queue(&mut self) -> Result<bool> {
        let next = {
            let tx = self.store.catalog.begin()?;
            tx.doomed(1)?.into_iter().next()
        };
        let Some((seq, doomed)) = next else {
            return Ok(false);
        };
        match doomed {
            Doomed::Tree(tree) => self.write(|tx| {
                tx.add_tree_refs(&tree, -1)?;
                tx.delete_doomed(seq)
            })?,
            Doomed::Area(area) => self.purge_area(seq, area)?,
        }
        Ok(true)
    }

    fn purge_area(&mut self, seq: u64, area: AreaId) -> Result<()> {
        let (nodes, names) = self.write(|tx| {
            let nodes = tx.take_nodes(area, AREA_ROWS_PER_SLICE)?;
            for node in &nodes {
                if let NodeData::Blob(hash) = &node.data {
                    tx.add_blob_refs(hash, -1)?;
                }
            }
            let names = tx.take_names(area, AREA_ROWS_PER_SLICE)?;
            Ok((nodes.len(), names))
        })?;
        if nodes > 0 || names > 0 {
            return Ok(());
        }
        if !self.store.private_files.remove_area(&self.store.lock, area)? {
            return Ok(());
        }
        let row = self.reader.areas()?.into_iter().find(|row| row.id == area);
        self.write(|tx| {
            if let Some(root) = row.and_then(|row| row.base_root) {
                tx.add_tree_refs(&root.tree, -1)?;
            }
            tx.delete_area(area)?;
            tx.delete_doomed(seq)
        })
    }

    /// Removes unreferenced trees; `false` when there are none.
    fn purge_trees(&mut self) -> Result<bool> {
        // A commit under way has unreferenced trees of its own: they are left alone, and so is
        // the search for others until it ends.
        let pinned = !self.commits.is_empty();
        if pinned {
            return Ok(false);
        }
        let removed = self.write(|tx| {
            let trees =
                tx.orphan_trees(Timestamp { seconds: i64::MAX, nanoseconds: 0 }, TREES_PER_SLICE)?;
            for hash in &trees {
                let Some(bytes) = tx.delete_tree(hash)? else {
                    continue;
                };
                for reference in TreePage::parse(bytes)?.references() {
                    lower(tx, reference)?;
                }
            }
            Ok(trees.len() as u64)
        })?;
        self.purge.report.trees += removed;
        Ok(removed > 0)
    }

    fn purge_blobs(&mut self) -> Result<()> {
        match std::mem::take(&mut self.purge.orphans) {
            Orphans::None => self.list_orphans(),
            Orphans::Listed(list) => {
                self.purge.orphans = Orphans::Listed(list);
                Ok(())
            }
            Orphans::Durable(mut list) => {
                let rest = list.len().saturating_sub(BLOBS_PER_SLICE);
                let slice = list.split_off(rest);
                let more = !list.is_empty();
                if more {
                    self.purge.orphans = Orphans::Durable(list);
                }
                self.remove_blobs(&slice)
            }
        }
    }

    fn list_orphans(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let protect = i64::try_from(self.purge.protect_seconds).unwrap_or(i64::MAX);
        let before = Timestamp {
            seconds: now.seconds.saturating_sub(protect),
            nanoseconds: now.nanoseconds,
        };
        let listed = {
            let tx = self.store.catalog.begin()?;
            tx.orphan_blobs(before, BLOBS_PER_LIST)?
        };
        let (list, held): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|(hash, _)| !self.pins.is_pinned(hash) && !self.journal.is_pending(hash));
        self.purge.report.kept = held.len() as u64;
        if list.is_empty() {
            self.end_collection();
            return Ok(());
        }
        self.purge.touched.clear();
        self.purge.orphans = Orphans::Listed(list);
        let requests = self.requests_sender.clone();
        let then = Box::new(move |result| {
            drop(requests.send(Request::OrphansDurable { result }));
        });
        self.sync(SyncJob::Catalog { scope: Scope::Rows, then });
        Ok(())
    }

    /// The cause of the listed orphans is on disk.
    pub(super) fn orphans_durable(&mut self, result: std::result::Result<(), EngineError>) {
        match (result, std::mem::take(&mut self.purge.orphans)) {
            (Ok(()), Orphans::Listed(list)) => self.purge.orphans = Orphans::Durable(list),
            (Ok(()), other) => self.purge.orphans = other,
            (Err(error), _) => {
                log::error!("clean-up stops: {error}");
                self.end_collection();
            }
        }
    }

    /// Check, row, commit, unlink: one slice, nothing in between (G3).
    fn remove_blobs(&mut self, slice: &[(BlobHash, u64)]) -> Result<()> {
        let candidates: Vec<_> = slice
            .iter()
            .filter(|(hash, _)| {
                !self.pins.is_pinned(hash)
                    && !self.journal.is_pending(hash)
                    && !self.purge.touched.contains(hash)
            })
            .copied()
            .collect();
        let removed = self.write(|tx| {
            let mut removed = Vec::with_capacity(candidates.len());
            for (hash, size) in candidates {
                if tx.blob(&hash)?.is_some_and(|row| row.refs == 0) {
                    tx.delete_blob(&hash)?;
                    removed.push((hash, size));
                }
            }
            Ok(removed)
        })?;
        for (hash, size) in removed {
            self.store.pool.forget_fd(&hash);
            // The row is gone: a file that cannot be removed is a leftover, replaced when the
            // content is stored again.
            match self.store.pool.remove(&self.store.lock, &hash) {
                Ok(()) => {
                    self.purge.report.blobs += 1;
                    self.purge.report.bytes += size;
                }
                Err(error) => log::warn!("cannot remove blob {hash}: {error}"),
            }
        }
        Ok(())
    }

    fn end_collection(&mut self) {
        self.purge.collecting = false;
        self.purge.orphans = Orphans::None;
        self.purge.touched.clear();
        let report = std::mem::take(&mut self.purge.report);
        if report.blobs > 0 || report.trees > 0 {
            log::info!(
                "collected {} blobs, {} bytes, {} trees",
                report.blobs,
                report.bytes,
                report.trees
            );
        }
        for waiter in self.purge.waiters.drain(..) {
            waiter(Ok(report));
        }
    }
}

fn lower(tx: &Tx<'_>, reference: Reference) -> std::result::Result<(), StoreError> {
    match reference {
        Reference::Blob(blob) => tx.add_blob_refs(&blob, -1)?,
        Reference::Tree(tree) => tx.add_tree_refs(&tree, -1)?,
    };
    Ok(())
}
