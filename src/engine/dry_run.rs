//! What would become garbage: a run of the collector tried in memory.
//!
//! It starts with the reference counts of the catalog and subtracts, in memory, each reference that would
//! go; it looks into a tree only once the tree's count is zero. So the cost follows what becomes garbage, as
//! the collector's does (G12), and the result is what the collector would do, because the arithmetic is the
//! same. It reads on a connection of its own, on the thread of whoever asks, and changes nothing.
//!
//! It takes no snapshot: where others change the store meanwhile, the result is off by their changes.
//! Must not know who asks, nor why.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::error::Result;
use super::gc::{RunKind, protection_limit};
use super::handle::Engine;
use super::registry::Repository;
use super::request::Request;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::{AreaId, NodeId, VersionNumber};
use crate::model::name::AreaName;
use crate::model::policy::PolicyState;
use crate::model::retention::Decision;
use crate::model::time::Timestamp;
use crate::model::tree_format::{Reference, TreeSource};
use crate::store::catalog::{QueuedDeletion, Reader};
use crate::store::error::StoreError;

/// Rows read at a time.
const ROWS_PER_READ: u32 = 4096;

/// A number of blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blobs {
    /// How many.
    pub count: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl Blobs {
    fn add(&mut self, size: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

/// What becomes of unreferenced content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Garbage {
    /// What a run removes.
    pub free: Blobs,
    /// What a run leaves because it was used a short time ago (G4).
    pub protected: Blobs,
    /// What a run leaves because somebody holds it open.
    pub pinned: Blobs,
    /// Directory pages that a run removes.
    pub trees: u64,
    /// When the protected content that was used the longest ago was used last.
    pub oldest_protected: Option<i64>,
}

impl Garbage {
    /// Everything unreferenced, in bytes.
    pub fn bytes(&self) -> u64 {
        self.free.bytes.saturating_add(self.protected.bytes).saturating_add(self.pinned.bytes)
    }
}

/// What would be left of a tree's or blob's row.
#[derive(Clone, Copy)]
struct Left {
    refs: i64,
    /// The last-used time that its row would have: its own, or that of a tree that named it, whichever
    /// is later (G5).
    last_used: i64,
}

impl Left {
    /// Takes one reference away, because the tree that held it would be removed. `last_used` is that
    /// tree's.
    fn lower(&mut self, last_used: i64) {
        self.refs -= 1;
        self.last_used = self.last_used.max(last_used);
    }
}

/// The last-used time of a holder that has none, because it is no tree.
const NEVER_USED: i64 = i64::MIN;

/// The counts that differ from those in the catalog.
#[derive(Default)]
struct Counts {
    trees: HashMap<TreeHash, Left>,
    /// References on declared names.
    names: HashMap<Sha256, i64>,
    blobs: HashMap<BlobHash, Left>,
}

/// A collection tried in memory: the counts of references as they would be.
pub struct DryRun<'e> {
    engine: &'e Engine,
    reader: Reader,
    /// What is dropped for good: every question starts from here.
    settled: Counts,
    /// What the present question has dropped beyond that.
    counts: Counts,
    /// Content used after this second is protected.
    limit: i64,
    garbage: Garbage,
}

impl std::fmt::Debug for DryRun<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DryRun").field("garbage", &self.garbage).finish_non_exhaustive()
    }
}

