//! Three-way merge of versions at file granularity: what `commit --onto-latest` does.
//!
//! `base` is the version that an area started from, `ours` the area's tree, `theirs` the newest
//! version. A name that changed on one side only takes that side's entry, with all below it. A name
//! that changed on both sides is
//!
//! | ours | theirs | result |
//! |---|---|---|
//! | the same entry, or equal but for times | | no conflict; the later time |
//! | directory | directory | merged name by name; attributes see below |
//! | gone | directory | gone, unless something below it was changed or added by theirs |
//! | gone | changed file | conflict |
//! | directory | no directory | conflict |
//! | file | other file | conflict |
//!
//! and the same with the sides exchanged. Mode, owner and extended attributes of a directory are
//! one value that changes on one side, or on both in the same way, or in conflict. A directory's
//! time is no reason for a conflict, since each new name in it changes it: the later one is kept.
//!
//! Which names are hardlinks of each other is found out anew in the result (see `links`).
//!
//! Nothing is stored here: the result names pages to store.

mod links;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::hash::TreeHash;
use super::name::EntryName;
use super::tree::{Attributes, Content, Entry, Root};
use super::tree_format::{
    BuiltTree, Overlay, TreeSource, apply, diff_entries, is_same_content, is_same_file,
};

/// One of the two descendants of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The area that is being committed.
    Ours,
    /// The newest version.
    Theirs,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "this area",
            Self::Theirs => "the newest version",
        })
    }
}

/// Why a path cannot be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Changed on both sides, in different ways.
    BothChanged,
    /// Added on both sides, with different content or attributes.
    BothAdded,
    /// Removed by this side, changed by the other.
    Removed(Side),
    /// Added by the other side in a directory that this side removed.
    DirectoryRemoved(Side),
    /// A directory on this side, something else on the other.
    DirectoryOnly(Side),
    /// Attributes of a directory changed on both sides, in different ways.
    DirectoryAttributes,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothChanged => f.write_str("changed on both sides"),
            Self::BothAdded => f.write_str("added on both sides"),
            Self::Removed(side) => write!(f, "removed by {side}, changed by the other side"),
            Self::DirectoryRemoved(side) => {
                write!(f, "added in a directory that {side} removed")
            }
            Self::DirectoryOnly(side) => write!(f, "a directory in {side} only"),
            Self::DirectoryAttributes => {
                f.write_str("mode, owner or attributes of the directory changed on both sides")
            }
        }
    }
}

/// A path that cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Slash-separated bytes; empty for the root directory.
    pub path: Vec<u8>,
    /// What is in the way.
    pub reason: Reason,
}

/// A merged version, not stored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MergedTree {
    /// Its top.
    pub root: Root,
    /// Pages to add to those of the source, children before parents. A few may be there already.
    pub pages: Vec<(TreeHash, Vec<u8>)>,
}

/// What came out of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Both sides' changes in one tree.
    Merged(MergedTree),
    /// All paths in conflict, sorted.
    Conflicts(Vec<Conflict>),
}

/// Merges what `ours` and `theirs` changed since `base`. The source has the pages of all three.
/// Reads grow with what changed on both sides.
///
/// # Errors
/// Those of the source.
pub(crate) fn merge<S: TreeSource>(
    source: &S,
    base: &Root,
    ours: &Root,
    theirs: &Root,
) -> Result<Merge, S::Error> {
    let mut walk = Walk {
        trees: Overlay::new(source),
        path: Vec::new(),
        conflicts: Vec::new(),
        open: Vec::new(),
    };
    let attributes = merge_attributes(Some(&base.attributes), &ours.attributes, &theirs.attributes);
    if attributes.is_none() {
        walk.conflict(None, Reason::DirectoryAttributes);
    }
    let trees = Trees { base: Some(base.tree), ours: Some(ours.tree), theirs: Some(theirs.tree) };
    let attributes = attributes.unwrap_or_else(|| theirs.attributes.clone());
    let built = walk.run(trees, &attributes)?;
    let Some(built) = built else {
        walk.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
        return Ok(Merge::Conflicts(walk.conflicts));
    };
    let mut root = Root { attributes, tree: built.root, summary: built.summary };
    let both_changed = ours.tree != base.tree && theirs.tree != base.tree;
    if both_changed && root.summary.has_links {
        let from = links::Merged { base: base.tree, ours: ours.tree, theirs: theirs.tree };
        links::recount(&mut walk.trees, &from, &mut root)?;
    }
    let pages = walk.trees.into_pages(&root.tree);
    Ok(Merge::Merged(MergedTree { root, pages }))
}

/// Trees of one directory in the three versions; `None` where it is no directory.
#[derive(Clone, Copy)]
struct Trees {
    base: Option<TreeHash>,
    ours: Option<TreeHash>,
    theirs: Option<TreeHash>,
}

/// What one side changed in one directory: by name, before and after.
type Changed = BTreeMap<EntryName, (Option<Entry>, Option<Entry>)>;

