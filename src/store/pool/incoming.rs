//! Files on their way into the pool: without a name, or in `incoming/`.
//!
//! Any thread may write them; only the owner of the [`RootLock`] moves them on. One that is dropped
//! before that is gone, whoever drops it: a caller that fails cannot leave one behind. A file whose
//! hash is known is made without a name in the directory where it will get one: that
//! costs one directory entry instead of three, and a crash leaves nothing. Content of which whoever
//! writes it knows that the store has no row gets its name at once, which is cheaper by a third: until
//! it is adopted that is a leftover (H1), and the writer sees to it that it goes. Where the file system
//! cannot do that, or too many such files are open, and while the hash is not known yet, it has a
//! name in `incoming/`, which starts with a word that is random per process: what has another is a
//! leftover.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::OFlags;

use super::{BLOB_MODE, Pool, discard};
use crate::model::hash::BlobHash;
use crate::store::durable;
use crate::store::error::{Result, StoreError};
use crate::store::root_lock::RootLock;
use crate::sys;

/// Zeros of this length, aligned to it, are not written but left as a hole.
const HOLE_BYTES: usize = 4096;

static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Files without a name that may be open at once; further ones get a name.
const UNNAMED_MAX: usize = 1024;

/// A whole file that is no blob yet; gone when it is dropped instead of given to [`Pool::adopt`].
#[derive(Debug)]
pub enum Incoming {
    /// In `incoming/`.
    Named(NamedFile),
    /// Open, in the directory of the pool where its name belongs.
    Unnamed(UnnamedFile),
    /// Open, with its name in the pool unless somebody else took that since. When it is dropped the
    /// name stays: only who owns the [`RootLock`] removes names there.
    Placed(UnnamedFile),
}

impl Incoming {
    /// Whether dropping it may leave a name in the pool.
    pub fn is_placed(&self) -> bool {
        matches!(self, Self::Placed(_))
    }
}

/// A file in `incoming/`, removed when this is dropped.
#[derive(Debug)]
pub struct NamedFile {
    path: PathBuf,
    /// It has moved on, or is somebody else's to remove.
    stays: bool,
}

impl NamedFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it another name instead.
    pub(super) fn rename(mut self, target: &Path) -> Result<()> {
        durable::rename(&self.path, target)?;
        self.stays = true;
        Ok(())
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        if !self.stays {
            discard(&self.path);
        }
    }
}

/// A file without a name is gone when it is closed.
#[derive(Debug)]
pub struct UnnamedFile {
    pub(super) file: File,
    open: Arc<AtomicUsize>,
}

impl Drop for UnnamedFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Has a whole file that is elsewhere in the store moved into the pool, without a copy. It stays where it is until
    /// [`Pool::adopt`] moves it. `None` where it is on another filesystem.
    ///
    /// # Errors
    /// The disk's.
    pub fn take_over(&self, path: &Path) -> Result<Option<NamedFile>> {
        let look = |path: &Path| fs::metadata(path).map_err(StoreError::io("look at", path));
        if look(path)?.dev() != look(&self.layout.pool())?.dev() {
            return Ok(None);
        }
        // Before it has the name: a blob is never writable.
        fs::set_permissions(path, fs::Permissions::from_mode(BLOB_MODE))
            .map_err(StoreError::io("change the mode of", path))?;
        Ok(Some(NamedFile { path: path.to_owned(), stays: true }))
    }

    /// Writes `data`, whose hash is `hash`, to a new file; aligned blocks of zeros become holes. A
    /// file that could not be written whole is removed.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_incoming(&self, data: &[u8], hash: &BlobHash) -> Result<Incoming> {
        self.room.take(data.len() as u64)?;
        if let Some(unnamed) = self.unnamed_file(hash)? {
            write_sparse(&unnamed.file, &self.layout.fan_out(hash), data, 0)?;
            return Ok(Incoming::Unnamed(unnamed));
        }
        let (named, file) = self.incoming_file()?;
        write_sparse(&file, named.path(), data, 0)?;
        Ok(Incoming::Named(named))
    }

    /// As [`Pool::write_incoming`], with its name at once unless that is taken. For content without a
    /// row, so that nobody reads it by that name before it is whole, and pinned, so that no sweep
    /// takes it away. After a failure a part of it may be there by that name.
    ///
    /// # Errors
    /// The disk's.
    pub fn place(&self, data: &[u8], hash: &BlobHash) -> Result<Incoming> {
        if self.unnamed.load(Ordering::Relaxed) >= UNNAMED_MAX {
            return self.write_incoming(data, hash);
        }
        self.room.take(data.len() as u64)?;
        self.make_fan_out(hash)?;
        let path = self.layout.blob(hash);
        let file = match durable::create(&path, BLOB_MODE) {
            Ok(file) => file,
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists || is_out_of_files(&source) =>
            {
                return self.write_incoming(data, hash);
            }
            Err(error) => return Err(error),
        };
        let placed = self.counted(file);
        sys::set_mode(&placed.file, BLOB_MODE)
            .map_err(StoreError::io("change the mode of", &path))?;
        write_sparse(&placed.file, &path, data, 0)?;
        Ok(Incoming::Placed(placed))
    }

    fn counted(&self, file: File) -> UnnamedFile {
        self.unnamed.fetch_add(1, Ordering::Relaxed);
        UnnamedFile { file, open: Arc::clone(&self.unnamed) }
    }

    /// Makes an empty file without a name; `None` where that cannot be had now.
    pub(super) fn unnamed_file(&self, hash: &BlobHash) -> Result<Option<UnnamedFile>> {
        if self.unnamed.load(Ordering::Relaxed) >= UNNAMED_MAX {
            return Ok(None);
        }
        self.make_fan_out(hash)?;
        let directory = self.layout.fan_out(hash);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::TMPFILE.bits().cast_signed())
            .mode(BLOB_MODE)
            .open(&directory);
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_unsupported(&error) => {
                // It stays so: no more tries.
                self.unnamed.fetch_add(UNNAMED_MAX, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) if is_out_of_files(&error) => return Ok(None),
            Err(error) => return Err(StoreError::io("create a file in", &directory)(error)),
        };
        let unnamed = self.counted(file);
        sys::set_mode(&unnamed.file, BLOB_MODE)
            .map_err(StoreError::io("change the mode in", &directory))?;
        Ok(Some(unnamed))
    }

    /// Makes an empty file in `incoming/`, to be filled through the descriptor (readable and
    /// writable although the file's mode is 0444).
    ///
    /// # Errors
    /// The disk's.
    pub fn incoming_file(&self) -> Result<(NamedFile, File)> {
        let path = self.next_incoming_path();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(BLOB_MODE)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let named = NamedFile { path, stays: false };
        sys::set_mode(&file, BLOB_MODE)
            .map_err(StoreError::io("change the mode of", named.path()))?;
        Ok((named, file))
    }

    /// A path in `incoming/` that was never used.
    pub fn next_incoming_path(&self) -> PathBuf {
        let number = self.next_incoming.fetch_add(1, Ordering::Relaxed);
        self.layout.incoming().join(format!("{}{number}", self.incoming_prefix))
    }

    /// Removes a leftover in `incoming/`; a missing one is fine.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_incoming(&self, _lock: &RootLock, path: &Path) -> Result<()> {
        match durable::unlink(path) {
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

/// Whether no more files may be open: those with a name are closed at once.
fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the file system cannot make files without a name.
fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS)
    )
}

