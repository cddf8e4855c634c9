//! Blobs on their way into the pool, and the rows that follow them.
//!
//! Only this thread makes links, so "is it known", "make it" and "note it" are one step. A blob is
//! pinned from before it is linked until a row names it; the collector looks at pins and at what is
//! pending here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::error::Result;
use super::event::Event;
use super::gc::Leftover;
use super::pins::{BlobPin, TreePin};
use super::seal::{Hashed, SealResult, SealSource};
use super::staging::content::{FileContent, SealOutcome};
use super::thread::MetadataThread;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::time::Timestamp;
use crate::model::tree_format::{Reference, TreePage};
use crate::store::catalog::{BlobRow, Tx};
use crate::store::error::StoreError;
use crate::store::pool::Incoming;

/// Name of the catalog's note: blobs up to this epoch have been flushed.
pub(super) const DURABLE_EPOCH: &str = "durable_epoch";

/// One encoded page of a tree with its hash.
pub(super) type Page = (TreeHash, Vec<u8>);

/// Rows of pending blobs that are written at a time without being named: some milliseconds.
pub(super) const PENDING_PER_BATCH: usize = 2048;

/// A file on its way into the pool whose content was hashed by the daemon.
#[derive(Debug)]
pub struct IncomingBlob {
    /// The file.
    pub file: Incoming,
    /// Its hash, pinned since before it was written.
    pub pin: BlobPin,
    /// Its length in bytes.
    pub size: u64,
}

/// What there is of a content.
#[derive(Debug)]
pub enum Reuse {
    /// It can be reused; its length in bytes.
    Whole(BlobPin, u64),
    /// It has a row, but its file is missing or not trusted.
    Broken,
    /// Nothing: no row, so that nobody looks at a file of that name.
    Nothing,
}

/// A blob that no row of the catalog knows yet, or whose reuse is to be noted (G5).
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingBlob {
    size: u64,
    epoch: u64,
    /// Has a row.
    known: bool,
    /// Its file was made anew: whatever was wrong with it is over.
    renewed: bool,
}

impl PendingBlob {
    /// Its length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// What catalog and pool have of a content.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// It has a row for sure: it is changed, not made.
    has_row: bool,
    /// Its file can be trusted to have it right.
    intact: bool,
}

impl MetadataThread {
    /// Applies what sealers found: files become blobs, or stay as they are.
    pub(super) fn apply_seals(&mut self, results: Vec<SealResult>) {
        for SealResult { content, result } in results {
            let applied = match result {
                Ok(Some(hashed)) => self.seal(&content, hashed),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                // One that is tried again and again is told once.
                if content.area.failed_count() == 0 && self.unsaved.tells() {
                    log::error!("cannot seal a file of area {}: {error}", content.area.id);
                }
                self.last_seal_error = (error.is_full(), error.to_string());
                content.area.seal_failed(content.node, Arc::clone(&content));
            }
        }
    }

    fn seal(
        &mut self,
        content: &Arc<FileContent>,
        hashed: Hashed,
    ) -> std::result::Result<(), StoreError> {
        let Hashed { generation, hash, size, source, hashing } = hashed;
        let mut standing = None;
        let outcome = content.seal(generation, hash, hashing, || {
            let (pool, lock) = (&self.writer.store().pool, &self.writer.store().lock);
            let found = match source {
                SealSource::Incoming(incoming) => self.take_in(incoming, &hash, size)?,
                SealSource::Held(bytes) => {
                    let found = self.standing(&hash, size)?;
                    if !found.intact {
                        pool.adopt(lock, pool.write_incoming(&bytes, &hash)?, &hash)?;
                    }
                    found
                }
                SealSource::Private(path) => {
                    let found = self.standing(&hash, size)?;
                    if !found.intact {
                        pool.link(lock, &path, &hash)?;
                    }
                    found
                }
            };
            standing = Some(found);
            Ok(())
        });
        if outcome? == SealOutcome::Sealed
            && let Some(standing) = standing
        {
            self.blob_used(hash, size, standing);
            self.journal.note_dirty(Instant::now());
            self.writer.staging().mark_dirty(content.node);
        }
        Ok(())
    }

    /// Takes a file into the pool, unless that has its content; says what was there before.
    fn take_in(
        &self,
        incoming: Incoming,
        hash: &BlobHash,
        size: u64,
    ) -> std::result::Result<Standing, StoreError> {
        let (pool, lock) = (&self.writer.store().pool, &self.writer.store().lock);
        // Nearly always no file has the name: the link itself finds out. A row that lost its file
        // gets it back.
        if pool.adopt_new(lock, &incoming, hash)? {
            return Ok(Standing { has_row: false, intact: false });
        }
        let standing = self.standing(hash, size)?;
        if !standing.intact {
            pool.adopt(lock, incoming, hash)?;
        }
        Ok(standing)
    }

