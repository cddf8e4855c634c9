//! Making a store.
//!
//! The format file comes last, by rename: a directory without it is no store, and `init` may be
//! run on it again as long as it holds nothing but what an interrupted `init` leaves.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::catalog::Catalog;
use super::error::{Result, StoreError};
use super::layout::Layout;
use super::root_lock::RootLock;
use super::{durable, format};
use crate::sys;

/// What an interrupted `init` may leave: files, and directories that must be empty.
const OWN_FILES: [&str; 6] =
    ["lock", "catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal", "format.new"];
const OWN_DIRECTORIES: [&str; 3] = ["pool", "staging", "incoming"];

/// Makes a store in `path`, which must be missing (then it is made), empty, or what an interrupted
/// `init` left. All of it is on disk when this returns.
///
/// # Errors
/// When there is something else, or the disk fails.
pub fn init(path: &Path) -> Result<()> {
    let layout = Layout::new(path);
    let mut made = false;
    match durable::mkdir(path, 0o700) {
        Ok(()) => made = true,
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            check_unused(&layout)?;
        }
        Err(error) => return Err(error),
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(StoreError::io("change the mode of", path))?;
    let _lock = RootLock::acquire(&layout)?;
    // Another `init` may have completed the store in the meantime.
    check_unused(&layout)?;
    for directory in [layout.pool(), layout.staging(), layout.incoming()] {
        match durable::mkdir(&directory, 0o700) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            }
            made => made?,
        }
    }
    drop(Catalog::create(&layout)?);
    durable::sync_dir(path)?;
    let uuid = sys::new_uuid().map_err(StoreError::io("name", path))?;
    format::write(&layout, &uuid)?;
    match path.parent().filter(|_| made) {
        Some(parent) if parent.as_os_str().is_empty() => durable::sync_dir(Path::new(".")),
        Some(parent) => durable::sync_dir(parent),
        None => Ok(()),
    }
}

/// Checks that the directory holds nothing but what an interrupted `init` leaves.
fn check_unused(layout: &Layout) -> Result<()> {
    let root = layout.root();
    if layout.format().exists() {
        return Err(match format::check(layout) {
            Ok(()) | Err(StoreError::NewerFormat { .. }) => {
                StoreError::AlreadyAStore { path: root.to_owned() }
            }
            Err(_) => StoreError::NotEmpty { path: root.to_owned() },
        });
    }
    let not_empty = || StoreError::NotEmpty { path: root.to_owned() };
    for entry in fs::read_dir(root).map_err(StoreError::io("list", root))? {
        let entry = entry.map_err(StoreError::io("list", root))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(StoreError::io("look at", &path))?;
        let name = entry.file_name();
        let own = |names: &[&str]| name.to_str().is_some_and(|name| names.contains(&name));
        if kind.is_dir() && own(&OWN_DIRECTORIES) {
            let mut inside = fs::read_dir(&path).map_err(StoreError::io("list", &path))?;
            if inside.next().is_none() {
                continue;
            }
        }
        if !(kind.is_file() && own(&OWN_FILES)) {
            return Err(not_empty());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::durable::testing::{Fault, on_this_thread};

    #[test]
    fn a_store_is_made_where_nothing_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        init(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
        Store::open(&path).unwrap();
        assert!(matches!(init(&path), Err(StoreError::AlreadyAStore { .. })));
    }

    #[test]
    fn an_empty_directory_becomes_private() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        init(directory.path()).unwrap();
        Store::open(directory.path()).unwrap();
    }

    #[test]
    fn a_directory_in_use_is_refused_and_left_alone() {
        for name in ["file", "format", "pool"] {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
            fs::write(directory.path().join(name), "mine").unwrap();
            assert!(matches!(init(directory.path()), Err(StoreError::NotEmpty { .. })), "{name}");
            let found = fs::metadata(directory.path()).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, 0o755);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("pool/ab")).unwrap();
        assert!(matches!(init(directory.path()), Err(StoreError::NotEmpty { .. })));
    }

    #[test]
    fn somebody_elses_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("catalog.db"), "not a database, but mine".repeat(9))
            .unwrap();
        let error = init(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::ForeignCatalog { .. }), "{error}");
    }

    #[test]
    fn init_can_be_interrupted_at_any_step_and_run_again() {
        let whole = tempfile::tempdir().unwrap();
        let counter = on_this_thread(Fault::none());
        init(whole.path()).unwrap();
        let steps = counter.steps();
        drop(counter);
        assert!(steps >= 8, "{steps}");
        for step in 1..=steps {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let fault = on_this_thread(Fault::dead_from(step));
            assert!(init(&path).is_err());
            drop(fault);
            match init(&path) {
                Ok(()) => {}
                // The format file had its name; only the last syncs were missing.
                Err(StoreError::AlreadyAStore { .. }) => assert!(step + 2 >= steps, "step {step}"),
                Err(error) => panic!("after step {step}: {error}"),
            }
            Store::open(&path).unwrap();
        }
    }
}
