//! What an inode number of the writable mount stands for.
//!
//! ```text
//!   1 /      2 /versions      3 /staging      4 /tags
//!   16 + 2·repo               staging/REPO
//!   17 + 2·repo               tags/REPO
//!   bit 60, 2·repo (+ 1)      the same of a repository whose number would not end below 2^20
//!   2^20 …                    files and directories of staging areas; an area's root has the
//!                             area's id; bit 61: what is in an area's base
//!   bit 62                    tags
//! ```
//!
//! The four fixed numbers never change, so that the kernel can keep them for ever (H17).

use crate::model::id::{Ino, NodeId, RepoId};

/// The root of the mount.
pub(crate) const ROOT: Ino = Ino(1);
/// The directory that the other mount covers.
pub(crate) const VERSIONS: Ino = Ino(2);
/// The directory of repositories with their areas.
pub(crate) const STAGING: Ino = Ino(3);
/// The directory of repositories with their tags.
pub(crate) const TAGS: Ino = Ino(4);

const FIRST_REPOSITORY: u64 = 16;
const FIRST_NODE: u64 = 1 << 20;
/// Repositories from this id on have the bit below in their inode numbers.
const LATE_REPOSITORY: u64 = (FIRST_NODE - FIRST_REPOSITORY) / 2;
const LATE_BIT: u64 = 1 << 60;
const DERIVED_BIT: u64 = 1 << 61;
/// Set in inode numbers of tags.
pub(crate) const TAG_BIT: u64 = 1 << 62;

/// What an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/`
    Root,
    /// `/versions`
    Versions,
    /// `/staging`
    Staging,
    /// `/tags`
    Tags,
    /// `/staging/REPO`
    Areas(RepoId),
    /// `/tags/REPO`
    TagsOf(RepoId),
    /// `/tags/REPO/TAG`
    Tag(Ino),
    /// Anything in an area, or its root.
    Node(NodeId),
}

impl Place {
    /// Decodes an inode number.
    pub(crate) fn of(ino: Ino) -> Option<Self> {
        Some(match ino {
            ROOT => Self::Root,
            VERSIONS => Self::Versions,
            STAGING => Self::Staging,
            TAGS => Self::Tags,
            Ino(number) if number & TAG_BIT != 0 => Self::Tag(ino),
            Ino(number) if number & (DERIVED_BIT | LATE_BIT) == LATE_BIT => {
                Self::of_repository(number & !LATE_BIT)
            }
            Ino(number) if number >= FIRST_NODE => Self::Node(NodeId(number)),
            Ino(number) => Self::of_repository(number.checked_sub(FIRST_REPOSITORY)?),
        })
    }

    fn of_repository(number: u64) -> Self {
        let repo = RepoId(number / 2);
        if number.is_multiple_of(2) { Self::Areas(repo) } else { Self::TagsOf(repo) }
    }
}

/// Inode number of `staging/REPO`.
pub(crate) fn areas_ino(repo: RepoId) -> Ino {
    let number = 2 * repo.0;
    Ino(if repo.0 < LATE_REPOSITORY { FIRST_REPOSITORY + number } else { LATE_BIT | number })
}

/// Inode number of `tags/REPO`.
pub(crate) fn tags_ino(repo: RepoId) -> Ino {
    // The one of `staging/REPO` is even.
    Ino(areas_ino(repo).0 + 1)
}

/// Inode number of a node.
pub(crate) fn node_ino(node: NodeId) -> Ino {
    Ino(node.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_decode_to_what_they_were_made_for() {
        for id in [1, 7, LATE_REPOSITORY - 1, LATE_REPOSITORY, 1 << 40] {
            let repo = RepoId(id);
            assert_eq!(Place::of(areas_ino(repo)), Some(Place::Areas(repo)));
            assert_eq!(Place::of(tags_ino(repo)), Some(Place::TagsOf(repo)));
        }
        assert!(tags_ino(RepoId(LATE_REPOSITORY - 1)).0 < FIRST_NODE);
        assert_eq!(Place::of(ROOT), Some(Place::Root));
        assert_eq!(Place::of(Ino(FIRST_NODE)), Some(Place::Node(NodeId(FIRST_NODE))));
        assert_eq!(Place::of(Ino(TAG_BIT | 5)), Some(Place::Tag(Ino(TAG_BIT | 5))));
        let derived = Ino(DERIVED_BIT | LATE_BIT | 5);
        assert_eq!(Place::of(derived), Some(Place::Node(NodeId(derived.0))));
        assert_eq!(Place::of(Ino(9)), None);
    }
}
