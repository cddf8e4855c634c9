//! The blobs: which the backup lacks, and how they get there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Watch;
use super::draft::Draft;
use super::error::{BackupError, Result};
use super::target::Target;
use crate::control::backup::{BackupReport, DAMAGED_MAX, DamagedBlob};
use crate::control::protocol::Progress;
use crate::store::catalog::{BlobFacts, Presence};
use crate::store::durable;
use crate::store::error::{StoreError, is_damage};
use crate::store::layout::Layout;
use crate::store::pool::Copied;

/// Rows read at once.
const BLOBS_PER_STEP: u32 = 512;

/// What is written goes to disk after so many bytes or files, so that it does not come all at once.
const SYNC_BYTES: u64 = 64 << 20;
const SYNC_FILES: u32 = 4096;

/// Looks at a blob that seems damaged: it may be healed while it is read.
const LOOKS: u32 = 2;

/// The content of one backup.
pub(super) struct BlobCopier<'a> {
    source: &'a Layout,
    target: &'a Target,
    /// What was done so far; what is in the backup is counted anew by each [`BlobCopier::copy`].
    pub(super) report: BackupReport,
    unsynced: (u64, u32),
}

impl<'a> BlobCopier<'a> {
    pub(super) fn new(source: &'a Layout, target: &'a Target) -> Self {
        Self { source, target, report: BackupReport::default(), unsynced: (0, 0) }
    }

    /// Brings every blob that the draft names into the backup, and marks those in the draft that
    /// are damaged. `first` is the draft of an earlier round of this run.
    pub(super) fn copy(
        &mut self,
        draft: &mut Draft,
        first: Option<&Draft>,
        watch: Watch<'_>,
    ) -> Result<()> {
        let report = &mut self.report;
        (report.blobs, report.blobs_bytes, report.damaged) = (0, 0, 0);
        report.damaged_blobs.clear();
        let rows = draft.rows()?;
        let (_, total) = rows.blob_totals()?;
        let mut shown = Shown { done: 0, total, watch };
        let mut after = None;
        loop {
            let (mut blobs, mut bad) = (Vec::new(), None);
            rows.blobs(after, BLOBS_PER_STEP, &mut |row| match row {
                Ok(blob) => blobs.push(blob),
                Err(row) => bad = Some(row),
            })?;
            if let Some(row) = bad {
                return Err(BackupError::Row(row));
            }
            let Some(last) = blobs.last() else { return Ok(()) };
            after = Some(last.hash);
            let mut changes = Vec::new();
            // What a bucket has is in no pool, and the backup's catalog says where it can be had.
            for blob in blobs.iter().filter(|blob| blob.presence != Presence::Absent) {
                let damage = self.bring(blob, first, &mut shown)?;
                if damage.is_some() != (blob.presence == Presence::Damaged) {
                    changes.push((blob.hash, damage.is_some()));
                }
                self.count(blob, damage);
            }
            draft.mark(&changes)?;
        }
    }

    fn count(&mut self, blob: &BlobFacts, damage: Option<String>) {
        let report = &mut self.report;
        let Some(reason) = damage else {
            report.blobs += 1;
            report.blobs_bytes += blob.size;
            return;
        };
        report.damaged += 1;
        if report.damaged_blobs.len() < DAMAGED_MAX {
            report.damaged_blobs.push(DamagedBlob { hash: blob.hash.to_string(), reason });
        }
    }

    /// Sees to it that the backup has a blob. Returns why it cannot have it.
    fn bring(
        &mut self,
        blob: &BlobFacts,
        first: Option<&Draft>,
        shown: &mut Shown<'_>,
    ) -> Result<Option<String>> {
        let before = shown.done;
        let there = self.target.has(blob, first, &mut |count| shown.more(count))?;
        let mut damage = None;
        if !there {
            for _ in 0..LOOKS {
                shown.done = before;
                damage = self.copy_blob(blob, shown)?;
                if damage.is_none() {
                    break;
                }
            }
        }
        shown.done = before;
        shown.more(blob.size);
        Ok(damage)
    }

    fn copy_blob(&mut self, blob: &BlobFacts, shown: &mut Shown<'_>) -> Result<Option<String>> {
        let path = self.source.blob(&blob.hash);
        let source = match open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Some("it is no file".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("its file is missing".to_owned()));
            }
            Err(error) => return unreadable(error, &path),
        };
        let target = self.target;
        let (pool, lock) = (target.pool(), target.lock());
        let mut read = |count| shown.more(count);
        match pool.copy_incoming(&source, &blob.hash, blob.size, &mut read)? {
            Copied::Whole(incoming) => pool.adopt(lock, incoming, &blob.hash)?,
            Copied::Altered => return Ok(Some("its content is not what was stored".to_owned())),
            Copied::Unreadable(error) => return unreadable(error, &path),
        }
        self.report.copied += 1;
        self.report.copied_bytes += blob.size;
        self.unsynced = (self.unsynced.0 + blob.size, self.unsynced.1 + 1);
        if self.unsynced.0 >= SYNC_BYTES || self.unsynced.1 >= SYNC_FILES {
            self.unsynced = (0, 0);
            durable::syncfs(self.target.layout().root())?;
        }
        Ok(None)
    }
}

/// How far it is.
struct Shown<'w> {
    done: u64,
    total: u64,
    watch: Watch<'w>,
}

impl Shown<'_> {
    fn more(&mut self, count: u64) {
        self.done += count;
        let what = "copying content".to_owned();
        let (done, total) = (self.done, Some(self.total));
        (self.watch)(Progress::Step { what, done, total, is_bytes: true });
    }
}

/// Opens a blob's file; `None` when it is something else.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => Ok(None),
        opened => {
            let file = opened?;
            Ok(file.metadata()?.is_file().then_some(file))
        }
    }
}

/// The disk's errors are damage, others are ours.
fn unreadable(source: io::Error, path: &Path) -> Result<Option<String>> {
    if is_damage(&source) {
        return Ok(Some(format!("unreadable: {source}")));
    }
    Err(StoreError::Io { action: "read", path: path.to_owned(), source }.into())
}
