//! The deletion queue and the unreferenced trees.
//!
//! Order of a slice: the deletion queue (areas, roots of deleted versions), then trees without
//! references, whose children lose one each. "Page and its children's counts" is one transaction,
//! the mirror image of how a commit wrote it (H7).
//!
//! What fails is left out until the next start, and the rest goes on (G11): a slice that failed is
//! tried again item by item, so that one bad row does not hide the good ones beside it.

use std::collections::BTreeSet;
use std::time::Instant;

use super::wal::PAGES_PER_RELEASE;
use super::{Collector, RunPhase, SLICE_TIME_MAX};
use crate::engine::error::{EngineError, Result};
use crate::engine::writer::StoreWriter;
use crate::model::hash::TreeHash;
use crate::model::id::AreaId;
use crate::model::tree_format::{Reference, TreePage};
use crate::store::catalog::{NodeData, QueuedDeletion, Tx};
use crate::store::error::StoreError;

/// Rows of an area per slice: about a millisecond of SQL.
const AREA_ROWS_PER_SLICE: u32 = 256;

/// Trees looked up per slice; the time limit usually ends it before.
const TREES_PER_SLICE: u32 = 64;

/// How far the search for unreferenced trees has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Where the next slice goes on: trees before it were looked at.
    after: Option<(i64, TreeHash)>,
    /// A tree was removed since the search began, so its children may have been passed already.
    found: bool,
    /// After a failure, trees are removed one at a time.
    careful: bool,
    /// Trees and queue entries that cannot be taken apart.
    broken_trees: BTreeSet<TreeHash>,
    broken_entries: BTreeSet<u64>,
    /// Queue entries of areas whose files are removed once the deletion of their rows is on disk.
    waiting_entries: BTreeSet<u64>,
}

impl Progress {
    /// Whether entries wait for the disk.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting_entries.is_empty()
    }

    /// The disk has caught up: looks at all entries again. Returns whether any waited.
    pub(super) fn stop_waiting(&mut self) -> bool {
        !std::mem::take(&mut self.waiting_entries).is_empty()
    }
}

impl Collector {
    /// Does one slice. Called between runs, and in the phase of a run that is for this.
    pub(super) fn metadata_slice(&mut self, writer: &mut StoreWriter, now: Instant) -> Result<()> {
        if self.queue_slice(writer, now)? || self.trees_slice(writer)? {
            return Ok(());
        }
        self.awake = false;
        if self.metadata.is_waiting() {
            return Ok(());
        }
        if self.run.as_ref().is_some_and(|run| matches!(run.phase, RunPhase::Metadata)) {
            self.enter(RunPhase::Blobs);
        }
        Ok(())
    }

    /// A slice of the deletion queue; `false` when it is empty.
    fn queue_slice(&mut self, writer: &mut StoreWriter, now: Instant) -> Result<bool> {
        let (broken, waiting) = (&self.metadata.broken_entries, &self.metadata.waiting_entries);
        let limit = u32::try_from(broken.len() + waiting.len() + 1).unwrap_or(u32::MAX);
        let next = {
            let tx = writer.begin()?;
            let mut entries = tx.deletion_queue(limit)?.into_iter();
            entries.find(|(seq, _)| !broken.contains(seq) && !waiting.contains(seq))
        };
        let Some((seq, deletion)) = next else {
            return Ok(false);
        };
        let done = match deletion {
            QueuedDeletion::Tree(tree) => writer.write(|tx| {
                tx.add_tree_refs(&tree, -1)?;
                tx.finish_deletion(seq)
            }),
            QueuedDeletion::Area(area) => self.purge_area(writer, seq, area, now),
        };
        if let Err(error) = done {
            writer.check_writable()?;
            if error.is_full() {
                return Err(error);
            }
            self.metadata.broken_entries.insert(seq);
            self.fail(format!("cannot clean {deletion:?} up, it is left: {error}"));
        }
        Ok(true)
    }

