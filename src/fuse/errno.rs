//! The one mapping from filesystem errors to errno. Exhaustive: a new error must be given one.

use fuser::Errno;

use crate::vfs::error::FsError;

/// The errno of a filesystem error.
pub(crate) fn errno(error: FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::Invalid => Errno::EINVAL,
        FsError::NotPermitted => Errno::EPERM,
        FsError::ReadOnly => Errno::EROFS,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::CrossArea => Errno::EXDEV,
        FsError::TooManyLinks => Errno::EMLINK,
        FsError::TooManyOpenFiles => Errno::ENFILE,
        FsError::NoData => Errno::ENODATA,
        FsError::Range => Errno::ERANGE,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::NotImplemented => Errno::ENOSYS,
        FsError::NoSpace => Errno::ENOSPC,
        FsError::QuotaExceeded => Errno::EDQUOT,
        FsError::Busy => Errno::EBUSY,
        FsError::StaleBase => Errno::ECANCELED,
        FsError::TooLarge => Errno::EFBIG,
        FsError::NoSuchOffset => Errno::ENXIO,
        FsError::BadHandle => Errno::EBADF,
        FsError::Stale => Errno::ESTALE,
        FsError::Interrupted => Errno::EINTR,
        FsError::TooBig => Errno::E2BIG,
        FsError::Io | FsError::Absent(_) => Errno::EIO,
    }
}
