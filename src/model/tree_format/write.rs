//! Assembling one page from records that come in order.

use super::TreeError;
use super::bytes::length_u32;
use super::cut;
use super::page::{HEADER_BYTES, MAGIC, format_version};
use super::record::{
    ChildRef, add_count, add_summary, decode_child, has_scoped_group, links_flag, write_summary,
};
use crate::model::hash::TreeHash;
use crate::model::tree::Summary;

/// What the level above records of a finished page.
pub(super) struct Finished {
    pub(super) first_name: Box<[u8]>,
    pub(super) page: TreeHash,
    pub(super) entries: u64,
    pub(super) summary: Summary,
}

impl Finished {
    pub(super) fn as_child(&self) -> ChildRef<'_> {
        ChildRef {
            first_name: &self.first_name,
            page: self.page,
            entries: self.entries,
            summary: self.summary,
        }
    }
}

/// A page being filled. Reused for the next page of its level once finished.
pub(super) struct PageWriter {
    level: u8,
    first_name: Box<[u8]>,
    records: Vec<u8>,
    /// Start of each record within `records`.
    starts: Vec<usize>,
    entries: u64,
    summary: Summary,
    /// Whether a record has a hardlink group with a scope of its own.
    has_scoped: bool,
}

impl PageWriter {
    pub(super) fn new(level: u8) -> Self {
        Self {
            level,
            first_name: Box::default(),
            records: Vec::new(),
            starts: Vec::new(),
            entries: 0,
            summary: Summary::default(),
            has_scoped: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The one child that this index page has, when it has just one.
    pub(super) fn only_child(&self) -> Option<ChildRef<'_>> {
        if self.level == 0 || self.starts.len() != 1 {
            return None;
        }
        decode_child(&self.records).ok()
    }

    /// Appends an encoded record that stands for `entries` entries and adds `summary`. Returns
    /// whether the page ends after it.
    pub(super) fn push(
        &mut self,
        name: &[u8],
        record: &[u8],
        entries: u64,
        summary: Summary,
    ) -> Result<bool, TreeError> {
        self.entries = add_count(self.entries, entries)?;
        self.summary = add_summary(self.summary, summary)?;
        if self.is_empty() {
            self.first_name = name.into();
        }
        self.has_scoped |= self.level == 0 && has_scoped_group(record);
        self.starts.push(self.records.len());
        self.records.extend_from_slice(record);
        Ok(cut::ends_page(self.starts.len(), self.records.len(), name))
    }

    /// Ends the page and empties the writer.
    pub(super) fn finish(&mut self) -> (Finished, Vec<u8>) {
        let records_at = HEADER_BYTES + 4 * self.starts.len();
        let mut bytes = Vec::with_capacity(records_at + self.records.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.push(format_version(self.has_scoped));
        bytes.push(self.level);
        bytes.push(links_flag(self.summary.has_links));
        bytes.push(0);
        bytes.extend_from_slice(&length_u32(self.starts.len()).to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        write_summary(&mut bytes, &self.summary);
        for start in &self.starts {
            bytes.extend_from_slice(&length_u32(records_at + start).to_le_bytes());
        }
        bytes.extend_from_slice(&self.records);
        let finished = Finished {
            first_name: std::mem::take(&mut self.first_name),
            page: TreeHash::of(&bytes),
            entries: self.entries,
            summary: self.summary,
        };
        self.records.clear();
        self.starts.clear();
        self.entries = 0;
        self.summary = Summary::default();
        self.has_scoped = false;
        (finished, bytes)
    }
}
