//! What an import tells while it goes on, and in the end.

use super::error::Problem;
use super::path::ArchivePath;
use super::read::{Prepared, PreparedContent};

/// What an import has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ImportTotals {
    /// Entries that are not directories.
    #[serde(rename = "file_count")]
    pub files: u64,
    /// Directories, the top included.
    #[serde(rename = "directory_count")]
    pub directories: u64,
    /// Sizes of regular files; one with several names counts once.
    #[serde(rename = "size_bytes")]
    pub bytes: u64,
    /// Sizes of the contents that were sent, because the store lacked them.
    pub new_bytes: u64,
    /// Regular files whose content the store had.
    #[serde(rename = "reused_file_count")]
    pub reused_files: u64,
    /// Regular files that were not read, since they have not changed since an earlier import.
    #[serde(rename = "unread_file_count")]
    pub unread_files: u64,
    /// Files that changed while they were read, and were read again.
    #[serde(rename = "reread_file_count")]
    pub reread_files: u64,
    /// Entries with POSIX ACLs, which are not kept.
    #[serde(rename = "dropped_acl_count")]
    pub acls_dropped: u64,
}

impl ImportTotals {
    /// Counts a file whose content the store has.
    pub(super) fn add_known(&mut self, prepared: &Prepared) {
        let size = match &prepared.content {
            PreparedContent::Small { bytes, .. } => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            PreparedContent::Large { size, .. } | PreparedContent::Taken { size, .. } => *size,
            PreparedContent::Remembered { size, .. } => {
                self.unread_files += 1;
                *size
            }
            PreparedContent::Other(_) => return,
        };
        self.bytes += size;
        self.reused_files += u64::from(size > 0);
    }
}

/// Told about an import as it goes on.
pub trait Observer {
    /// A batch has been delivered.
    fn progress(&mut self, totals: &ImportTotals);
    /// A file changed while it was read; it was read again.
    fn reread(&mut self, path: &ArchivePath);
    /// An entry could not be read.
    fn unreadable(&mut self, _problem: &Problem) {}
}

/// An observer that does not look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _totals: &ImportTotals) {}
    fn reread(&mut self, _path: &ArchivePath) {}
}
