//! References as recorded against references as they are: a walk over all that names something.
//!
//! Each page and row that exists counts, whether it can be reached or not, because it holds references until
//! it is taken apart. Unreachable trees are found nevertheless: trees cannot name each other in a circle, so
//! the topmost of them has a count without anything that names it.

use std::collections::BTreeMap;

use super::finding::{BlobDamage, Finding, Leftover, TreeDamage};
use super::names::TrueNames;
use super::pages::{Ended, Found, Trees};
use super::table::{CountedRow, Table};
use super::{Check, Examined, Stopped, examine};
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::tree_format::{ContentRef, TreePage};
use crate::store::catalog::{DeclaredRow, NodeData, QueuedDeletion, Snapshot};
use crate::store::pool::Pool;

/// Blobs counted in one walk: 200 MB of memory. More of them take one more walk each.
const BLOBS_PER_WALK: u32 = 4 << 20;

/// Walks begun again because the WAL grew too long meanwhile.
const TRIES_MAX: u32 = 3;

/// What a walk gathers.
struct Counts {
    /// Declared names; counted in the first walk alone.
    names: Option<Table>,
    lost_names: BTreeMap<Sha256, i64>,
    /// Names that stand for nothing, with the references on them.
    absent: Vec<(ContentName, i64)>,
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
            names: if first { Some(self.load_names(&snapshot)?) } else { None },
            lost_names: BTreeMap::new(),
            absent: Vec::new(),
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
        counts.held_by_names(&snapshot, &self.subject.pool, &self.true_names)?;
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

    fn load_names(&mut self, snapshot: &Snapshot) -> Result<Table, Stopped> {
        let mut slots: Vec<CountedRow> = Vec::new();
        snapshot.content_names(&mut |row| {
            if let Some(name) = self.row(row) {
                let hash = *name.sha256.as_bytes();
                slots.push(CountedRow { hash, recorded: name.refs, counted: 0 });
            }
        })?;
        Ok(Table::new(slots))
    }

    /// Reports names whose references differ, and those that stand for nothing.
    fn compare_names(&mut self, counts: &Counts, unread: bool) {
        if self.bad_tables.contains("content_names") {
            return;
        }
        for (name, refs) in &counts.absent {
            self.found(Finding::Absent { name: *name, refs: *refs });
        }
        for (sha256, counted) in &counts.lost_names {
            let (sha256, counted) = (*sha256, *counted);
            self.found(Finding::NameCount { sha256, recorded: 0, counted });
        }
        for row in counts.names.iter().flat_map(Table::wrong) {
            let CountedRow { hash, recorded, counted } = *row;
            if recorded > counted && unread {
                self.report.unverified += 1;
                continue;
            }
            let sha256 = Sha256::from_bytes(hash);
            self.found(Finding::NameCount { sha256, recorded, counted });
        }
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
        self.compare_names(&counts, unread);
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
            NodeData::Blob(name) => counts.content(name, node.size),
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
                Some(ContentRef::File { size, blob: Some(name) }) => self.content(&name, size),
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

    fn content(&mut self, name: &ContentName, size: u64) {
        let digest = match name {
            ContentName::Blake3(blob) => {
                if !self.blob(blob) {
                    self.lost_blobs.entry(*blob).or_insert((size, 0)).1 += 1;
                }
                return;
            }
            ContentName::Sha256(digest) => digest,
        };
        if let Some(names) = &mut self.names
            && !names.count(digest.as_bytes())
        {
            *self.lost_names.entry(*digest).or_insert(0) += 1;
        }
    }

    /// Counts the reference that each declared name holds on its blob.
    fn held_by_names(
        &mut self,
        snapshot: &Snapshot,
        pool: &Pool,
        true_names: &TrueNames,
    ) -> Result<(), Stopped> {
        let (mut lost, mut absent) = (Vec::new(), Vec::new());
        let corrected = |row: DeclaredRow| {
            let blob = true_names.get(&row.sha256).copied().unwrap_or(row.blob);
            DeclaredRow { blob, ..row }
        };
        snapshot.content_names(&mut |row| match row.map(corrected) {
            Ok(DeclaredRow { blob: Some(blob), .. }) => {
                if !self.blob(&blob) {
                    lost.push(blob);
                }
            }
            Ok(DeclaredRow { sha256, refs, blob: None }) if self.names.is_some() => {
                absent.push((sha256, refs));
            }
            Ok(_) => {}
            Err(_) => self.unread += 1,
        })?;
        for (sha256, refs) in absent {
            // What a remote still has is no loss.
            if !snapshot.has_source(&sha256)? {
                self.absent.push((sha256.into(), refs));
            }
        }
        if self.names.is_some() {
            let lost = snapshot.lost_absent_blobs()?;
            self.absent.extend(lost.into_iter().map(|(blob, refs)| (blob.into(), refs)));
        }
        for blob in lost {
            let size = pool.size_on_disk(&blob)?.unwrap_or(0);
            self.lost_blobs.entry(blob).or_insert((size, 0)).1 += 1;
        }
        Ok(())
    }

    /// Counts a reference on a blob; `false` when it should have a row and has none.
    fn blob(&mut self, hash: &BlobHash) -> bool {
        let here =
            self.after.is_none_or(|after| *hash > after) && self.to.is_none_or(|to| *hash <= to);
        !here || self.blobs.count(hash.as_bytes())
    }
}
