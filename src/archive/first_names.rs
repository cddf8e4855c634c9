//! Which file of an export is a further name of one that was written already.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use super::error::ArchiveError;
use super::path::ArchivePath;
use super::tree_walk::Origin;
use crate::model::hash::TreeHash;
use crate::model::links::{self, Ambiguous, GroupKey};
use crate::model::tree::Entry;

/// What a file's name is to its hardlink group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkName {
    /// It is in none.
    Alone,
    /// The first that is written.
    First,
    /// One more name of the file that was written under this path.
    Later(ArchivePath),
}

/// The first names of the hardlink groups of one version.
pub(super) struct FirstNames {
    root: TreeHash,
    names: HashMap<GroupKey, ArchivePath>,
    /// Computed at the first group whose scope is the version, since only those may be ambiguous.
    ambiguous: Option<Ambiguous>,
}

impl FirstNames {
    /// For the version with this tree, before any of it is written.
    pub(super) fn new(root: TreeHash) -> Self {
        Self { root, names: HashMap::new(), ambiguous: None }
    }

    /// Looks at the entry that is to be written next.
    pub(super) fn next(
        &mut self,
        origin: &Origin<'_>,
        path: &ArchivePath,
        entry: &Entry,
    ) -> Result<LinkName, ArchiveError> {
        let Some(key) = GroupKey::of(path.as_bytes(), entry) else {
            return Ok(LinkName::Alone);
        };
        if links::is_of_version(entry) {
            let ambiguous = match self.ambiguous.take() {
                Some(known) => known,
                None => Ambiguous::of(origin, &self.root)?,
            };
            if self.ambiguous.insert(ambiguous).has(entry) {
                return Ok(LinkName::Alone);
            }
        }
        Ok(match self.names.entry(key) {
            Slot::Occupied(first) => LinkName::Later(first.get().clone()),
            Slot::Vacant(none) => {
                none.insert(path.clone());
                LinkName::First
            }
        })
    }
}
