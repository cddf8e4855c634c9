//! Blobs on their way into the pool, and the rows that follow them.
//!
//! Only the metadata thread makes links, so it can look whether a blob is known, make it and note it in one
//! step. A blob is pinned from before it is linked until a row names it; the collector leaves pinned and
//! pending blobs alone. Must not know who names a blob, nor when rows are written.

mod adopt;
mod damage;
mod reclaim;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::error::Result;
use super::now::Now;
use super::pins::TreePin;
use super::writer::StoreWriter;
use crate::model::content_name::ContentName;
use crate::model::digest::Sha256;
use crate::model::hash::BlobHash;
use crate::model::name::RemoteName;
use crate::model::time::Timestamp;
use crate::store::catalog::{BucketPlace, PlacesOf, Tx};
use crate::store::error::StoreError;
pub(super) use adopt::NotAdopted;
pub use adopt::{IncomingBlob, Reuse, TreesFor};
pub(super) use damage::UNCHECKED;
use damage::Unverified;
pub use reclaim::MadeAbsent;
pub(super) use rows::Page;

/// Name of the catalog's note: blobs up to this epoch have been flushed.
pub(super) const DURABLE_EPOCH: &str = "durable_epoch";

/// Rows of pending blobs that are written at a time without being named: some milliseconds.
const PENDING_PER_BATCH: usize = 2048;

/// How long blobs wait for what names them before they get rows without references.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);

/// Blobs that may wait so.
const PENDING_MAX: usize = 65_536;

/// A blob that no row of the catalog knows yet, or whose reuse is to be noted (G5).
#[derive(Debug, Clone, Copy)]
struct PendingBlob {
    size: u64,
    change: Change,
    /// Somebody stored it here, or offered it and was told that the store has it. So it must stay even if a bucket has it too;
    /// only content that came by a fetch from a bucket may be reclaimed as a cache.
    is_own: bool,
}

/// What is to be noted of a pending blob.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// It has no row.
    New { epoch: u64 },
    /// It has a row, and its file was made anew: whatever was wrong with it is over.
    Renewed { epoch: u64 },
    /// It has a row, and was used again.
    Reused,
}

impl PendingBlob {
    /// The epoch in which its file was written, if this process did that.
    fn epoch(&self) -> Option<u64> {
        match self.change {
            Change::New { epoch } | Change::Renewed { epoch } => Some(epoch),
            Change::Reused => None,
        }
    }
}

/// The blobs that the catalog does not know or not trust, and what is known of those on disk.
pub(super) struct Blobs {
    pending: BTreeMap<BlobHash, PendingBlob>,
    /// When the first of them became pending, or when some were written last.
    pending_since: Option<Instant>,
    /// Epoch that new blobs belong to.
    epoch: u64,
    /// Blobs of this epoch and before have been flushed to disk.
    durable_epoch: u64,
    unverified: Unverified,
    /// Blobs made or reused since the collector began to watch; `None` while it does not.
    used: Option<BTreeSet<BlobHash>>,
    /// Why the last seal failed.
    seal_failure: SealFailure,
}

/// Why a seal failed.
#[derive(Debug, Clone, Default)]
pub(super) struct SealFailure {
    pub(super) reason: String,
    /// Whether the disk was full.
    pub(super) full: bool,
}

impl Blobs {
    /// Of a store whose blobs up to `durable_epoch` are on disk, except perhaps the `unverified` ones.
    pub(super) fn new(
        epoch: u64,
        durable_epoch: u64,
        unverified: impl Iterator<Item = BlobHash>,
    ) -> Self {
        Self {
            pending: BTreeMap::new(),
            pending_since: None,
            epoch,
            durable_epoch,
            unverified: Unverified::of(unverified),
            used: None,
            seal_failure: SealFailure::default(),
        }
    }

    /// Whether blobs wait for their rows.
    pub(super) fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether blobs that nothing names so far have waited for long enough, or are too many.
    pub(super) fn is_pending_due(&self, now: Instant) -> bool {
        self.pending.len() >= PENDING_MAX
            || self.pending_since.is_some_and(|since| now - since >= PENDING_INTERVAL)
    }

