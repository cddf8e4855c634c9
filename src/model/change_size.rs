//! How much two directories differ: numbers of paths, and bytes.
//!
//! The numbers of paths are those that a list of all differences ([`diff`](super::tree_format::diff()))
//! would have, but what is new or gone as a whole is counted by its totals, without a look at it, and
//! equal subtrees are skipped by hash. So the cost follows the directories that changed.

use serde::{Deserialize, Serialize};

use super::hash::TreeHash;
use super::tree::{Content, Entry};
use super::tree_format::{TreeSource, diff_entries, is_same_content, is_same_file};

/// The size of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChangeSize {
    /// Paths only in the second, directories among them.
    #[serde(rename = "added_count")]
    pub added: u64,
    /// Paths only in the first, directories among them.
    #[serde(rename = "removed_count")]
    pub removed: u64,
    /// Paths in both that differ in content or attributes.
    #[serde(rename = "modified_count")]
    pub modified: u64,
    /// Sizes of the files that only the second has, and of those whose content differs, as they are
    /// in the second.
    pub added_bytes: u64,
    /// The same for the first.
    pub removed_bytes: u64,
}

/// Two directories with one path that are still to be compared; `None` where there is none.
type Pair = (Option<TreeHash>, Option<TreeHash>);

impl ChangeSize {
    /// The difference of two directories; one that is not there is like an empty one.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of_trees<S: TreeSource>(
        source: &S,
        first: Option<&TreeHash>,
        second: Option<&TreeHash>,
    ) -> Result<Self, S::Error> {
        let mut size = Self::default();
        size.walk(source, vec![(first.copied(), second.copied())])?;
        Ok(size)
    }

    /// The difference of what is at one path, the path itself included.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of_entries<S: TreeSource>(
        source: &S,
        before: Option<&Entry>,
        after: Option<&Entry>,
    ) -> Result<Self, S::Error> {
        let mut size = Self::default();
        let open = size.note(source, before, after)?;
        size.walk(source, open.into_iter().collect())?;
        Ok(size)
    }

    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn walk<S: TreeSource>(&mut self, source: &S, mut open: Vec<Pair>) -> Result<(), S::Error> {
        while let Some((first, second)) = open.pop() {
            let mut failed = None;
            let mut visit = |before: Option<Entry>, after: Option<Entry>| {
                if failed.is_none() {
                    match self.note(source, before.as_ref(), after.as_ref()) {
                        Ok(below) => open.extend(below),
                        Err(error) => failed = Some(error),
                    }
                }
            };
            diff_entries(source, first.as_ref(), second.as_ref(), &mut visit)?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Counts what is at one path, and returns the directories there that are to be compared.
    fn note<S: TreeSource>(
        &mut self,
        source: &S,
        before: Option<&Entry>,
        after: Option<&Entry>,
    ) -> Result<Option<Pair>, S::Error> {
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => {
                self.added = self.added.saturating_add(1);
                self.add_content(after);
            }
            (Some(before), None) => {
                self.removed = self.removed.saturating_add(1);
                self.remove_content(before);
            }
            (Some(before), Some(after)) => return self.compare(source, before, after),
        }
        Ok(None)
    }

    fn compare<S: TreeSource>(
        &mut self,
        source: &S,
        before: &Entry,
        after: &Entry,
    ) -> Result<Option<Pair>, S::Error> {
        if let (Content::Directory { tree: first, .. }, Content::Directory { tree: second, .. }) =
            (&before.content, &after.content)
        {
            self.modified += u64::from(before.attributes != after.attributes);
            return Ok((first != second).then_some((Some(*first), Some(*second))));
        }
        if !is_same_file(source, before, after)? {
            self.modified += 1;
            if !is_same_content(source, &before.content, &after.content)? {
                self.remove_content(before);
                self.add_content(after);
            }
        }
        Ok(None)
    }

    fn add_content(&mut self, entry: &Entry) {
        let (paths, bytes) = inside(entry);
        self.added = self.added.saturating_add(paths);
        self.added_bytes = self.added_bytes.saturating_add(bytes);
    }

    fn remove_content(&mut self, entry: &Entry) {
        let (paths, bytes) = inside(entry);
        self.removed = self.removed.saturating_add(paths);
        self.removed_bytes = self.removed_bytes.saturating_add(bytes);
    }
}

/// Numbers of paths below an entry, and of the bytes in it.
fn inside(entry: &Entry) -> (u64, u64) {
    match &entry.content {
        Content::Directory { summary, .. } => {
            (summary.files.saturating_add(summary.directories), summary.bytes)
        }
        Content::File { size, .. } => (0, *size),
        _ => (0, 0),
    }
}
