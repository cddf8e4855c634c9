//! A version that is a copy of one which was published elsewhere.

use crate::engine::error::{EngineError, Result};
use crate::engine::registry::Repository;
use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::name::TagName;
use crate::model::time::Timestamp;
use crate::model::version::Version;

/// What a version must be that is a copy of one elsewhere. Its number may leave others out: they were deleted there.
#[derive(Debug, Clone)]
pub struct CopiedVersion {
    /// Its number: one that was never used here.
    pub number: VersionNumber,
    /// The number may be lower than that of a version that is already here, since an edge fetches the newest version first.
    pub may_be_older: bool,
    /// The hash of its root: what the area has must be that.
    pub hash: TreeHash,
    /// When it was committed.
    pub created: Timestamp,
    /// The version its staging area started from.
    pub base: Option<VersionNumber>,
    /// The name that was given at commit, whether it is a tag now or not.
    pub name: Option<TagName>,
    /// Whether it is released.
    pub released: bool,
    /// Whether it is locked.
    pub locked: bool,
}

impl CopiedVersion {
    /// Whether its number can be given in that repository.
    pub(super) fn fits(&self, repository: &Repository) -> bool {
        let is_used = repository.versions.contains_key(&self.number)
            || repository.deleted.contains_key(&self.number);
        self.number >= repository.next_number || (self.may_be_older && !is_used)
    }

    /// Makes a version equal to it.
    pub(super) fn give_to(&self, version: &mut Version) -> Result<()> {
        if version.hash != self.hash {
            let (number, found, expected) = (self.number, version.hash, self.hash);
            return Err(EngineError::AnotherVersion { number, found, expected });
        }
        version.number = self.number;
        version.created = self.created;
        version.base = self.base;
        version.name.clone_from(&self.name);
        version.released = self.released;
        version.locked = self.locked;
        Ok(())
    }
}