impl<'e> DryRun<'e> {
    /// Starts with the counts that the catalog has now.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn new(engine: &'e Engine, now: Timestamp, protect_seconds: u64) -> Result<Self> {
        Ok(Self {
            engine,
            reader: engine.open_reader()?,
            settled: Counts::default(),
            counts: Counts::default(),
            limit: protection_limit(now, protect_seconds),
            garbage: Garbage::default(),
        })
    }

    /// Forgets what was dropped: the next question starts where this one did.
    pub fn reset(&mut self) {
        self.counts = Counts::default();
        self.garbage = Garbage::default();
    }

    /// Keeps what was dropped so far: later questions start from here.
    pub fn settle(&mut self) {
        let Counts { trees, names, blobs } = std::mem::take(&mut self.counts);
        self.settled.trees.extend(trees);
        self.settled.names.extend(names);
        self.settled.blobs.extend(blobs);
        self.garbage = Garbage::default();
    }

    /// What became garbage so far.
    pub fn garbage(&self) -> Garbage {
        self.garbage
    }

    /// Drops one reference on a tree.
    ///
    /// # Errors
    /// When a page that becomes garbage cannot be read.
    pub fn drop_tree(&mut self, tree: &TreeHash) -> Result<()> {
        self.drop_trees(vec![(*tree, NEVER_USED)])
    }

    /// Drops one reference on each of these, held by a tree last used then.
    fn drop_trees(&mut self, mut open: Vec<(TreeHash, i64)>) -> Result<()> {
        while let Some((tree, last_used)) = open.pop() {
            let left = self.lower_tree(&tree, last_used)?;
            if left.refs == 0 {
                self.take_apart(&tree, left.last_used, &mut open)?;
            }
        }
        Ok(())
    }

    /// Removes a tree that nothing references.
    fn remove_tree(&mut self, tree: &TreeHash) -> Result<()> {
        let last_used = self.reader.tree_row(tree)?.map_or(NEVER_USED, |row| row.last_used);
        if self.counts.trees.insert(*tree, Left { refs: 0, last_used }).is_some() {
            return Ok(());
        }
        let mut open = Vec::new();
        self.take_apart(tree, last_used, &mut open)?;
        self.drop_trees(open)
    }

    /// Removes a page and drops what it names. A pinned page stays, and so does all below it, because the collector
    /// leaves it as well.
    fn take_apart(
        &mut self,
        tree: &TreeHash,
        last_used: i64,
        open: &mut Vec<(TreeHash, i64)>,
    ) -> Result<()> {
        if self.engine.pins.is_tree_pinned(tree) {
            return Ok(());
        }
        let page = match self.engine.trees.page(tree) {
            Ok(page) => page,
            // The collector has removed it meanwhile.
            Err(StoreError::MissingTree(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.garbage.trees += 1;
        for reference in page.references() {
            match reference {
                Reference::Tree(below) => open.push((below, last_used)),
                Reference::Blob(name) => self.drop_content(&name, last_used)?,
            }
        }
        Ok(())
    }

    fn lower_tree(&mut self, tree: &TreeHash, last_used: i64) -> Result<Left> {
        let left = match self.counts.trees.entry(*tree) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(match self.settled.trees.get(tree) {
                Some(settled) => *settled,
                None => {
                    let row = self.reader.tree_row(tree)?;
                    let last_used = row.map_or(NEVER_USED, |row| row.last_used);
                    Left { refs: row.map_or(0, |row| row.refs), last_used }
                }
            }),
        };
        left.lower(last_used);
        Ok(*left)
    }

    fn drop_content(&mut self, name: &ContentName, last_used: i64) -> Result<()> {
        let digest = match name {
            ContentName::Blake3(blob) => return self.drop_blob(blob, last_used),
            ContentName::Sha256(digest) => digest,
        };
        let row = self.reader.declared(digest)?;
        let counted = row.map_or(0, |row| row.refs);
        let settled = self.settled.names.get(digest).copied().unwrap_or(counted);
        let left = self.counts.names.entry(*digest).or_insert(settled);
        *left -= 1;
        // With the last name goes the one reference that all of them hold.
        match row.and_then(|row| row.blob).filter(|_| *left == 0) {
            Some(blob) => self.drop_blob(&blob, last_used),
            None => Ok(()),
        }
    }

    fn drop_blob(&mut self, blob: &BlobHash, last_used: i64) -> Result<()> {
        let mut row = None;
        let left = match self.counts.blobs.entry(*blob) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                row = self.reader.blob(blob)?;
                let counted = Left {
                    refs: row.map_or(0, |row| row.refs),
                    last_used: row.map_or(NEVER_USED, |row| row.last_used),
                };
                new.insert(self.settled.blobs.get(blob).copied().unwrap_or(counted))
            }
        };
        left.lower(last_used);
        let left = *left;
        if left.refs > 0 {
            return Ok(());
        }
        let row = match row {
            Some(row) => Some(row),
            None => self.reader.blob(blob)?,
        };
        // Below zero the collector was faster and has reported it already.
        if let Some(row) = row.filter(|_| left.refs == 0) {
            // Content that is absent takes no space, so that removing its row frees none.
            let size = if row.is_absent() { 0 } else { row.size };
            self.unreferenced(blob, size, left.last_used);
        }
        Ok(())
    }

    fn unreferenced(&mut self, blob: &BlobHash, size: u64, last_used: i64) {
        let is_pinned = last_used <= self.limit && self.is_pinned(blob);
        let garbage = &mut self.garbage;
        if last_used > self.limit {
            garbage.protected.add(size);
            let oldest = garbage.oldest_protected.map_or(last_used, |known| known.min(last_used));
            garbage.oldest_protected = Some(oldest);
        } else if is_pinned {
            garbage.pinned.add(size);
        } else {
            garbage.free.add(size);
        }
    }

    fn is_pinned(&self, blob: &BlobHash) -> bool {
        let pins = &self.engine.pins;
        let declared = || self.reader.digest_of(blob).ok().flatten();
        pins.is_pinned(&(*blob).into())
            || pins.any_declared()
                && declared().is_some_and(|digest| pins.is_pinned(&digest.into()))
    }

    /// Drops what a staging area holds: its files, and the version that it started from.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn drop_area(&mut self, area: AreaId) -> Result<()> {
        let mut after: Option<NodeId> = None;
        loop {
            let rows = self.reader.area_content(area, after, ROWS_PER_READ)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            for (_, name) in rows {
                self.drop_content(&name, NEVER_USED)?;
            }
        }
        let row = self.reader.areas()?.into_iter().find(|row| row.id == area);
        match row.and_then(|row| row.base_root) {
            Some(root) => self.drop_tree(&root.tree),
            None => Ok(()),
        }
    }

    /// Adds what is garbage already: unreferenced blobs and trees, and the deletion queue.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn drop_leftovers(&mut self) -> Result<()> {
        let mut after = None;
        loop {
            let orphans = self.reader.orphan_blobs(after, ROWS_PER_READ)?;
            let Some(last) = orphans.last() else { break };
            after = Some((last.last_used, last.hash));
            for orphan in orphans {
                self.unreferenced(&orphan.hash, orphan.size, orphan.last_used);
            }
        }
        for tree in self.reader.orphan_trees()? {
            self.remove_tree(&tree)?;
        }
        // Each entry of a tree is one reference on it. An area goes once, however often it is queued: releases up
        // to 0.1.0 queued it at each start.
        let mut areas = BTreeSet::new();
        for deletion in self.reader.queued_deletions()? {
            match deletion {
                QueuedDeletion::Tree(tree) => self.drop_tree(&tree)?,
                QueuedDeletion::Area(area) if areas.insert(area) => self.drop_area(area)?,
                QueuedDeletion::Area(_) => {}
            }
        }
        Ok(())
    }
}

