//! The directory that holds a backup: what it may hold, and how the next one takes its place.
//!
//! ```text
//! DIR/ (0700)   backup: "cairn backup", "of UUID"; written first   …a store…   draft.N/catalog.db
//! ```
//!
//! Whoever could write to it before it was made private may have left something in it, so what is
//! not empty must be a backup, and no symlink in it is followed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, unlinkat};

use super::draft::{self, Draft};
use super::error::{BackupError, Result};
use crate::store::caller_path;
use crate::store::catalog::{BlobFacts, BlobState, Catalog, Reader};
use crate::store::durable;
use crate::store::error::StoreError;
use crate::store::format;
use crate::store::layout::Layout;
use crate::store::pool::{Pool, PoolName};
use crate::store::root_lock::RootLock;
use crate::store::staging_dir::StagingDir;

/// First line of a mark.
const MAGIC: &str = "cairn backup";

/// A mark is shorter; more is not read.
const MARK_BYTES_MAX: u64 = 4096;

/// What a run that was interrupted before it wrote its mark leaves.
const BEFORE_MARK: [&str; 2] = ["lock", "backup.new"];

/// The catalog in place.
pub(super) struct Previous {
    pub(super) catalog: Catalog,
    pub(super) reader: Reader,
}

/// A directory that is this run's to write.
pub(super) struct Target {
    layout: Layout,
    pool: Pool,
    /// Declared before the lock: it is closed while the directory is still owned.
    previous: Option<Previous>,
    lock: RootLock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unused,
    Backup,
}

impl Target {
    /// Takes a directory that is missing (then it is made), empty, or a backup of the store
    /// `uuid`, whole or begun.
    pub(super) fn open(path: &Path, uuid: &str) -> Result<Self> {
        let path = &place(path)?;
        let layout = Layout::new(path);
        let state = look(&layout, uuid)?;
        match format::check_private(&layout) {
            Err(StoreError::OpenPermissions { .. }) if state == State::Unused => {
                fs::set_permissions(path, Permissions::from_mode(0o700))
                    .map_err(StoreError::io("change the mode of", path))?;
            }
            checked => checked?,
        }
        let lock = RootLock::acquire(&layout)?;
        // Nobody else can change it from here on; somebody may have just before.
        if look(&layout, uuid)? == State::Unused {
            durable::replace(&layout.backup_mark(), format!("{MAGIC}\nof {uuid}\n").as_bytes())?;
        }
        for directory in [layout.pool(), layout.staging(), layout.incoming()] {
            make_directory(&directory)?;
        }
        check_kinds(&layout)?;
        let pool = Pool::new(layout.clone())?;
        remove_leftovers(&layout, &pool, &lock)?;
        let previous = if layout.format().exists() {
            format::uuid(&layout)?;
            let catalog = Catalog::open(&layout)?;
            Some(Previous { reader: catalog.reader()?, catalog })
        } else {
            None
        };
        Ok(Self { layout, pool, previous, lock })
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn lock(&self) -> &RootLock {
        &self.lock
    }

    pub(super) fn previous(&self) -> Option<&Previous> {
        self.previous.as_ref()
    }

    /// Makes a draft of a copy of the store's catalog.
    pub(super) fn draft(&self, round: u32, catalog: &File) -> Result<Draft> {
        let layout = Layout::new(&self.layout.draft(round));
        durable::mkdir(layout.root(), 0o700)?;
        let path = layout.catalog();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(StoreError::io("create", &path))?;
        durable::copy(catalog, &file, &path)?;
        drop(file);
        Draft::open(layout)
    }

    /// Whether the content of a blob is there. `first` is the draft of an earlier round of this
    /// run, which says what that one brought.
    pub(super) fn has(
        &self,
        blob: &BlobFacts,
        first: Option<&Draft>,
        read: &mut dyn FnMut(u64),
    ) -> Result<bool> {
        let path = self.layout.blob(&blob.hash);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() == blob.size => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("look at", &path)(error).into()),
        }
        if let Some(previous) = &self.previous
            && let Some(row) = previous.reader.blob(&blob.hash)?
            && row.size == blob.size
            && row.state == (BlobState::Stored { epoch: 0 })
        {
            return Ok(true);
        }
        if let Some(first) = first
            && first.blob(&blob.hash)?.is_some_and(|row| row.is_stored())
        {
            return Ok(true);
        }
        // An interrupted run left it, or somebody else: its content tells.
        Ok(self.pool.is_sound(&blob.hash, blob.size, read)?)
    }

    /// Makes the draft the backup. Returns how many blobs went that it does not name.
    pub(super) fn put_in_place(mut self, draft: Draft, uuid: &str) -> Result<u64> {
        let root = self.layout.root().to_owned();
        let ready = draft.close()?;
        // All blobs and the draft.
        durable::syncfs(&root)?;
        if let Some(Previous { catalog, reader }) = self.previous.take() {
            let checkpointer = catalog.checkpointer()?;
            draft::close(catalog, reader, &checkpointer, &self.layout)?;
        }
        // A log of the old catalog must not meet the new one.
        draft::remove_log(&self.layout)?;
        durable::sync_dir(&root)?;
        durable::rename(&ready, &self.layout.catalog())?;
        durable::sync_dir(&root)?;
        if !self.layout.format().exists() {
            format::write(&self.layout, uuid)?;
        }
        self.sweep()
    }

    /// Removes what the catalog in place does not name.
    fn sweep(&self) -> Result<u64> {
        let catalog = Catalog::open(&self.layout)?;
        let (reader, checkpointer) = (catalog.reader()?, catalog.checkpointer()?);
        let mut removed = 0;
        for first_byte in 0..=u8::MAX {
            for name in self.pool.names(first_byte)? {
                let PoolName::Blob(hash) = name else { continue };
                if reader.blob(&hash)?.is_none_or(|row| row.is_absent()) {
                    drop(self.pool.remove(&self.lock, &hash, None)?);
                    removed += 1;
                }
            }
        }
        draft::close(catalog, reader, &checkpointer, &self.layout)?;
        // Of somebody who had mounted the backup: the new one has no areas.
        let private_files = StagingDir::new(self.layout.clone());
        for area in private_files.areas()? {
            while !private_files.remove_area(&self.lock, area, &mut Vec::new())? {}
        }
        remove_leftovers(&self.layout, &self.pool, &self.lock)?;
        Ok(removed)
    }
}