    fn purge_area(
        &mut self,
        writer: &mut StoreWriter,
        seq: u64,
        area: AreaId,
        now: Instant,
    ) -> Result<()> {
        let (nodes, names) = writer.write(|tx| {
            let nodes = tx.take_nodes(area, AREA_ROWS_PER_SLICE)?;
            for node in &nodes {
                if let NodeData::Blob(name) = &node.data {
                    tx.add_content_refs(name, -1)?;
                }
            }
            let names = tx.take_names(area, AREA_ROWS_PER_SLICE)?;
            Ok((nodes.len(), names))
        })?;
        if nodes > 0 || names > 0 {
            self.note_removed(writer, nodes as u64 + names);
            return Ok(());
        }
        if !writer.may_remove_area_files(area, now) {
            self.metadata.waiting_entries.insert(seq);
            return Ok(());
        }
        if !writer.remove_area_files(area)? {
            return Ok(());
        }
        writer.area_removed(area);
        let row = writer.reader().areas()?.into_iter().find(|row| row.id == area);
        writer.write(|tx| {
            if let Some(root) = row.and_then(|row| row.base_root) {
                tx.add_tree_refs(&root.tree, -1)?;
            }
            tx.delete_area(area)?;
            tx.finish_deletion(seq)
        })
    }

    /// Removes unreferenced trees; `false` when there are none.
    fn trees_slice(&mut self, writer: &mut StoreWriter) -> Result<bool> {
        let (after, careful) = (self.metadata.after, self.metadata.careful);
        let limit = if careful { 1 } else { TREES_PER_SLICE };
        let listed = {
            let tx = writer.begin()?;
            tx.orphan_trees(after, limit)?
        };
        let Some(last) = listed.last().copied() else {
            // If trees were removed, the search begins anew: it may have passed their children already.
            self.metadata.after = None;
            return Ok(std::mem::take(&mut self.metadata.found));
        };
        let removable: Vec<_> =
            listed.into_iter().filter(|(_, hash)| !self.is_tree_held(writer, hash)).collect();
        if removable.is_empty() {
            self.metadata.after = Some(last);
            return Ok(true);
        }
        match self.remove_trees(writer, &removable) {
            Ok(done) => {
                self.metadata.after =
                    if done == removable.len() { Some(last) } else { Some(removable[done - 1]) };
                self.metadata.found = true;
                self.metadata.careful = false;
                self.report(|report| report.trees += done as u64);
            }
            Err(error) => self.trees_failed(writer, error, &removable)?,
        }
        Ok(true)
    }

    fn trees_failed(
        &mut self,
        writer: &StoreWriter,
        error: EngineError,
        slice: &[(i64, TreeHash)],
    ) -> Result<()> {
        writer.check_writable()?;
        if error.is_full() {
            return Err(error);
        }
        if let [(_, hash)] = slice {
            self.metadata.broken_trees.insert(*hash);
            self.fail(format!("cannot take tree {hash} apart, it is left: {error}"));
        }
        // Once more: item by item, from here to the first that succeeds.
        self.metadata.careful = true;
        Ok(())
    }

    /// Whether the collector must keep a tree that no row names: a running commit or an import has pinned it to name
    /// it later, or an earlier try to remove it failed.
    fn is_tree_held(&self, writer: &StoreWriter, hash: &TreeHash) -> bool {
        self.metadata.broken_trees.contains(hash) || writer.pins().is_tree_pinned(hash)
    }

    /// Removes trees until the slice's time is over; returns how many, at least one.
    fn remove_trees(
        &mut self,
        writer: &mut StoreWriter,
        trees: &[(i64, TreeHash)],
    ) -> Result<usize> {
        let began = Instant::now();
        let (done, pages) = writer.write(|tx| {
            let (mut done, mut pages) = (0, 0);
            for (last_used, hash) in trees {
                if let Some(bytes) = tx.delete_tree(hash)? {
                    for reference in TreePage::parse(bytes)?.references() {
                        release(tx, reference, *last_used)?;
                        pages += PAGES_PER_RELEASE;
                    }
                }
                done += 1;
                pages += 1;
                if began.elapsed() >= SLICE_TIME_MAX {
                    break;
                }
            }
            Ok((done, pages))
        })?;
        self.note_removed(writer, pages);
        Ok(done)
    }
}

fn release(
    tx: &Tx<'_>,
    reference: Reference,
    last_used: i64,
) -> std::result::Result<(), StoreError> {
    match reference {
        Reference::Blob(name) => tx.release_content(&name, last_used),
        Reference::Tree(tree) => tx.release_tree(&tree, last_used).map(drop),
    }
}
