//! Directories that a batch holds with all that is below them, and the trees that they make.
//!
//! A directory whose tree the store has need not be sent entry by entry. So this computes the trees
//! of directories as the store would, and the store is asked for them before it is asked for
//! contents.
//!
//! Invariants: entries come as a walk yields them, a directory before what it holds and that in one
//! piece, sorted by name. A directory that the end of the batch cuts, or that has files with
//! further names anywhere, is left out. This module does not ask the store itself.

use std::ops::Range;

use super::path::ArchivePath;
use super::read::{Prepared, PreparedContent};
use crate::model::hash::TreeHash;
use crate::model::import::ImportContent;
use crate::model::name::EntryName;
use crate::model::tree::{Attributes, Content, Entry};
use crate::model::tree_format::{self, BuiltTree};

/// A directory of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subtree {
    /// Where the batch has it: itself first, then all that is below.
    pub(super) range: Range<usize>,
    /// What it holds.
    pub(super) tree: TreeHash,
}

/// The directories that `batch` has with all that is below them, each before those below it. If
/// `is_last`, all directories are complete at the end of the batch. The top is left out.
pub(super) fn find(batch: &[Prepared], is_last: bool) -> Vec<Subtree> {
    let mut search = Search::default();
    for (index, prepared) in batch.iter().enumerate() {
        search.add(index, prepared);
    }
    while !search.open.is_empty() {
        search.close(batch.len(), is_last);
    }
    search.found.sort_unstable_by_key(|subtree| subtree.range.start);
    search.found
}

/// A directory whose entries are being collected.
struct Open<'a> {
    index: usize,
    path: &'a ArchivePath,
    attributes: &'a Attributes,
    entries: Vec<Entry>,
    /// Something of it is missing, so it is no subtree.
    spoiled: bool,
}

#[derive(Default)]
struct Search<'a> {
    open: Vec<Open<'a>>,
    found: Vec<Subtree>,
}

impl<'a> Search<'a> {
    fn add(&mut self, index: usize, prepared: &'a Prepared) {
        let (parent, name) = prepared.path.split();
        while self.open.last().is_some_and(|open| open.path.as_bytes() != parent) {
            self.close(index, true);
        }
        if matches!(prepared.content, PreparedContent::Other(ImportContent::Directory)) {
            self.open.push(Open {
                index,
                path: &prepared.path,
                attributes: &prepared.attributes,
                entries: Vec::new(),
                spoiled: prepared.path.is_root(),
            });
            return;
        }
        let Some(open) = self.open.last_mut() else { return };
        match content(prepared).and_then(|content| entry(name, &prepared.attributes, content)) {
            Some(entry) => open.entries.push(entry),
            None => open.spoiled = true,
        }
    }

    /// Ends the directory opened last, before the entry at `end`.
    fn close(&mut self, end: usize, is_complete: bool) {
        let Some(open) = self.open.pop() else { return };
        let built = match is_complete && !open.spoiled {
            // A directory that cannot be encoded is sent entry by entry, so that the store refuses
            // it by name.
            true => tree_format::build(open.entries).ok(),
            false => None,
        };
        let entry = built.and_then(|BuiltTree { root, summary, .. }| {
            self.found.push(Subtree { range: open.index..end, tree: root });
            let content = Content::Directory { tree: root, summary };
            entry(open.path.split().1, open.attributes, content)
        });
        let Some(above) = self.open.last_mut() else { return };
        match entry {
            Some(entry) => above.entries.push(entry),
            None => above.spoiled = true,
        }
    }
}

