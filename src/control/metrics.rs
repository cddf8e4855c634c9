//! What the daemon has counted since it began, and what goes on in it right now.
//!
//! These are totals: whoever wants to know what happened in a while asks twice and subtracts.

use serde::{Deserialize, Serialize};

/// All numbers at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetricsReply {
    /// Process id of the daemon.
    pub daemon_pid: u32,
    /// How long the daemon has been serving, in milliseconds.
    pub uptime_ms: u64,
    /// Upper bounds of the times that are told apart, in microseconds, ascending.
    pub bounds_us: Vec<u64>,
    /// Operations of the kernel that there were.
    pub operations: Vec<OperationMetrics>,
    /// What was done.
    pub counts: Counts,
    /// What is going on.
    pub now: Activity,
}

/// One kind of operation of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OperationMetrics {
    /// Its name: `lookup`, `read`.
    pub operation: String,
    /// How many took how long: one number for each bound, and one for those beyond all bounds.
    pub buckets: Vec<u64>,
    /// How long all took together, in microseconds.
    pub total_us: u64,
    /// How many were answered with EIO.
    pub failures: u64,
}

/// Numbers that only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Closed files that became blobs.
    #[serde(rename = "sealed_file_count")]
    pub sealed_files: u64,
    /// Those of them whose content the store had already.
    #[serde(rename = "known_file_count")]
    pub known_files: u64,
    /// Closed files that could not be stored, each try counted.
    #[serde(rename = "seal_failure_count")]
    pub seal_failures: u64,
    /// Versions that were published.
    #[serde(rename = "commit_count")]
    pub commits: u64,
    /// Collections that ended.
    #[serde(rename = "collection_count")]
    pub collections: u64,
    /// Blobs that collections removed.
    #[serde(rename = "freed_blob_count")]
    pub freed_blobs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Versions that policies deleted.
    #[serde(rename = "expired_version_count")]
    pub expired_versions: u64,
    /// Files that syncs fetched.
    #[serde(rename = "fetched_file_count")]
    pub fetched_files: u64,
    /// Bytes fetched from remotes, by syncs and for readers.
    pub fetched_bytes: u64,
    /// Files that syncs could not have.
    #[serde(rename = "fetch_failure_count")]
    pub fetch_failures: u64,
    /// Pages of directories that were found in memory.
    #[serde(rename = "tree_hit_count")]
    pub tree_hits: u64,
    /// Pages of directories that were read from the catalog.
    #[serde(rename = "tree_miss_count")]
    pub tree_misses: u64,
    /// Answers of the web face.
    #[serde(rename = "http_answer_count")]
    pub http_answers: u64,
    /// Bytes that its clients took.
    #[serde(rename = "http_sent_bytes")]
    pub http_bytes: u64,
}

impl Counts {
    /// What came since `before`. A number that is smaller than before, as after a restart, counts from 0.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            sealed_files: less(self.sealed_files, before.sealed_files),
            known_files: less(self.known_files, before.known_files),
            seal_failures: less(self.seal_failures, before.seal_failures),
            commits: less(self.commits, before.commits),
            collections: less(self.collections, before.collections),
            freed_blobs: less(self.freed_blobs, before.freed_blobs),
            freed_bytes: less(self.freed_bytes, before.freed_bytes),
            expired_versions: less(self.expired_versions, before.expired_versions),
            fetched_files: less(self.fetched_files, before.fetched_files),
            fetched_bytes: less(self.fetched_bytes, before.fetched_bytes),
            fetch_failures: less(self.fetch_failures, before.fetch_failures),
            tree_hits: less(self.tree_hits, before.tree_hits),
            tree_misses: less(self.tree_misses, before.tree_misses),
            http_answers: less(self.http_answers, before.http_answers),
            http_bytes: less(self.http_bytes, before.http_bytes),
        }
    }
}

/// What goes on, and how much of what is limited is in use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Activity {
    /// Whether changes are taken: `ok`, `full`, `poisoned` or `read_only`.
    pub state: String,
    /// Contents that are fetched for readers, or wait for their turn.
    #[serde(rename = "fetching_content_count")]
    pub fetching: u64,
    /// Reads that wait for content.
    #[serde(rename = "waiting_read_count")]
    pub waiting_reads: u64,
    /// Contents that could not be had a short time ago.
    #[serde(rename = "failed_content_count")]
    pub failed_fetches: u64,
    /// Large files of areas that are open for writing.
    #[serde(rename = "large_file_count")]
    pub large_files: u64,
    /// How many there may be.
    #[serde(rename = "large_file_limit_count")]
    pub large_files_max: u64,
    /// Files and directories of areas that are in memory.
    #[serde(rename = "staged_node_count")]
    pub nodes: u64,
    /// Open areas.
    #[serde(rename = "area_count")]
    pub areas: u64,
    /// Imports that run.
    #[serde(rename = "import_count")]
    pub imports: u64,
    /// Jobs that run.
    #[serde(rename = "job_count")]
    pub jobs: u64,
    /// Commands that are connected.
    #[serde(rename = "connection_count")]
    pub connections: u64,
    /// Pages of directories in memory, in bytes.
    pub tree_cache_bytes: u64,
    /// Free bytes of the store's file system.
    pub free_bytes: u64,
}
