//! Import of directories and tar archives, and export to them, without a mount.
//!
//! Everything here runs in the caller's process and with the caller's credentials (H24): the
//! daemon never opens a path on behalf of somebody else. What it opens itself, for a sync, are directories and
//! archives that root, or the user it runs as, has added as remotes ([`local`]). The store receives entries and content through
//! [`EntrySink`] and hands out tree pages and read-only blobs through [`ExportSource`]; both are
//! small traits, so that all of it is tested without an engine.
//!
//! Ways through the module:
//! - import of a directory: `walk` → `read` (hashing workers; `stat_cache` tells what need not be read) →
//!   `batch` (probe, put), joined by bounded queues in `import`;
//! - import of an archive: `tar_read` (members) → `tar_import` (rules) → `batch`;
//! - export: `tree_walk` → `export` and `write` (directories) or `tar_write` (archives); `restore` does
//!   that with one path of a version.
//!
//! Invariant: an import that fails in any way publishes nothing. This module must not know the
//! store (but for `caller_path`, by which commands open what their callers name) or the engine.
//! Entries are values of the model; `control_sink` alone speaks the control protocol.

mod batch;
pub mod control_sink;
mod copy;
pub(crate) mod error;
pub mod export;
mod first_names;
pub mod import;
mod known_subtrees;
mod large;
#[cfg(feature = "net")]
pub(crate) mod local;
pub(crate) mod new_file;
pub mod observer;
pub mod path;
mod pax;
pub(crate) mod payload;
mod read;
pub mod restore;
mod stat;
pub(crate) mod stat_cache;
pub(crate) mod survey;
mod tar_header;
pub mod tar_import;
mod tar_read;
mod tar_rules;
mod tar_sparse;
pub mod tar_write;
mod tree_walk;
mod walk;
mod write;
mod xattr;

#[cfg(test)]
mod tests;

use std::fs::File;

use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::id::VersionNumber;
use crate::model::import::{ImportEntry, WantedTree};
use crate::model::tree::Root;
use crate::sys::open_files;

pub use error::ArchiveError;
pub use path::ArchivePath;
pub use payload::Payload;
pub use stat::FileId;
pub use walk::Refused;
pub use write::Existing;

/// Regular files up to this size travel inside a batch; larger ones as open files. Bytes.
pub const INLINE_FILE_BYTES_MAX: u64 = 128 * 1024;

/// Entries on their way to the store, with the content that it lacks.
#[derive(Debug, Default)]
pub struct Batch {
    /// Entries, parents before children.
    pub entries: Vec<ImportEntry>,
    /// Small contents, one after the other.
    pub payload: Payload,
    /// Large contents, open for reading.
    pub files: Vec<File>,
}

/// What a finished import made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The new version, or the newest one when nothing changed.
    pub version: VersionNumber,
    /// Whether the result equals the newest version, so that no new one was made.
    pub unchanged: bool,
}

/// What became of a content that a sink was to take before its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: it is to come along with its entry.
    WithEntry,
    /// The store has it; this is what was copied.
    Whole(BlobHash),
    /// The file has fewer bytes by now.
    Short,
}

/// Where entries go that were read.
pub trait EntrySink {
    /// Asks which contents the store has. What it has is kept until the import ends.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn known(&mut self, hashes: &[BlobHash]) -> Result<Vec<bool>, ArchiveError>;

    /// Asks which directories the store has with all that is below them, and can take whole where
    /// they are wanted. What it has is kept until the import ends.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn known_trees(&mut self, wanted: &[WantedTree]) -> Result<Vec<bool>, ArchiveError> {
        Ok(vec![false; wanted.len()])
    }

    /// Takes a large content of this many bytes before the entry that names it, if the sink does such a thing. It has
    /// been copied and is known when this returns, so that whoever puts the entry can look first whether the file held
    /// still meanwhile.
    ///
    /// # Errors
    /// When the store refuses or fails.
    fn take_content(&mut self, _file: &File, _size_bytes: u64) -> Result<Taken, ArchiveError> {
        Ok(Taken::WithEntry)
    }

    /// Adds entries, in order. All bytes have been taken when this returns.
    ///
    /// # Errors
    /// When the store refuses or fails; the import is then to be aborted.
    fn put(&mut self, batch: Batch) -> Result<(), ArchiveError>;
}

/// Where an import goes: one import of one repository, begun by whoever made the sink.
pub trait ImportSink: EntrySink {
    /// Publishes what was put.
    ///
    /// # Errors
    /// When nothing was published.
    fn finish(&mut self) -> Result<Published, ArchiveError>;

    /// Drops what was put; nothing is published.
    ///
    /// # Errors
    /// When the store could not be told. It drops the import with the connection anyway.
    fn abort(&mut self) -> Result<(), ArchiveError>;
}

/// Where an export comes from: one version.
pub trait ExportSource {
    /// The top of the version.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    fn root(&mut self) -> Result<Root, ArchiveError>;

    /// The encoded tree pages of these hashes, in the same order.
    ///
    /// # Errors
    /// When one does not exist or cannot be read.
    fn pages(&mut self, hashes: &[TreeHash]) -> Result<Vec<Vec<u8>>, ArchiveError>;

    /// The blobs of these hashes, open for reading only, in the same order. At most
    /// [`OPEN_BATCH`] at once.
    ///
    /// # Errors
    /// When one does not exist or cannot be opened.
    fn open(&mut self, names: &[ContentName]) -> Result<Vec<File>, ArchiveError>;
}

/// The most blobs that [`ExportSource::open`] is asked for at once.
pub const OPEN_BATCH: usize = 64;

/// Raises this process's limit of open files as far as it may: batches and deep directories hold
/// some hundreds.
pub fn raise_open_files() {
    if let Err(error) = open_files::set_nofile_limit(u64::MAX) {
        log::debug!("the limit of open files stays at {}: {error}", open_files::nofile_limit());
    }
}
