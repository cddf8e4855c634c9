//! How a request fails: the class, which decides the exit code, a sentence, what to do, and facts.

use serde::{Deserialize, Serialize};

use super::versions::VersionInfo;
use crate::model::id::VersionNumber;
use crate::model::name::RemoteName;
use crate::model::raw::RawPath;

/// Class of a failure. Each has one exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Refused or failed, for a reason that the message tells.
    Failed,
    /// The request itself is wrong: arguments, names, protocol.
    Usage,
    /// A repository, version, tag, area or file does not exist.
    NotFound,
    /// Something is in use; trying again later may succeed.
    Busy,
    /// The base is not the newest version any more, or a merge conflicts.
    Conflict,
    /// The caller may not do that.
    Permission,
    /// The store cannot be used: locked, damaged, not a store, of a newer format.
    StoreUnusable,
}

impl ErrorKind {
    /// Every kind, in the order of exit codes.
    pub const ALL: [Self; 7] = [
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::Busy,
        Self::Conflict,
        Self::Permission,
        Self::StoreUnusable,
    ];

    /// Exit code of the command line; 0 is success.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Busy => 4,
            Self::Conflict => 5,
            Self::Permission => 6,
            Self::StoreUnusable => 7,
        }
    }
}

/// Facts behind a failure, for those who want more than the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorDetail {
    /// The area's base is not the newest version.
    StaleBase {
        /// What the area started from.
        base: Option<VersionNumber>,
        /// The versions that came after it, oldest first; the last [`DETAIL_VERSIONS_MAX`].
        between: Vec<VersionInfo>,
    },
    /// Files still open for writing, relative to the area's root; the first
    /// [`DETAIL_PATHS_MAX`].
    OpenFiles(Vec<RawPath>),
    /// Paths changed on both sides of a merge; the first [`DETAIL_PATHS_MAX`].
    Conflicts(Vec<RawPath>),
    /// Files of an import that could not be read, the first [`DETAIL_PATHS_MAX`] of `total`.
    #[serde(rename = "unreadable_files")]
    Unreadable {
        /// The files, relative to what is imported.
        files: Vec<UnreadableFile>,
        /// How many there are in all.
        #[serde(rename = "file_count")]
        total: u64,
    },
    /// Files of a remote that could not be had, the first [`DETAIL_PATHS_MAX`] of `total`.
    #[serde(rename = "failed_files")]
    FailedFiles {
        /// The files.
        files: Vec<UnreadableFile>,
        /// How many there are in all.
        #[serde(rename = "file_count")]
        total: u64,
    },
    /// What a remote declares changed while it was fetched.
    RemoteChanged {
        /// Which one.
        remote: RemoteName,
    },
    /// Another process owns the store.
    #[serde(rename = "locked_by")]
    Locked {
        /// Its process id, when it is known.
        pid: Option<u32>,
    },
}

/// One file of [`ErrorDetail::Unreadable`] or [`ErrorDetail::FailedFiles`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableFile {
    /// Which.
    pub path: RawPath,
    /// Why, in words.
    pub reason: String,
}

/// The most versions in an [`ErrorDetail`].
pub const DETAIL_VERSIONS_MAX: usize = 20;

/// The most paths in an [`ErrorDetail`].
pub const DETAIL_PATHS_MAX: usize = 100;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// Class of the failure; decides the exit code.
    pub kind: ErrorKind,
    /// One sentence that names the thing, without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Facts behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<ErrorDetail>>,
}

impl ControlError {
    /// Makes an error without hint and detail.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, detail: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the facts behind it.
    #[must_use]
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }
}
