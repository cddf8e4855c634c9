//! Differences between two directories: equal subtrees and equal pages are skipped by hash.

use std::cmp::Ordering;

use super::TreeSource;
use super::read::{Cursor, Peek};
use crate::model::content_name::same_content;
use crate::model::hash::TreeHash;
use crate::model::tree::{Content, Entry};

/// One difference between two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only in the second. For a directory, everything below it is new as well (reported one by one).
    Added(Entry),
    /// Only in the first. For a directory, everything below it is gone as well (reported one by
    /// one, after it).
    Removed(Entry),
    /// In both, different. Two directories whose attributes are equal are not reported themselves, nor are files
    /// whose content has another name only.
    /// When just one of them is a directory, what is below it follows as added or removed.
    Modified {
        /// In the first.
        before: Entry,
        /// In the second.
        after: Entry,
    },
}

/// Walks the differences between two directories in path order, skipping equal subtrees by hash.
/// `visit` gets the path of the directory (slash-separated bytes, empty at the top) and the change.
///
/// # Errors
/// Those of the source.
pub fn diff<S: TreeSource>(
    source: &S,
    first: &TreeHash,
    second: &TreeHash,
    visit: &mut dyn FnMut(&[u8], Change),
) -> Result<(), S::Error> {
    let mut path = Vec::new();
    // An explicit stack instead of recursion: hostile trees can be deeper than the thread's stack.
    let mut open = Vec::new();
    open.extend(Pair::open(source, Some(*first), Some(*second), 0)?);
    while let Some(pair) = open.last_mut() {
        path.truncate(pair.path_bytes);
        let Some((before, after)) = pair.next_difference(source)? else {
            open.pop();
            continue;
        };
        let name = before.as_ref().or(after.as_ref()).map(|e| e.name.clone());
        let trees = (subtree(before.as_ref()), subtree(after.as_ref()));
        match change_of(before, after) {
            Some(Change::Modified { before, after }) if is_same_file(source, &before, &after)? => {}
            Some(change) => visit(&path, change),
            None => {}
        }
        if trees.0 == trees.1 {
            continue;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_ref().map_or(&[], |name| name.as_bytes()));
        open.extend(Pair::open(source, trees.0, trees.1, path.len())?);
    }
    Ok(())
}

/// Walks the differences between two directories' own entries, in order of their names, and nothing
/// below them. A directory that is not there is like an empty one. `visit` gets the entries of one
/// name in the first and in the second; not both are `None`.
///
/// # Errors
/// Those of the source.
pub fn diff_entries<S: TreeSource>(
    source: &S,
    first: Option<&TreeHash>,
    second: Option<&TreeHash>,
    visit: &mut dyn FnMut(Option<Entry>, Option<Entry>),
) -> Result<(), S::Error> {
    if let Some(mut pair) = Pair::open(source, first.copied(), second.copied(), 0)? {
        while let Some((before, after)) = pair.next_difference(source)? {
            visit(before, after);
        }
    }
    Ok(())
}

/// Whether two entries hold the same: of files, the same bytes as far as can be told, under whichever names.
///
/// # Errors
/// Those of the source.
pub fn is_same_content<S: TreeSource>(
    source: &S,
    one: &Content,
    other: &Content,
) -> Result<bool, S::Error> {
    match (one, other) {
        (Content::File { size, blob }, Content::File { size: other_size, blob: other_blob }) => {
            Ok(size == other_size
                && same_content(*blob, *other_blob, |digest| source.blob_of(digest))?)
        }
        (one, other) => Ok(one == other),
    }
}

/// Whether two entries are equal but for the name of their content.
///
/// # Errors
/// Those of the source.
pub fn is_same_file<S: TreeSource>(
    source: &S,
    one: &Entry,
    other: &Entry,
) -> Result<bool, S::Error> {
    Ok(one.attributes == other.attributes
        && one.link_group == other.link_group
        && is_same_content(source, &one.content, &other.content)?)
}

fn subtree(entry: Option<&Entry>) -> Option<TreeHash> {
    match entry?.content {
        Content::Directory { tree, .. } => Some(tree),
        _ => None,
    }
}

