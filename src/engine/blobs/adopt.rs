//! Content becomes a blob: sealed files, imported files, and what is reused as it is.

use std::sync::Arc;
use std::time::Instant;

use super::{Blobs, Change, PendingBlob, SealFailure};
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::pins::{BlobPin, TreePin};
use crate::engine::seal::{Hashed, SealSource};
use crate::engine::staging::content::{FileContent, SealOutcome};
use crate::engine::writer::StoreWriter;
use crate::metrics::COUNTERS;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::time::Timestamp;
use crate::store::catalog::BlobRow;
use crate::store::error::StoreError;
use crate::store::pool::Incoming;

/// A file on its way into the pool whose content was hashed by the daemon.
#[derive(Debug)]
pub struct IncomingBlob {
    /// The file.
    pub file: Incoming,
    /// Its hash, pinned since before it was written.
    pub pin: BlobPin,
    /// Its length in bytes.
    pub size: u64,
    /// It was not fetched from a bucket, so from now on this store is the one that must keep it.
    pub is_own: bool,
}

/// What there is of a content.
#[derive(Debug)]
pub enum Reuse {
    /// It can be reused; its length in bytes.
    Whole(BlobPin, u64),
    /// It has a row, but its file is missing or not trusted.
    Broken,
    /// It has no row. There may be a file of its name, which nobody looked at.
    Nothing,
}

/// What trees are reused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreesFor {
    /// What they name may be absent.
    Names,
    /// All that they name is stored.
    Content,
    /// The same, and whoever asks has it himself and relies on this store to keep it: nothing of it is the cache of a
    /// bucket, which a reclaim may take.
    Own,
}

/// Why imported files were not taken in.
pub(in crate::engine) struct NotAdopted {
    pub(in crate::engine) error: EngineError,
    /// Files of the pool that may have become leftovers.
    pub(in crate::engine) leftovers: Vec<BlobHash>,
}

/// What catalog and pool have of a content.
#[derive(Debug, Clone, Copy)]
struct BlobStatus {
    /// It has a row for sure: it is changed, not made.
    has_row: bool,
    /// So far nobody could read it, and no kernel has anything of it.
    was_absent: bool,
    /// Its file can be trusted to have it right.
    intact: bool,
}

impl Blobs {
    /// Makes a blob of a file that a sealer hashed, unless it has changed since. Returns whether the
    /// file's row is out of date now.
    pub(in crate::engine) fn seal(
        &mut self,
        writer: &mut StoreWriter,
        content: &Arc<FileContent>,
        hashed: Hashed,
        now: Instant,
    ) -> std::result::Result<bool, StoreError> {
        let Hashed { generation, hash, size, source, hashing } = hashed;
        let mut status = None;
        let outcome = content.seal(generation, hash, hashing, || {
            let (pool, lock) = (&writer.store().pool, &writer.store().lock);
            let found = match source {
                SealSource::Incoming(incoming) => self.take_in(writer, incoming, &hash, size)?,
                SealSource::Held(bytes) => {
                    let found = self.status(writer, &hash, size)?;
                    if !found.intact {
                        pool.adopt(lock, pool.write_incoming(&bytes, &hash)?, &hash)?;
                    }
                    found
                }
                SealSource::Private(path) => {
                    let found = self.status(writer, &hash, size)?;
                    if !found.intact {
                        pool.link(lock, &path, &hash)?;
                    }
                    found
                }
            };
            status = Some(found);
            Ok(())
        });
        let Some(status) = status.filter(|_| matches!(outcome, Ok(SealOutcome::Sealed))) else {
            return outcome.map(|_| false);
        };
        if status.intact {
            COUNTERS.known_files.add(1);
        }
        self.used(writer, (hash, size, true), status, now);
        writer.staging().mark_dirty(content.node);
        Ok(true)
    }

    /// A file could not be sealed: it is tried again later, and a commit of its area waits for that.
    pub(in crate::engine) fn seal_failed(
        &mut self,
        content: &Arc<FileContent>,
        error: &StoreError,
    ) {
        self.seal_failure = SealFailure { reason: error.to_string(), full: error.is_full() };
        content.area.seal_failed(content.node, Arc::clone(content));
    }

    /// Takes a file into the pool, unless that has its content; says what was there before.
    fn take_in(
        &self,
        writer: &StoreWriter,
        incoming: Incoming,
        hash: &BlobHash,
        size: u64,
    ) -> std::result::Result<BlobStatus, StoreError> {
        let (pool, lock) = (&writer.store().pool, &writer.store().lock);
        // Nearly always no file has the name, and the link itself finds that out. If there was a row whose
        // file was lost, the file is back now.
        let was_absent = pool.absent().has(hash);
        if pool.adopt_new(lock, &incoming, hash)? {
            return Ok(BlobStatus { has_row: was_absent, was_absent, intact: false });
        }
        let status = self.status(writer, hash, size)?;
        if !status.intact {
            pool.adopt(lock, incoming, hash)?;
        }
        Ok(status)
    }

    /// What there is of a content. A damaged, missing or unverified file is replaced by whoever stores the
    /// content again (R5).
    fn status(
        &self,
        writer: &StoreWriter,
        hash: &BlobHash,
        size: u64,
    ) -> std::result::Result<BlobStatus, StoreError> {
        let row = match self.pending.contains_key(hash) {
            true => None,
            false => writer.reader().blob(hash)?,
        };
        self.judge(writer, hash, size, row)
    }

