//! Paths that match a pattern, and the versions that have them.

use serde::{Deserialize, Serialize};

use crate::model::id::VersionNumber;
use crate::model::name::{BaseName, RepoName};
use crate::model::path_pattern::PathPattern;
use crate::model::raw::RawPath;

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRequest {
    /// The repository.
    pub repository: RepoName,
    /// The pattern.
    pub pattern: PathPattern,
    /// Only in this version; `None` for all.
    #[serde(default)]
    pub version: Option<BaseName>,
}

/// A path that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPath {
    /// Relative to the root of the versions.
    pub path: RawPath,
    /// Whether it is a directory, in the newest version that has it.
    pub is_directory: bool,
    /// The versions that have it, ascending.
    pub version_ranges: Vec<VersionRange>,
}

/// All versions that there are from one number to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The first one.
    pub from: VersionNumber,
    /// The last one, which may be the first.
    pub to: VersionNumber,
}

/// The most ranges in one [`Progress::Found`](super::protocol::Progress::Found), but for those of its
/// last path.
pub const FOUND_RANGES_MAX: usize = 10_000;

/// The most bytes of paths in one, but for its last.
pub const FOUND_PATH_BYTES_MAX: usize = 1 << 20;