    /// Whether a blob waits for its row (or for its touch): the collector leaves it alone.
    pub(super) fn is_pending(&self, hash: &BlobHash) -> bool {
        self.pending.contains_key(hash)
    }

    /// These blobs have rows now.
    pub(super) fn written(&mut self, written: &[BlobHash], now: Instant) {
        for hash in written {
            self.pending.remove(hash);
        }
        self.pending_since = (!self.pending.is_empty()).then_some(now);
    }

    /// Changes the references of names, and writes the rows of those of their blobs that are pending.
    /// Once the transaction is committed, the returned ones are to be given to [`Blobs::written`].
    pub(super) fn write_named(
        &self,
        tx: &Tx<'_>,
        references: BTreeMap<ContentName, i64>,
        now: Timestamp,
    ) -> std::result::Result<Vec<BlobHash>, StoreError> {
        rows::write_named(tx, &self.pending, references, now)
    }

    /// Notes digests of blobs. A name that is in use holds its blob from now on.
    pub(super) fn note_digests(
        &mut self,
        writer: &mut StoreWriter,
        digests: &[(Sha256, BlobHash)],
        now: Now,
    ) -> Result<()> {
        let pending = &self.pending;
        let written = writer.write(|tx| {
            let mut held = BTreeMap::new();
            for (digest, blob) in digests {
                if tx.learn_digest(digest, blob)? {
                    *held.entry(*blob).or_insert(0) += 1;
                }
            }
            rows::write_counted(tx, pending, held, now.time)
        })?;
        self.written(&written, now.instant);
        Ok(())
    }

    /// Notes where a bucket has blobs. What was stored here meanwhile, by whoever has it himself, gets no place: the store
    /// is where that can be had, and a reclaim must not take it.
    pub(super) fn note_in_bucket(
        &self,
        writer: &mut StoreWriter,
        remote: &RemoteName,
        (places, of): (&[(BucketPlace, u64)], PlacesOf),
        now: Now,
    ) -> Result<()> {
        let pending = &self.pending;
        let absent: Vec<BlobHash> = writer.write(|tx| {
            match of {
                PlacesOf::Fetched => tx.put_places(remote, places)?,
                PlacesOf::Held => tx.add_places(remote, places)?,
                PlacesOf::Absent => {
                    let (mut lacking, mut held) = (Vec::new(), Vec::new());
                    for place in places {
                        let (BucketPlace { blob, .. }, size) = place;
                        // A pending one is stored, whatever its row says.
                        let is_absent = !pending.contains_key(blob)
                            && tx.insert_absent_blob(blob, *size, now.time)?;
                        if is_absent { &mut lacking } else { &mut held }.push(place.clone());
                    }
                    tx.put_places(remote, &lacking)?;
                    tx.add_places(remote, &held)?;
                    return Ok(lacking.into_iter().map(|(place, _)| place.blob).collect());
                }
            }
            Ok(Vec::new())
        })?;
        writer.store().pool.mark_absent(&absent);
        Ok(())
    }

    /// Writes the rows of those of the blobs that are pending.
    pub(super) fn write_rows(
        &mut self,
        writer: &mut StoreWriter,
        hashes: &[BlobHash],
        now: Now,
    ) -> Result<()> {
        let is_pending = |hash: &&BlobHash| self.pending.contains_key(*hash);
        let written: Vec<BlobHash> = hashes.iter().filter(is_pending).copied().collect();
        let pending = &self.pending;
        writer.write(|tx| rows::write_blobs(tx, pending, &written, BTreeMap::new(), now.time))?;
        self.written(&written, now.instant);
        Ok(())
    }

