//! Changing a directory at the cost of what changed.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::build::{Builder, BuiltTree};
use super::page::TreePage;
use super::read::{child_page, missing_record, root_page};
use super::record::ChildRef;
use super::{TreeError, TreeSource, invalid};
use crate::model::hash::TreeHash;
use crate::model::name::EntryName;
use crate::model::tree::Entry;

/// Changes to a directory by name; `None` removes.
type Changes = BTreeMap<EntryName, Option<Entry>>;

/// Builds the directory that `base` (nothing: an empty one) becomes with `changes`: by name, the
/// entry it gets, or `None` to remove it. Removing what is not there changes nothing.
///
/// The result is what [`super::build()`] makes of the changed entries, byte for byte, but its pages
/// are only those that `base` does not have. Reads and writes grow with the number of changes, not
/// with the size of the directory.
///
/// # Errors
/// Those of the source; and an entry that is invalid or differs in name from its key.
pub fn apply<S: TreeSource>(
    source: &S,
    base: Option<&TreeHash>,
    changes: &Changes,
) -> Result<BuiltTree, S::Error> {
    let mut walk = Walk { source, changes, builder: Builder::default(), read: HashSet::new() };
    match base {
        Some(tree) => {
            let page = root_page(source, tree)?;
            walk.page(*tree, &page, &Range::ALL)?;
        }
        None => walk.push_changes(changes.iter())?,
    }
    let mut built = walk.builder.finish()?;
    built.pages.retain(|(hash, _)| !walk.read.contains(hash));
    Ok(built)
}

/// The names that a page is responsible for: from the first (included) to the last (excluded).
#[derive(Clone, Copy)]
struct Range<'a> {
    from: Option<&'a [u8]>,
    until: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    const ALL: Self = Self { from: None, until: None };

    fn bounds(&self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        (
            self.from.map_or(Bound::Unbounded, Bound::Included),
            self.until.map_or(Bound::Unbounded, Bound::Excluded),
        )
    }

    /// Refuses a page with names outside its range, which another page lays claim to.
    fn check(&self, page: &TreePage) -> Result<(), TreeError> {
        let last = page.len().checked_sub(1).and_then(|last| page.name(last));
        let below = match (last, self.until) {
            (Some(last), Some(until)) => last < until,
            _ => true,
        };
        let above = match (page.name(0), self.from) {
            (Some(first), Some(from)) => first >= from,
            _ => true,
        };
        if below && above { Ok(()) } else { Err(invalid("pages overlap")) }
    }
}

struct Walk<'a, S> {
    source: &'a S,
    changes: &'a Changes,
    builder: Builder,
    /// Pages of the base that were read: the builder may have made some of them again.
    read: HashSet<TreeHash>,
}

impl<S: TreeSource> Walk<'_, S> {
    /// Appends the pages that a page of the base becomes. The recursion is as deep as the page's
    /// level.
    fn page(
        &mut self,
        hash: TreeHash,
        page: &Arc<TreePage>,
        range: &Range<'_>,
    ) -> Result<(), S::Error> {
        range.check(page)?;
        self.read.insert(hash);
        if page.is_leaf() {
            return self.leaf(page, range);
        }
        for index in 0..page.len() {
            let child = page.child(index).ok_or_else(missing_record)?;
            let child_range = Range {
                from: if index == 0 { range.from } else { Some(child.first_name) },
                until: page.name(index + 1).or(range.until),
            };
            self.child(page, index, &child, &child_range)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        parent: &Arc<TreePage>,
        index: usize,
        child: &ChildRef<'_>,
        range: &Range<'_>,
    ) -> Result<(), S::Error> {
        let level = parent.level() - 1;
        let untouched = self.changes.range::<[u8], _>(range.bounds()).next().is_none();
        if untouched && self.builder.is_aligned(level) {
            // A page of the base ends itself, or it is the last: then, as no change falls into its
            // range, nothing follows it now either.
            self.builder.push_page(level, child)?;
            return Ok(());
        }
        let page = child_page(self.source, parent, index)?;
        self.page(child.page, &page, range)
    }

    fn leaf(&mut self, page: &TreePage, range: &Range<'_>) -> Result<(), S::Error> {
        let changes = self.changes;
        let mut changes = changes.range::<[u8], _>(range.bounds()).peekable();
        for index in 0..page.len() {
            let name = page.name(index).ok_or_else(missing_record)?;
            while let Some(change) = changes.next_if(|(changed, _)| changed.as_bytes() < name) {
                self.push_changes([change])?;
            }
            match changes.next_if(|(changed, _)| changed.as_bytes() == name) {
                Some(change) => self.push_changes([change])?,
                None => {
                    let record = page.record(index).ok_or_else(missing_record)?;
                    self.builder.push_record(record)?;
                }
            }
        }
        self.push_changes(changes)
    }

    fn push_changes<'c>(
        &mut self,
        changes: impl IntoIterator<Item = (&'c EntryName, &'c Option<Entry>)>,
    ) -> Result<(), S::Error> {
        for (name, entry) in changes {
            let Some(entry) = entry else { continue };
            if entry.name != *name {
                return Err(invalid("a change is filed under another name").into());
            }
            self.builder.push_entry(entry)?;
        }
        Ok(())
    }
}
