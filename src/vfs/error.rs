//! What a filesystem operation can fail with. `fuse::errno` maps each to one errno, exhaustively.

use crate::model::content_name::ContentName;

/// Failure of a filesystem operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FsError {
    /// ENOENT
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST
    #[error("already exists")]
    Exists,
    /// ENOTEMPTY
    #[error("not empty")]
    NotEmpty,
    /// ENOTDIR
    #[error("not a directory")]
    NotDirectory,
    /// EISDIR
    #[error("is a directory")]
    IsDirectory,
    /// EINVAL
    #[error("invalid argument")]
    Invalid,
    /// EPERM
    #[error("operation not permitted")]
    NotPermitted,
    /// EROFS
    #[error("read-only")]
    ReadOnly,
    /// ENAMETOOLONG
    #[error("name too long")]
    NameTooLong,
    /// EXDEV
    #[error("cannot cross between staging areas")]
    CrossArea,
    /// EMLINK
    #[error("too many links")]
    TooManyLinks,
    /// ENFILE
    #[error("too many open files")]
    TooManyOpenFiles,
    /// ENODATA
    #[error("no such attribute")]
    NoData,
    /// ERANGE
    #[error("out of range")]
    Range,
    /// EOPNOTSUPP
    #[error("not supported")]
    NotSupported,
    /// ENOSYS: the kernel must not ask again.
    #[error("not implemented")]
    NotImplemented,
    /// ENOSPC
    #[error("no space left")]
    NoSpace,
    /// EDQUOT
    #[error("quota exceeded")]
    QuotaExceeded,
    /// EBUSY
    #[error("busy")]
    Busy,
    /// ECANCELED: the base of the area is not the newest version any more.
    #[error("the base is not the newest version any more")]
    StaleBase,
    /// EFBIG
    #[error("file too large")]
    TooLarge,
    /// ENXIO: no data or hole there.
    #[error("no such offset")]
    NoSuchOffset,
    /// EBADF
    #[error("bad file handle")]
    BadHandle,
    /// ESTALE
    #[error("stale inode")]
    Stale,
    /// EIO, unless the content with that digest is fetched first.
    #[error("the content is not in the store")]
    Absent(ContentName),
    /// EINTR: who asked is being killed.
    #[error("interrupted")]
    Interrupted,
    /// E2BIG
    #[error("attribute too large")]
    TooBig,
    /// EIO: the reason has been logged.
    #[error("input/output error")]
    Io,
}

impl From<crate::model::name::NameError> for FsError {
    fn from(error: crate::model::name::NameError) -> Self {
        match error {
            crate::model::name::NameError::TooLong => Self::NameTooLong,
            crate::model::name::NameError::Empty
            | crate::model::name::NameError::Dots
            | crate::model::name::NameError::Separator
            | crate::model::name::NameError::Control
            | crate::model::name::NameError::NotUtf8
            | crate::model::name::NameError::At
            | crate::model::name::NameError::Base
            | crate::model::name::NameError::Reserved => Self::Invalid,
        }
    }
}