    /// Writes the rows of those pending blobs that were absent, damaged, or the cache of a bucket, and are not any more. A
    /// commit does so before it publishes: trees that name them exist, perhaps, so that no page is written which has their
    /// rows written, too; and what it acknowledges is to be stored here, and nobody's cache, also after a crash.
    pub(super) fn write_changed(&mut self, writer: &mut StoreWriter, now: Now) -> Result<()> {
        let has_caches = !self.pending.is_empty() && writer.reader().any_places()?;
        let is_changed = |blob: &PendingBlob| match blob.change {
            Change::New { .. } => false,
            Change::Renewed { .. } => true,
            Change::Reused => has_caches && blob.is_own,
        };
        let changed = self.pending.iter().filter(|(_, blob)| is_changed(blob));
        let changed: Vec<BlobHash> = changed.map(|(hash, _)| *hash).collect();
        changed.chunks(PENDING_PER_BATCH).try_for_each(|some| self.write_rows(writer, some, now))
    }

    /// Writes rows of pending blobs that nothing names, some thousands at a time. Returns whether
    /// all are written.
    pub(super) fn write_pending(&mut self, writer: &mut StoreWriter, now: Now) -> Result<bool> {
        let written: Vec<BlobHash> = self.pending.keys().copied().take(PENDING_PER_BATCH).collect();
        let pending = &self.pending;
        writer.write(|tx| rows::write_blobs(tx, pending, &written, BTreeMap::new(), now.time))?;
        writer.note_written(written.len());
        self.written(&written, now.instant);
        Ok(self.pending.is_empty())
    }

    /// Writes pages of trees with the references that each new one holds: "row and children's
    /// counts" is the atomic unit (H7). They are unreferenced themselves: the caller pins them.
    pub(super) fn write_pages(
        &mut self,
        writer: &mut StoreWriter,
        pages: &[Page],
        now: Now,
    ) -> Result<()> {
        let parsed = rows::parse(pages)?;
        let pending = &self.pending;
        let written =
            writer.write(|tx| rows::write_pages(tx, pages, &parsed, pending, now.time))?;
        writer.note_written(pages.len() + written.len());
        self.written(&written, now.instant);
        Ok(())
    }

    /// Writes pages as [`Blobs::write_pages`] does, and pins each.
    pub(super) fn keep_pages(
        &mut self,
        writer: &mut StoreWriter,
        pages: &[Page],
        now: Now,
    ) -> Result<Vec<TreePin>> {
        self.write_pages(writer, pages, now)?;
        Ok(pages.iter().map(|(tree, _)| TreePin::new(writer.pins(), *tree)).collect())
    }

    /// Blobs made from now on belong to a new epoch; returns the one that ended.
    pub(super) fn close_epoch(&mut self) -> u64 {
        let ended = self.epoch;
        self.epoch += 1;
        ended
    }

    /// The content of all blobs up to this epoch is on disk.
    pub(super) fn note_durable(&mut self, epoch: u64) {
        self.durable_epoch = self.durable_epoch.max(epoch);
    }

    /// Blobs that may not be on disk yet, at most `limit` of them.
    pub(super) fn unsynced(
        &self,
        writer: &mut StoreWriter,
        limit: usize,
    ) -> std::result::Result<Vec<BlobHash>, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let mut blobs: Vec<BlobHash> = {
            let rows = writer.begin()?.blobs_since_epoch(self.durable_epoch, limit)?;
            rows.into_iter().map(|(hash, _)| hash).collect()
        };
        let durable = self.durable_epoch;
        let late = |blob: &PendingBlob| blob.epoch().is_some_and(|epoch| epoch > durable);
        let pending = self.pending.iter().filter(|(_, blob)| late(blob));
        blobs.extend(pending.map(|(hash, _)| *hash));
        Ok(blobs)
    }

    /// Notes from now on which blobs are used, for somebody who is about to remove some.
    pub(super) fn watch_uses(&mut self) {
        self.used = Some(BTreeSet::new());
    }

    /// Nobody needs to know any more which blobs are used.
    pub(super) fn end_watch(&mut self) {
        self.used = None;
    }

    /// Whether a blob was made or reused since they are watched.
    pub(super) fn was_used(&self, hash: &BlobHash) -> bool {
        self.used.as_ref().is_some_and(|used| used.contains(hash))
    }

    /// Why the last seal failed.
    pub(super) fn seal_failure(&self) -> &SealFailure {
        &self.seal_failure
    }
}
