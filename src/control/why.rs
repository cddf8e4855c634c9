//! What keeps a blob.

use serde::{Deserialize, Serialize};

use crate::model::hash::BlobHash;
use crate::model::id::VersionNumber;
use crate::model::name::{AreaName, BaseName, RepoName};

use super::utc::Until;
use crate::model::raw::RawPath;

/// What [`UpkeepRequest::Why`](super::upkeep::UpkeepRequest::Why) asks about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyTarget {
    /// A blob.
    Hash(BlobHash),
    /// The content of a file of a version.
    File {
        /// The repository.
        repository: RepoName,
        /// The version.
        version: BaseName,
        /// The file, relative to the version's root.
        path: RawPath,
    },
}

/// The most versions, areas and paths of each in a [`WhyReply`].
pub const HOLDERS_MAX: usize = 100;

/// The most paths of one version or area in a [`WhyReply`].
pub const HOLDER_PATHS_MAX: usize = 10;

/// What keeps a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    /// The blob.
    pub hash: BlobHash,
    /// Its length.
    pub size_bytes: u64,
    /// Number of references on it: names in distinct directory pages, and files of areas.
    #[serde(rename = "reference_count")]
    pub references: u64,
    /// Versions, staging areas and deletions that hold it; the first [`HOLDERS_MAX`].
    pub holders: Vec<Holder>,
    /// How many more hold it.
    #[serde(rename = "more_holder_count")]
    pub more_holders: u64,
    /// Whether somebody has it open, or is about to use it.
    pub open: bool,
    /// Until when it is protected although nothing references it; absent when something does.
    #[serde(default, flatten)]
    pub until: Option<Until>,
    /// Whether its file was found missing, too short or altered.
    pub damaged: bool,
    /// Whether it is not stored here, and is fetched when it is read.
    pub absent: bool,
    /// Whether nothing keeps it: it goes with the next run.
    pub free: bool,
}

/// One thing that holds a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is.
    #[serde(flatten)]
    pub what: HolderKind,
    /// Paths in it, the first [`HOLDER_PATHS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<RawPath>,
    /// How many more paths there are.
    #[serde(default)]
    #[serde(rename = "more_path_count")]
    pub more_paths: u64,
}

/// Kind of a [`Holder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum HolderKind {
    /// A version.
    Version {
        /// Its repository.
        repository: RepoName,
        /// Its number.
        number: VersionNumber,
    },
    /// A deleted version that can still be brought back.
    DeletedVersion {
        /// Its repository.
        repository: RepoName,
        /// Its number.
        number: VersionNumber,
        /// Until when at least.
        #[serde(flatten)]
        until: Until,
    },
    /// A file of a staging area.
    Area {
        /// Its repository.
        repository: RepoName,
        /// The area.
        area: AreaName,
    },
    /// The version that a staging area started from.
    Base {
        /// Its repository.
        repository: RepoName,
        /// The area.
        area: AreaName,
    },
    /// What was deleted or published and is being taken apart.
    Queue,
    /// Directory pages that no version names: of a commit under way, or about to be collected.
    Pages {
        /// How many references on the blob they have.
        #[serde(rename = "reference_count")]
        references: u64,
    },
}
