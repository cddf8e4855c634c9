//! Blobs on their way into the pool, and the rows that follow them.
//!
//! Only this thread makes links, so "is it known", "make it" and "note it" are one step. A blob is
//! pinned from before it is linked until a row names it; the collector looks at pins and at what is
//! pending here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::commit::Page;
use super::error::Result;
use super::pins::BlobPin;
use super::request::IncomingBlob;
use super::seal::{Hashed, SealResult, SealSource};
use super::staging::Blocked;
use super::staging::content::{FileContent, SealOutcome};
use super::thread::MetadataThread;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::time::Timestamp;
use crate::model::tree_format::{Reference, TreePage};
use crate::store::catalog::Tx;
use crate::store::error::StoreError;

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

impl MetadataThread {
    /// Applies what a sealer found: the file becomes a blob, or stays as it is.
    pub(super) fn apply_seal(&mut self, result: SealResult) {
        let SealResult { content, ticket, result } = result;
        let applied = match result {
            Ok(Some(hashed)) => self.seal(&content, hashed),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        self.staging.seal_done(ticket);
        if let Err(error) = applied {
            log::error!("cannot seal a file of area {}: {error}", content.area.id);
            self.last_seal_error = (error.is_full(), error.to_string());
            content.area.seal_failed(content.node, Arc::clone(&content));
        }
    }

    fn seal(
        &mut self,
        content: &Arc<FileContent>,
        hashed: Hashed,
    ) -> std::result::Result<(), StoreError> {
        let Hashed { generation, hash, size, source } = hashed;
        let known = self.is_intact(&hash, size)?;
        let pool = &self.store.pool;
        let lock = &self.store.lock;
        let outcome = content.seal(generation, hash, || {
            if known {
                return Ok(());
            }
            match &source {
                SealSource::Incoming(path) => pool.adopt(lock, path, &hash),
                SealSource::Held(bytes) => {
                    let path = pool.write_incoming(bytes)?;
                    pool.adopt(lock, &path, &hash)
                }
                SealSource::Private(path) => pool.link(lock, path, &hash),
            }
        });
        let adopted = matches!(&outcome, Ok(SealOutcome::Sealed)) && !known;
        if !adopted && let SealSource::Incoming(path) = &source {
            pool.discard_incoming(lock, path)?;
        }
        if outcome? == SealOutcome::Sealed {
            self.blob_used(hash, size, known);
            self.staging.mark_dirty(content.node);
        }
        Ok(())
    }

    /// Whether the pool has the blob and can be trusted to have it right. A damaged, missing or
    /// doubtful one is replaced by whoever stores the content again (R5).
    fn is_intact(&self, hash: &BlobHash, size: u64) -> std::result::Result<bool, StoreError> {
        if self.suspects.contains(hash) {
            return Ok(false);
        }
        let recorded = match self.journal.pending_blobs.get(hash) {
            Some(_) => true,
            None => self.reader.blob(hash)?.is_some_and(|row| !row.damaged),
        };
        Ok(recorded && self.store.pool.size_on_disk(hash)? == Some(size))
    }

    /// Notes that a blob was made or reused: its timestamp of interest is now (G5).
    fn blob_used(&mut self, hash: BlobHash, size: u64, known: bool) {
        if !known {
            self.suspects.remove(&hash);
            self.store.pool.forget_fd(&hash);
        }
        self.gc.touched(&hash);
        let has_row = known
            || self.reader.blob(&hash).ok().flatten().is_some()
            || self.journal.pending_blobs.get(&hash).is_some_and(|blob| blob.known);
        let epoch = self.epoch;
        let blob = self.journal.pending_blobs.entry(hash).or_insert(PendingBlob {
            size,
            epoch,
            known: has_row,
            renewed: false,
        });
        if !known {
            blob.epoch = epoch;
            blob.renewed = true;
        }
        self.journal.note_dirty(Instant::now());
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
        let pending = self.journal.pending_blobs.clone();
        self.write(|tx| {
            insert_pending(tx, &pending, now)?;
            for ((hash, bytes), page) in pages.iter().zip(&parsed) {
                if !tx.insert_tree(hash, bytes, now)? {
                    continue;
                }
                for reference in page.references() {
                    match reference {
                        Reference::Blob(blob) => tx.add_blob_refs(&blob, 1)?,
                        Reference::Tree(tree) => tx.add_tree_refs(&tree, 1)?,
                    };
                }
            }
            Ok(())
        })?;
        self.note_written(pages.len() + pending.len());
        self.journal.pending_blobs.clear();
        pinned.extend(pages.iter().map(|(hash, _)| *hash));
        Ok(())
    }

    /// Takes hashed files into the pool.
    pub(super) fn adopt_blobs(&mut self, blobs: Vec<IncomingBlob>) -> Result<Vec<BlobPin>> {
        self.check_not_poisoned()?;
        let mut pins = Vec::with_capacity(blobs.len());
        for blob in blobs {
            // Pinned before anything else, so that no collection can come between.
            pins.push(BlobPin::new(&self.pins, blob.hash));
            let known = self.is_intact(&blob.hash, blob.size)?;
            if known {
                self.store.pool.discard_incoming(&self.store.lock, &blob.path)?;
            } else {
                self.store.pool.adopt(&self.store.lock, &blob.path, &blob.hash)?;
            }
            self.blob_used(blob.hash, blob.size, known);
        }
        Ok(pins)
    }

    /// Pins and touches those of the blobs that can be reused.
    pub(super) fn reuse_blobs(&mut self, hashes: &[BlobHash]) -> Result<Vec<Option<BlobPin>>> {
        let mut pins = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let size = match self.journal.pending_blobs.get(hash) {
                Some(blob) => Some(blob.size),
                None => self.reader.blob(hash)?.map(|row| row.size),
            };
            let Some(size) = size else {
                pins.push(None);
                continue;
            };
            if self.is_intact(hash, size)? {
                let pin = BlobPin::new(&self.pins, *hash);
                self.blob_used(*hash, size, true);
                pins.push(Some(pin));
            } else {
                pins.push(None);
            }
        }
        Ok(pins)
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
            let tx = self.store.catalog.begin()?;
            let rows = tx.blobs_since_epoch(self.durable_epoch, limit)?;
            rows.into_iter().map(|(hash, _)| hash).collect()
        };
        blobs.extend(self.journal.pending_blobs.keys().copied());
        Ok(blobs)
    }

    /// The result of checking a blob after a power loss.
    pub(super) fn suspect_checked(&mut self, hash: BlobHash, intact: bool) {
        if !self.suspects.remove(&hash) || intact {
            return;
        }
        self.note_damage(&hash);
    }

    /// Storing the content again will replace the file (H5).
    pub(super) fn note_damage(&mut self, hash: &BlobHash) {
        if !self.store.lock.is_in_place(&self.store.layout) {
            // Nothing at all is found any more, which says nothing of this blob.
            log::error!("{} is not the store any more", self.store.layout.root().display());
            return self.staging.set_blocked(Blocked::Poisoned);
        }
        log::error!("blob {hash} is damaged; storing its content again heals it");
        if let Err(error) = self.write(|tx| tx.set_blob_damaged(hash, true)) {
            log::error!("cannot note the damage: {error}");
        }
    }
}

/// Writes the rows of blobs that were made or reused.
pub(super) fn insert_pending(
    tx: &Tx<'_>,
    blobs: &BTreeMap<BlobHash, PendingBlob>,
    now: Timestamp,
) -> std::result::Result<(), StoreError> {
    for (hash, blob) in blobs {
        if !blob.known {
            tx.insert_blob(hash, blob.size, blob.epoch, now)?;
            continue;
        }
        tx.touch_blob(hash, now)?;
        if blob.renewed {
            tx.set_blob_epoch(hash, blob.epoch)?;
            tx.set_blob_damaged(hash, false)?;
        }
    }
    Ok(())
}
