//! Quotas of repositories, and what is counted against them.
//!
//! A repository uses the apparent size of the distinct files of its versions, plus what its staging
//! areas changed (G15, H20). A file is distinct where the version before has another content, or
//! nothing, at its path; so each version is charged what it adds to the one before it, and the
//! usage of a repository is the sum of the charges. Everything but directories counts as a file.

use std::collections::HashSet;

use super::hash::TreeHash;
use super::id::VersionNumber;
use super::links::FileKey;
use super::tree::{Content, Entry, LinkScope};
use super::tree_format::{TreeSource, diff_entries, is_same_content};

/// What a repository may use; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    /// Apparent size, in bytes.
    #[serde(rename = "quota_bytes")]
    pub bytes: Option<u64>,
    /// Number of files.
    #[serde(rename = "quota_file_count")]
    pub files: Option<u64>,
}

impl Quota {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        self.bytes.is_none() && self.files.is_none()
    }

    /// Whether `usage` is within the limits.
    pub fn allows(&self, usage: Usage) -> bool {
        self.bytes.is_none_or(|limit| usage.bytes <= limit)
            && self.files.is_none_or(|limit| usage.files <= limit)
    }
}

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Apparent size, in bytes.
    #[serde(rename = "used_bytes")]
    pub bytes: u64,
    /// Number of files.
    #[serde(rename = "used_file_count")]
    pub files: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| sum + usage)
    }
}

/// What one version adds to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The version that it was compared with; number 0 stands for nothing. When the version before
    /// is another one meanwhile, the charge is to be computed again.
    pub base: VersionNumber,
    /// What is added.
    pub usage: Usage,
}

/// Computes what the tree `second` adds to `first`. The cost follows the difference: what is equal
/// is skipped by hash, and what is new as a whole is counted by its totals.
///
/// # Errors
/// Those of the source.
pub fn added<S: TreeSource>(
    source: &S,
    first: Option<&TreeHash>,
    second: &TreeHash,
) -> Result<Usage, S::Error> {
    let mut usage = Usage::default();
    let mut groups = HashSet::new();
    // The parent of each directory that was opened, by which scopes of groups are found.
    let mut above = vec![None];
    let mut open = vec![(first.copied(), *second, 0)];
    let mut failed = None;
    let mut same = |one: &Content, other: &Content| {
        is_same_content(source, one, other).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    };
    while let Some((before, after, place)) = open.pop() {
        diff_entries(source, before.as_ref(), Some(&after), &mut |before, after| {
            let Some(after) = after else { return };
            match (&after.content, before.as_ref().map(|before| &before.content)) {
                (Content::Directory { tree, .. }, Some(Content::Directory { tree: old, .. })) => {
                    if tree != old {
                        open.push((Some(*old), *tree, above.len()));
                        above.push(Some(place));
                    }
                }
                // The names of a hardlink group count once, so the entries have to be looked at.
                (Content::Directory { tree, summary }, _) if summary.has_links => {
                    open.push((None, *tree, above.len()));
                    above.push(Some(place));
                }
                (Content::Directory { summary, .. }, _) => {
                    let whole = Usage { bytes: summary.bytes, files: summary.files };
                    usage = usage + whole;
                }
                (content, Some(old)) if same(content, old) => {}
                _ => {
                    let group = after.link_group.map(|group| scope(&above, place, group.scope));
                    if group.is_none_or(|scope| groups.insert((scope, FileKey::of(&after)))) {
                        usage = usage + of_file(&after);
                    }
                }
            }
        })?;
    }
    failed.map_or(Ok(usage), Err)
}

/// The directory within which a group counts that has a name in the directory `place`.
fn scope(above: &[Option<usize>], place: usize, scope: LinkScope) -> Option<usize> {
    match scope {
        LinkScope::Version => Some(0),
        LinkScope::Above(levels) => {
            let mut at = place;
            for _ in 0..levels {
                at = above.get(at).copied().flatten()?;
            }
            Some(at)
        }
    }
}

fn of_file(entry: &Entry) -> Usage {
    match entry.content {
        Content::File { size, .. } => Usage { bytes: size, files: 1 },
        _ => Usage { bytes: 0, files: 1 },
    }
}
