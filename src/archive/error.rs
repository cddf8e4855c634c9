//! What import and export fail with.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::path::{ArchivePath, PathError};
use crate::control::protocol::{
    ControlError, DETAIL_PATHS_MAX, ErrorDetail, ErrorKind, UnreadableFile,
};
use crate::model::tree_format::TreeError;

/// One entry that could not be read, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The entry.
    pub path: ArchivePath,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// The problems of one import: the first ones in full, the others counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    unlisted: u64,
}

impl Problems {
    /// Notes one more.
    pub fn push(&mut self, problem: Problem) {
        if self.listed.len() < DETAIL_PATHS_MAX {
            self.listed.push(problem);
        } else {
            self.unlisted += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The problems as a failed request lists them.
    fn into_detail(self) -> ErrorDetail {
        let total = u64::try_from(self.listed.len()).unwrap_or(u64::MAX) + self.unlisted;
        let file = |problem: Problem| UnreadableFile {
            path: problem.path.to_raw(),
            reason: problem.reason,
        };
        ErrorDetail::Unreadable { files: self.listed.into_iter().map(file).collect(), total }
    }

    /// Those kept in full.
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  {problem}")?;
        }
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// Failure of an import or an export.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A system call failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb, as in "cannot …".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// An entry of an archive breaks a rule of paths.
    #[error("nothing was imported: entry `{entry}`: {rule}")]
    EntryPath {
        /// The entry as the archive spells it, made printable.
        entry: String,
        /// The rule.
        rule: PathError,
    },
    /// An entry of an archive breaks another rule.
    #[error("nothing was imported: entry `{entry}`: {reason}")]
    Entry {
        /// The entry, made printable.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The input is no archive that cairn reads, or it is damaged.
    #[error("nothing was imported: {0}")]
    Format(String),
    /// Files could not be read.
    #[error("nothing was imported, because these could not be read:\n{0}")]
    Unreadable(Problems),
    /// The destination of an export is not usable.
    #[error("{}: {reason}", path.display())]
    Destination {
        /// The destination.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// An entry of a version cannot be written, or what the store has of it is damaged.
    #[error("{path}: {reason}")]
    NotExported {
        /// The entry.
        path: ArchivePath,
        /// Why.
        reason: String,
    },
    /// An export or a restore was asked to end.
    #[error("interrupted: nothing was written")]
    Interrupted,
    /// What was read for a sync is not wanted any more.
    #[error("stopped")]
    Stopped,
    /// A tree page is invalid.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The archive cannot be written.
    #[error("cannot write the archive: {0}")]
    Output(io::Error),
    /// The store's answer does not fit the question.
    #[error("the store answered with {0}")]
    Protocol(&'static str),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] ControlError),
}

impl From<ArchiveError> for ControlError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error,
            ArchiveError::Unreadable(problems) => {
                let message = "nothing was imported, because these could not be read";
                Self::new(ErrorKind::Failed, message).with_detail(problems.into_detail())
            }
            error => {
                let kind = match &error {
                    ArchiveError::Io { source, .. } => match source.kind() {
                        io::ErrorKind::NotFound => ErrorKind::NotFound,
                        io::ErrorKind::PermissionDenied => ErrorKind::Permission,
                        _ => ErrorKind::Failed,
                    },
                    _ => ErrorKind::Failed,
                };
                Self::new(kind, error.to_string())
            }
        }
    }
}

impl ArchiveError {
    /// Wraps a failed system call on `path`; for use with `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: source.into() }
    }
}
