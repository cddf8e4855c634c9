//! Reading directories page by page. Every step from a page to its child is checked, because two
//! valid pages need not fit each other.

use std::sync::Arc;

use super::page::TreePage;
use super::record::{ChildRef, EntryRef};
use super::{TreeError, TreeSource, build, invalid};
use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::tree::{Content, Entry};

/// Fetches the root page of a directory.
pub(super) fn root_page<S: TreeSource>(
    source: &S,
    tree: &TreeHash,
) -> Result<Arc<TreePage>, S::Error> {
    let page = source.page(tree)?;
    if !page.is_leaf() && page.len() < 2 {
        return Err(invalid("a root has a single child").into());
    }
    Ok(page)
}

/// Fetches child `index` of an index page.
pub(super) fn child_page<S: TreeSource>(
    source: &S,
    parent: &TreePage,
    index: usize,
) -> Result<Arc<TreePage>, S::Error> {
    let child = parent.child(index).ok_or_else(|| invalid("no such child page"))?;
    let page = source.page(&child.page)?;
    let fits = page.level() + 1 == parent.level()
        && page.entry_count() == child.entries
        && page.summary() == child.summary
        && page.name(0) == Some(child.first_name);
    if !fits {
        return Err(invalid("a page is not what the page above says").into());
    }
    Ok(page)
}

/// Finds one name in a directory.
///
/// # Errors
/// Those of the source.
pub fn lookup<S: TreeSource>(
    source: &S,
    tree: &TreeHash,
    name: &[u8],
) -> Result<Option<Entry>, S::Error> {
    let mut page = root_page(source, tree)?;
    while !page.is_leaf() {
        let Some(index) = page.find_child(name) else {
            return Ok(None);
        };
        page = child_page(source, &page, index)?;
    }
    Ok(page.find(name).ok().and_then(|index| page.entry(index)))
}

/// Finds a path below a directory, of one name at least; `None` where nothing is there.
///
/// # Errors
/// Those of the source.
pub fn lookup_path<S: TreeSource>(
    source: &S,
    tree: &TreeHash,
    names: &[EntryName],
) -> Result<Option<Entry>, S::Error> {
    let (mut tree, mut found) = (Some(*tree), None);
    for name in names {
        // What is no directory has nothing below it.
        let Some(directory) = tree.take() else { return Ok(None) };
        let Some(entry) = lookup(source, &directory, name.as_bytes())? else { return Ok(None) };
        if let Content::Directory { tree: below, .. } = &entry.content {
            tree = Some(*below);
        }
        found = Some(entry);
    }
    Ok(found)
}

/// Number of entries of a directory (of its own, not below).
///
/// # Errors
/// Those of the source.
pub fn entry_count<S: TreeSource>(source: &S, tree: &TreeHash) -> Result<u64, S::Error> {
    root_page(source, tree).map(|page| page.entry_count())
}

/// The entry at a position in byte order, counted from 0; `None` past the end.
///
/// # Errors
/// Those of the source.
pub fn entry_at<S: TreeSource>(
    source: &S,
    tree: &TreeHash,
    position: u64,
) -> Result<Option<Entry>, S::Error> {
    entries(source, tree, position).next().transpose()
}

/// Iterates the entries of a directory in byte order of their names, starting at position `from`.
/// Pages are fetched as they are reached; an error ends the iteration.
pub fn entries<'s, S: TreeSource>(
    source: &'s S,
    tree: &TreeHash,
    from: u64,
) -> impl Iterator<Item = Result<Entry, S::Error>> + use<'s, S> {
    let tree = *tree;
    Entries {
        source,
        cursor: None,
        seek: move |source: &S| Cursor::at_position(source, &tree, from),
    }
}

/// Iterates the entries of a directory whose names are greater than `name`.
/// Pages are fetched as they are reached; an error ends the iteration.
pub fn entries_after<'s, S: TreeSource>(
    source: &'s S,
    tree: &TreeHash,
    name: &[u8],
) -> impl Iterator<Item = Result<Entry, S::Error>> + use<'s, S> {
    let tree = *tree;
    let name = name.to_vec();
    Entries {
        source,
        cursor: None,
        seek: move |source: &S| Cursor::after_name(source, &tree, &name),
    }
}

