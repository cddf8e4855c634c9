//! Hardlink groups after a merge.
//!
//! Each side counted its own names and chose ids without the other's knowledge. So a group may have
//! lost names on both sides, or two groups may share an id. Here the groups of the merged tree are
//! counted anew: names belong together when they have the same id and are the same file in content
//! and attributes; a group of one name is none. Subtrees without hardlinks are not read.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry, LinkGroup, Root, Summary};
use crate::model::tree_format::{Overlay, TreeError, TreeSource, apply, entries};

/// Corrects the hardlink groups below `root`.
pub(super) fn recount<S: TreeSource>(
    trees: &mut Overlay<'_, S>,
    root: &mut Root,
) -> Result<(), S::Error> {
    let mut groups = Groups::default();
    // Order does not matter for counting.
    let mut todo = vec![root.tree];
    while let Some(tree) = todo.pop() {
        for entry in entries(trees, &tree, 0) {
            let entry = entry?;
            groups.count(&entry);
            todo.extend(linked_directory(&entry));
        }
    }
    let ids = groups.settle();
    let (tree, summary) = rewrite(trees, root.tree, &ids)?;
    root.tree = tree;
    root.summary = summary;
    Ok(())
}

/// The tree of a directory with hardlinks below it.
fn linked_directory(entry: &Entry) -> Option<TreeHash> {
    match entry.content {
        Content::Directory { tree, summary } if summary.has_links => Some(tree),
        _ => None,
    }
}

/// The names of one file.
struct File {
    attributes: Attributes,
    content: Content,
    names: u32,
    settled: Option<LinkGroup>,
}

impl File {
    fn is(&self, entry: &Entry) -> bool {
        self.content == entry.content && self.attributes == entry.attributes
    }
}

/// By the id that an entry has now: the files that use it, most often one.
#[derive(Default)]
struct Groups(BTreeMap<u64, Vec<File>>);

impl Groups {
    fn count(&mut self, entry: &Entry) {
        let Some(group) = entry.link_group else {
            return;
        };
        let files = self.0.entry(group.id).or_default();
        match files.iter_mut().find(|file| file.is(entry)) {
            Some(file) => file.names = file.names.saturating_add(1),
            None => files.push(File {
                attributes: entry.attributes.clone(),
                content: entry.content.clone(),
                names: 1,
                settled: None,
            }),
        }
    }

    /// Gives every file with several names a group of its own: the first that uses an id keeps it.
    fn settle(mut self) -> Self {
        let mut used: BTreeSet<u64> = self.0.keys().copied().collect();
        let mut last = used.last().copied().unwrap_or_default();
        let mut unused = || loop {
            last = last.wrapping_add(1);
            if used.insert(last) {
                return last;
            }
        };
        for (id, files) in &mut self.0 {
            let linked = files.iter_mut().filter(|file| file.names > 1);
            for (position, file) in linked.enumerate() {
                let own = if position == 0 { *id } else { unused() };
                file.settled = Some(LinkGroup { id: own, nlink: file.names });
            }
        }
        self
    }

    /// The group that an entry in a group should be in.
    fn settled(&self, entry: &Entry) -> Option<LinkGroup> {
        let files = self.0.get(&entry.link_group?.id)?;
        files.iter().find(|file| file.is(entry))?.settled
    }
}

/// A directory being rewritten.
struct Directory {
    name: Option<Entry>,
    tree: TreeHash,
    below: Vec<Entry>,
    changes: BTreeMap<EntryName, Option<Entry>>,
}

impl Directory {
    fn open<S: TreeSource>(
        trees: &Overlay<'_, S>,
        name: Option<Entry>,
        tree: TreeHash,
        groups: &Groups,
    ) -> Result<Self, S::Error> {
        let mut directory = Self { name, tree, below: Vec::new(), changes: BTreeMap::new() };
        for entry in entries(trees, &tree, 0) {
            let mut entry = entry?;
            let settled = groups.settled(&entry);
            if linked_directory(&entry).is_some() {
                directory.below.push(entry);
            } else if settled != entry.link_group {
                entry.link_group = settled;
                directory.changes.insert(entry.name.clone(), Some(entry));
            }
        }
        Ok(directory)
    }
}

/// Gives every entry its settled group; what needs no change stays the page it is.
fn rewrite<S: TreeSource>(
    trees: &mut Overlay<'_, S>,
    root: TreeHash,
    groups: &Groups,
) -> Result<(TreeHash, Summary), S::Error> {
    let mut open = vec![Directory::open(trees, None, root, groups)?];
    loop {
        if let Some(entry) = open.last_mut().and_then(|top| top.below.pop()) {
            if let Some(tree) = linked_directory(&entry) {
                open.push(Directory::open(trees, Some(entry), tree, groups)?);
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
