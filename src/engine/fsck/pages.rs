//! All pages of all trees, in the order of the disk.

use super::finding::TreeDamage;
use super::table::{CountedRow, Table};
use super::{Check, Stopped};
use crate::model::hash::TreeHash;
use crate::model::tree_format::TreePage;
use crate::store::catalog::Snapshot;

/// Pages read between two looks at whether to go on: a few megabytes.
const PAGES_PER_STEP: u32 = 256;

/// The rows of all trees, and whose page is where.
pub(super) struct Trees {
    pub(super) table: Table,
    /// (page, index in the table), by page.
    pages: Vec<(i64, usize)>,
}

/// Why a walk ended before its end.
pub(super) enum Ended {
    /// The snapshot has been held for too long.
    Overdue,
    Stopped(Stopped),
}

impl<E: Into<Stopped>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Stopped(error.into())
    }
}

/// What the walk comes upon.
pub(super) enum Found {
    /// The page of a tree.
    Page(usize, TreePage),
    /// A tree without one.
    Damaged(usize, TreeDamage),
    /// A page without a tree.
    Stray(i64),
}

impl Trees {
    /// Reads the rows. `report` has bad ones reported (they are, once per check).
    pub(super) fn load(
        check: &mut Check<'_>,
        snapshot: &Snapshot,
        report: bool,
    ) -> Result<Self, Stopped> {
        let mut slots = Vec::new();
        let mut pages = Vec::new();
        snapshot.trees(&mut |row| match row {
            Ok(tree) => {
                pages.push((tree.page, slots.len()));
                let hash = *tree.hash.as_bytes();
                slots.push(CountedRow { hash, recorded: tree.refs, counted: 0 });
            }
            Err(bad) if report => drop(check.row::<()>(Err(bad))),
            Err(_) => {}
        })?;
        pages.sort_unstable();
        Ok(Self { table: Table::new(slots), pages })
    }

    pub(super) fn hash(&self, index: usize) -> TreeHash {
        TreeHash::from_bytes(self.table.slot(index).hash)
    }

    /// Visits every page once, and every tree that has none.
    pub(super) fn walk(
        &mut self,
        check: &mut Check<'_>,
        snapshot: &Snapshot,
        step: &'static str,
        visit: &mut dyn FnMut(&mut Self, &mut Check<'_>, Found) -> Result<(), Stopped>,
    ) -> Result<(), Ended> {
        let total = self.pages.len() as u64;
        let pages = std::mem::take(&mut self.pages);
        // The next of `pages` that was not come upon.
        let mut next = 0;
        let mut after = i64::MIN;
        loop {
            check.check_cancelled()?;
            if snapshot.is_overdue() {
                return Err(Ended::Overdue);
            }
            check.sink.progress(step, next as u64, total);
            let mut batch = Vec::new();
            snapshot.pages(after, PAGES_PER_STEP, &mut |row| batch.push(row))?;
            let Some(last) = batch.iter().rev().find_map(|row| row.as_ref().ok()) else {
                for row in batch {
                    check.row(row);
                }
                break;
            };
            after = last.0;
            for row in batch {
                let Some((page, bytes)) = check.row(row) else { continue };
                while let Some((expected, index)) = pages.get(next).filter(|(p, _)| *p < page) {
                    visit(self, check, no_page(*expected, *index))?;
                    next += 1;
                }
                match pages.get(next).filter(|(expected, _)| *expected == page) {
                    Some((_, index)) => {
                        let found = self.parse(*index, bytes);
                        visit(self, check, found)?;
                        next += 1;
                    }
                    None => visit(self, check, Found::Stray(page))?,
                }
            }
        }
        for (expected, index) in &pages[next..] {
            visit(self, check, no_page(*expected, *index))?;
        }
        self.pages = pages;
        Ok(())
    }

    fn parse(&self, index: usize, bytes: Vec<u8>) -> Found {
        if bytes.is_empty() {
            return Found::Damaged(index, TreeDamage::Blank);
        }
        if TreeHash::of(&bytes) != self.hash(index) {
            return Found::Damaged(index, TreeDamage::Altered);
        }
        match TreePage::parse(bytes) {
            Ok(page) => Found::Page(index, page),
            Err(error) => Found::Damaged(index, TreeDamage::Invalid(error.to_string())),
        }
    }
}

/// Two trees that share a page, or a tree whose page is not there.
fn no_page(_page: i64, index: usize) -> Found {
    Found::Damaged(index, TreeDamage::NoPage)
}
