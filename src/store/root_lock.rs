//! Ownership of a store: one process at a time.
//!
//! The lock is a `flock` on the file `lock`, so it ends with its owner however that dies. The file
//! holds the owner's process id, for the message that the second one gets. Changing the pool needs
//! a `&RootLock`: what has none cannot link or unlink (G2).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::error::{Result, StoreError};
use super::layout::Layout;

/// Proof that this process owns the store; ownership ends when it is dropped.
#[derive(Debug)]
pub struct RootLock {
    /// Holds the lock as long as it is open.
    file: File,
}

impl RootLock {
    /// Takes ownership.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the owner's process id when another process has it.
    pub fn acquire(layout: &Layout) -> Result<Self> {
        let path = layout.lock();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { pid: read_pid(&file) });
            }
            Err(error) => return Err(StoreError::io("lock", &path)(error.into())),
        }
        if let Err(error) = write_pid(&file) {
            // The process id may be missing, for instance on a full disk. The store is owned all
            // the same; only the message that others get says less.
            log::warn!("{} does not say who has the store: {error}", path.display());
        }
        Ok(Self { file })
    }

    /// Whether the lock file is still in the store's directory. It is not if the store was removed
    /// while it is open; moving an open store does no harm.
    pub fn is_in_place(&self, layout: &Layout) -> bool {
        let named = std::fs::symlink_metadata(layout.lock());
        match (named, self.file.metadata()) {
            (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }
}

/// A lock belongs to the open file and not to the descriptor: a program that another thread is just
/// starting has a copy of all descriptors until it runs, and would keep the store locked meanwhile.
impl Drop for RootLock {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            log::warn!("the store is unlocked when all copies of its lock are closed: {error}");
        }
    }
}

fn write_pid(file: &File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    // Written over the old number, so that it needs no room on a full disk. If writing fails, the
    // file is emptied: a wrong number is worse than none.
    match file.write_all_at(text.as_bytes(), 0) {
        Ok(()) => file.set_len(text.len() as u64),
        Err(error) => file.set_len(0).and(Err(error)),
    }
}

/// `None` while the owner is just writing it.
fn read_pid(file: &File) -> Option<u32> {
    let mut bytes = [0; 16];
    let length = file.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..length]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let first = RootLock::acquire(&layout).unwrap();
        let error = RootLock::acquire(&layout).unwrap_err();
        let me = std::process::id();
        assert!(matches!(error, StoreError::Locked { pid: Some(pid) } if pid == me), "{error}");
        assert!(error.to_string().contains(&me.to_string()));
        assert!(first.is_in_place(&layout));
        assert!(!first.is_in_place(&Layout::new(&dir.path().join("elsewhere"))));
        drop(first);
        RootLock::acquire(&layout).unwrap();
    }

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let first = RootLock::acquire(&layout).unwrap();
        let copy = first.file.try_clone().unwrap();
        drop(first);
        RootLock::acquire(&layout).unwrap();
        drop(copy);
    }
}
