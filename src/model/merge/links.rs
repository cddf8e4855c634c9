//! Hardlink groups after a merge.
//!
//! Each side named its groups without the other's knowledge, and a merge moves names from one side's
//! tree to the other's. So which names belong together is found out anew: two names are one file
//! when a side says so whose entries both are in the merged tree, directly or by names in between.
//! An entry is a side's when that side changed it, or none did. Then the groups are named as
//! [`crate::model::links`] says; one of one name is none. Subtrees without hardlinks are not read.

use std::collections::{BTreeMap, HashMap};

use crate::model::hash::TreeHash;
use crate::model::links::{Ambiguous, GroupKey, Naming, linked_directory, walk};
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, Root, Summary};
use crate::model::tree_format::{Overlay, TreeError, TreeSource, apply, entries};

/// The trees that were merged.
pub(super) struct Merged {
    pub(super) base: TreeHash,
    pub(super) ours: TreeHash,
    pub(super) theirs: TreeHash,
}

/// Corrects the hardlink groups below `root`.
pub(super) fn recount<S: TreeSource>(
    trees: &mut Overlay<'_, S>,
    from: &Merged,
    root: &mut Root,
) -> Result<(), S::Error> {
    let base = Linked::read(trees, &from.base)?;
    let sides = [Linked::read(trees, &from.ours)?, Linked::read(trees, &from.theirs)?];
    let mut files = Files::default();
    walk(trees, &root.tree, &mut |path, entry| {
        let file = files.add(path, entry);
        for (index, side) in sides.iter().enumerate() {
            let other = &sides[1 - index];
            let unchanged = side.0.get(path) == base.0.get(path);
            // The other side has changed what this one left as it was.
            let replaced = unchanged && other.0.get(path) != base.0.get(path);
            if let Some((theirs, Some(key))) = side.0.get(path)
                && !replaced
                && theirs.content == entry.content
            {
                files.is_in(file, (index, key.clone()));
            }
        }
    })?;
    let groups = files.name();
    let (tree, summary) = rewrite(trees, root.tree, &groups)?;
    root.tree = tree;
    root.summary = summary;
    Ok(())
}

/// The entries of a tree that are in groups, by path; without a key where nobody can tell which.
struct Linked(HashMap<Vec<u8>, (Entry, Option<GroupKey>)>);

impl Linked {
    fn read<S: TreeSource>(trees: &Overlay<'_, S>, root: &TreeHash) -> Result<Self, S::Error> {
        let ambiguous = Ambiguous::of(trees, root)?;
        let mut found = HashMap::new();
        walk(trees, root, &mut |path, entry| {
            let key = GroupKey::of(path, entry).filter(|_| !ambiguous.has(entry));
            found.insert(path.to_vec(), (entry.clone(), key));
        })?;
        Ok(Self(found))
    }
}

/// The names of the merged tree that may be linked, and which are one file: a forest in which each
/// points at another of its file, and one of each at itself.
#[derive(Default)]
struct Files {
    names: Vec<(Vec<u8>, Attributes, Content)>,
    same: Vec<usize>,
    by_group: HashMap<(usize, GroupKey), usize>,
}

impl Files {
    fn add(&mut self, path: &[u8], entry: &Entry) -> usize {
        let index = self.names.len();
        self.names.push((path.to_vec(), entry.attributes.clone(), entry.content.clone()));
        self.same.push(index);
        index
    }

    fn is_in(&mut self, name: usize, group: (usize, GroupKey)) {
        match self.by_group.get(&group).copied() {
            Some(other) => {
                let (one, other) = (self.first(name), self.first(other));
                self.same[one] = other;
            }
            None => drop(self.by_group.insert(group, name)),
        }
    }

    fn first(&mut self, mut name: usize) -> usize {
        while self.same[name] != name {
            // Halves the way for the next who goes it.
            self.same[name] = self.same[self.same[name]];
            name = self.same[name];
        }
        name
    }

    /// By path, the group of each name that is in one.
    fn name(mut self) -> HashMap<Vec<u8>, LinkGroup> {
        let mut files: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for name in 0..self.names.len() {
            let first = self.first(name);
            files.entry(first).or_default().push(name);
        }
        let mut groups = HashMap::new();
        for mut names in files.into_values() {
            // Whatever the sides say: what differs is not one file.
            while let Some(first) = names.first().copied() {
                let (_, attributes, content) = &self.names[first];
                let is_same = |name: &usize| {
                    let (_, other, other_content) = &self.names[*name];
                    (other, other_content) == (attributes, content)
                };
                let (same, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(is_same);
                let mut paths: Vec<_> =
                    same.into_iter().map(|name| self.names[name].0.clone()).collect();
                paths.sort();
                if let Some(naming) = Naming::of(&paths) {
                    groups.extend(paths.into_iter().map(|path| {
                        let group = naming.group(&path);
                        (path, group)
                    }));
                }
                names = rest;
            }
        }
        groups
    }
}

/// A directory being rewritten.
struct Directory {
    name: Option<Entry>,
    /// Its path, with a slash after it; empty at the top.
    prefix: Vec<u8>,
    tree: TreeHash,
    below: Vec<Entry>,
    changes: BTreeMap<EntryName, Option<Entry>>,
}

impl Directory {
    fn open<S: TreeSource>(
        trees: &Overlay<'_, S>,
        name: Option<Entry>,
        prefix: Vec<u8>,
        tree: TreeHash,
        groups: &HashMap<Vec<u8>, LinkGroup>,
    ) -> Result<Self, S::Error> {
        let mut directory =
            Self { name, prefix, tree, below: Vec::new(), changes: BTreeMap::new() };
        for entry in entries(trees, &tree, 0) {
            let mut entry = entry?;
            if linked_directory(&entry).is_some() {
                directory.below.push(entry);
            } else if entry.link_group.is_some() {
                let path = [&directory.prefix, entry.name.as_bytes()].concat();
                let group = groups.get(&path).copied();
                if group != entry.link_group {
                    entry.link_group = group;
                    directory.changes.insert(entry.name.clone(), Some(entry));
                }
            }
        }
        Ok(directory)
    }
}

/// Gives every entry its group; what needs no change stays the page it is.
fn rewrite<S: TreeSource>(
    trees: &mut Overlay<'_, S>,
    root: TreeHash,
    groups: &HashMap<Vec<u8>, LinkGroup>,
) -> Result<(TreeHash, Summary), S::Error> {
    let mut open = vec![Directory::open(trees, None, Vec::new(), root, groups)?];
    loop {
        if let Some(above) = open.last_mut()
            && let Some(entry) = above.below.pop()
        {
            if let Some(tree) = linked_directory(&entry) {
                let prefix = [&above.prefix, entry.name.as_bytes(), b"/"].concat();
                open.push(Directory::open(trees, Some(entry), prefix, tree, groups)?);
            }
            continue;
        }
        let Some(done) = open.pop() else {
            return Err(TreeError("a rewritten tree has no root".to_owned()).into());
        };
        let built = apply(trees, Some(&done.tree), &done.changes)?;
        let (tree, summary) = (built.root, built.summary);
        trees.add(built)?;
        match (open.last_mut(), done.name) {
            (Some(above), Some(mut entry)) => {
                if tree != done.tree {
                    entry.content = Content::Directory { tree, summary };
                    above.changes.insert(entry.name.clone(), Some(entry));
                }
            }
            _ => return Ok((tree, summary)),
        }
    }
}
