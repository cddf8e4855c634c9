//! Blobs that cannot be trusted: what an outage may have taken, and what was found damaged.
//!
//! After an outage the blobs that may not have reached the disk are hashed before they are reused or
//! published (H3). That this is to be done is a note of the catalog, so that a stop before its end
//! does not make it forgotten. What is found damaged is marked in the pool, which refuses to open it
//! from then on, and in its row, which makes that last; a blob without a row gets one. A mark that
//! cannot be written now is kept here and tried again. Must not know who found the damage.

use std::collections::{BTreeMap, BTreeSet};

use super::Blobs;
use super::rows::write_blobs;
use crate::engine::error::{EngineError, Result};
use crate::engine::event::Event;
use crate::engine::now::Now;
use crate::engine::reply::Reply;
use crate::engine::writer::StoreWriter;
use crate::model::hash::BlobHash;
use crate::store::pool::Damage;

/// Name of the catalog's note: blobs written after this epoch are to be hashed, or nothing.
pub(in crate::engine) const UNCHECKED: &str = "unchecked_since";

/// What is not trusted.
#[derive(Debug, Default)]
pub(super) struct Unverified {
    /// Blobs that an outage may have damaged and that were not checked yet.
    blobs: BTreeSet<BlobHash>,
    /// The catalog has the note of them.
    noted: bool,
    /// Damaged blobs that are not marked yet.
    unmarked: BTreeSet<BlobHash>,
}

impl Unverified {
    /// Of these blobs; the note says so.
    pub(super) fn of(blobs: impl Iterator<Item = BlobHash>) -> Self {
        let blobs: BTreeSet<BlobHash> = blobs.collect();
        Self { noted: !blobs.is_empty(), blobs, unmarked: BTreeSet::new() }
    }

    /// Whether a blob's file may not be what its name says.
    pub(super) fn concern(&self, hash: &BlobHash) -> bool {
        self.blobs.contains(hash) || self.unmarked.contains(hash)
    }

    /// Whether some blobs are still to be checked.
    fn has_blobs(&self) -> bool {
        !self.blobs.is_empty()
    }

    /// How many are.
    pub(super) fn count(&self) -> u64 {
        self.blobs.len() as u64
    }

    /// Whether every blob is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.unmarked.is_empty()
    }

    /// The blob's file was made anew; returns whether the old one was not trusted.
    pub(super) fn renewed(&mut self, hash: &BlobHash) -> bool {
        self.blobs.remove(hash) | self.unmarked.remove(hash)
    }
}

impl Blobs {
    /// How many blobs are still to be checked after an outage.
    pub(in crate::engine) fn unverified_count(&self) -> u64 {
        self.unverified.count()
    }

    /// The result of checking a blob after an outage.
    pub(in crate::engine) fn blob_verified(
        &mut self,
        writer: &mut StoreWriter,
        hash: BlobHash,
        intact: bool,
        now: Now,
    ) {
        if self.unverified.blobs.contains(&hash) && !intact {
            // It is still on the list, so its file was not replaced since: this is the file that was hashed.
            self.mark(writer, BTreeSet::from([hash]), now);
            let changed = Event::BlobsChanged(writer.names_of([hash]));
            writer.notify_apart(vec![changed], || ());
        }
        self.unverified.blobs.remove(&hash);
        self.end_check(writer);
    }

    /// Forgets the outage once all that it left is known.
    fn end_check(&mut self, writer: &mut StoreWriter) {
        let unverified = &self.unverified;
        if !unverified.noted || unverified.has_blobs() || !unverified.unmarked.is_empty() {
            return;
        }
        self.unverified.noted = false;
        if let Err(error) = writer.write(|tx| tx.set_meta(UNCHECKED, "")) {
            log::warn!("the next start checks again what this one did: {error}");
        }
    }

    /// Marks those of the blobs that are still damaged. Readers get an error from now on, the kernel
    /// forgets what it has of their content, and storing it again will replace the file (H5). After
    /// that `reply` is told whether all marks are in the catalog.
    pub(in crate::engine) fn note_damage(
        &mut self,
        writer: &mut StoreWriter,
        damage: &[Damage],
        reply: Reply<bool>,
        now: Now,
    ) {
        if !writer.store().lock.is_in_place(&writer.store().layout) {
            // Nothing at all is found any more, which says nothing of these blobs.
            writer.poison().set("the store was removed, or its disk is gone");
            return reply(Err(EngineError::Poisoned));
        }
        let mut marked = BTreeSet::new();
        for damage in damage {
            match self.is_damaged_now(writer, damage) {
                Ok(true) => {
                    marked.insert(damage.hash);
                }
                Ok(false) => {}
                Err(error) => log::warn!("whether a blob is damaged cannot be told: {error}"),
            }
        }
        self.mark(writer, marked, now);
        let written = !damage.iter().any(|damage| self.unverified.unmarked.contains(&damage.hash));
        let changed = Event::BlobsChanged(writer.names_of(damage.iter().map(|damage| damage.hash)));
        writer.notify_apart(vec![changed], move || reply(Ok(written)));
    }

    fn mark(&mut self, writer: &mut StoreWriter, damaged: BTreeSet<BlobHash>, now: Now) {
        for hash in damaged {
            log::error!("blob {hash} is damaged; storing its content again heals it");
            writer.store().pool.mark_damaged([hash]);
            if let Err(error) = self.mark_damaged(writer, &hash, now) {
                log::error!("the damage cannot be noted yet: {error}");
                self.unverified.unmarked.insert(hash);
            }
        }
    }

    /// Whether a blob that somebody knows is damaged, and not marked yet. It may have been healed
    /// since it was looked at.
    fn is_damaged_now(&self, writer: &StoreWriter, damage: &Damage) -> Result<bool> {
        let size = match self.pending.get(&damage.hash) {
            Some(pending) => Some(pending.size),
            // One that is absent has no file that could be damaged.
            None => writer
                .reader()
                .blob(&damage.hash)?
                .and_then(|row| (!row.is_absent()).then_some(row.size)),
        };
        match size {
            Some(size) if !writer.store().pool.is_damaged(&damage.hash) => {
                Ok(writer.store().pool.is_still_damaged(damage, size)?)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn mark_damaged(&mut self, writer: &mut StoreWriter, hash: &BlobHash, now: Now) -> Result<()> {
        let pending = &self.pending;
        writer.write(|tx| {
            write_blobs(tx, pending, &[*hash], BTreeMap::new(), now.time)?;
            // One without a row has been collected, and one that is absent has no file: nothing is left to be marked.
            if tx.blob(hash)?.is_some_and(|row| !row.is_absent()) {
                tx.set_blob_damaged(hash, true)?;
            }
            Ok(())
        })?;
        if self.pending.contains_key(hash) {
            self.written(&[*hash], now.instant);
        }
        Ok(())
    }

    /// Marks what could not be marked before.
    pub(in crate::engine) fn mark_all_damage(
        &mut self,
        writer: &mut StoreWriter,
        now: Now,
    ) -> Result<()> {
        for hash in self.unverified.unmarked.clone() {
            self.mark_damaged(writer, &hash, now)?;
            self.unverified.unmarked.remove(&hash);
        }
        self.end_check(writer);
        Ok(())
    }
}
