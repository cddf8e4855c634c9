//! Private files: the data of staging files while they are written, `staging/<area>/<file>`.
//!
//! Invariant: a file that [`StagingDir::open`] or [`StagingDir::create`] hands out for writing has
//! one name. A file that is also a blob (a crash between the link and its row leaves that, H1) gets
//! a copy of its own first. What a file means is not known here; the catalog's nodes say it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::durable;
use super::error::{Result, StoreError};
use super::layout::{Layout, PrivateId};
use super::root_lock::RootLock;
use super::unlinked_file::{self, UnlinkedFile};
use crate::model::id::AreaId;
use crate::sys;

/// Mode of a file while it is private.
const PRIVATE_MODE: u32 = 0o600;

/// Files that one call of [`StagingDir::remove_area`] removes.
const REMOVE_FILES_MAX: usize = 64;

/// The private files of all areas.
#[derive(Debug)]
pub struct StagingDir {
    layout: Layout,
}

impl StagingDir {
    /// The private files of the store with that layout.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    /// The file's path.
    pub fn path(&self, area: AreaId, id: PrivateId) -> PathBuf {
        self.layout.private(area, id)
    }

    /// Makes a file, readable and writable, and the area's directory where it is missing.
    ///
    /// # Errors
    /// The disk's, also when the file exists.
    pub fn create(&self, area: AreaId, id: PrivateId) -> Result<File> {
        let path = self.path(area, id);
        let created = match create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match durable::mkdir(&self.layout.area(area), 0o700) {
                    Err(StoreError::Io { source, .. })
                        if source.kind() == io::ErrorKind::AlreadyExists => {}
                    made => made?,
                }
                create_new(&path)
            }
            created => created,
        };
        created.map_err(StoreError::io("create", &path))
    }

    /// Opens a file for reading and writing; one that is also a blob is copied first.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self, area: AreaId, id: PrivateId) -> Result<File> {
        let path = self.path(area, id);
        let found = fs::symlink_metadata(&path).map_err(StoreError::io("open", &path))?;
        if found.nlink() > 1 {
            return break_link(&path);
        }
        if found.mode() & 0o7777 != PRIVATE_MODE {
            // The file had been made read-only on its way into the pool, which it did not reach.
            fs::set_permissions(&path, fs::Permissions::from_mode(PRIVATE_MODE))
                .map_err(StoreError::io("change the mode of", &path))?;
        }
        OpenOptions::new().read(true).write(true).open(&path).map_err(StoreError::io("open", &path))
    }

    /// Removes a file; one that is missing is fine.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove(&self, _lock: &RootLock, area: AreaId, id: PrivateId) -> Result<UnlinkedFile> {
        unlinked_file::remove(&self.path(area, id), None)
    }

    /// Removes what is left of an area, a bounded number of files per call, whose `unlinked` the
    /// caller gets. Returns whether all is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn remove_area(
        &self,
        _lock: &RootLock,
        area: AreaId,
        unlinked: &mut Vec<UnlinkedFile>,
    ) -> Result<bool> {
        let directory = self.layout.area(area);
        let names = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            names => names.map_err(StoreError::io("list", &directory))?,
        };
        for (removed, name) in names.enumerate() {
            if removed == REMOVE_FILES_MAX {
                return Ok(false);
            }
            let name = name.map_err(StoreError::io("list", &directory))?;
            unlinked.push(unlinked_file::remove(&name.path(), None)?);
        }
        durable::rmdir(&directory)?;
        Ok(true)
    }

    /// The files of an area, ascending; none when it has no directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn list(&self, area: AreaId) -> Result<Vec<PrivateId>> {
        Ok(numbers_in(&self.layout.area(area))?.into_iter().map(PrivateId).collect())
    }

    /// The areas that have a directory, ascending, whether or not the catalog knows them.
    ///
    /// # Errors
    /// The disk's.
    pub fn areas(&self) -> Result<Vec<AreaId>> {
        Ok(numbers_in(&self.layout.staging())?.into_iter().map(AreaId).collect())
    }

    /// What is in the directory of an area (of all areas): the numbers, ascending, and the paths
    /// of all other names.
    ///
    /// # Errors
    /// The disk's.
    pub fn names(&self, area: Option<AreaId>) -> Result<(Vec<u64>, Vec<PathBuf>)> {
        let directory = area.map_or_else(|| self.layout.staging(), |area| self.layout.area(area));
        names_in(&directory)
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE_MODE).open(path)
}