/// Finds the directory `path`, makes it where it is missing, and returns where it really is.
///
/// All that follows works with that path, SQLite too, which takes no descriptors. So nobody else may be
/// able to put something in its place (H24), now or while it is written.
fn place(path: &Path) -> Result<PathBuf> {
    let failed = |error: io::Error| StoreError::io("open", path)(error);
    let (found, made) = match caller_path::open_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (parent, name) = caller_path::open_parent(path).map_err(failed)?;
            mkdirat(&parent, &name, Mode::RWXU).map_err(|error| failed(error.into()))?;
            durable::sync_dir(&super::parent(path))?;
            (caller_path::open_directory(path).map_err(failed)?, Some((parent, name)))
        }
        opened => (opened.map_err(failed)?, None),
    };
    let real = fs::read_link(caller_path::own_path(&found)).map_err(failed)?;
    let Some((directory, owner)) = caller_path::changeable_by_others(&real).map_err(failed)? else {
        return Ok(real);
    };
    if let Some((parent, name)) = made {
        unlinkat(&parent, &name, AtFlags::REMOVEDIR).map_err(|error| failed(error.into()))?;
    }
    Err(BackupError::Exposed { path: path.to_owned(), directory, owner })
}

/// Makes a directory; `false` when something is there.
fn make_directory(path: &Path) -> Result<bool> {
    match durable::mkdir(path, 0o700) {
        Ok(()) => Ok(true),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks that a directory is unused or a backup of the store `uuid`; changes nothing.
fn look(layout: &Layout, uuid: &str) -> Result<State> {
    let path = layout.root();
    match read_mark(layout)? {
        Some(found) if found == uuid => return Ok(State::Backup),
        Some(found) => {
            return Err(BackupError::OtherStore { path: path.to_owned(), uuid: found });
        }
        None => {}
    }
    for entry in fs::read_dir(path).map_err(StoreError::io("list", path))? {
        let entry = entry.map_err(StoreError::io("list", path))?;
        let kind = entry.file_type().map_err(StoreError::io("look at", &entry.path()))?;
        let name = entry.file_name();
        let known = name.to_str().is_some_and(|name| BEFORE_MARK.contains(&name));
        if !(known && kind.is_file()) {
            return Err(BackupError::NotABackup { path: path.to_owned() });
        }
    }
    Ok(State::Unused)
}

/// The store that a directory is a backup of; `None` when it does not say so.
fn read_mark(layout: &Layout) -> Result<Option<String>> {
    let path = layout.backup_mark();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", &path)(error).into()),
    };
    let mut bytes = Vec::new();
    file.take(MARK_BYTES_MAX).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let is_mark = lines.next() == Some(MAGIC);
    let uuid = lines.next().and_then(|line| line.strip_prefix("of "));
    Ok(uuid.filter(|_| is_mark).map(str::to_owned))
}

/// Checks that directories are directories and files are files.
fn check_kinds(layout: &Layout) -> Result<()> {
    let index = layout.root().join("catalog.db-shm");
    let files = [layout.catalog(), layout.wal(), index, layout.format()];
    let mut directories = vec![layout.pool(), layout.staging(), layout.incoming()];
    directories.extend((0..=u8::MAX).map(|byte| layout.pool().join(format!("{byte:02x}"))));
    let paths = files.into_iter().map(|path| (path, false));
    for (path, is_directory) in paths.chain(directories.into_iter().map(|path| (path, true))) {
        match fs::symlink_metadata(&path) {
            Ok(found) if is_directory && found.is_dir() => {}
            Ok(found) if !is_directory && found.is_file() => {}
            Ok(_) => return Err(BackupError::Planted { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("look at", &path)(error).into()),
        }
    }
    Ok(())
}

/// Removes drafts and what was on its way into the pool.
fn remove_leftovers(layout: &Layout, pool: &Pool, lock: &RootLock) -> Result<()> {
    for path in list(&layout.incoming())? {
        pool.remove_incoming(lock, &path)?;
    }
    for path in list(layout.root())? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with("draft.") {
            continue;
        }
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            return Err(BackupError::Planted { path });
        }
        for file in list(&path)? {
            durable::unlink(&file)?;
        }
        durable::rmdir(&path)?;
    }
    Ok(())
}

fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let names = fs::read_dir(path).map_err(StoreError::io("list", path))?;
    let names = names.map(|name| name.map(|name| name.path()));
    Ok(names.collect::<io::Result<_>>().map_err(StoreError::io("list", path))?)
}