/// What retention would do in one repository.
#[derive(Debug)]
pub struct Expiry {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Of each version; empty without a policy.
    pub versions: Vec<Decision>,
    /// Areas that expire.
    pub areas: Vec<(AreaName, AreaId)>,
    /// Why the policy cannot be read.
    pub unreadable: Option<String>,
}

impl Expiry {
    /// What the policy of `repository` does now.
    pub fn of(engine: &Engine, repository: Arc<Repository>, now: Timestamp) -> Self {
        let (versions, areas, unreadable) = match &repository.policy {
            PolicyState::None => (Vec::new(), Vec::new(), None),
            PolicyState::Unreadable { reason, .. } => {
                (Vec::new(), Vec::new(), Some(reason.clone()))
            }
            PolicyState::Set(policy) => {
                let areas = repository.idle_areas(&engine.staging, policy, now);
                (repository.decide(policy, now), areas, None)
            }
        };
        Self { repository, versions, areas, unreadable }
    }

    /// The versions that go.
    pub fn expiring(&self) -> impl Iterator<Item = VersionNumber> {
        self.versions.iter().filter(|decision| !decision.keep).map(|decision| decision.number)
    }
}

/// What a run would do.
#[derive(Debug)]
pub struct DryRunReport {
    /// Decisions of retention, by repository; of full runs only.
    pub retention: Vec<Expiry>,
    /// What the run removes or leaves.
    pub garbage: Garbage,
    /// What becomes unreferenced once deletions cannot be undone any more, in addition.
    pub kept: Garbage,
    /// Deleted versions that stay for now.
    pub kept_versions: u64,
    /// When the first of them was deleted.
    pub oldest_kept: Option<i64>,
}

impl Engine {
    /// Tries a run without doing anything.
    ///
    /// # Errors
    /// When the store cannot be read, or the engine has stopped.
    pub fn dry_run(&self, kind: RunKind, now: Timestamp) -> Result<DryRunReport> {
        // The counts of the catalog are right only once the journal is written.
        self.call(|reply| Request::Flush { reply })?;
        let protect = kind.protect_seconds.unwrap_or(self.gc_options.protect_seconds);
        let mut dry_run = DryRun::new(self, now, protect)?;
        let mut retention = Vec::new();
        let mut later = Vec::new();
        let mut oldest_kept: Option<i64> = None;
        dry_run.drop_leftovers()?;
        let retired = self.registry.deleted().into_iter().map(|(repository, _)| repository);
        for repository in self.registry.all().into_iter().chain(retired) {
            let mut deleted: Vec<(VersionNumber, i64, TreeHash)> = repository
                .deleted
                .iter()
                .map(|(number, gone)| (*number, gone.deleted, gone.version.root.tree))
                .collect();
            if kind.full {
                let expiry = Expiry::of(self, Arc::clone(&repository), now);
                for number in expiry.expiring() {
                    let version = repository.versions.get(&number);
                    deleted.extend(version.map(|v| (number, now.seconds, v.root.tree)));
                }
                for (_, area) in &expiry.areas {
                    dry_run.drop_area(*area)?;
                }
                retention.push(expiry);
            }
            for (_, when, tree) in deleted {
                if when <= dry_run.limit {
                    dry_run.drop_tree(&tree)?;
                } else {
                    oldest_kept = Some(oldest_kept.map_or(when, |known| known.min(when)));
                    later.push(tree);
                }
            }
        }
        let garbage = std::mem::take(&mut dry_run.garbage);
        for tree in &later {
            dry_run.drop_tree(tree)?;
        }
        let (kept, kept_versions) = (dry_run.garbage, later.len() as u64);
        Ok(DryRunReport { retention, garbage, kept, kept_versions, oldest_kept })
    }
}
