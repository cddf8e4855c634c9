//! How far a sync has come, and how much it may remove.

/// How far a sync has come. Files, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SyncCounts {
    /// The remote declares them.
    #[serde(rename = "declared_file_count")]
    pub declared: u64,
    /// They are the same in the newest version.
    #[serde(rename = "unchanged_file_count")]
    pub unchanged: u64,
    /// The store had their content.
    #[serde(rename = "reused_file_count")]
    pub reused: u64,
    /// Their content was fetched.
    #[serde(rename = "fetched_file_count")]
    pub fetched: u64,
    /// Bytes that were fetched.
    pub fetched_bytes: u64,
    /// They are new in the version.
    #[serde(rename = "added_file_count")]
    pub added: u64,
    /// Their content is another one now.
    #[serde(rename = "changed_file_count")]
    pub changed: u64,
    /// They were in the newest version and are not in the new one.
    #[serde(rename = "removed_file_count")]
    pub removed: u64,
    /// They could not be had.
    #[serde(rename = "failed_file_count")]
    pub failed: u64,
}

/// What a sync is at. The work on files goes on side by side; this says which part of the whole it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncStage {
    /// It fetches and checks what declares the content.
    #[default]
    Declare,
    /// It compares files with the newest version, and fetches those that the store lacks.
    Fetch,
    /// It makes the version.
    Publish,
}

impl SyncStage {
    /// As users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declare => "declare",
            Self::Fetch => "fetch",
            Self::Publish => "publish",
        }
    }
}

/// How far a sync has come, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SyncProgress {
    /// What it is at.
    #[serde(default)]
    pub stage: SyncStage,
    /// What was done so far.
    #[serde(flatten)]
    pub counts: SyncCounts,
    /// Why it waits to ask the remote again; `None` when it does not.
    #[serde(default)]
    pub retry: Option<String>,
}

/// How many files may vanish from a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalLimit {
    /// This many.
    Files(u64),
    /// This many of a hundred.
    Percent(u8),
}

impl RemovalLimit {
    /// Without another word, half of what is there: a truncated list must not empty a repository.
    pub const DEFAULT: Self = Self::Percent(50);

    /// Whether so many of what is there may go.
    pub fn allows(self, removed: u64, there: u64) -> bool {
        match self {
            Self::Files(most) => removed <= most,
            Self::Percent(most) => {
                u128::from(removed) * 100 <= u128::from(there) * u128::from(most)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v11_half_may_go_unless_more_is_allowed() {
        assert!(RemovalLimit::DEFAULT.allows(50, 100) && !RemovalLimit::DEFAULT.allows(51, 100));
        assert!(RemovalLimit::DEFAULT.allows(0, 0));
        assert!(RemovalLimit::Percent(100).allows(7, 7) && !RemovalLimit::Percent(0).allows(1, 7));
        assert!(RemovalLimit::Files(3).allows(3, 3) && !RemovalLimit::Files(3).allows(4, 1000));
        assert!(!RemovalLimit::Percent(99).allows(u64::MAX, u64::MAX));
    }
}
