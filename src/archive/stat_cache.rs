//! What imports remember of the files they read, so that the next one need not read them again.
//!
//! A stat cache belongs to the directory that was imported and lies in a cache directory of the
//! caller's. It has one record per regular file: inode, size, time of modification, time of change,
//! hash. A file whose status equals its record in all of them is not opened: its content is the one
//! that was hashed, whatever it is called now. Users cannot set the time of change, and the kernel
//! renews it with each write, truncation, rename and change of attributes. It is compared for
//! equality only, so a clock that was set back does no harm.
//!
//! Invariants: nothing is remembered of a file that changed shortly before the import began (its
//! file system may count whole seconds, so that a later change could leave the time as it is), that
//! is on another device than the top, or on a file system whose times of change are not known to
//! be the kernel's own (an image can be made with all times equal). A stat cache that is damaged, of
//! another directory, or not the caller's alone is no stat cache. Not noticed are stores through a shared
//! mapping whose page was dirty already while the file was read, and what a power loss undoes.
//! This module knows nothing of the store: whether it has a content is asked anew each time.

mod format;
mod place;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::stat::{FileId, Stat};
use crate::model::hash::BlobHash;
use crate::model::time::Timestamp;

/// Files remembered of one directory; what is beyond is read each time. Some 80 bytes each.
const RECORDS_MAX: usize = 4_000_000;
/// Seconds by which a file's last change must precede the import. The coarsest times are those of
/// ext4 with small inodes: whole seconds.
const SETTLED_SECONDS: i64 = 2;

/// Whether and where an import remembers.
#[derive(Debug, Clone)]
pub struct StatCacheOptions {
    /// The caller's own directory for stat caches; made where it is missing.
    pub directory: PathBuf,
    /// Reads every file nevertheless, and remembers it.
    pub read_all: bool,
    /// When the import began.
    pub now: Timestamp,
}

/// What is remembered of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    inode: u64,
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    hash: BlobHash,
    /// It had no extended attributes, neither kept ones nor ACLs.
    plain: bool,
}

/// A file whose content is known without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) hash: BlobHash,
    /// It had no extended attributes.
    pub(super) plain: bool,
}

/// The stat cache of a directory that is being imported.
#[derive(Debug)]
pub(super) struct StatCache {
    directory: PathBuf,
    top: FileId,
    now: Timestamp,
    before: HashMap<u64, Record>,
}

impl StatCache {
    /// The stat cache of the directory `top`, if there can be one.
    pub(super) fn load(options: &StatCacheOptions, top: impl AsFd) -> Option<Self> {
        let stat = Stat::of(&top).ok()?;
        let kind = rustix::fs::fstatfs(&top).ok()?.f_type;
        if !keeps_change_times(u64::try_from(kind).ok()?) {
            return None;
        }
        let before = if options.read_all {
            HashMap::new()
        } else {
            let records = place::read(&options.directory, stat.id).unwrap_or_default();
            records.into_iter().map(|record| (record.inode, record)).collect()
        };
        let directory = options.directory.clone();
        Some(Self { directory, top: stat.id, now: options.now, before })
    }

    /// What the content of a regular file with this status is known to be.
    pub(super) fn find(&self, stat: &Stat) -> Option<Remembered> {
        let record = self.before.get(&stat.id.inode)?;
        let same = record.size == stat.size
            && record.mtime == stat.mtime
            && record.ctime == stat.ctime
            && stat.id.device == self.top.device;
        same.then_some(Remembered { hash: record.hash, plain: record.plain })
    }

    /// What to remember of a regular file that had this status before it was read.
    pub(super) fn record(&self, stat: &Stat, hash: BlobHash, plain: bool) -> Option<Record> {
        let settled = self.now.seconds_since(stat.ctime) > SETTLED_SECONDS;
        (settled && stat.id.device == self.top.device).then_some(Record {
            inode: stat.id.inode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
            hash,
            plain,
        })
    }

    /// Keeps `records` for the next import. If that fails, the next import reads the files again,
    /// and nothing else is lost.
    pub(super) fn save(&self, mut records: Vec<Record>) {
        records.sort_unstable_by_key(|record| record.inode);
        records.truncate(RECORDS_MAX);
        if let Err(error) = place::write(&self.directory, self.top, &records) {
            let directory = self.directory.display();
            log::debug!("the stat cache of the import is not kept in {directory}: {error}");
        }
    }
}

/// By what a file that was read is known again without reading it.
#[cfg(feature = "net")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileState {
    device: (u32, u32),
    inode: u64,
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

#[cfg(feature = "net")]
impl FileState {
    /// The state of an open file.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn of(file: impl AsFd) -> std::io::Result<Self> {
        let Stat { id: FileId { device, inode }, size, mtime, ctime, .. } = Stat::of(file)?;
        Ok(Self { device, inode, size, mtime, ctime })
    }

    /// Whether the same state means the same content later, of a file whose reading began at `now`.
    pub(crate) fn can_be_believed(&self, file: impl AsFd, now: Timestamp) -> bool {
        let kind =
            rustix::fs::fstatfs(file).ok().and_then(|found| u64::try_from(found.f_type).ok());
        kind.is_some_and(keeps_change_times) && now.seconds_since(self.ctime) > SETTLED_SECONDS
    }
}

/// Whether times of change on this kind of file system (`statfs`) are made by this kernel, so that
/// equal times of one inode mean equal content.
fn keeps_change_times(kind: u64) -> bool {
    // ext2 to 4, XFS, btrfs, F2FS, tmpfs
    matches!(kind, 0xef53 | 0x5846_5342 | 0x9123_683e | 0xf2f5_2010 | 0x0102_1994)
}

/// Where the caller's stat caches are: below `XDG_CACHE_HOME`, or `HOME`; nowhere without either.
pub(crate) fn default_directory(cache_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let absolute = |path: &&Path| path.is_absolute();
    let cache = match (cache_home.filter(absolute), home.filter(absolute)) {
        (Some(cache), _) => cache.to_owned(),
        (None, Some(home)) => home.join(".cache"),
        (None, None) => return None,
    };
    Some(cache.join("cairn").join("imports"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_that_the_kernel_makes_are_believed() {
        // squashfs, erofs, overlayfs, FUSE, NFS: images, or somebody else's times.
        for kind in [0x7371_7368, 0xe0f5_e1e2, 0x794c_7630, 0x6573_5546, 0x6969] {
            assert!(!keeps_change_times(kind), "{kind:x}");
        }
        assert!(keeps_change_times(0xef53));
    }

    #[test]
    fn memos_are_in_the_callers_cache() {
        let (cache, home) = (Some(Path::new("/c")), Some(Path::new("/h")));
        let cases = [
            (cache, home, Some("/c/cairn/imports")),
            (None, home, Some("/h/.cache/cairn/imports")),
            (Some(Path::new("relative")), home, Some("/h/.cache/cairn/imports")),
            (None, None, None),
        ];
        for (cache, home, wanted) in cases {
            assert_eq!(default_directory(cache, home), wanted.map(PathBuf::from));
        }
    }
}
