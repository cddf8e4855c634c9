//! What a backup fails with, and what to do about it.

use std::path::PathBuf;

use crate::control::protocol::{ControlError, ErrorDetail, ErrorKind};
use crate::store::catalog::BadRow;
use crate::store::error::StoreError;

/// Results of a backup.
pub type Result<T> = std::result::Result<T, BackupError>;

/// Why there is no new backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Whoever has the store open refuses or failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A disk or a database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A daemon of another version.
    #[error("the answer does not belong to the request")]
    OtherAnswer,
    /// The directory is in the store.
    #[error("{} is inside the store", path.display())]
    Inside {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could replace it while it is written.
    #[error(
        "{} can be replaced by others while it is written: {} belongs to user {owner}, or others may \
         write to it",
        path.display(),
        directory.display()
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// A directory on the way to it.
        directory: PathBuf,
        /// Whose that one is.
        owner: u32,
    },
    /// Something else is there.
    #[error("{} is neither empty nor a backup", path.display())]
    NotABackup {
        /// The directory.
        path: PathBuf,
    },
    /// Another store's backup.
    #[error("{} is a backup of another store, {uuid}", path.display())]
    OtherStore {
        /// The directory.
        path: PathBuf,
        /// The other store.
        uuid: String,
    },
    /// Not what a store has there.
    #[error("{} is not what a backup has there", path.display())]
    Planted {
        /// The path.
        path: PathBuf,
    },
    /// The backup was worked in, or the store is older than it.
    #[error("the backup {} has {what}, which the store has not", path.display())]
    Diverged {
        /// The directory.
        path: PathBuf,
        /// What would be lost.
        what: String,
    },
    /// A row of the catalog is damaged.
    #[error("the catalog is damaged: table {}, row {}: {}", _0.table, _0.key, _0.problem)]
    Row(BadRow),
}

impl From<BackupError> for ControlError {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        let make = |kind| Self::new(kind, message.clone());
        match error {
            BackupError::Control(error) => error,
            BackupError::OtherAnswer => make(ErrorKind::Failed)
                .with_hint("the daemon may be of another version: unmount and mount again"),
            BackupError::Inside { .. } | BackupError::NotABackup { .. } => make(ErrorKind::Usage)
                .with_hint("name a directory of its own: missing, empty, or an earlier backup"),
            BackupError::Exposed { .. } => make(ErrorKind::Usage).with_hint(
                "a backup holds all content: name a directory that only you and root can replace, or \
                 run this as the owner of that one",
            ),
            BackupError::OtherStore { .. } => make(ErrorKind::Usage)
                .with_hint("each store needs a directory of its own for its backup"),
            BackupError::Planted { .. } => make(ErrorKind::Failed)
                .with_hint("make the backup in a new directory, and look at who changed this one"),
            BackupError::Diverged { .. } => make(ErrorKind::Conflict).with_hint(
                "the directory has been in use as a store, or the store was set back: make the \
                 backup in a new directory",
            ),
            BackupError::Row(_) => make(ErrorKind::StoreUnusable)
                .with_hint("`cairn fsck` tells what is lost; an earlier backup is unchanged"),
            BackupError::Store(error) => from_store(&error),
        }
    }
}

fn from_store(error: &StoreError) -> ControlError {
    let message = error.to_string();
    match error {
        StoreError::Locked { pid } => {
            let message = message.replacen("the store", "the backup", 1);
            ControlError::new(ErrorKind::Busy, message)
                .with_hint("it is mounted, or another backup into it runs")
                .with_detail(ErrorDetail::Locked { pid: *pid })
        }
        StoreError::NotAStore { .. } | StoreError::NewerFormat { .. } => {
            ControlError::new(ErrorKind::StoreUnusable, message)
        }
        StoreError::OpenPermissions { .. } => ControlError::new(ErrorKind::Failed, message)
            .with_hint("run `chmod 700` on it, and look at who changed it"),
        StoreError::ForeignOwner { .. } => ControlError::new(ErrorKind::Permission, message)
            .with_hint("run this as its owner, or name another directory"),
        _ if error.is_full() => ControlError::new(ErrorKind::Failed, message)
            .with_hint("free some space there and run it again: it goes on where it was"),
        _ if error.is_corrupt() => ControlError::new(ErrorKind::StoreUnusable, message)
            .with_hint("`cairn fsck` tells what is wrong with the store, or with the backup"),
        _ => ControlError::new(ErrorKind::Failed, message)
            .with_hint("if the directory has an earlier backup, that one is unchanged"),
    }
}
