//! The files of the pool against the rows of their blobs.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use super::finding::{BlobDamage, Finding};
use super::{Check, Stopped, Suspicion};
use crate::model::hash::BlobHash;
use crate::store::catalog::BlobFacts;
use crate::store::error::{Result, StoreError};
use crate::store::pool::Pool;
use crate::store::sys;

/// Rows read between two looks at whether to go on.
const BLOBS_PER_STEP: u32 = 512;

/// Bytes hashed between two looks at whether to go on.
pub(in crate::engine) const CHUNK_BYTES: usize = 1 << 20;

/// Errors that mean that the disk, not the process, cannot read a file.
const DISK_ERRORS: [rustix::io::Errno; 4] = [
    rustix::io::Errno::IO,
    rustix::io::Errno::UCLEAN,
    rustix::io::Errno::NODATA,
    rustix::io::Errno::BADMSG,
];

/// What a look at a blob's file shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Examined {
    /// Nothing wrong, as far as was looked.
    Sound,
    /// Something wrong.
    Damaged(BlobDamage),
    /// The look was ended.
    Ended,
}

/// Looks at the length of a blob's file, and, when `full`, at its content, in steps of
/// [`CHUNK_BYTES`]: `read` hears of each and says whether to go on. What is read leaves the page
/// cache again, unless others have it there.
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
    match pool.size_on_disk(hash) {
        Ok(Some(found)) if found == size => {}
        Ok(Some(found)) => return Ok(Examined::Damaged(BlobDamage::Size(found))),
        Ok(None) => return Ok(Examined::Damaged(BlobDamage::Missing)),
        Err(StoreError::Io { source, .. }) if is_disk_error(&source) => {
            return Ok(Examined::Damaged(BlobDamage::Unreadable(source.to_string())));
        }
        Err(error) => return Err(error),
    }
    if !full {
        return Ok(Examined::Sound);
    }
    let path = pool.path(hash);
    let hashed = File::open(&path).and_then(|file| hash_file(&file, size, read));
    match hashed {
        Ok(ControlFlow::Break(())) => Ok(Examined::Ended),
        Ok(ControlFlow::Continue(found)) if found == *hash => Ok(Examined::Sound),
        Ok(ControlFlow::Continue(_)) => Ok(Examined::Damaged(BlobDamage::Altered)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Examined::Damaged(BlobDamage::Missing))
        }
        Err(error) if is_disk_error(&error) => {
            Ok(Examined::Damaged(BlobDamage::Unreadable(error.to_string())))
        }
        Err(source) => Err(StoreError::Io { action: "check", path, source }),
    }
}

fn is_disk_error(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    errno.is_some_and(|errno| DISK_ERRORS.contains(&errno))
}

fn hash_file(
    file: &File,
    size: u64,
    read: &mut dyn FnMut(u64) -> bool,
) -> io::Result<ControlFlow<(), BlobHash>> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES)).max(1)];
    let mut offset = 0;
    loop {
        let count = match sys::read_passing(file, &mut chunk, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return Ok(ControlFlow::Continue(hasher.finalize().into()));
        }
        hasher.update(&chunk[..count]);
        offset += count as u64;
        if !read(count as u64) {
            return Ok(ControlFlow::Break(()));
        }
    }
}

impl Check<'_> {
    pub(super) fn check_content(&mut self) -> std::result::Result<(), Stopped> {
        let full = self.options.full;
        let latest = self.subject.snapshots.latest()?;
        // A damaged table has been reported; what of it can be read is looked at.
        let (blobs, bytes) = latest.blob_totals().or_else(or_nothing)?;
        let total = if full { bytes } else { blobs };
        let mut after = None;
        loop {
            let mut rows: Vec<BlobFacts> = Vec::new();
            // Rows that cannot be read have been reported with the counts.
            latest.blobs(after, BLOBS_PER_STEP, &mut |row| rows.extend(row.ok()))?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.hash);
            for blob in &rows {
                self.check_blob(blob, total)?;
            }
            let done = if full { self.report.bytes } else { self.report.blobs };
            self.sink.progress(step(full), done, total);
            self.check_cancelled()?;
        }
    }

    fn check_blob(&mut self, blob: &BlobFacts, total: u64) -> std::result::Result<(), Stopped> {
        self.report.blobs += 1;
        let damage = match self.examine(blob, total)? {
            Examined::Ended => return Err(Stopped::Cancelled),
            Examined::Sound if !blob.damaged => return Ok(()),
            // Collected, healed or changed in between: the row says so.
            examined => match self.subject.snapshots.latest()?.blob(&blob.hash)? {
                None => return Ok(()),
                Some(now) => (examined, now.damaged),
            },
        };
        match damage {
            (Examined::Sound, true) if self.options.full => {
                self.found(Finding::BlobSound(blob.hash));
            }
            (Examined::Sound, true) => {
                self.broken_blob(blob.hash, blob.size, BlobDamage::Marked);
            }
            (Examined::Sound, false) | (Examined::Ended, _) => {}
            (Examined::Damaged(BlobDamage::Altered | BlobDamage::Unreadable(_)), _) => {
                // It may have been healed while it was read.
                if let Examined::Damaged(damage) = self.examine(blob, total)? {
                    self.broken_blob(blob.hash, blob.size, damage);
                }
            }
            (Examined::Damaged(damage), _) => {
                if self.sink.confirm(Suspicion::Blob(blob.hash, blob.size))? {
                    self.broken_blob(blob.hash, blob.size, damage);
                }
            }
        }
        Ok(())
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