/// Replaces the name by a copy of the file, which others keep.
fn break_link(path: &Path) -> Result<File> {
    let shared = File::open(path).map_err(StoreError::io("open", path))?;
    // The name is no number, so `list` does not show the file; a leftover of a crash is
    // overwritten.
    let draft = path.with_extension("copy");
    let copy = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(PRIVATE_MODE)
        .open(&draft)
        .map_err(StoreError::io("create", &draft))?;
    let length = shared.metadata().map_err(StoreError::io("open", path))?.len();
    sys::copy_range(&shared, &copy, length).map_err(StoreError::io("copy", path))?;
    // What was synced under this name stays synced.
    durable::fdatasync(&copy, &draft)?;
    durable::rename(&draft, path)?;
    Ok(copy)
}

fn numbers_in(directory: &Path) -> Result<Vec<u64>> {
    names_in(directory).map(|(numbers, _)| numbers)
}

fn names_in(directory: &Path) -> Result<(Vec<u64>, Vec<PathBuf>)> {
    let names = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Vec::new()));
        }
        names => names.map_err(StoreError::io("list", directory))?,
    };
    let mut numbers = Vec::new();
    let mut others = Vec::new();
    for name in names {
        let name = name.map_err(StoreError::io("list", directory))?;
        match name.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) {
            Some(number) => numbers.push(number),
            None => others.push(name.path()),
        }
    }
    numbers.sort_unstable();
    Ok((numbers, others))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::testing::TestStore;

    const AREA: AreaId = AreaId(7);

    #[test]
    fn files_are_made_listed_and_removed() {
        let store = TestStore::new();
        let files = &store.private_files;
        assert_eq!(files.list(AREA).unwrap(), []);
        files.create(AREA, PrivateId(10)).unwrap();
        files.create(AREA, PrivateId(9)).unwrap();
        assert!(files.create(AREA, PrivateId(9)).is_err());
        assert_eq!(files.list(AREA).unwrap(), [PrivateId(9), PrivateId(10)]);
        assert_eq!(files.areas().unwrap(), [AREA]);
        drop(files.remove(&store.lock, AREA, PrivateId(9)).unwrap());
        drop(files.remove(&store.lock, AREA, PrivateId(9)).unwrap());
        assert!(files.remove_area(&store.lock, AREA, &mut Vec::new()).unwrap());
        assert!(files.remove_area(&store.lock, AREA, &mut Vec::new()).unwrap());
        assert_eq!(files.areas().unwrap(), []);
    }

    #[test]
    fn an_area_is_removed_in_bounded_slices() {
        let store = TestStore::new();
        for id in 0..REMOVE_FILES_MAX as u64 + 1 {
            store.private_files.create(AREA, PrivateId(id)).unwrap();
        }
        let mut unlinked = Vec::new();
        assert!(!store.private_files.remove_area(&store.lock, AREA, &mut unlinked).unwrap());
        assert!(unlinked.iter().all(UnlinkedFile::is_nothing), "they were empty");
        assert_eq!(store.private_files.list(AREA).unwrap().len(), 1);
        assert!(store.private_files.remove_area(&store.lock, AREA, &mut unlinked).unwrap());
    }

    #[test]
    fn h1_a_file_that_is_also_a_blob_is_never_written_in_place() {
        let store = TestStore::new();
        let id = PrivateId(1);
        let file = store.private_files.create(AREA, id).unwrap();
        file.write_all_at(b"blob", 0).unwrap();
        let hash = crate::model::hash::BlobHash::of(b"blob");
        let path = store.private_files.path(AREA, id);
        store.pool.link(&store.lock, &path, &hash).unwrap();
        let again = store.private_files.open(AREA, id).unwrap();
        again.write_all_at(b"PROB", 0).unwrap();
        assert_eq!(fs::read(store.layout.blob(&hash)).unwrap(), b"blob");
        assert_eq!(fs::read(&path).unwrap(), b"PROB");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, PRIVATE_MODE);
        assert_eq!(store.private_files.list(AREA).unwrap(), [id]);
    }

    #[test]
    fn h1_a_copy_is_on_disk_before_it_takes_the_name() {
        use crate::store::durable::testing::{Fault, on_this_thread};
        let store = TestStore::new();
        let id = PrivateId(1);
        let file = store.private_files.create(AREA, id).unwrap();
        file.write_all_at(b"synced", 0).unwrap();
        let path = store.private_files.path(AREA, id);
        store.pool.link(&store.lock, &path, &crate::model::hash::BlobHash::of(b"synced")).unwrap();
        let fault = on_this_thread(Fault::full_at("sync"));
        assert!(store.private_files.open(AREA, id).is_err(), "the copy could not be flushed");
        drop(fault);
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 2, "the name is still that of the blob");
        store.private_files.open(AREA, id).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    }

    #[test]
    fn a_file_that_did_not_reach_the_pool_can_be_written_again() {
        let store = TestStore::new();
        drop(store.private_files.create(AREA, PrivateId(1)).unwrap());
        let path = store.private_files.path(AREA, PrivateId(1));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        store.private_files.open(AREA, PrivateId(1)).unwrap().write_all_at(b"x", 0).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, PRIVATE_MODE);
    }
}