/// Writes `data` at the end of the file, which is at `start`, skipping aligned blocks of zeros, in
/// as few writes as possible.
pub(super) fn write_sparse(file: &File, path: &Path, data: &[u8], start: u64) -> Result<()> {
    let mut offset = 0;
    let mut written_to = 0;
    while offset < data.len() {
        let hole = run_length(&data[offset..], true);
        offset += hole;
        let filled = run_length(&data[offset..], false);
        if filled > 0 {
            let part = &data[offset..offset + filled];
            durable::write_all(file, path, part, start + offset as u64)?;
            offset += filled;
            written_to = offset;
        }
    }
    if written_to < data.len() {
        file.set_len(start + data.len() as u64).map_err(extend_error(path))?;
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
            let hash = BlobHash::of(&data);
            let incoming = store.pool.write_incoming(&data, &hash).unwrap();
            store.pool.adopt(&store.lock, incoming, &hash).unwrap();
            let path = store.layout.blob(&hash);
            assert_eq!(fs::read(&path).unwrap(), data);
            let found = fs::metadata(&path).unwrap();
            assert!(found.blocks() * 512 <= blocks * 4096, "{} blocks", found.blocks());
            assert_eq!(found.mode() & 0o7777, BLOB_MODE);
        }
    }

    #[test]
    fn a_file_that_does_not_fit_is_not_left_behind() {
        let store = TestStore::new();
        let hash = BlobHash::of(b"data");
        store.add_blob(b"data");
        let names = || {
            let pool = fs::read_dir(store.layout.fan_out(&hash)).unwrap().count();
            (pool, fs::read_dir(store.layout.incoming()).unwrap().count())
        };
        for unnamed in [true, false] {
            if !unnamed {
                store.pool.unnamed.store(UNNAMED_MAX, Ordering::Relaxed);
            }
            let fault = on_this_thread(Fault::full(1));
            assert!(store.pool.write_incoming(b"data", &hash).unwrap_err().is_full());
            drop(fault);
            assert_eq!(names(), (1, 0));
        }
    }

    #[test]
    fn files_without_a_name_are_bounded() {
        let store = TestStore::new();
        store.pool.unnamed.store(UNNAMED_MAX - 1, Ordering::Relaxed);
        let write = || store.pool.write_incoming(b"data", &BlobHash::of(b"data")).unwrap();
        let last = write();
        assert!(matches!(last, Incoming::Unnamed(_)));
        let named = write();
        assert!(matches!(named, Incoming::Named(_)));
        drop(last);
        assert!(matches!(write(), Incoming::Unnamed(_)), "closed ones do not count");
        let Incoming::Named(named) = named else { unreachable!() };
        let path = named.path().to_owned();
        assert!(path.exists());
        drop(named);
        assert!(!path.exists(), "what is not adopted is gone");
    }

    #[test]
    fn leftovers_are_what_others_made() {
        let store = TestStore::new();
        let (named, file) = store.pool.incoming_file().unwrap();
        file.write_all_at(b"mine", 0).unwrap();
        let other = store.layout.incoming().join("other");
        fs::write(&other, b"").unwrap();
        assert_eq!(store.pool.incoming_leftovers(10).unwrap(), std::slice::from_ref(&other));
        store.pool.remove_incoming(&store.lock, &other).unwrap();
        store.pool.remove_incoming(&store.lock, &other).unwrap();
        assert_eq!(store.pool.incoming_leftovers(10).unwrap(), Vec::<PathBuf>::new());
        assert!(named.path().exists());
    }
}
