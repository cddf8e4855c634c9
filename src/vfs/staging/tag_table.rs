//! Inode numbers of tags.
//!
//! A tag keeps its number while it is renamed, because the kernel moves the name of the inode it
//! has: `ln -sfn` makes a temporary link and renames it over the tag.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::place::TAG_BIT;
use crate::model::id::{Ino, RepoId};

/// Both directions of "tag ↔ inode number", for tags that the kernel has seen.
#[derive(Debug, Default)]
pub(super) struct TagTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    by_name: HashMap<(RepoId, String), Ino>,
    by_ino: HashMap<Ino, (RepoId, String)>,
}

impl TagTable {
    /// The number of a tag; a fresh one if it has none.
    pub(super) fn ino(&self, repo: RepoId, tag: &str) -> Ino {
        let mut inner = self.inner.lock();
        if let Some(ino) = inner.by_name.get(&(repo, tag.to_owned())) {
            return *ino;
        }
        inner.next += 1;
        let ino = Ino(TAG_BIT | inner.next);
        inner.by_name.insert((repo, tag.to_owned()), ino);
        inner.by_ino.insert(ino, (repo, tag.to_owned()));
        ino
    }

    /// The number of a tag, if the kernel may know it.
    pub(super) fn known(&self, repo: RepoId, tag: &str) -> Option<Ino> {
        self.inner.lock().by_name.get(&(repo, tag.to_owned())).copied()
    }

    /// The tag of a number.
    pub(super) fn tag(&self, ino: Ino) -> Option<(RepoId, String)> {
        self.inner.lock().by_ino.get(&ino).cloned()
    }

    /// A tag got another name.
    pub(super) fn rename(&self, repo: RepoId, from: &str, to: &str) {
        let mut inner = self.inner.lock();
        let Some(ino) = inner.by_name.remove(&(repo, from.to_owned())) else {
            return;
        };
        if let Some(replaced) = inner.by_name.insert((repo, to.to_owned()), ino) {
            inner.by_ino.remove(&replaced);
        }
        inner.by_ino.insert(ino, (repo, to.to_owned()));
    }

    /// A tag was deleted: a new tag of that name gets another inode.
    pub(super) fn remove(&self, repo: RepoId, tag: &str) {
        let mut inner = self.inner.lock();
        if let Some(ino) = inner.by_name.remove(&(repo, tag.to_owned())) {
            inner.by_ino.remove(&ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_tag_keeps_its_number() {
        let table = TagTable::default();
        let repo = RepoId(1);
        let old = table.ino(repo, "v1");
        let temporary = table.ino(repo, "CuXyz");
        table.rename(repo, "CuXyz", "v1");
        assert_eq!(table.ino(repo, "v1"), temporary);
        assert_eq!(table.tag(old), None);
        assert_eq!(table.tag(temporary), Some((repo, "v1".to_owned())));
    }
}