    /// As [`Self::status`], with the row looked up.
    fn judge(
        &self,
        writer: &StoreWriter,
        hash: &BlobHash,
        size: u64,
        row: Option<BlobRow>,
    ) -> std::result::Result<BlobStatus, StoreError> {
        let (has_row, recorded) = match self.pending.get(hash) {
            Some(pending) => (!matches!(pending.change, Change::New { .. }), true),
            None => (row.is_some(), row.is_some_and(|row| row.is_stored())),
        };
        let was_absent = row.is_some_and(|row| row.is_absent());
        let pool = &writer.store().pool;
        let intact = recorded
            && !self.unverified.concern(hash)
            && !pool.is_damaged(hash)
            && pool.size_on_disk(hash)? == Some(size);
        Ok(BlobStatus { has_row, was_absent, intact })
    }

    /// Notes that a blob was made or reused: its last-used time is now (G5).
    fn used(
        &mut self,
        writer: &StoreWriter,
        (hash, size, is_own): (BlobHash, u64, bool),
        before: BlobStatus,
        now: Instant,
    ) {
        if !before.intact {
            let was_unverified = self.unverified.renewed(&hash);
            writer.store().pool.forget_fd(&hash);
            if before.has_row && !before.was_absent || was_unverified {
                let changed = Event::BlobsChanged(writer.names_of([hash]));
                writer.notify_apart(vec![changed], || ());
            }
        }
        if let Some(used) = &mut self.used {
            used.insert(hash);
        }
        self.pending_since.get_or_insert(now);
        let epoch = self.epoch;
        let change = if before.has_row { Change::Reused } else { Change::New { epoch } };
        let blob = self.pending.entry(hash).or_insert(PendingBlob { size, change, is_own });
        blob.is_own |= is_own;
        if !before.intact {
            blob.change = match blob.change {
                Change::New { .. } => Change::New { epoch },
                Change::Renewed { .. } | Change::Reused => Change::Renewed { epoch },
            };
        }
    }

    /// Takes hashed files into the pool. Their rows are written with the trees that name them, or
    /// with whatever the journal writes before.
    pub(in crate::engine) fn adopt(
        &mut self,
        writer: &StoreWriter,
        blobs: Vec<IncomingBlob>,
        now: Instant,
    ) -> std::result::Result<Vec<BlobPin>, NotAdopted> {
        writer.check_writable().map_err(|error| NotAdopted { error, leftovers: Vec::new() })?;
        let mut pins = Vec::with_capacity(blobs.len());
        let mut blobs = blobs.into_iter();
        let failed = blobs.by_ref().find_map(|IncomingBlob { file, pin, size, is_own }| {
            let hash = *pin.hash();
            pins.push(pin);
            match self.take_in(writer, file, &hash, size) {
                Ok(status) => self.used(writer, (hash, size, is_own), status, now),
                Err(error) => return Some((hash, error)),
            }
            None
        });
        let Some((hash, error)) = failed else { return Ok(pins) };
        // Some of the other files have their names in the pool already.
        let others = blobs.filter(|blob| blob.file.is_placed()).map(|blob| *blob.pin.hash());
        let leftovers = std::iter::once(hash).chain(others).collect();
        Err(NotAdopted { error: error.into(), leftovers })
    }

    /// Pins and touches those of the blobs that can be reused, and says how long they are. If whoever reuses them has the
    /// content itself (`is_own`), they are not the cache of a bucket any more.
    pub(in crate::engine) fn reuse_blobs(
        &mut self,
        writer: &StoreWriter,
        hashes: &[BlobHash],
        is_own: bool,
        now: Instant,
    ) -> Result<Vec<Reuse>> {
        let rows = writer.reader().blobs(hashes.iter().copied())?;
        let mut found = Vec::with_capacity(hashes.len());
        for (hash, row) in hashes.iter().zip(rows) {
            let pending = self.pending.get(hash).map(|blob| blob.size);
            let Some(size) = pending.or(row.as_ref().map(|row| row.size)) else {
                found.push(Reuse::Nothing);
                continue;
            };
            let status = self.judge(writer, hash, size, row)?;
            if status.intact {
                let pin = BlobPin::new(writer.pins(), *hash);
                self.used(writer, (*hash, size, is_own), status, now);
                found.push(Reuse::Whole(pin, size));
            } else {
                found.push(Reuse::Broken);
            }
        }
        Ok(found)
    }

    /// Pins and touches those of the trees that can be reused with all that they name. The blobs below are
    /// not looked at one by one, so while any blob of the store is unverified or damaged, no tree is reused
    /// (H3, R5). The same while any is not as the caller needs it.
    pub(in crate::engine) fn reuse_trees(
        &self,
        writer: &mut StoreWriter,
        trees: &[TreeHash],
        trees_for: TreesFor,
        now: Timestamp,
    ) -> Result<Vec<Option<TreePin>>> {
        let pool = &writer.store().pool;
        let may_reuse = !pool.has_damage()
            && self.unverified.is_empty()
            && match trees_for {
                TreesFor::Names => true,
                TreesFor::Content => pool.absent().is_empty(),
                TreesFor::Own => pool.absent().is_empty() && !writer.reader().any_places()?,
            };
        if !may_reuse {
            return Ok(trees.iter().map(|_| None).collect());
        }
        let exist: Vec<bool> =
            writer.write(|tx| trees.iter().map(|tree| tx.renew_tree(tree, now)).collect())?;
        let pin =
            |(tree, exists): (&TreeHash, bool)| exists.then(|| TreePin::new(writer.pins(), *tree));
        Ok(trees.iter().zip(exist).map(pin).collect())
    }
}
