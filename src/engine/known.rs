//! What the metadata thread knows of a repository, and what of it readers see.
//!
//! A change is written to the catalog first. Readers, who look at the registry, see it at once, with one
//! exception: a version whose commit is not on disk yet ([`Unpublished`]), and the tags that point at it.
//! While there is such a version, a second copy of the repository is kept here as the catalog has it.
//! Every change is made to both copies, and once the flush is done, what readers see is derived from the
//! second. So registry and catalog have the same changes in the same order, whatever happens to a
//! repository while one of its versions is on its way to disk.
//!
//! Must not know what a change is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::after::TaskId;
use super::registry::{Registry, Repository};
use crate::model::id::{AreaId, RepoId, VersionNumber};
use crate::model::name::TagName;

/// A commit that is in the catalog and not known to be on disk.
#[derive(Debug)]
pub(super) struct Unpublished {
    /// The commit's number among the tasks.
    pub(super) task: TaskId,
    /// The area that it publishes, which stays in the listings until then.
    pub(super) area: AreaId,
    /// The new version, if there is one.
    pub(super) created: Option<VersionNumber>,
}

/// A repository that has commits which are not on disk.
#[derive(Debug)]
struct Ahead {
    /// As the catalog has it.
    known: Repository,
    waiting: Vec<Unpublished>,
}

impl Ahead {
    /// What readers see: all but the versions that wait, and the tags that point at them.
    fn visible(&self) -> Repository {
        let mut visible = self.known.clone();
        for number in self.waiting.iter().filter_map(|unpublished| unpublished.created) {
            visible.versions.remove(number);
            let tags: Vec<TagName> = visible.tags.of(number).to_vec();
            for tag in &tags {
                visible.tags.remove(tag);
            }
        }
        visible
    }
}

/// The repositories that are ahead of what readers see.
#[derive(Debug, Default)]
pub(super) struct Known {
    ahead: BTreeMap<RepoId, Ahead>,
}

impl Known {
    /// Forgets all: the store refuses changes, so nothing will be published any more.
    pub(super) fn clear(&mut self) {
        self.ahead.clear();
    }

    /// A repository as the catalog has it.
    pub(super) fn repository(&self, registry: &Registry, id: RepoId) -> Option<Arc<Repository>> {
        match self.ahead.get(&id) {
            Some(ahead) => Some(Arc::new(ahead.known.clone())),
            None => registry.by_id(id),
        }
    }

    /// Makes a change that the catalog has.
    pub(super) fn change(&mut self, repo: RepoId, change: impl Fn(&mut Repository)) {
        if let Some(ahead) = self.ahead.get_mut(&repo) {
            change(&mut ahead.known);
        }
    }

    /// A commit is in the catalog; `change` is what it makes of the repository.
    pub(super) fn hold_back(
        &mut self,
        repository: &Repository,
        unpublished: Unpublished,
        change: impl FnOnce(&mut Repository),
    ) {
        let fresh = || Ahead { known: repository.clone(), waiting: Vec::new() };
        let ahead = self.ahead.entry(repository.id).or_insert_with(fresh);
        change(&mut ahead.known);
        ahead.waiting.push(unpublished);
    }

    /// A commit is on disk: returns what readers see of the repository from now on.
    pub(super) fn let_go(&mut self, repo: RepoId, task: TaskId) -> Option<Repository> {
        let ahead = self.ahead.get_mut(&repo)?;
        let position = ahead.waiting.iter().position(|unpublished| unpublished.task == task)?;
        let unpublished = ahead.waiting.remove(position);
        ahead.known.close_area(unpublished.area);
        let visible = ahead.visible();
        if ahead.waiting.is_empty() {
            self.ahead.remove(&repo);
        }
        Some(visible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::registry::Tag;
    use crate::model::hash::TreeHash;
    use crate::model::name::TagName;
    use crate::model::time::Timestamp;
    use crate::model::tree::{Attributes, Root, Summary, Xattrs};
    use crate::model::version::Version;

    fn repository() -> Repository {
        Repository {
            id: RepoId(1),
            name: "web".parse().unwrap(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            created: Timestamp::default(),
            changed: Timestamp::default(),
            next_number: VersionNumber(1),
            versions: crate::engine::registry::Versions::default(),
            tags: crate::engine::registry::Tags::default(),
            areas: rpds::RedBlackTreeMapSync::new_sync(),
            policy: crate::model::policy::PolicyState::from_text(None),
            account: Arc::default(),
            deleted: rpds::RedBlackTreeMapSync::new_sync(),
        }
    }

    /// Adds a version of that number and name.
    fn add(repository: &mut Repository, number: u64, name: &TagName) {
        let attributes = Attributes {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Xattrs::new(),
        };
        let tree = TreeHash::of(b"tree");
        repository.versions.insert(Arc::new(Version {
            number: VersionNumber(number),
            root: Root { attributes, tree, summary: Summary::default() },
            hash: tree,
            created: Timestamp::default(),
            base: None,
            name: Some(name.clone()),
            author: String::new(),
            message: String::new(),
            released: false,
            locked: false,
        }));
        let number = VersionNumber(number);
        let tag = Tag { number, protects: false, created: Timestamp::default() };
        repository.tags.insert(name.clone(), tag);
    }

    /// Of two commits on their way to disk the first is there: the version of the second is not to be
    /// seen yet, and no tag may lead to it.
    #[test]
    fn what_waits_behind_a_commit_is_not_shown_with_it() {
        let (mut known, repository) = (Known::default(), repository());
        let names = ["one", "two"].map(|name| name.parse::<TagName>().unwrap());
        let mut commit = TaskId::default();
        let mut tasks = Vec::new();
        for (number, name) in (1..).zip(&names) {
            commit = commit.next();
            tasks.push(commit);
            let area = AreaId(number + 10);
            let created = Some(VersionNumber(number));
            let unpublished = Unpublished { task: commit, area, created };
            known.hold_back(&repository, unpublished, |known| add(known, number, name));
        }
        let seen = |visible: &Repository| {
            let numbers: Vec<u64> = visible.versions.keys().map(|number| number.0).collect();
            (numbers, names.each_ref().map(|name| visible.tags.contains_key(name)))
        };
        let first = known.let_go(repository.id, tasks[0]).unwrap();
        assert_eq!(seen(&first), (vec![1], [true, false]));
        let second = known.let_go(repository.id, tasks[1]).unwrap();
        assert_eq!(seen(&second), (vec![1, 2], [true, true]));
        assert!(known.let_go(repository.id, tasks[1]).is_none());
    }
}