fn change_of(before: Option<Entry>, after: Option<Entry>) -> Option<Change> {
    match (before, after) {
        (None, None) => None,
        (None, Some(after)) => Some(Change::Added(after)),
        (Some(before), None) => Some(Change::Removed(before)),
        (Some(before), Some(after)) => {
            let both_directories =
                subtree(Some(&before)).is_some() && subtree(Some(&after)).is_some();
            let unchanged = both_directories && before.attributes == after.attributes;
            (!unchanged).then_some(Change::Modified { before, after })
        }
    }
}

/// Two directories being compared; one that does not exist is like an empty one.
struct Pair {
    first: Cursor,
    second: Cursor,
    /// Length of the directory's path.
    path_bytes: usize,
}

/// The two entries of one name; `None` where there is none.
type Difference = (Option<Entry>, Option<Entry>);

/// What to do next with a pair.
enum Step {
    Done,
    SkipBoth,
    DescendFirst,
    DescendSecond,
    Differ(Ordering),
}

impl Pair {
    fn open<S: TreeSource>(
        source: &S,
        first: Option<TreeHash>,
        second: Option<TreeHash>,
        path_bytes: usize,
    ) -> Result<Option<Self>, S::Error> {
        if first == second {
            return Ok(None);
        }
        let open = |tree: Option<TreeHash>| match tree {
            Some(tree) => Cursor::at_start(source, &tree),
            None => Ok(Cursor::default()),
        };
        Ok(Some(Self { first: open(first)?, second: open(second)?, path_bytes }))
    }

    /// The next name whose entries differ.
    fn next_difference<S: TreeSource>(
        &mut self,
        source: &S,
    ) -> Result<Option<Difference>, S::Error> {
        loop {
            match self.step() {
                Step::Done => return Ok(None),
                Step::SkipBoth => {
                    self.first.advance();
                    self.second.advance();
                }
                Step::DescendFirst => self.first.descend(source)?,
                Step::DescendSecond => self.second.descend(source)?,
                Step::Differ(order) => {
                    let before = order.is_le().then(|| take(&mut self.first)).flatten();
                    let after = order.is_ge().then(|| take(&mut self.second)).flatten();
                    return Ok(Some((before, after)));
                }
            }
        }
    }

    /// Decides by the smaller name; of equal names, the higher page is opened first, so that equal
    /// pages meet at their own level.
    fn step(&self) -> Step {
        use Peek::{Entry, Page};
        match (self.first.peek(), self.second.peek()) {
            (None, None) => Step::Done,
            (Some(Page(..)), None) => Step::DescendFirst,
            (None, Some(Page(..))) => Step::DescendSecond,
            (Some(Entry(_)), None) => Step::Differ(Ordering::Less),
            (None, Some(Entry(_))) => Step::Differ(Ordering::Greater),
            (Some(Entry(a)), Some(Entry(b))) if a == b => Step::SkipBoth,
            (Some(Entry(a)), Some(Entry(b))) => Step::Differ(a.name.cmp(b.name)),
            (Some(Page(a, _)), Some(Page(b, _))) if a.page == b.page => Step::SkipBoth,
            (Some(Page(a, a_level)), Some(Page(b, b_level))) => {
                let order = a.first_name.cmp(b.first_name);
                if order.then(b_level.cmp(&a_level)).is_le() {
                    Step::DescendFirst
                } else {
                    Step::DescendSecond
                }
            }
            (Some(Page(a, _)), Some(Entry(b))) if b.name < a.first_name => {
                Step::Differ(Ordering::Greater)
            }
            (Some(Page(..)), Some(Entry(_))) => Step::DescendFirst,
            (Some(Entry(a)), Some(Page(b, _))) if a.name < b.first_name => {
                Step::Differ(Ordering::Less)
            }
            (Some(Entry(_)), Some(Page(..))) => Step::DescendSecond,
        }
    }
}

fn take(cursor: &mut Cursor) -> Option<Entry> {
    let entry = match cursor.peek() {
        Some(Peek::Entry(entry)) => entry.to_entry().ok(),
        _ => None,
    };
    cursor.advance();
    entry
}
