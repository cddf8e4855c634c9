//! How two versions differ, path by path.

use serde::{Deserialize, Serialize};

use crate::model::raw::RawPath;

/// How a path differs between two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiffKind {
    /// Only in the second version.
    #[serde(rename = "A")]
    Added,
    /// Only in the first version.
    #[serde(rename = "D")]
    Removed,
    /// In both, with different content or attributes.
    #[serde(rename = "M")]
    Modified,
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// `A`, `D` or `M`.
    pub change: DiffKind,
    /// Relative to the root of the versions.
    pub path: RawPath,
    /// Whether it is a directory (in the second version, if it is there).
    #[serde(rename = "is_directory")]
    pub directory: bool,
    /// Whether only attributes differ, not content. `false` unless `change` is `M`.
    pub attributes_only: bool,
}

/// Totals of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiffReply {
    /// Paths only in the second version.
    #[serde(rename = "added_count")]
    pub added: u64,
    /// Paths only in the first version.
    #[serde(rename = "removed_count")]
    pub removed: u64,
    /// Paths in both that differ.
    #[serde(rename = "modified_count")]
    pub modified: u64,
}
