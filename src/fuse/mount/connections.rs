//! `fusectl`, the filesystem in which the kernel lists FUSE connections, each in a directory that is
//! called after the minor number of its mount's device:
//!
//! ```text
//! 41/abort    whoever writes to it ends connection 41
//! ```
//!
//! A file that was opened belongs to one connection for ever: when the connection's filesystem is
//! gone, the kernel unlinks the file, and what is written to it then ends nothing, whoever has the
//! number by now (fs/fuse/control.c).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where it is mounted, if it is.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Opens what ends the connection `number`: of the place where `fusectl` is mounted, or, as root, of
/// a mount of it that nobody sees and that goes with this call.
///
/// # Errors
/// There is no such connection, it belongs to another user, or there is no `fusectl`.
pub(crate) fn open_abort(number: u32) -> io::Result<File> {
    let name = format!("{number}/abort");
    let seen = File::options().write(true).open(Path::new(CONNECTIONS).join(&name));
    if let Err(error) = &seen
        && error.kind() == io::ErrorKind::NotFound
        && let Ok(unseen) = open_unseen(&name)
    {
        return Ok(unseen);
    }
    seen
}

fn open_unseen(name: &str) -> io::Result<File> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = openat(&mount, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(file.into())
}

/// Whether the connection of such a file still has its filesystem, and with it its number.
///
/// # Errors
/// The system call's.
pub(crate) fn has_filesystem(abort: &File) -> io::Result<bool> {
    Ok(abort.metadata()?.nlink() > 0)
}
