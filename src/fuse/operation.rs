//! One operation that the kernel asked for: runs it, and says in the log what failed and where.
//!
//! `errno` decides which errno an error becomes, and `vfs` what an operation does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use fuser::{Errno, INodeNo};

use super::errno;
use crate::metrics;
use crate::model::time::Timestamp;
use crate::sys::panics;
use crate::vfs::error::FsError;

/// An operation, by its kernel's name, and the inode that it is about (a directory where it is
/// about a name in it).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    name: &'static str,
    inode: INodeNo,
}

impl Operation {
    /// An operation about an inode.
    pub(crate) fn new(name: &'static str, inode: INodeNo) -> Self {
        Self { name, inode }
    }

    /// The errno of an error of this operation, after logging it.
    ///
    /// Most errors are ordinary answers, and logged at debug level. EIO tells the caller nothing,
    /// so it is logged as a warning, once a second at most: a program that reads a damaged file
    /// again and again must not fill the disk with log lines.
    #[must_use]
    pub(crate) fn errno(self, error: FsError) -> Errno {
        let level = if matches!(error, FsError::Io) && warns_now(Timestamp::now().seconds) {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        log::log!(level, "{} of inode {}: {error}", self.name, self.inode);
        errno::errno(error)
    }
}

/// Whether a warning may be written: none was in this second.
fn warns_now(second: i64) -> bool {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    LAST.swap(second, Ordering::Relaxed) != second
}

/// Runs an operation. A panic in it is logged and becomes EIO. One that finds content absent is not counted: it is
/// run again, by [`guard`], when the content has come.
///
/// # Errors
/// The operation's.
pub(crate) fn attempt<R>(
    name: &'static str,
    body: impl FnOnce() -> Result<R, FsError>,
) -> Result<R, FsError> {
    let began = Instant::now();
    let result = panics::contain(name, || {
        panics::point(name);
        body()
    })
    .unwrap_or(Err(FsError::Io));
    if !matches!(result, Err(FsError::Absent(_))) {
        let counted = metrics::named(name);
        counted.times.add(began.elapsed());
        if matches!(result, Err(FsError::Io)) {
            counted.failures.add(1);
        }
    }
    result
}

/// Runs an operation and turns its error into an errno.
///
/// A panic in it becomes EIO and is logged: it would otherwise end the worker, and with the last
/// worker the mount. Other requests go on.
///
/// # Errors
/// The operation's, or EIO after a panic.
pub(crate) fn guard<R>(
    name: &'static str,
    inode: INodeNo,
    body: impl FnOnce() -> Result<R, FsError>,
) -> Result<R, Errno> {
    metrics::timed(name, |counted| {
        let done = panics::contain(name, || {
            panics::point(name);
            body()
        });
        let result = match done {
            Ok(result) => result.map_err(|error| Operation { name, inode }.errno(error)),
            Err(panics::Panicked(_)) => Err(Errno::EIO),
        };
        if result.as_ref().is_err_and(|errno| errno.code() == Errno::EIO.code()) {
            counted.failures.add(1);
        }
        result
    })
}

/// Runs an operation that replies by itself. A panic drops the reply, which answers EIO.
pub(crate) fn run(name: &'static str, inode: INodeNo, body: impl FnOnce(Operation)) {
    let replied = guard(name, inode, || {
        body(Operation { name, inode });
        Ok(())
    });
    if replied.is_err() {
        log::debug!("{name} of inode {inode} was answered with EIO");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_answered_with_eio() {
        let inode = INodeNo(1);
        let result = guard("test", inode, || -> Result<(), FsError> { panic!("on purpose") });
        assert_eq!(result, Err(Errno::EIO));
        let result = guard("test", inode, || Err::<(), _>(FsError::NotFound));
        assert_eq!(result, Err(Errno::ENOENT));
    }

    #[test]
    fn o2_what_replies_by_itself_is_counted_once_it_can_reply() {
        // Nothing else in these tests is called so.
        let name = "listxattr";
        let count = || metrics::named(name).times.count();
        let absent = FsError::Absent(crate::model::digest::Sha256::of(b"").into());
        let before = count();
        assert_eq!(attempt(name, || Err::<(), _>(absent.clone())), Err(absent));
        assert_eq!(count(), before);
        assert_eq!(attempt(name, || Ok(1)), Ok(1));
        assert_eq!(count(), before + 1);
    }

    #[test]
    fn a_second_has_one_warning() {
        assert!(warns_now(1));
        assert!(!warns_now(1));
        assert!(warns_now(2));
    }
}
