//! Building a directory from entries that come in order: memory is the pages made so far.

use super::page::LEVEL_MAX;
use super::record::{ChildRef, decode_entry, encode_child, encode_entry};
use super::write::PageWriter;
use super::{TreeError, invalid};
use crate::model::hash::TreeHash;
use crate::model::tree::{Entry, Summary};

/// A directory in encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltTree {
    /// The root page.
    pub root: TreeHash,
    /// Totals over the directory and all below it.
    pub summary: Summary,
    /// All pages, each once, children before parents (so the root page is last). From
    /// [`super::apply()`]: those that the base does not have, so the root page may be missing.
    pub pages: Vec<(TreeHash, Vec<u8>)>,
}

/// Encodes a directory from its entries.
///
/// # Errors
/// When the entries are not strictly ascending by name, or one is invalid.
pub fn build(entries: impl IntoIterator<Item = Entry>) -> Result<BuiltTree, TreeError> {
    let mut builder = Builder::default();
    for entry in entries {
        builder.push_entry(&entry)?;
    }
    builder.finish()
}

/// One page in progress per level; a page that ends becomes a record of the level above.
#[derive(Default)]
pub(super) struct Builder {
    writers: Vec<PageWriter>,
    last_name: Vec<u8>,
    scratch: Vec<u8>,
    pages: Vec<(TreeHash, Vec<u8>)>,
}

impl Builder {
    pub(super) fn push_entry(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let mut record = std::mem::take(&mut self.scratch);
        record.clear();
        encode_entry(&mut record, entry)?;
        self.push_record(&record)?;
        self.scratch = record;
        Ok(())
    }

    /// Appends an encoded leaf record.
    pub(super) fn push_record(&mut self, record: &[u8]) -> Result<(), TreeError> {
        let entry = decode_entry(record)?;
        if entry.name <= self.last_name.as_slice() {
            return Err(TreeError(format!(
                "{}: entries are not in ascending order",
                String::from_utf8_lossy(entry.name)
            )));
        }
        self.last_name.clear();
        self.last_name.extend_from_slice(entry.name);
        let ends = self.writer(0)?.push(entry.name, record, 1, entry.contribution()?)?;
        if ends { self.end_page(0) } else { Ok(()) }
    }

    /// Whether a whole page of `level` can be appended: no page of that level or below is begun.
    pub(super) fn is_aligned(&self, level: u8) -> bool {
        self.writers.iter().take(usize::from(level) + 1).all(PageWriter::is_empty)
    }

    /// Appends a page of `level` that exists already, with all below it. The caller has checked
    /// [`Self::is_aligned`], and that the page ends itself or that nothing follows.
    pub(super) fn push_page(&mut self, level: u8, page: &ChildRef<'_>) -> Result<(), TreeError> {
        let above = usize::from(level) + 1;
        if self.push_child(above, page)? {
            self.end_page(above)?;
        }
        Ok(())
    }

    fn writer(&mut self, level: usize) -> Result<&mut PageWriter, TreeError> {
        while self.writers.len() <= level {
            // One level more than pages have: there the root is recorded, but never written.
            let next = u8::try_from(self.writers.len())
                .ok()
                .filter(|next| *next <= LEVEL_MAX + 1)
                .ok_or_else(|| invalid("the level is too high"))?;
            self.writers.push(PageWriter::new(next));
        }
        Ok(&mut self.writers[level])
    }

    fn push_child(&mut self, level: usize, child: &ChildRef<'_>) -> Result<bool, TreeError> {
        let mut record = Vec::with_capacity(2 + 255 + 64);
        encode_child(&mut record, child)?;
        self.writer(level)?.push(child.first_name, &record, child.entries, child.summary)
    }

    fn end_page(&mut self, level: usize) -> Result<(), TreeError> {
        let mut level = level;
        loop {
            let (finished, bytes) = self.writer(level)?.finish();
            self.pages.push((finished.page, bytes));
            level += 1;
            if !self.push_child(level, &finished.as_child())? {
                return Ok(());
            }
        }
    }

    /// Ends all pages; the root is the first page that is alone on its level.
    pub(super) fn finish(mut self) -> Result<BuiltTree, TreeError> {
        let mut level = 0;
        loop {
            let above_empty = self.writers.iter().skip(level + 1).all(PageWriter::is_empty);
            let writer = self.writer(level)?;
            if above_empty && level == 0 && writer.is_empty() {
                let (finished, bytes) = writer.finish();
                self.pages.push((finished.page, bytes));
                return Ok(BuiltTree {
                    root: finished.page,
                    summary: finished.summary,
                    pages: self.pages,
                });
            }
            if above_empty && let Some(root) = writer.only_child() {
                return Ok(BuiltTree { root: root.page, summary: root.summary, pages: self.pages });
            }
            if !writer.is_empty() {
                self.end_page(level)?;
            }
            level += 1;
        }
    }
}
