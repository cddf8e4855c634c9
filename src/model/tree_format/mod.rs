//! The canonical encoding of directories: pages, their codec, and what is done with them.
//!
//! A directory is one *leaf* page or, when large, a tree of *index* pages above leaves. A page is
//! named by BLAKE3 of its bytes ([`TreeHash::of`]), so equal directories are one page in every
//! version and repository. All integers are little-endian.
//!
//! ```text
//! page                                  leaf record (level 0)
//!  0  4  magic "cTRE"                    0  1  length n of the name
//!  4  1  format version: 1 or 2          1  1  kind | 0x10 or 0x40 link group | 0x20 xattrs
//!                                                | 0x80 content is named by SHA-256
//!  5  1  level: 0 leaf, else index       2  2  mode (0o7777 at most)
//!  6  1  flags: 1 = has_links            4  4  uid
//!  7  1  zero                            8  4  gid
//!  8  4  count c of records             12  8  mtime, seconds (signed)
//! 12  8  entries below (leaf: c)        20  4  mtime, nanoseconds
//! 20  8  summary: files                 24  n  name
//! 28  8  summary: bytes                     by kind:
//! 36  8  summary: directories           1 file       8 size, 32 digest when size > 0
//! 44 4c  offset of each record          2 directory  32 tree, 8 files, 8 bytes,
//!     …  records, nothing between                     8 directories, 1 flags (1 = has_links)
//!                                       3 symlink    2 length, target
//! index record (level 1 and up)         4 fifo, 5 socket   nothing
//!  0  1  length n of the name           6 character, 7 block device   4 rdev
//!  1  1  flags: 1 = has_links               then, as flagged:
//!  2  n  first name below               0x40 group   16 id, 4 nlink, 4 levels up to its scope
//!     32 child page (of level - 1)      0x10 group   8 id, 4 nlink; its scope is the version
//!      8 entries, 8 files, 8 bytes,     xattrs       4 count, then each in byte order:
//!      8 directories                                 1 length, 4 length, name, value
//! ```
//!
//! A leaf page has version 2 when one of its records has a group of the kind 0x40, and version 1
//! otherwise, as every index page has. So directories without hardlinks have the same hash in every
//! release. So have files that were written here: the flag 0x80 is set only for content that a remote
//! declared by its SHA-256 ([`ContentName`]), and earlier releases refuse it. Groups of the kind 0x10 are read and kept as they are; only releases up to 0.1.0 made
//! new ones ([`super::links`] says why).
//!
//! Records are in strict byte order of their names and found by binary search over the offset
//! table, without decoding the page. Every field has one valid form, so one directory has exactly
//! one encoding; [`TreePage::parse`] refuses all others, and what it accepted cannot fail later.
//!
//! **Where pages end** is decided by content, so that an insertion moves few boundaries. A page
//! ends after a record when it then has [`RECORDS_MAX`] records, or [`RECORD_BYTES_CUT`] bytes of
//! records, or at least [`RECORDS_MIN`] and the record's name hashes to a boundary (one in 256).
//! Whether a page ends depends on nothing that comes later: so a page that starts where an old one
//! did, with the same records, is the old one. [`apply()`] rests on that.
//!
//! This module must not know where pages are stored; they come from a [`TreeSource`].

mod apply;
mod attributes;
mod build;
mod bytes;
mod cut;
mod diff;
mod memory;
mod page;
mod read;
mod record;
mod root;
mod together;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::content_name::ContentName;
use super::digest::Sha256;
use super::hash::{BlobHash, TreeHash};

pub use apply::apply;
pub use attributes::{XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX, XattrsRef, check_attributes};
pub use build::{BuiltTree, build};
pub use cut::{RECORD_BYTES_CUT, RECORDS_MAX, RECORDS_MIN};
pub use diff::{Change, diff, diff_entries, is_same_content, is_same_file};
pub use memory::{MemoryTrees, Overlay};
pub use page::{LEVEL_MAX, PAGE_BYTES_MAX, TreePage};
pub use read::{entries, entries_after, entry_at, entry_count, is_canonical, lookup, lookup_path};
pub use record::{ChildRef, ContentRef, EntryRef, check_entry};
pub use root::{decode_root, encode_root, root_hash};
pub use together::{Having, Members, Next, walk_together};

/// Bytes that are not a valid tree page, or a value that has no encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tree page: {0}")]
pub struct TreeError(pub String);

/// What a page names and therefore keeps alive (one reference per entry that names it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A file's content.
    Blob(ContentName),
    /// A child directory's tree, or a page of the same directory.
    Tree(TreeHash),
}

/// Where pages come from: the catalog, a cache, or a map in tests.
pub trait TreeSource {
    /// What fetching a page can fail with.
    type Error: From<TreeError>;
    /// The page of that hash.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    fn page(&self, hash: &TreeHash) -> Result<Arc<TreePage>, Self::Error>;

    /// The blob that has this declared digest, if it is stored. A source of pages alone knows none.
    ///
    /// # Errors
    /// When that cannot be looked up.
    fn blob_of(&self, digest: &Sha256) -> Result<Option<BlobHash>, Self::Error>;
}

fn invalid(rule: &str) -> TreeError {
    TreeError(rule.to_owned())
}
