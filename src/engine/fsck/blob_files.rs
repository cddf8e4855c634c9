//! Blobs whose files somebody could change without the daemon: the mode of the file allows writing, or
//! the file has a name outside the store.
//!
//! A blob has one name, in the pool, and nobody may write to it. While it gets there it has a second
//! name in `staging/` or `incoming/`, and a crash may leave that. Every other name is somebody's who
//! made a link, as `cairn export --unsafe-hardlink` does: whoever writes by that name changes all
//! versions that have the content.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::Finding;
use super::{BROKEN_MAX, Check, Stopped};
use crate::model::hash::BlobHash;
use crate::store::catalog::BlobFacts;
use crate::store::error::{Result, StoreError};
use crate::store::pool::BlobFile;

/// For each file in `staging/` and `incoming/`, by device and inode number: how many names it has
/// there.
type Inside = BTreeMap<(u64, u64), u64>;

/// A blob that has more than one name.
#[derive(Debug)]
pub(super) struct Linked {
    hash: BlobHash,
    size: u64,
}

impl Check<'_> {
    /// Looks at what the disk says of a blob's file whose content is right.
    pub(super) fn check_file(&mut self, blob: &BlobFacts, file: BlobFile) {
        if file.is_writable() {
            self.found(Finding::BlobMode { hash: blob.hash, mode: file.mode });
        }
        if file.names > 1 && self.linked.len() < BROKEN_MAX {
            self.linked.push(Linked { hash: blob.hash, size: blob.size });
        }
    }

    /// Reports the blobs that have names outside the store. Names inside are given before the pool's
    /// and only taken away afterwards, so they are counted before the blob is looked at again.
    pub(super) fn check_linked(&mut self) -> std::result::Result<(), Stopped> {
        if self.linked.is_empty() {
            return Ok(());
        }
        let mut inside = Inside::new();
        let layout = &self.subject.layout;
        count_names(&layout.incoming(), &mut inside)?;
        for area in self.subject.private_files.areas()? {
            count_names(&layout.area(area), &mut inside)?;
        }
        for Linked { hash, size } in std::mem::take(&mut self.linked) {
            let Some(file) = self.subject.pool.look_at(&hash)? else { continue };
            let own = 1 + inside.get(&file.inode).copied().unwrap_or(0);
            if let Some(names @ 1..) = file.names.checked_sub(own) {
                self.found(Finding::BlobLinks { hash, size, names });
            }
        }
        Ok(())
    }
}

/// Counts the names of files in a directory. One that is gone meanwhile has none.
fn count_names(directory: &Path, inside: &mut Inside) -> Result<()> {
    let failed = |error| StoreError::io("list", directory)(error);
    let names = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(failed)?,
    };
    for name in names {
        match name.map_err(failed)?.metadata() {
            Ok(found) => *inside.entry((found.dev(), found.ino())).or_default() += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
