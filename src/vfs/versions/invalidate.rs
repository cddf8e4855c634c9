//! What the kernel must forget when repositories or versions come and go.
//!
//! Everything else is immutable. The metadata thread changes the registry first and then submits
//! these, to be carried out in order, with the reply that waits for them (H8).
//!
//! Why the order within one change: forgetting a name takes the directory's lock, which a lookup or
//! a listing in progress holds until the kernel has digested its answer. So an answer computed from
//! the old registry is in the cache before it is dropped, never after. Dropping a listing takes no
//! lock; one that was under way is found stale by the directory's mtime, which the kernel asks for
//! again. That mtime must therefore differ each time: [`Repository::changed`], and
//! [`super::VersionFs::set_root_changed`] for the root.

use crate::engine::registry::Repository;
use crate::model::id::VersionNumber;
use crate::vfs::invalidation::Forget;

use super::number::{ROOT, repository_ino};

/// After a repository was created.
pub(crate) fn repository_created() -> Vec<Forget> {
    vec![Forget::Content { ino: ROOT.0 }]
}

/// After a repository was deleted.
pub(crate) fn repository_deleted(repository: &Repository) -> Vec<Forget> {
    let name = Forget::Name { parent: ROOT.0, name: repository.name.as_str().into() };
    vec![name, Forget::Content { ino: ROOT.0 }]
}

/// After owner, mode or times of a repository changed, or a version was published.
pub(crate) fn repository_changed(repository: &Repository) -> Vec<Forget> {
    let ino = repository_ino(repository.id).0;
    vec![Forget::Content { ino }]
}

/// After a version was deleted. Files of it that are open stay readable. The deletion does not wait
/// until the kernel has dropped each name that it knows below.
pub(crate) fn version_deleted(repository: &Repository, number: VersionNumber) -> Vec<Forget> {
    let parent = repository_ino(repository.id).0;
    let name = Forget::Expired { parent, name: number.to_string().into_bytes() };
    vec![name, Forget::Content { ino: parent }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::RepoId;
    use crate::vfs::versions::fixture;

    #[test]
    fn a_deleted_version_expires_and_is_not_waited_for() {
        let repository = fixture::repository(RepoId(3), "repo", std::collections::BTreeMap::new());
        let forgotten = version_deleted(&repository, VersionNumber(7));
        let parent = repository_ino(repository.id).0;
        let name = Forget::Expired { parent, name: b"7".to_vec() };
        assert_eq!(forgotten, [name, Forget::Content { ino: parent }]);
    }
}