    /// What there is of a content. A damaged, missing or doubtful file is replaced by whoever
    /// stores the content again (R5).
    fn standing(&self, hash: &BlobHash, size: u64) -> std::result::Result<Standing, StoreError> {
        let row = match self.journal.pending_blobs.contains_key(hash) {
            true => None,
            false => self.writer.reader().blob(hash)?,
        };
        self.judge(hash, size, row)
    }

    /// As [`Self::standing`], with the row looked up.
    fn judge(
        &self,
        hash: &BlobHash,
        size: u64,
        row: Option<BlobRow>,
    ) -> std::result::Result<Standing, StoreError> {
        let (has_row, recorded) = match self.journal.pending_blobs.get(hash) {
            Some(pending) => (pending.known, true),
            None => (row.is_some(), row.is_some_and(|row| !row.damaged)),
        };
        let intact = recorded
            && !self.unverified.concern(hash)
            && !self.writer.store().pool.is_damaged(hash)
            && self.writer.store().pool.size_on_disk(hash)? == Some(size);
        Ok(Standing { has_row, intact })
    }

    /// Notes that a blob was made or reused: its last-used time is now (G5).
    fn blob_used(&mut self, hash: BlobHash, size: u64, before: Standing) {
        if !before.intact {
            let was_unverified = self.unverified.renewed(&hash);
            self.writer.store().pool.forget_fd(&hash);
            if before.has_row || was_unverified {
                let changed = Event::BlobsChanged(Arc::new(BTreeSet::from([hash])));
                self.writer.notify_apart(vec![changed], || ());
            }
        }
        self.gc.touched(&hash);
        self.journal.note_pending(Instant::now());
        let epoch = self.epoch;
        let blob = self.journal.pending_blobs.entry(hash).or_insert(PendingBlob {
            size,
            epoch,
            known: before.has_row,
            renewed: false,
        });
        if !before.intact {
            blob.epoch = epoch;
            blob.renewed = true;
        }
    }

    /// Writes pages of trees with the references that each new one holds: "row and children's
    /// counts" is the atomic unit (H7). They are unreferenced themselves, so they are pinned.
    pub(super) fn write_pages(
        &mut self,
        pages: &[Page],
        now: Timestamp,
        pinned: &mut BTreeSet<TreeHash>,
    ) -> Result<()> {
        let parsed: std::result::Result<Vec<_>, _> =
            pages.iter().map(|(_, bytes)| TreePage::parse(bytes.clone())).collect();
        let parsed = parsed.map_err(StoreError::from)?;
        let written = {
            let pending = std::mem::take(&mut self.journal.pending_blobs);
            let written = self.writer.write(|tx| write_pages(tx, pages, &parsed, &pending, now));
            self.journal.pending_blobs = pending;
            written?
        };
        self.writer.note_written(pages.len() + written.len());
        self.journal.blobs_written(&written);
        pinned.extend(pages.iter().map(|(hash, _)| *hash));
        Ok(())
    }

    /// Takes hashed files into the pool. Their rows are written with the trees that name them, or
    /// with whatever the journal writes before.
    pub(super) fn adopt_blobs(&mut self, blobs: Vec<IncomingBlob>) -> Result<Vec<BlobPin>> {
        self.writer.check_writable()?;
        let mut pins = Vec::with_capacity(blobs.len());
        let mut blobs = blobs.into_iter();
        let failed = blobs.by_ref().find_map(|IncomingBlob { file, pin, size }| {
            let hash = *pin.hash();
            pins.push(pin);
            match self.take_in(file, &hash, size) {
                Ok(standing) => self.blob_used(hash, size, standing),
                Err(error) => return Some((hash, error)),
            }
            None
        });
        let Some((hash, error)) = failed else { return Ok(pins) };
        // Names that the others have already.
        let others = blobs.filter(|blob| blob.file.is_placed()).map(|blob| *blob.pin.hash());
        let leftovers = std::iter::once(hash).chain(others).map(Leftover::Blob).collect();
        drop(pins);
        self.remove_leftovers(leftovers);
        Err(error.into())
    }

    /// Pins and touches those of the blobs that can be reused, and says how long they are.
    pub(super) fn reuse_blobs(&mut self, hashes: &[BlobHash]) -> Result<Vec<Reuse>> {
        let rows = self.writer.reader().blobs(hashes.iter().copied())?;
        let mut found = Vec::with_capacity(hashes.len());
        for (hash, row) in hashes.iter().zip(rows) {
            let pending = self.journal.pending_blobs.get(hash).map(|blob| blob.size);
            let Some(size) = pending.or(row.as_ref().map(|row| row.size)) else {
                found.push(Reuse::Nothing);
                continue;
            };
            let standing = self.judge(hash, size, row)?;
            if standing.intact {
                let pin = BlobPin::new(self.writer.pins(), *hash);
                self.blob_used(*hash, size, standing);
                found.push(Reuse::Whole(pin, size));
            } else {
                found.push(Reuse::Broken);
            }
        }
        Ok(found)
    }

