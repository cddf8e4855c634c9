//! `incoming/`: files on their way into the pool.
//!
//! Any thread may write here; only the owner of the [`RootLock`] moves files on or removes them.
//! Names start with a word that is random per process, so what has another is a leftover.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{BLOB_MODE, Pool, discard};
use crate::store::error::{Result, StoreError};
use crate::store::root_lock::RootLock;
use crate::store::{durable, sys};

/// Zeros of this length, aligned to it, are not written but left as a hole.
const HOLE_BYTES: usize = 4096;

static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

impl Pool {
    /// Writes `data` to a new file in `incoming/`; aligned blocks of zeros become holes. A file
    /// that could not be written whole is removed.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_incoming(&self, data: &[u8]) -> Result<PathBuf> {
        let (path, file) = self.incoming_file()?;
        match write_sparse(&file, &path, data) {
            Ok(()) => Ok(path),
            Err(error) => {
                discard(&path);
                Err(error)
            }
        }
    }

    /// Makes an empty file in `incoming/`, to be filled through the descriptor (readable and
    /// writable although the file's mode is 0444).
    ///
    /// # Errors
    /// The disk's.
    pub fn incoming_file(&self) -> Result<(PathBuf, File)> {
        let path = self.next_incoming_path();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(BLOB_MODE)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        sys::set_mode(&file, BLOB_MODE).map_err(StoreError::io("change the mode of", &path))?;
        Ok((path, file))
    }

    /// A path in `incoming/` that was never used.
    pub(super) fn next_incoming_path(&self) -> PathBuf {
        let number = self.next_incoming.fetch_add(1, Ordering::Relaxed);
        self.layout.incoming().join(format!("{}{number}", self.incoming_prefix))
    }

    /// Removes a file of `incoming/` that is not needed after all; a missing one is fine.
    ///
    /// # Errors
    /// The disk's.
    pub fn discard_incoming(&self, _lock: &RootLock, incoming: &Path) -> Result<()> {
        match durable::unlink(incoming) {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed,
        }
    }

    /// Files in `incoming/` that earlier processes left, at most `limit` of them (G10).
    ///
    /// # Errors
    /// The disk's.
    pub fn incoming_leftovers(&self, limit: usize) -> Result<Vec<PathBuf>> {
        let directory = self.layout.incoming();
        let mut found = Vec::new();
        for name in fs::read_dir(&directory).map_err(StoreError::io("list", &directory))? {
            let name = name.map_err(StoreError::io("list", &directory))?;
            let own =
                name.file_name().to_str().is_some_and(|n| n.starts_with(&self.incoming_prefix));
            if !own {
                found.push(name.path());
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }
}

/// Writes `data` from offset 0, skipping aligned blocks of zeros, in as few writes as possible.
fn write_sparse(file: &File, path: &Path, data: &[u8]) -> Result<()> {
    let mut offset = 0;
    let mut written_to = 0;
    while offset < data.len() {
        let hole = run_length(&data[offset..], true);
        offset += hole;
        let filled = run_length(&data[offset..], false);
        if filled > 0 {
            durable::write_all(file, path, &data[offset..offset + filled], offset as u64)?;
            offset += filled;
            written_to = offset;
        }
    }
    if written_to < data.len() {
        file.set_len(data.len() as u64).map_err(extend_error(path))?;
    }
    Ok(())
}

fn extend_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    StoreError::io("extend", path)
}

/// Bytes at the start of `data`, in whole blocks (the last may be shorter), that are zeros or not.
fn run_length(data: &[u8], zeros: bool) -> usize {
    data.chunks(HOLE_BYTES)
        .take_while(|block| (**block == ZEROS[..block.len()]) == zeros)
        .map(<[u8]>::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;
    use crate::store::durable::testing::{Fault, on_this_thread};
    use crate::store::testing::TestStore;

    #[test]
    fn zero_blocks_become_holes() {
        let store = TestStore::new();
        let block = [7; HOLE_BYTES];
        let cases: [(Vec<u8>, u64); 5] = [
            (Vec::new(), 0),
            (b"short".to_vec(), 1),
            ([&block[..], &ZEROS, &block, &[0; 10]].concat(), 2),
            ([&ZEROS[..], &[0; 10]].concat(), 0),
            ([&ZEROS[..], &ZEROS, &block, &block, &[1]].concat(), 3),
        ];
        for (data, blocks) in cases {
            let path = store.pool.write_incoming(&data).unwrap();
            assert_eq!(fs::read(&path).unwrap(), data);
            let found = fs::metadata(&path).unwrap();
            assert!(found.blocks() * 512 <= blocks * 4096, "{} blocks", found.blocks());
            assert_eq!(found.mode() & 0o7777, BLOB_MODE);
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_not_left_behind() {
        let store = TestStore::new();
        let fault = on_this_thread(Fault::full(1));
        assert!(store.pool.write_incoming(b"data").unwrap_err().is_full());
        drop(fault);
        assert_eq!(fs::read_dir(store.layout.incoming()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_are_what_others_made() {
        let store = TestStore::new();
        let (path, file) = store.pool.incoming_file().unwrap();
        file.write_all_at(b"mine", 0).unwrap();
        let other = store.layout.incoming().join("other");
        fs::write(&other, b"").unwrap();
        assert_eq!(store.pool.incoming_leftovers(10).unwrap(), std::slice::from_ref(&other));
        store.pool.discard_incoming(&store.lock, &other).unwrap();
        store.pool.discard_incoming(&store.lock, &other).unwrap();
        assert_eq!(store.pool.incoming_leftovers(10).unwrap(), Vec::<PathBuf>::new());
        assert!(path.exists());
    }
}
