//! Extended attributes of a file as far as the caller may read them.
//!
//! Kept are `user.`, `trusted.` and `security.`. POSIX ACLs (`system.posix_acl_*`) are not kept
//! but noticed, so that an import can say so; cairn's own `user.cairn.` names are answers of the
//! daemon and never content.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::model::tree::Xattrs;

/// The file whose attributes are asked for.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// The kernel's path of an open file, which is followed to that file.
    Followed(&'a CString),
}

/// What [`read`] found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The attributes that are kept.
    pub(super) kept: Xattrs,
    /// Whether the file has a POSIX ACL.
    pub(super) acl: bool,
}

/// The namespaces that are kept.
const KEPT: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Names that only the daemon answers (H19).
const OWN: &[u8] = b"user.cairn.";
/// The kernel's limits of one list and one value, in bytes.
const LIST_BYTES_MAX: usize = 64 * 1024;

/// Whether an attribute of this name is content of a version.
pub(super) fn is_kept(name: &[u8]) -> bool {
    KEPT.iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with(OWN)
}

/// Reads all kept attributes of `subject`.
pub(super) fn read(subject: Subject<'_>) -> Result<Found, Errno> {
    let mut found = Found::default();
    let names = match list(subject) {
        Ok(names) => names,
        // This file system or kind of file has no attributes, or there is no /proc to reach them
        // by.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOENT | Errno::ACCESS | Errno::PERM) => {
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"system.posix_acl_") {
            found.acl = true;
        }
        if !is_kept(name) {
            continue;
        }
        match value(subject, name) {
            Ok(value) => {
                found.kept.insert(name.into(), value.into());
            }
            // The attribute was listed, but is hidden from this caller or was removed meanwhile.
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn list(subject: Subject<'_>) -> Result<Vec<u8>, Errno> {
    grown(|buffer| match subject {
        Subject::Open(fd) => rustix::fs::flistxattr(fd, buffer),
        Subject::Followed(path) => rustix::fs::listxattr(path, buffer),
    })
}

fn value(subject: Subject<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    grown(|buffer| match subject {
        Subject::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
        Subject::Followed(path) => rustix::fs::getxattr(path, name, buffer),
    })
}

/// Calls `ask` with a small buffer first: nearly every file has no or few attributes.
fn grown(ask: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 256];
    match ask(&mut small) {
        Ok(len) => return Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; LIST_BYTES_MAX];
    let len = ask(&mut large)?;
    large.truncate(len);
    Ok(large)
}