/// A name that changed on both sides.
struct Both {
    name: EntryName,
    base: Option<Entry>,
    ours: Option<Entry>,
    theirs: Option<Entry>,
}

/// A directory being merged.
struct Directory {
    name: Option<EntryName>,
    /// Length of its own path.
    path_bytes: usize,
    theirs: Option<TreeHash>,
    /// What it gets; `None` when one side removed it and it stays removed.
    attributes: Option<Attributes>,
    /// Names still to be decided.
    both: std::vec::IntoIter<Both>,
    /// What differs from theirs so far.
    changes: BTreeMap<EntryName, Option<Entry>>,
}

/// What becomes of a name that changed on both sides.
enum Decision {
    KeepTheirs,
    Take(Entry),
    Conflict(Reason),
    /// Merge below. The attributes are those that the directory gets, `None` for none; the reason
    /// is a conflict of the directory itself.
    Descend(Trees, Option<Attributes>, Option<Reason>),
}

struct Walk<'s, S> {
    trees: Overlay<'s, S>,
    path: Vec<u8>,
    conflicts: Vec<Conflict>,
    /// From the root down. An explicit stack instead of recursion: hostile trees can be deeper than
    /// the thread's stack.
    open: Vec<Directory>,
}

impl<S: TreeSource> Walk<'_, S> {
    /// Merges everything; `None` when there are conflicts.
    fn run(
        &mut self,
        trees: Trees,
        attributes: &Attributes,
    ) -> Result<Option<BuiltTree>, S::Error> {
        self.enter(None, trees, Some(attributes.clone()))?;
        let mut top = None;
        while let Some(directory) = self.open.last_mut() {
            self.path.truncate(directory.path_bytes);
            let Some(both) = directory.both.next() else {
                top = self.leave()?;
                continue;
            };
            let name = both.name.clone();
            match decide(&self.trees, both)? {
                Decision::KeepTheirs => {}
                Decision::Take(entry) => {
                    directory.changes.insert(name, Some(entry));
                }
                Decision::Conflict(reason) => self.conflict(Some(&name), reason),
                Decision::Descend(trees, attributes, reason) => {
                    if let Some(reason) = reason {
                        self.conflict(Some(&name), reason);
                    }
                    self.enter(Some(name), trees, attributes)?;
                }
            }
        }
        Ok(top)
    }

    /// Begins a directory: what one side alone changed is settled here.
    fn enter(
        &mut self,
        name: Option<EntryName>,
        trees: Trees,
        attributes: Option<Attributes>,
    ) -> Result<(), S::Error> {
        if let Some(name) = &name {
            push_name(&mut self.path, name);
        }
        let ours = self.changes(trees.base, trees.ours)?;
        let mut theirs = self.changes(trees.base, trees.theirs)?;
        let mut both = Vec::new();
        let mut changes = BTreeMap::new();
        for (name, (base, ours)) in ours {
            if let Some((_, theirs)) = theirs.remove(&name) {
                both.push(Both { name, base, ours, theirs });
            } else if trees.theirs.is_none() {
                // Theirs removed all that the base had, so this is new.
                self.conflict(Some(&name), Reason::DirectoryRemoved(Side::Theirs));
            } else {
                changes.insert(name, ours);
            }
        }
        if trees.ours.is_none() {
            for name in theirs.keys() {
                self.conflict(Some(name), Reason::DirectoryRemoved(Side::Ours));
            }
        }
        self.open.push(Directory {
            name,
            path_bytes: self.path.len(),
            theirs: trees.theirs,
            attributes,
            both: both.into_iter(),
            changes,
        });
        Ok(())
    }

    /// Ends the innermost directory: builds it and hands it to the one above. Returns the top.
    fn leave(&mut self) -> Result<Option<BuiltTree>, S::Error> {
        let Some(done) = self.open.pop() else {
            return Ok(None);
        };
        if !self.conflicts.is_empty() {
            return Ok(None);
        }
        let Some(attributes) = done.attributes else {
            if let (Some(above), Some(name)) = (self.open.last_mut(), done.name)
                && done.theirs.is_some()
            {
                above.changes.insert(name, None);
            }
            return Ok(None);
        };
        let built = apply(&self.trees, done.theirs.as_ref(), &done.changes)?;
        let top = BuiltTree { pages: Vec::new(), ..built };
        self.trees.add(built)?;
        if let (Some(above), Some(name)) = (self.open.last_mut(), done.name) {
            let entry = Entry {
                name: name.clone(),
                attributes,
                link_group: None,
                content: Content::Directory { tree: top.root, summary: top.summary },
            };
            above.changes.insert(name, Some(entry));
        }
        Ok(Some(top))
    }

    fn changes(&self, base: Option<TreeHash>, side: Option<TreeHash>) -> Result<Changed, S::Error> {
        let mut changes = Changed::new();
        diff_entries(&self.trees, base.as_ref(), side.as_ref(), &mut |before, after| {
            if let Some(entry) = before.as_ref().or(after.as_ref()) {
                changes.insert(entry.name.clone(), (before, after));
            }
        })?;
        let mut names_only = Vec::new();
        for (name, change) in &changes {
            // A side that gave the content another name only has changed nothing.
            if let (Some(before), Some(after)) = change
                && is_same_file(&self.trees, before, after)?
            {
                names_only.push(name.clone());
            }
        }
        for name in names_only {
            changes.remove(&name);
        }
        Ok(changes)
    }

    fn conflict(&mut self, name: Option<&EntryName>, reason: Reason) {
        let mut path = self.path.clone();
        if let Some(name) = name {
            push_name(&mut path, name);
        }
        self.conflicts.push(Conflict { path, reason });
    }
}

