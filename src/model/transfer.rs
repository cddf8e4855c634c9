//! How far a push to a bucket, or a pull from one, has come.

/// What was done so far. Contents are counted once per version that needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TransferCounts {
    /// Versions that were published.
    #[serde(rename = "version_count")]
    pub versions: u64,
    /// Contents that were there already.
    #[serde(rename = "present_content_count")]
    pub present: u64,
    /// Contents that have to be moved, as far as is known.
    #[serde(rename = "missing_content_count")]
    pub contents: u64,
    /// Their bytes.
    #[serde(rename = "missing_content_bytes")]
    pub content_bytes: u64,
    /// Contents of these that were moved.
    #[serde(rename = "transferred_content_count")]
    pub moved: u64,
    /// Bytes that went over the network: packed, with trees and lists.
    #[serde(rename = "transferred_bytes")]
    pub moved_bytes: u64,
}

/// What a push or a pull is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferStage {
    /// It reads the log and looks for what is there already.
    #[default]
    Look,
    /// It moves what is missing.
    Move,
    /// It publishes a version.
    Publish,
}

/// How far a push or a pull has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TransferProgress {
    /// What it is at.
    #[serde(default)]
    pub stage: TransferStage,
    /// What was done so far.
    #[serde(flatten)]
    pub counts: TransferCounts,
}
