//! Blobs of another store, on their way into this pool.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::Pool;
use super::incoming::{Incoming, write_sparse};
use crate::model::hash::BlobHash;
use crate::store::error::{Result, StoreError};
use crate::store::hash_file::hash_file;
use crate::sys;

/// What became of a copy.
#[derive(Debug)]
pub enum Copied {
    /// It has the content that it ought to have.
    Whole(Incoming),
    /// The source has other content.
    Altered,
    /// The source cannot be read.
    Unreadable(io::Error),
}

impl Pool {
    /// Copies a file whose content ought to be that of the blob `hash`, and has it checked: what
    /// is not right does not stay. Blocks are shared where the file system can; then the copy is
    /// what is read. `on_progress` is told how many bytes each piece has.
    ///
    /// # Errors
    /// This store's disk's.
    pub fn copy_incoming(
        &self,
        source: &File,
        hash: &BlobHash,
        size: u64,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<Copied> {
        self.room.take(size)?;
        let (incoming, file, path) = match self.unnamed_file(hash)? {
            Some(unnamed) => {
                let path = self.layout.fan_out(hash);
                let file = unnamed.file.try_clone().map_err(StoreError::io("open", &path))?;
                (Incoming::Unnamed(unnamed), file, path)
            }
            None => {
                let (named, file) = self.incoming_file()?;
                let path = named.path().to_owned();
                (Incoming::Named(named), file, path)
            }
        };
        Ok(match fill(source, &file, &path, size, on_progress)? {
            Ok(found) if found == *hash => Copied::Whole(incoming),
            Ok(_) => Copied::Altered,
            Err(error) => Copied::Unreadable(error),
        })
    }
}

impl Pool {
    /// Whether the file of a blob has the content that it ought to have. `on_progress` is told
    /// how many bytes each piece has.
    ///
    /// # Errors
    /// The file cannot be opened; one that cannot be read has not.
    pub fn is_sound(
        &self,
        hash: &BlobHash,
        size: u64,
        on_progress: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let path = self.layout.blob(hash);
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        let hashed = hash_file(&file, size, &mut |_, piece| {
            on_progress(piece.len() as u64);
            ControlFlow::<()>::Continue(())
        });
        Ok(hashed.is_ok_and(|found| found == ControlFlow::Continue(*hash)))
    }
}

/// Copies at most a little more than `size` bytes; returns the hash of what was copied, or why the
/// source could not be read.
fn fill(
    source: &File,
    target: &File,
    path: &Path,
    size: u64,
    on_progress: &mut dyn FnMut(u64),
) -> Result<io::Result<BlobHash>> {
    let is_shared = sys::share_blocks(source, target);
    let copied = if is_shared { target } else { source };
    let hashed = hash_file(copied, size, &mut |offset, piece| {
        on_progress(piece.len() as u64);
        match is_shared {
            true => ControlFlow::Continue(()),
            false => match write_sparse(target, path, piece, offset) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            },
        }
    });
    match hashed {
        Ok(ControlFlow::Continue(hash)) => Ok(Ok(hash)),
        Ok(ControlFlow::Break(error)) => Err(error),
        Err(error) if is_shared => Err(StoreError::io("read", path)(error)),
        Err(error) => Ok(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;
    use crate::store::durable::testing::{Fault, on_this_thread};
    use crate::store::hash_file::CHUNK_BYTES;
    use crate::store::testing::TestStore;

    fn copied(store: &TestStore, source: &File, hash: &BlobHash, size: u64) -> Result<Copied> {
        store.pool.copy_incoming(source, hash, size, &mut |_| {})
    }

    #[test]
    fn a_copy_is_checked_and_keeps_its_holes() {
        let store = TestStore::new();
        let size = (2 * CHUNK_BYTES + 5000) as u64;
        let source = tempfile::tempfile().unwrap();
        source.set_len(size).unwrap();
        source.write_all_at(b"end", size - 3).unwrap();
        let mut content = vec![0; 2 * CHUNK_BYTES + 5000];
        source.read_exact_at(&mut content, 0).unwrap();
        let hash = BlobHash::of(&content);
        let mut bytes_read = 0;
        let copy = store.pool.copy_incoming(&source, &hash, size, &mut |count| bytes_read += count);
        let Copied::Whole(incoming) = copy.unwrap() else { panic!("it is whole") };
        store.pool.adopt(&store.lock, incoming, &hash).unwrap();
        assert_eq!(bytes_read, size);
        let path = store.layout.blob(&hash);
        assert!(fs::read(&path).unwrap() == content);
        assert!(store.pool.is_sound(&hash, size, &mut |_| {}).unwrap());
        drop(store.pool.remove(&store.lock, &hash, None).unwrap());
        fs::write(&path, &content[1..]).unwrap();
        assert!(!store.pool.is_sound(&hash, size, &mut |_| {}).unwrap());
        let copy = copied(&store, &source, &hash, size).unwrap();
        let Copied::Whole(incoming) = copy else { panic!("it is whole") };
        store.pool.adopt(&store.lock, incoming, &hash).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 3 * 4096);
    }

    #[test]
    fn what_is_not_right_does_not_stay() {
        let store = TestStore::new();
        let source = tempfile::tempfile().unwrap();
        source.write_all_at(b"wrong", 0).unwrap();
        let hash = BlobHash::of(b"right");
        for size in [5, 2, 0, 4 << 20] {
            let copy = copied(&store, &source, &hash, size).unwrap();
            assert!(matches!(copy, Copied::Altered), "{size}");
        }
        let directory = File::open(store.layout.root()).unwrap();
        let copy = copied(&store, &directory, &hash, 5).unwrap();
        assert!(matches!(copy, Copied::Unreadable(_)));
        let fault = on_this_thread(Fault::full(1));
        assert!(copied(&store, &source, &BlobHash::of(b"wrong"), 5).unwrap_err().is_full());
        drop(fault);
        assert_eq!(fs::read_dir(store.layout.incoming()).unwrap().count(), 0);
    }
}
