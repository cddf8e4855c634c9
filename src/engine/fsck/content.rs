//! The files of the pool against the rows of their blobs.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::finding::{BlobDamage, Finding};
use super::{Check, Stopped, Suspicion};
use crate::model::hash::BlobHash;
use crate::store::catalog::{BlobFacts, Presence};
use crate::store::error::{Result, StoreError, is_damage};
use crate::store::hash_file::hash_file;
use crate::store::pool::{BlobFile, Damage, Pool};

/// Rows read between two looks at whether to go on.
const BLOBS_PER_STEP: u32 = 512;

/// Damaged blobs that are marked at a time: the files that were looked at are open until then.
const MARKS_MAX: usize = 64;

/// What a look at a blob's file shows.
#[derive(Debug)]
pub(in crate::engine) enum Examined {
    /// The content is right as far as it was looked at; with what the disk says of the file.
    Sound(BlobFile),
    /// Something is wrong; with the file, if its content was looked at.
    Damaged(BlobDamage, Option<Arc<File>>),
    /// `read` ended it.
    Ended,
}

/// Looks at the length of a blob's file, and, when `full`, at its content, by [`hash_file`]: `read` is
/// told how many bytes each piece has and says whether to go on.
///
/// # Errors
/// The file cannot be looked at for a reason that is not its own.
pub(in crate::engine) fn examine(
    pool: &Pool,
    hash: &BlobHash,
    size: u64,
    full: bool,
    read: &mut dyn FnMut(u64) -> bool,
) -> Result<Examined> {
    let blob_file = match pool.look_at(hash) {
        Ok(Some(found)) if found.size == size => found,
        Ok(Some(found)) => return Ok(Examined::Damaged(BlobDamage::Size(found.size), None)),
        Ok(None) => return Ok(Examined::Damaged(BlobDamage::Missing, None)),
        Err(StoreError::Io { source, .. }) if is_damage(&source) => {
            return Ok(Examined::Damaged(BlobDamage::Unreadable(source.to_string()), None));
        }
        Err(error) => return Err(error),
    };
    if !full {
        return Ok(Examined::Sound(blob_file));
    }
    let path = pool.path(hash);
    let file = match File::open(&path) {
        Ok(file) => Arc::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Examined::Damaged(BlobDamage::Missing, None));
        }
        Err(error) if is_damage(&error) => {
            return Ok(Examined::Damaged(BlobDamage::Unreadable(error.to_string()), None));
        }
        Err(source) => return Err(StoreError::Io { action: "check", path, source }),
    };
    let look = &mut |_, piece: &[u8]| match read(piece.len() as u64) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let damage = match hash_file(&file, size, look) {
        Ok(ControlFlow::Break(())) => return Ok(Examined::Ended),
        Ok(ControlFlow::Continue(found)) if found == *hash => {
            return Ok(Examined::Sound(blob_file));
        }
        Ok(ControlFlow::Continue(_)) => BlobDamage::Altered,
        Err(error) if is_damage(&error) => BlobDamage::Unreadable(error.to_string()),
        Err(source) => return Err(StoreError::Io { action: "check", path, source }),
    };
    Ok(Examined::Damaged(damage, Some(file)))
}

/// A blob that is to be marked damaged.
struct Unconfirmed {
    seen: Damage,
    /// As its row says, in bytes.
    size: u64,
    damage: BlobDamage,
}