/// Puts those directories of `batch` as trees, the first of them first; returns the batch without
/// what is below them, and that.
pub(super) fn name(
    batch: Vec<Prepared>,
    subtrees: impl Iterator<Item = Subtree>,
) -> (Vec<Prepared>, Vec<Prepared>) {
    let (mut named, mut below) = (Vec::new(), Vec::new());
    let mut subtrees = subtrees.peekable();
    let mut end = 0;
    for (index, mut prepared) in batch.into_iter().enumerate() {
        if index < end {
            below.push(prepared);
            continue;
        }
        while subtrees.next_if(|subtree| subtree.range.start < index).is_some() {}
        if let Some(subtree) = subtrees.next_if(|subtree| subtree.range.start == index) {
            end = subtree.range.end;
            prepared.content = PreparedContent::Other(ImportContent::Tree { tree: subtree.tree });
        }
        named.push(prepared);
    }
    (named, below)
}

/// When to ask which subtrees the store has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asking {
    Never,
    /// Asks again after so many batches. Each question without a known subtree makes the pause
    /// longer, since asking is in vain where everything is new.
    After {
        batches: u32,
        pause: u32,
    },
}

/// The longest pause between two questions, in batches.
const PAUSE_MAX: u32 = 64;

impl Asking {
    /// At once.
    pub(super) const START: Self = Self::After { batches: 0, pause: 0 };

    /// Whether to ask for those of the next batch.
    pub(super) fn is_due(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::After { batches: 0, .. } => true,
            Self::After { batches, .. } => {
                *batches -= 1;
                false
            }
        }
    }

    /// A question was answered.
    pub(super) fn note(&mut self, brought_something: bool) {
        if let Self::After { batches, pause } = self {
            *pause = if brought_something { 0 } else { (2 * *pause).clamp(1, PAUSE_MAX) };
            *batches = *pause;
        }
    }
}

fn entry(name: &[u8], attributes: &Attributes, content: Content) -> Option<Entry> {
    let name = EntryName::new(name).ok()?;
    Some(Entry { name, attributes: attributes.clone(), link_group: None, content })
}

