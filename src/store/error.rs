//! What the store can fail with. Layers above map it to an errno once; nothing here knows of FUSE.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::layout::shown;
use crate::model::content_name::ContentName;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::text::{count, is_or_are};
use crate::model::tree_format::TreeError;
use crate::sys::panics::Panicked;

/// Results of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Errors that mean that the disk, not the process, cannot read a file.
const DAMAGE: [Errno; 4] = [Errno::IO, Errno::UCLEAN, Errno::NODATA, Errno::BADMSG];

/// Whether a file could not be read because of the disk. Other errors, for instance that no more
/// files can be opened, say nothing of the file.
pub fn is_damage(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| DAMAGE.contains(&errno))
}

/// What kind of trouble the catalog is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogErrorKind {
    /// No space left for it.
    Full,
    /// The disk failed to read or write.
    Io,
    /// The catalog contradicts itself, or a change would make it do so.
    Corrupt,
    /// Anything else.
    Other,
}

/// Failure of a store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}", shown(path).display())]
    Io {
        /// What was tried, as a verb phrase that the path completes.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The work met a defect of ours.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// Too many files are being written.
    #[error(
        "{} {} open already, as many as may be; close some",
        count(*max, "file"),
        is_or_are(*max)
    )]
    TooManyOpenFiles {
        /// How many.
        max: u64,
    },
    /// Content that is not in the store.
    #[error("the content {0} is not in the store")]
    AbsentContent(ContentName),
    /// The quota of a repository is used up.
    #[error("the repository's quota is used up")]
    OverQuota,
    /// Another process owns the store.
    #[error("the store is in use by {}", owner(*pid))]
    Locked {
        /// Its process id, when it could be read.
        pid: Option<u32>,
    },
    /// No store there.
    #[error("{} is not a store of cairn", shown(path).display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// A store there already.
    #[error("{} already is a cairn store", shown(path).display())]
    AlreadyAStore {
        /// The directory.
        path: PathBuf,
    },
    /// A store is made in an empty directory only.
    #[error("{} is not empty; a store needs a directory of its own", shown(path).display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Made by a later release.
    #[error("the store has format {found}, this cairn knows up to {supported}; use a newer cairn")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The newest format this release can read.
        supported: u32,
    },
    /// The catalog is some other program's file.
    #[error("{} is not a catalog of cairn", shown(path).display())]
    ForeignCatalog {
        /// The file.
        path: PathBuf,
    },
    /// Others could get into the store.
    #[error("{} has mode {mode:04o}; a store must be its owner's alone (chmod 0700)", shown(path).display())]
    OpenPermissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to uid {uid}, and this is uid {own}", shown(path).display())]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Who opens it.
        own: u32,
    },
    /// SQLite failed.
    #[error("catalog: cannot {action}: {source}")]
    Catalog {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What kind of trouble.
        kind: CatalogErrorKind,
        /// SQLite's error, or the contradiction found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored tree page is not valid.
    #[error("tree {hash}: {source}")]
    Tree {
        /// Its name.
        hash: TreeHash,
        /// What is wrong.
        source: TreeError,
    },
    /// Tree data is not valid.
    #[error(transparent)]
    InvalidTree(#[from] TreeError),
    /// The bytes of a tree page are not the ones that were stored.
    #[error("tree {0} is damaged")]
    DamagedTree(TreeHash),
    /// The catalog lacks a tree that something names.
    #[error("tree {0} is missing")]
    MissingTree(TreeHash),
    /// The catalog or the pool lacks a blob that something names.
    #[error("blob {0} is missing")]
    MissingBlob(BlobHash),
    /// The bytes of a blob are not the ones that were stored.
    #[error("blob {0} is damaged")]
    DamagedBlob(BlobHash),
    /// An earlier failure forbids changes until the store is opened again.
    #[error("the store refuses changes until restarted: {0}")]
    Poisoned(String),
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl StoreError {
    /// Makes a function for `map_err` that adds what was done to what.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the cause is lack of space or quota.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Catalog { kind, .. } => *kind == CatalogErrorKind::Full,
            Self::OverQuota
            | Self::Panicked(_)
            | Self::TooManyOpenFiles { .. }
            | Self::ForeignOwner { .. }
            | Self::Locked { .. }
            | Self::NotAStore { .. }
            | Self::AlreadyAStore { .. }
            | Self::NotEmpty { .. }
            | Self::NewerFormat { .. }
            | Self::ForeignCatalog { .. }
            | Self::OpenPermissions { .. }
            | Self::Tree { .. }
            | Self::InvalidTree(_)
            | Self::DamagedTree(_)
            | Self::MissingTree(_)
            | Self::MissingBlob(_)
            | Self::DamagedBlob(_)
            | Self::AbsentContent(_)
            | Self::Poisoned(_) => false,
        }
    }

    /// Whether the cause is that no more files can be opened, by this process or at all. Nothing was
    /// done to a file then.
    pub fn lacks_descriptors(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return matches!(self, Self::TooManyOpenFiles { .. });
        };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Whether the catalog contradicts itself or its rules.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Catalog { kind: CatalogErrorKind::Corrupt, .. })
    }

    /// Whether it says that a file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_space_is_recognised() {
        let full = |errno: rustix::io::Errno| StoreError::Io {
            action: "write",
            path: "f".into(),
            source: errno.into(),
        };
        assert!(full(rustix::io::Errno::NOSPC).is_full());
        assert!(full(rustix::io::Errno::MFILE).lacks_descriptors());
        assert!(!full(rustix::io::Errno::NOSPC).lacks_descriptors());
        assert!(full(rustix::io::Errno::DQUOT).is_full());
        assert!(!full(rustix::io::Errno::IO).is_full());
        let catalog = |kind| StoreError::Catalog { action: "commit", kind, source: "".into() };
        assert!(catalog(CatalogErrorKind::Full).is_full());
        assert!(!catalog(CatalogErrorKind::Io).is_full());
    }

    #[test]
    fn the_owner_is_named() {
        assert!(StoreError::Locked { pid: Some(17) }.to_string().contains("process 17"));
        assert!(StoreError::Locked { pid: None }.to_string().contains("another process"));
    }
}