/// Whether a directory's own pages are exactly those that [`build()`] makes of its entries. Parsing
/// checks pages one by one; this checks that they were also cut and joined as they must be. It
/// reads the whole directory.
///
/// # Errors
/// Those of the source.
pub fn is_canonical<S: TreeSource>(source: &S, tree: &TreeHash) -> Result<bool, S::Error> {
    let mut failure = None;
    let all = entries(source, tree, 0).map_while(|entry| match entry {
        Ok(entry) => Some(entry),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let built = build(all);
    match failure {
        Some(error) => Err(error),
        None => Ok(built.is_ok_and(|built| built.root == *tree)),
    }
}

struct Entries<'s, S, F> {
    source: &'s S,
    seek: F,
    cursor: Option<Cursor>,
}

impl<S: TreeSource, F: FnMut(&S) -> Result<Cursor, S::Error>> Iterator for Entries<'_, S, F> {
    type Item = Result<Entry, S::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let source = self.source;
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            empty => match (self.seek)(source) {
                Ok(cursor) => empty.insert(cursor),
                Err(error) => {
                    *empty = Some(Cursor::default());
                    return Some(Err(error));
                }
            },
        };
        loop {
            match cursor.peek()? {
                Peek::Page(..) => {
                    if let Err(error) = cursor.descend(source) {
                        *cursor = Cursor::default();
                        return Some(Err(error));
                    }
                }
                Peek::Entry(entry) => {
                    let entry = entry.to_entry();
                    cursor.advance();
                    return Some(entry.map_err(S::Error::from));
                }
            }
        }
    }
}

/// What a [`Cursor`] stands before.
pub(super) enum Peek<'a> {
    /// A page that is not fetched yet, and its level.
    Page(ChildRef<'a>, u8),
    /// An entry.
    Entry(EntryRef<'a>),
}

/// A position in a directory, between entries or before a whole page of them, so that a walk can
/// step over pages without reading them.
#[derive(Default)]
pub(super) struct Cursor {
    /// Pages from the root down, each with the record that is next or being visited; the last
    /// one's index is always within the page.
    path: Vec<(Arc<TreePage>, usize)>,
}

impl Cursor {
    /// Stands before the first record of a directory.
    pub(super) fn at_start<S: TreeSource>(source: &S, tree: &TreeHash) -> Result<Self, S::Error> {
        Ok(Self::before(root_page(source, tree)?, 0))
    }

    fn before(page: Arc<TreePage>, index: usize) -> Self {
        let mut cursor = Self { path: vec![(page, index)] };
        cursor.leave_finished();
        cursor
    }

    fn at_position<S: TreeSource>(
        source: &S,
        tree: &TreeHash,
        position: u64,
    ) -> Result<Self, S::Error> {
        let mut cursor = Self::at_start(source, tree)?;
        let mut left = position;
        while left > 0 {
            match cursor.peek() {
                None => break,
                Some(Peek::Page(child, _)) if child.entries <= left => {
                    left -= child.entries;
                    cursor.advance();
                }
                Some(Peek::Page(..)) => cursor.descend(source)?,
                Some(Peek::Entry(_)) => {
                    left -= cursor.skip_entries(left);
                }
            }
        }
        Ok(cursor)
    }

    fn after_name<S: TreeSource>(
        source: &S,
        tree: &TreeHash,
        name: &[u8],
    ) -> Result<Self, S::Error> {
        let mut page = root_page(source, tree)?;
        let mut cursor = Self::default();
        while !page.is_leaf() {
            let index = page.find_child(name).unwrap_or(0);
            let child = child_page(source, &page, index)?;
            cursor.path.push((page, index));
            page = child;
        }
        let index = page.find(name).map_or_else(|index| index, |index| index + 1);
        cursor.path.push((page, index));
        cursor.leave_finished();
        Ok(cursor)
    }

    /// What is next; `None` at the end.
    pub(super) fn peek(&self) -> Option<Peek<'_>> {
        let (page, index) = self.path.last()?;
        if page.is_leaf() {
            page.entry_ref(*index).map(Peek::Entry)
        } else {
            let child = page.child(*index)?;
            Some(Peek::Page(child, page.level() - 1))
        }
    }

    /// Steps over what is next: an entry, or a page with all below it.
    pub(super) fn advance(&mut self) {
        if let Some((_, index)) = self.path.last_mut() {
            *index += 1;
        }
        self.leave_finished();
    }

    /// Fetches the page that is next and stands before its first record.
    pub(super) fn descend<S: TreeSource>(&mut self, source: &S) -> Result<(), S::Error> {
        if let Some((page, index)) = self.path.last() {
            let child = child_page(source, page, *index)?;
            self.path.push((child, 0));
        }
        Ok(())
    }

    /// Steps over up to `count` entries of the current leaf and says over how many.
    fn skip_entries(&mut self, count: u64) -> u64 {
        let Some((page, index)) = self.path.last_mut() else {
            return 0;
        };
        let left = page.len() - *index;
        let skipped = usize::try_from(count).map_or(left, |count| count.min(left));
        *index += skipped;
        self.leave_finished();
        skipped as u64
    }

    fn leave_finished(&mut self) {
        while let Some((page, index)) = self.path.last()
            && *index >= page.len()
        {
            self.path.pop();
            if let Some((_, index)) = self.path.last_mut() {
                *index += 1;
            }
        }
    }
}

/// The error of a page whose record vanished between two looks; parsing makes it impossible.
pub(super) fn missing_record() -> TreeError {
    invalid("a record is missing")
}