    /// Pins and touches those of the trees that can be reused with all that they name. Blobs are not looked at
    /// one by one: where any is in doubt or damaged, nothing is reused whole (H3, R5).
    pub(super) fn reuse_trees(&mut self, trees: &[TreeHash]) -> Result<Vec<Option<TreePin>>> {
        if !self.unverified.is_empty() || self.writer.store().pool.has_damage() {
            return Ok(trees.iter().map(|_| None).collect());
        }
        let now = Timestamp::now();
        let exist: Vec<bool> =
            self.writer.write(|tx| trees.iter().map(|tree| tx.renew_tree(tree, now)).collect())?;
        let pin = |(tree, exists): (&TreeHash, bool)| {
            exists.then(|| TreePin::new(self.writer.pins(), *tree))
        };
        Ok(trees.iter().zip(exist).map(pin).collect())
    }

    /// Writes rows of pending blobs that nothing names, some thousands at a time. Returns whether
    /// all are written.
    pub(super) fn write_pending(&mut self) -> Result<bool> {
        let pending = std::mem::take(&mut self.journal.pending_blobs);
        let written: Vec<BlobHash> = pending.keys().copied().take(PENDING_PER_BATCH).collect();
        let done = self
            .writer
            .write(|tx| write_blobs(tx, &pending, &written, BTreeMap::new(), Timestamp::now()));
        self.journal.pending_blobs = pending;
        done?;
        self.writer.note_written(written.len());
        self.journal.blobs_written(&written);
        Ok(self.journal.pending_blobs.is_empty())
    }

    /// Blobs made from now on belong to a new epoch; returns the one that ended.
    pub(super) fn close_epoch(&mut self) -> u64 {
        let ended = self.epoch;
        self.epoch += 1;
        ended
    }

    /// Blobs that may not be on disk yet, at most `limit` of them.
    pub(super) fn unsynced_blobs(
        &mut self,
        limit: usize,
    ) -> std::result::Result<Vec<BlobHash>, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut blobs: Vec<BlobHash> = {
            let tx = self.writer.begin()?;
            let rows = tx.blobs_since_epoch(self.durable_epoch, limit)?;
            rows.into_iter().map(|(hash, _)| hash).collect()
        };
        let durable = self.durable_epoch;
        let made = |blob: &PendingBlob| (!blob.known || blob.renewed) && blob.epoch > durable;
        let pending = self.journal.pending_blobs.iter().filter(|(_, blob)| made(blob));
        blobs.extend(pending.map(|(hash, _)| *hash));
        Ok(blobs)
    }
}

/// Writes pages and, for each new one, what it refers to. Returns the pending blobs that have rows
/// now: only those that the pages name, so that most rows are written once, with all references.
fn write_pages(
    tx: &Tx<'_>,
    pages: &[Page],
    parsed: &[TreePage],
    pending: &BTreeMap<BlobHash, PendingBlob>,
    now: Timestamp,
) -> std::result::Result<Vec<BlobHash>, StoreError> {
    let mut blobs = BTreeMap::new();
    for ((hash, bytes), page) in pages.iter().zip(parsed) {
        if !tx.insert_tree(hash, bytes, now)? {
            continue;
        }
        for reference in page.references() {
            match reference {
                Reference::Blob(blob) => *blobs.entry(blob).or_insert(0) += 1,
                Reference::Tree(tree) => {
                    tx.add_tree_refs(&tree, 1)?;
                }
            }
        }
    }
    let named: Vec<BlobHash> =
        blobs.keys().filter(|hash| pending.contains_key(*hash)).copied().collect();
    write_blobs(tx, pending, &named, blobs, now)?;
    Ok(named)
}

/// Writes the rows of those pending blobs, and changes the references of blobs.
pub(super) fn write_blobs(
    tx: &Tx<'_>,
    pending: &BTreeMap<BlobHash, PendingBlob>,
    written: &[BlobHash],
    mut references: BTreeMap<BlobHash, i64>,
    now: Timestamp,
) -> std::result::Result<(), StoreError> {
    for hash in written {
        let Some(blob) = pending.get(hash) else { continue };
        let added = references.get(hash).and_then(|delta| u32::try_from(*delta).ok());
        if added.is_some() {
            references.remove(hash);
        }
        let added = added.unwrap_or(0);
        if !blob.known {
            tx.insert_blob(hash, blob.size, blob.epoch, added, now)?;
            continue;
        }
        tx.touch_blob(hash, added, now)?;
        if blob.renewed {
            tx.set_blob_epoch(hash, blob.epoch)?;
            tx.set_blob_damaged(hash, false)?;
        }
    }
    for (hash, delta) in references {
        tx.add_blob_refs(&hash, delta)?;
    }
    Ok(())
}