impl Check<'_> {
    pub(super) fn check_content(&mut self) -> std::result::Result<(), Stopped> {
        let full = self.options.full;
        let latest = self.subject.snapshots.latest()?;
        // A damaged table has been reported; what of it can be read is looked at.
        let (blobs, bytes) = latest.blob_totals().or_else(or_nothing)?;
        let total = if full { bytes } else { blobs };
        let mut after = None;
        let mut unconfirmed = Vec::new();
        loop {
            let mut rows: Vec<BlobFacts> = Vec::new();
            // Rows that cannot be read have been reported with the counts.
            latest.blobs(after, BLOBS_PER_STEP, &mut |row| rows.extend(row.ok()))?;
            let Some(last) = rows.last() else { return self.check_linked() };
            after = Some(last.hash);
            for blob in &rows {
                unconfirmed.extend(self.check_blob(blob, total)?);
                if unconfirmed.len() >= MARKS_MAX {
                    self.mark(&mut unconfirmed)?;
                }
            }
            self.mark(&mut unconfirmed)?;
            let done = if full { self.report.bytes } else { self.report.blobs };
            self.sink.progress(step(full), done, total);
            self.check_cancelled()?;
        }
    }

    /// Has damaged blobs marked at once, whether or not anything is to be repaired: that loses
    /// nothing, and until then their content is served and taken for known.
    fn mark(&mut self, unconfirmed: &mut Vec<Unconfirmed>) -> std::result::Result<(), Stopped> {
        if unconfirmed.is_empty() {
            return Ok(());
        }
        let damage = unconfirmed.iter().map(|blob| blob.seen.clone()).collect();
        let marked = self.sink.mark(damage)?;
        for Unconfirmed { seen, size, damage } in unconfirmed.drain(..) {
            self.broken_blob(seen.hash, size, damage, marked);
        }
        Ok(())
    }

    /// Looks at a blob, and returns it when it is to be marked.
    fn check_blob(
        &mut self,
        blob: &BlobFacts,
        total: u64,
    ) -> std::result::Result<Option<Unconfirmed>, Stopped> {
        let unconfirmed = |damage, file| {
            let seen = Damage { hash: blob.hash, file };
            Ok(Some(Unconfirmed { seen, size: blob.size, damage }))
        };
        if blob.presence == Presence::Absent {
            return Ok(None);
        }
        self.report.blobs += 1;
        let damage = match self.examine(blob, total)? {
            Examined::Ended => return Err(Stopped::Cancelled),
            Examined::Sound(file) if blob.presence == Presence::Stored => {
                self.check_file(blob, file);
                return Ok(None);
            }
            // Collected, healed or changed in between: the row says so.
            examined => match self.subject.snapshots.latest()?.blob(&blob.hash)? {
                Some(now) if now.presence != Presence::Absent => {
                    (examined, now.presence == Presence::Damaged)
                }
                Some(_) | None => return Ok(None),
            },
        };
        match damage {
            (Examined::Sound(_), true) if self.options.full => {
                self.found(Finding::BlobSound(blob.hash));
            }
            (Examined::Sound(_), true) => {
                self.broken_blob(blob.hash, blob.size, BlobDamage::Marked, true);
            }
            (Examined::Sound(_), false) | (Examined::Ended, _) => {}
            (Examined::Damaged(BlobDamage::Altered | BlobDamage::Unreadable(_), _), _) => {
                // It may have been healed while it was read.
                if let Examined::Damaged(damage, file) = self.examine(blob, total)? {
                    return unconfirmed(damage, file);
                }
            }
            (Examined::Damaged(damage, file), _) => {
                if self.sink.confirm(Suspicion::Blob(blob.hash, blob.size))? {
                    return unconfirmed(damage, file);
                }
            }
        }
        Ok(None)
    }

    fn examine(&mut self, blob: &BlobFacts, total: u64) -> std::result::Result<Examined, Stopped> {
        let (sink, report) = (&mut *self.sink, &mut self.report);
        let full = self.options.full;
        let mut read = |count| {
            report.bytes += count;
            sink.progress(step(full), report.bytes, total);
            !sink.is_cancelled()
        };
        Ok(examine(&self.subject.pool, &blob.hash, blob.size, full, &mut read)?)
    }
}

fn or_nothing<T: Default>(error: StoreError) -> Result<T> {
    if error.is_corrupt() { Ok(T::default()) } else { Err(error) }
}

fn step(full: bool) -> &'static str {
    if full { "hashing blobs" } else { "looking at blobs" }
}