/// The content of anything but a directory; `None` for what may have names elsewhere.
fn content(prepared: &Prepared) -> Option<Content> {
    if prepared.has_links {
        return None;
    }
    Some(match &prepared.content {
        PreparedContent::Small { hash, bytes } => {
            let size = u64::try_from(bytes.len()).ok()?;
            Content::File { size, blob: (size > 0).then_some((*hash).into()) }
        }
        PreparedContent::Large { hash, size, .. }
        | PreparedContent::Taken { hash, size }
        | PreparedContent::Remembered { hash, size } => {
            Content::File { size: *size, blob: (*size > 0).then_some((*hash).into()) }
        }
        PreparedContent::Other(other) => match other {
            ImportContent::Symlink { target } => {
                Content::Symlink { target: target.as_bytes().into() }
            }
            ImportContent::Fifo => Content::Fifo,
            ImportContent::Socket => Content::Socket,
            ImportContent::CharDevice { rdev } => Content::CharDevice { rdev: *rdev },
            ImportContent::BlockDevice { rdev } => Content::BlockDevice { rdev: *rdev },
            ImportContent::Directory
            | ImportContent::Tree { .. }
            | ImportContent::File { .. }
            | ImportContent::Hardlink { .. } => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::BlobHash;
    use crate::model::raw::RawPath;
    use crate::model::time::Timestamp;

    fn prepared(path: &str, content: PreparedContent) -> Prepared {
        let path = match path {
            "" => ArchivePath::root(),
            path => ArchivePath::parse(path.as_bytes()).unwrap(),
        };
        let mtime = Timestamp::new(7, 8).unwrap();
        let attributes =
            Attributes { mode: 0o644, uid: 1, gid: 2, mtime, xattrs: Default::default() };
        Prepared {
            path,
            attributes,
            content,
            reread: false,
            acl: false,
            has_links: false,
            record: None,
        }
    }

    fn directory(path: &str) -> Prepared {
        prepared(path, PreparedContent::Other(ImportContent::Directory))
    }

    fn file(path: &str) -> Prepared {
        let hash = BlobHash::of(path.as_bytes());
        prepared(path, PreparedContent::Remembered { hash, size: 3 })
    }

    /// First and end of each.
    fn ranges(batch: &[Prepared], is_last: bool) -> Vec<(usize, usize)> {
        let found = find(batch, is_last).into_iter();
        found.map(|subtree| (subtree.range.start, subtree.range.end)).collect()
    }

    fn names(found: &[&str]) -> Vec<Prepared> {
        let make = |name: &&str| match name.strip_suffix('/') {
            Some(name) => directory(name),
            None => file(name),
        };
        found.iter().map(make).collect()
    }

    #[test]
    fn the_tree_is_the_one_that_the_store_makes() {
        let batch = names(&["a/", "a/b/", "a/b/c", "a/d"]);
        let made = |name: &str, of: &Prepared, content: Content| {
            entry(name.as_bytes(), &of.attributes, content).unwrap()
        };
        let file = |path: &str| Content::File {
            size: 3,
            blob: Some(BlobHash::of(path.as_bytes()).into()),
        };
        let below = tree_format::build([made("c", &batch[2], file("a/b/c"))]).unwrap();
        let content = Content::Directory { tree: below.root, summary: below.summary };
        let entries = [made("b", &batch[1], content), made("d", &batch[3], file("a/d"))];
        let all = tree_format::build(entries).unwrap();
        let found = find(&batch, true);
        let expected =
            [Subtree { range: 0..4, tree: all.root }, Subtree { range: 1..3, tree: below.root }];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_an_end_of_the_batch_cuts_is_no_subtree() {
        // Of `a` the beginning is missing, of `c` perhaps the end.
        let batch = names(&["a/x", "a/y/", "a/y/1", "b/", "b/1", "b/2/", "b/2/3", "c/", "c/d/"]);
        assert_eq!(ranges(&batch, false), [(1, 3), (3, 7), (5, 7)]);
        assert_eq!(ranges(&batch, true), [(1, 3), (3, 7), (5, 7), (7, 9), (8, 9)]);
        assert_eq!(ranges(&names(&["", "a", "b/"]), true), [(2, 3)], "not the top");
        assert_eq!(ranges(&[], true), []);
    }

    #[test]
    fn what_is_below_a_known_subtree_is_not_named() {
        let batch = names(&["x", "a/", "a/b/", "a/b/c", "d/", "d/e/", "d/e/f", "d/g", "h"]);
        let found: Vec<Subtree> = find(&batch, true);
        let (named, below) = name(batch, [0, 1, 3].into_iter().map(|n| found[n].clone()));
        let paths = |list: &[Prepared]| -> Vec<String> {
            list.iter().map(|prepared| prepared.path.to_string()).collect()
        };
        assert_eq!(paths(&named), ["x", "a", "d", "d/e", "d/g", "h"]);
        assert_eq!(paths(&below), ["a/b", "a/b/c", "d/e/f"]);
        let trees = named.iter().map(|prepared| match prepared.content {
            PreparedContent::Other(ImportContent::Tree { tree }) => Some(tree),
            _ => None,
        });
        let (a, e) = (Some(found[0].tree), Some(found[3].tree));
        assert_eq!(trees.collect::<Vec<_>>(), [None, a, None, e, None, None]);
    }

    #[test]
    fn what_is_asked_in_vain_is_asked_less_often() {
        let mut asking = Asking::START;
        let mut asked = Vec::new();
        for batch in 0..20 {
            if asking.is_due() {
                asked.push(batch);
                asking.note(batch == 5);
            }
        }
        assert_eq!(asked, [0, 2, 5, 6, 8, 11, 16]);
        assert!(!Asking::Never.is_due());
    }

    #[test]
    fn a_file_with_other_names_spoils_all_above_it() {
        let mut batch = names(&["a/", "a/b/", "a/b/c", "a/d/", "a/d/e"]);
        batch[2].has_links = true;
        assert_eq!(ranges(&batch, true), [(3, 5)]);
        let to = RawPath::from(&b"a/d/e"[..]);
        batch[2] = prepared("a/b/c", PreparedContent::Other(ImportContent::Hardlink { to }));
        assert_eq!(ranges(&batch, true), [(3, 5)]);
    }
}
