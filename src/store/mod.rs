//! The disk: catalog, blob pool, private files.
//!
//! The store keeps what it is told to and reports failures faithfully. It has no policy (what is
//! wanted, for how long, who may), knows nothing of FUSE, and starts no thread. Single ownership is
//! a value, [`RootLock`]; single writing of the catalog is `&mut Catalog`.
//!
//! On disk: see [`layout`]. Durable steps go through [`durable`], system calls through [`sys`](crate::sys).

use std::path::Path;
use std::sync::Arc;

pub mod absent_blobs;
pub mod blob_names;
pub(crate) mod caller_path;
pub mod catalog;
pub mod durable;
pub mod error;
pub(crate) mod format;
pub(crate) mod hash_file;
mod init;
pub mod layout;
pub mod pool;
pub(crate) mod readers;
pub(crate) mod reserve;
pub(crate) mod room;
pub mod root_lock;
pub(crate) mod staging_dir;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree_cache;
pub(crate) mod unlinked_file;

pub use format::FORMAT;
pub use init::init;

use catalog::Catalog;
use error::{Result, StoreError};
use layout::Layout;
use pool::Pool;
use reserve::Reserve;
use root_lock::RootLock;
use staging_dir::StagingDir;

/// An open store. Its parts are handed out: the lock and the catalog to the metadata thread, the
/// rest to everybody.
#[derive(Debug)]
pub struct Store {
    /// Paths.
    pub layout: Layout,
    /// The database. Declared before the lock: it is closed while the store is still owned.
    pub catalog: Catalog,
    /// Proof of ownership.
    pub lock: RootLock,
    /// Blobs.
    pub pool: Arc<Pool>,
    /// Files being written.
    pub private_files: Arc<StagingDir>,
    /// Space for a full disk.
    pub reserve: Reserve,
}

impl Store {
    /// Opens the store in `path` and takes ownership of it.
    ///
    /// # Errors
    /// When it is no store, of a newer format, accessible to others, or in use.
    pub fn open(path: &Path) -> Result<Self> {
        // An error about what is no store names the path. A store is reached through its descriptor
        // from here on.
        format::check(&Layout::new(path))?;
        let layout = Layout::open(path).map_err(StoreError::io("open", path))?;
        format::check(&layout)?;
        format::check_private(&layout)?;
        let lock = RootLock::acquire(&layout)?;
        let pool = Arc::new(Pool::new(layout.clone())?);
        let private_files = Arc::new(StagingDir::new(layout.clone()));
        let reserve = Reserve::new(&layout, pool.room());
        let catalog = Catalog::open(&layout)?;
        Ok(Self { layout, catalog, lock, pool, private_files, reserve })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn new_store() -> (tempfile::TempDir, Layout) {
        let directory = tempfile::tempdir().unwrap();
        init(directory.path()).unwrap();
        let layout = Layout::new(directory.path());
        (directory, layout)
    }

    #[test]
    fn a_store_has_one_owner_at_a_time() {
        let (directory, _) = new_store();
        let store = Store::open(directory.path()).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        let me = std::process::id();
        assert!(matches!(error, StoreError::Locked { pid: Some(pid) } if pid == me));
        drop(store);
        Store::open(directory.path()).unwrap();
    }

    #[test]
    fn what_is_no_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| matches!(Store::open(path), Err(StoreError::NotAStore { .. }));
        assert!(refused(directory.path()));
        assert!(refused(&directory.path().join("missing")));
        fs::write(directory.path().join("format"), "something else\n").unwrap();
        assert!(refused(directory.path()));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let (directory, layout) = new_store();
        fs::write(layout.format(), "cairn store\nformat 99\nuuid x\nmore\n").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 99, supported: 1 }), "{error}");
    }

    #[test]
    fn somebody_elses_store_is_refused() {
        let (directory, _) = new_store();
        assert!(rustix::process::geteuid().is_root(), "only root can give it away");
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::ForeignOwner { uid: 65534, own: 0, .. }), "{error}");
    }

    #[test]
    fn a_symlink_in_place_of_the_lock_is_not_followed() {
        let (directory, layout) = new_store();
        let victim = directory.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        rustix::fs::unlink(layout.lock()).unwrap();
        std::os::unix::fs::symlink(&victim, layout.lock()).unwrap();
        assert!(Store::open(directory.path()).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn a_store_open_to_others_is_refused() {
        let (directory, _) = new_store();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(matches!(error, StoreError::OpenPermissions { mode: 0o750, .. }), "{error}");
    }
}
