//! Quota and usage of a repository.

use serde::{Deserialize, Serialize};

use crate::model::name::RepoName;
use crate::model::quota::{Quota, Usage};

/// Quota and usage of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaInfo {
    /// The repository.
    pub repository: RepoName,
    /// `quota_bytes` and `quota_files`; null for no limit.
    #[serde(flatten)]
    pub quota: Quota,
    /// `used_bytes` and `used_files`: of versions and staging areas.
    #[serde(flatten)]
    pub usage: Usage,
    /// What of these the staging areas use, in bytes.
    pub areas_bytes: u64,
    /// What of these the staging areas use, in files.
    #[serde(rename = "areas_file_count")]
    pub areas_files: u64,
}
