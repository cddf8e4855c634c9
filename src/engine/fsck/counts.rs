//! References as recorded against references as they are: a walk over all that names something.
//!
//! Each page and row that exists counts, whether it can be reached or not, because it holds references until
//! it is taken apart. Unreachable trees are found nevertheless: trees cannot name each other in a circle, so
//! the topmost of them has a count without anything that names it.

use std::collections::BTreeMap;

use super::finding::{BlobDamage, Finding, Leftover, TreeDamage};
use super::pages::{Ended, Found, Trees};
use super::table::{CountedRow, Table};
use super::{Check, Examined, Stopped, examine};
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree_format::{ContentRef, TreePage};
use crate::store::catalog::{NodeData, QueuedDeletion, Snapshot};

/// Blobs counted in one walk: 200 MB of memory. More of them take one more walk each.
const BLOBS_PER_WALK: u32 = 4 << 20;

/// Walks begun again because the WAL grew too long meanwhile.
const TRIES_MAX: u32 = 3;

/// What a walk gathers.
struct Counts {
    blobs: Table,
    /// The blobs of this walk are above this and not above `to`.
    after: Option<BlobHash>,
    to: Option<BlobHash>,
    lost_trees: BTreeMap<TreeHash, i64>,
    /// With the length that some name says.
    lost_blobs: BTreeMap<BlobHash, (u64, i64)>,
    /// Trees whose names are not known.
    unread: u64,
}