fn push_name(path: &mut Vec<u8>, name: &EntryName) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
}

fn tree_of(entry: Option<&Entry>) -> Option<TreeHash> {
    match entry?.content {
        Content::Directory { tree, .. } => Some(tree),
        _ => None,
    }
}

/// Decides one name that both sides changed.
fn decide<S: TreeSource>(source: &S, both: Both) -> Result<Decision, S::Error> {
    let trees = Trees {
        base: tree_of(both.base.as_ref()),
        ours: tree_of(both.ours.as_ref()),
        theirs: tree_of(both.theirs.as_ref()),
    };
    Ok(match (both.base, both.ours, both.theirs) {
        (_, ours, theirs) if ours == theirs => Decision::KeepTheirs,
        (base, Some(ours), Some(theirs)) => match (trees.ours, trees.theirs) {
            (Some(_), Some(_)) => {
                let before =
                    base.as_ref().filter(|_| trees.base.is_some()).map(|entry| &entry.attributes);
                match merge_attributes(before, &ours.attributes, &theirs.attributes) {
                    Some(attributes) => Decision::Descend(trees, Some(attributes), None),
                    None => Decision::Descend(
                        trees,
                        Some(theirs.attributes),
                        Some(Reason::DirectoryAttributes),
                    ),
                }
            }
            (Some(_), None) => Decision::Conflict(Reason::DirectoryOnly(Side::Ours)),
            (None, Some(_)) => Decision::Conflict(Reason::DirectoryOnly(Side::Theirs)),
            (None, None) => return decide_files(source, base.is_some(), ours, theirs),
        },
        (Some(base), None, Some(other)) => decide_removed(trees, &base, &other, Side::Ours),
        (Some(base), Some(other), None) => decide_removed(trees, &base, &other, Side::Theirs),
        // Without a base, a side that has nothing has changed nothing.
        (_, Some(ours), None) => Decision::Take(ours),
        (_, None, _) => Decision::KeepTheirs,
    })
}

/// Decides a name that is no directory on either side.
fn decide_files<S: TreeSource>(
    source: &S,
    in_base: bool,
    ours: Entry,
    theirs: Entry,
) -> Result<Decision, S::Error> {
    let same = same_but_times(&ours.attributes, &theirs.attributes)
        && is_same_content(source, &ours.content, &theirs.content)?
        && ours.link_group.is_some() == theirs.link_group.is_some();
    Ok(match (same, in_base) {
        (true, _) if ours.attributes.mtime > theirs.attributes.mtime => {
            Decision::Take(Entry { attributes: ours.attributes, ..theirs })
        }
        (true, _) => Decision::KeepTheirs,
        (false, true) => Decision::Conflict(Reason::BothChanged),
        (false, false) => Decision::Conflict(Reason::BothAdded),
    })
}

/// Decides a name that `side` removed and the other changed.
fn decide_removed(trees: Trees, base: &Entry, other: &Entry, side: Side) -> Decision {
    let directories = trees.base.is_some() && (trees.ours.is_some() || trees.theirs.is_some());
    if directories && same_but_times(&base.attributes, &other.attributes) {
        Decision::Descend(trees, None, None)
    } else {
        Decision::Conflict(Reason::Removed(side))
    }
}

fn same_but_times(a: &Attributes, b: &Attributes) -> bool {
    (a.mode, a.uid, a.gid, &a.xattrs) == (b.mode, b.uid, b.gid, &b.xattrs)
}

/// The attributes of a directory that both sides have; `None` for a conflict.
fn merge_attributes(
    base: Option<&Attributes>,
    ours: &Attributes,
    theirs: &Attributes,
) -> Option<Attributes> {
    let is_base = |side| base.is_some_and(|base| same_but_times(base, side));
    let winner = if same_but_times(ours, theirs) || is_base(ours) {
        theirs
    } else if is_base(theirs) {
        ours
    } else {
        return None;
    };
    let mtime = match base.map(|base| base.mtime) {
        Some(before) if ours.mtime == before => theirs.mtime,
        Some(before) if theirs.mtime == before => ours.mtime,
        _ => ours.mtime.max(theirs.mtime),
    };
    Some(Attributes { mtime, ..winner.clone() })
}
