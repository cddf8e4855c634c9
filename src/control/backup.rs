//! A backup of the whole store, as requests: the daemon hands out its catalog and keeps the blobs
//! in place, and the command copies (H24).

use serde::{Deserialize, Serialize};

/// What a backup asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupRequest {
    /// The catalog as it is now. Replies [`super::reply::Reply::Catalog`]; the attachment's file
    /// is the catalog.
    Catalog {
        /// Keep every blob in place from before that instant on, until the connection ends or
        /// [`BackupRequest::Release`].
        hold: bool,
    },
    /// Has all absent content that trees and areas name fetched into the store, until the caller goes away. Sends
    /// [`Progress::Step`](super::protocol::Progress::Step) and, of what could not be had,
    /// [`Progress::Failures`](super::protocol::Progress::Failures), in which the name of a content stands for a path. Replies
    /// [`super::reply::Reply::BackupFetched`]. Fails where nothing can be fetched: without a daemon, in a read-only store.
    Fetch,
    /// Ends the hold. Replies [`super::reply::Reply::Done`]. Fails when there is no hold, since it
    /// ended with its connection or daemon: blobs may have been removed meanwhile.
    Release,
}

/// A blob that is damaged in the store, and that the backup does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedBlob {
    /// Its hash.
    pub hash: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The most damaged blobs that a [`BackupReport`] lists.
pub const DAMAGED_MAX: usize = 100;

/// A content that could not be fetched, and that the backup does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfetchedContent {
    /// Its name: a BLAKE3, or `sha256:` and the digest that a remote declared.
    pub content: String,
    /// Why it could not be had.
    pub reason: String,
}

/// The most contents that could not be fetched that a [`BackupReport`] lists.
pub const UNFETCHED_MAX: usize = 100;

/// What [`BackupRequest::Fetch`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackupFetched {
    /// Contents that were fetched.
    #[serde(rename = "fetched_content_count")]
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Contents that could not be had.
    #[serde(rename = "unfetched_content_count")]
    pub failed: u64,
}

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BackupReport {
    /// Repositories in it.
    #[serde(rename = "repository_count")]
    pub repositories: u64,
    /// Versions in it.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Blobs in it.
    #[serde(rename = "blob_count")]
    pub blobs: u64,
    /// Their bytes.
    pub blobs_bytes: u64,
    /// Blobs that were copied this time.
    #[serde(rename = "copied_blob_count")]
    pub copied: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Blobs that were removed, as the store has them no more.
    #[serde(rename = "removed_blob_count")]
    pub removed: u64,
    /// Staging areas that were open, and are not in it.
    #[serde(rename = "left_out_area_count")]
    pub areas_left_out: u64,
    /// Blobs that are damaged in the store, and that the backup lacks.
    #[serde(rename = "damaged_blob_count")]
    pub damaged: u64,
    /// The first of them, at most [`DAMAGED_MAX`].
    pub damaged_blobs: Vec<DamagedBlob>,
    /// Contents that versions of the backup name, that only remotes have, and that it lacks.
    #[serde(rename = "absent_content_count")]
    pub absent: u64,
    /// Their bytes.
    pub absent_bytes: u64,
    /// What was fetched for the backup, where that was asked for.
    #[serde(flatten)]
    pub fetch: BackupFetched,
    /// The first contents that could not be had, at most [`UNFETCHED_MAX`].
    pub unfetched_contents: Vec<UnfetchedContent>,
    /// How long it took.
    pub duration_ms: u64,
}
