//! The steps of an export: how a version is read without a mount.
//!
//! The command writes with its caller's credentials (H24); it is handed tree pages and open files.

use serde::{Deserialize, Serialize};

use crate::model::content_name::ContentName;
use crate::model::hash::TreeHash;
use crate::model::name::{BaseName, RepoName};

/// The most hashes in one [`ExportRequest::Open`], as a message carries so many files at most.
pub const OPEN_MAX: usize = 64;

/// One step of an export. The version asked by `Root` stays readable until the connection ends,
/// even when it is deleted meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportRequest {
    /// Replies [`Reply::Root`](super::reply::Reply::Root).
    Root {
        /// The repository.
        repository: RepoName,
        /// The version.
        version: BaseName,
    },
    /// Replies [`Reply::Pages`](super::reply::Reply::Pages).
    Pages {
        /// At most [`HASHES_MAX`](super::protocol::HASHES_MAX); the answer must fit a payload.
        hashes: Vec<TreeHash>,
    },
    /// Replies [`Reply::Opened`](super::reply::Reply::Opened).
    Open {
        /// At most [`OPEN_MAX`].
        names: Vec<ContentName>,
        /// Fails where content was not fetched yet, and fetches none.
        #[serde(default)]
        no_fetch: bool,
    },
}
