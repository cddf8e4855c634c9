//! Unmounting several mounts, or none of them.
//!
//! The mount of versions lies in the outer one, which cannot go before it. Whether the outer one is
//! in use is known only when its unmount was tried, and then versions would be gone. So a detached
//! copy of each mount is kept before it is unmounted. Nobody sees the copy, but it keeps the
//! filesystem alive, and with it the connection to the daemon. When a later one is in use, the
//! copies are put where the mounts were. In between, those who look up a path in versions find an
//! empty directory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use super::apart::apart;
use super::error::MountError;
use super::table::MountEntry;

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Together {
    /// None of them is mounted any more.
    Unmounted,
    /// The mount with this index is in use, and all are mounted as before.
    InUse(usize),
    /// This process may not do that, or the kernel is too old: nothing was done.
    NotPossible,
}

/// Unmounts `mounts`, in this order, if none of them is in use.
///
/// # Errors
///
/// Returns [`MountError::Unmount`] with what else the kernel said; what was unmounted is back, or
/// the error says that it could not be brought back.
pub fn unmount_together(mounts: &[MountEntry]) -> Result<Together, MountError> {
    // The thread has descriptors of its own, so the copies end with it.
    let done = apart(None, || all_or_none(mounts));
    let failed = |target: &Path, source| MountError::Unmount { target: target.to_owned(), source };
    match done {
        Ok(Ok(together)) => Ok(together),
        Ok(Err((index, source))) => {
            Err(failed(mounts.get(index).map_or(Path::new("/"), |mount| &mount.target), source))
        }
        Err(source) => Err(failed(Path::new("/"), source)),
    }
}

fn all_or_none(mounts: &[MountEntry]) -> Result<Together, (usize, io::Error)> {
    let mut kept: Vec<(&Path, OwnedFd)> = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        if index + 1 < mounts.len() {
            match copy(&mount.target) {
                Ok(copy) => kept.push((&mount.target, copy)),
                Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) if index == 0 => {
                    return Ok(Together::NotPossible);
                }
                Err(error) => return Err((index, put_back(kept, error))),
            }
        }
        let error = match unmount(&mount.target, UnmountFlags::NOFOLLOW) {
            Ok(()) => continue,
            Err(Errno::PERM) if index == 0 => return Ok(Together::NotPossible),
            Err(error) => error,
        };
        // The mount that is in use was not unmounted, so its copy is not needed.
        kept.truncate(index);
        return match (error, restore(kept)) {
            (Errno::BUSY, Ok(())) => Ok(Together::InUse(index)),
            (error, Ok(())) => Err((index, error.into())),
            (_, Err(error)) => Err((index, error)),
        };
    }
    Ok(Together::Unmounted)
}

fn copy(target: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, target, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)
}

fn put_back(kept: Vec<(&Path, OwnedFd)>, error: Errno) -> io::Error {
    restore(kept).err().unwrap_or_else(|| error.into())
}

/// Puts mounts back where they were, the outermost first.
fn restore(kept: Vec<(&Path, OwnedFd)>) -> io::Result<()> {
    for (target, copy) in kept.into_iter().rev() {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&copy, c"", CWD, target, flags).map_err(|error| {
            let (target, source) = (target.display(), io::Error::from(error));
            io::Error::other(format!("{target} was unmounted and cannot be put back: {source}"))
        })?;
    }
    Ok(())
}