impl Check<'_> {
    /// Compares the sums over all blobs and trees with their rows.
    pub(super) fn check_totals(&mut self) -> Result<(), Stopped> {
        let damaged =
            ["meta", "blobs", "trees"].iter().any(|table| self.bad_tables.contains(table));
        if damaged {
            // What of them can be read has another sum.
            return Ok(());
        }
        let (recorded, counted) = self.subject.snapshots.latest()?.totals()?;
        if recorded != Some(counted) {
            self.found(Finding::Totals { recorded, counted });
        }
        Ok(())
    }

    pub(super) fn check_counts(&mut self) -> Result<(), Stopped> {
        let mut after = None;
        let mut tries = 0;
        loop {
            match self.walk_counts(after) {
                Ok(None) => return Ok(()),
                Ok(next) => after = next,
                Err(Ended::Stopped(stopped)) => return Err(stopped),
                Err(Ended::Overdue) => {
                    tries += 1;
                    if tries == TRIES_MAX {
                        self.report.counts_skipped = true;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Counts the trees and, of the blobs after `after`, as many as a walk takes. Returns where
    /// the next walk begins.
    fn walk_counts(&mut self, after: Option<BlobHash>) -> Result<Option<BlobHash>, Ended> {
        let first = after.is_none();
        let snapshot = self.subject.snapshots.take()?;
        let (blobs, to) = self.load_blobs(&snapshot, after)?;
        let mut trees = Trees::load(self, &snapshot, first)?;
        let mut counts = Counts {
            blobs,
            after,
            to,
            lost_trees: BTreeMap::new(),
            lost_blobs: BTreeMap::new(),
            unread: 0,
        };
        let mut damaged = Vec::new();
        let mut stray = Vec::new();
        trees.walk(self, &snapshot, "counting references", &mut |trees, check, found| {
            match found {
                Found::Page(_, page) => {
                    check.report.trees += u64::from(first);
                    counts.page(trees, &page);
                }
                Found::Damaged(index, damage) => {
                    counts.unread += 1;
                    damaged.push((index, damage));
                }
                Found::Stray(page) => stray.push(page),
            }
            Ok(())
        })?;
        count_rows(&snapshot, &mut trees, &mut counts)?;
        drop(snapshot);
        if first {
            for (index, damage) in damaged {
                let refs = trees.table.slot(index).recorded;
                self.broken_tree(trees.hash(index), refs, damage);
            }
            let known = !self.bad_tables.contains("trees");
            for page in stray.into_iter().filter(|_| known) {
                self.found(Finding::Leftover(Leftover::Page(page)));
            }
        }
        self.compare(first.then_some(&trees), counts)?;
        Ok(to)
    }

    fn load_blobs(
        &mut self,
        snapshot: &Snapshot,
        after: Option<BlobHash>,
    ) -> Result<(Table, Option<BlobHash>), Stopped> {
        let mut slots: Vec<CountedRow> = Vec::new();
        snapshot.blobs(after, BLOBS_PER_WALK, &mut |row| {
            if let Some(blob) = self.row(row) {
                let hash = *blob.hash.as_bytes();
                slots.push(CountedRow { hash, recorded: blob.refs, counted: 0 });
            }
        })?;
        let full = u32::try_from(slots.len()).is_ok_and(|count| count == BLOBS_PER_WALK);
        let to = slots.last().filter(|_| full).map(|slot| BlobHash::from_bytes(slot.hash));
        Ok((Table::new(slots), to))
    }

    /// Reports what differs.
    fn compare(&mut self, trees: Option<&Trees>, counts: Counts) -> Result<(), Stopped> {
        let bad_blobs = self.bad_tables.contains("blobs");
        for (hash, (size, refs)) in counts.lost_blobs.iter().filter(|_| !bad_blobs) {
            let found = examine(&self.subject.pool, hash, *size, true, &mut |_| true)?;
            let sound = matches!(found, Examined::Sound(_));
            let damage = BlobDamage::NoRow { refs: *refs, sound };
            self.broken_blob(*hash, *size, damage, false);
        }
        // What a lost row or page named is not known.
        let unread = counts.unread > 0
            || !counts.lost_trees.is_empty()
            || !self.bad_tables.is_empty()
            || !self.gaps.is_empty();
        if trees.is_some() && !self.bad_tables.contains("trees") {
            for (hash, refs) in &counts.lost_trees {
                self.broken_tree(*hash, *refs, TreeDamage::NoRow(*refs));
            }
        }
        let wrong_trees = trees.into_iter().flat_map(|trees| trees.table.wrong());
        for (slot, is_tree) in
            wrong_trees.map(|slot| (slot, true)).chain(counts.blobs.wrong().map(|s| (s, false)))
        {
            let CountedRow { hash, recorded, counted } = *slot;
            if recorded > counted && unread {
                self.report.unverified += 1;
                continue;
            }
            self.found(if is_tree {
                Finding::TreeCount { hash: TreeHash::from_bytes(hash), recorded, counted }
            } else {
                Finding::BlobCount { hash: BlobHash::from_bytes(hash), recorded, counted }
            });
        }
        Ok(())
    }
}

/// Counts what rows name: versions, areas, nodes, the deletion queue.
fn count_rows(snapshot: &Snapshot, trees: &mut Trees, counts: &mut Counts) -> Result<(), Stopped> {
    // Bad rows of these tables have been reported with the rows themselves.
    let mut bad = 0;
    snapshot.versions(&mut |row| match row {
        Ok(version) => counts.tree(trees, &version.root.tree, 1),
        Err(_) => bad += 1,
    })?;
    snapshot.areas(&mut |row| match row {
        Ok(area) => {
            if let Some(base) = area.base {
                counts.tree(trees, &base, 1);
            }
        }
        Err(_) => bad += 1,
    })?;
    snapshot.deletion_queue(&mut |row| match row {
        Ok(QueuedDeletion::Tree(tree)) => counts.tree(trees, &tree, 1),
        Ok(QueuedDeletion::Area(_)) => {}
        Err(_) => bad += 1,
    })?;
    snapshot.nodes(&mut |row| match row {
        Ok(node) => match &node.data {
            NodeData::Blob(hash) => counts.blob(hash, node.size),
            NodeData::BaseTree(tree) => counts.tree(trees, tree, 0),
            NodeData::Empty | NodeData::Private(_) | NodeData::Target(_) | NodeData::Rdev(_) => {}
        },
        Err(_) => bad += 1,
    })?;
    counts.unread += bad;
    Ok(())
}

impl Counts {
    fn page(&mut self, trees: &mut Trees, page: &TreePage) {
        for index in 0..page.len() {
            if let Some(child) = page.child(index) {
                self.tree(trees, &child.page, 1);
            }
            match page.entry_ref(index).map(|entry| entry.content) {
                Some(ContentRef::File { size, blob: Some(blob) }) => self.blob(&blob, size),
                Some(ContentRef::Directory { tree, .. }) => self.tree(trees, &tree, 1),
                _ => {}
            }
        }
    }

    fn tree(&mut self, trees: &mut Trees, hash: &TreeHash, refs: i64) {
        let known = match refs {
            0 => trees.table.find(hash.as_bytes()).is_some(),
            _ => trees.table.count(hash.as_bytes()),
        };
        if !known {
            *self.lost_trees.entry(*hash).or_insert(0) += refs;
        }
    }

    fn blob(&mut self, hash: &BlobHash, size: u64) {
        let here =
            self.after.is_none_or(|after| *hash > after) && self.to.is_none_or(|to| *hash <= to);
        if here && !self.blobs.count(hash.as_bytes()) {
            self.lost_blobs.entry(*hash).or_insert((size, 0)).1 += 1;
        }
    }
}
