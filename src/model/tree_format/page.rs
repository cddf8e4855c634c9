//! One page: validated once, then read in place.

use super::bytes::ByteReader;
use super::cut;
use super::record::{
    ChildRef, ContentRef, EntryRef, add_count, add_summary, decode_child, decode_entry,
    has_scoped_group, read_links_flag, read_totals, record_name,
};
use super::{Reference, TreeError, invalid};
use crate::model::tree::{Entry, Summary};

pub(super) const MAGIC: [u8; 4] = *b"cTRE";
/// The newest version of the format.
const FORMAT_VERSION: u8 = 2;
pub(super) const HEADER_BYTES: usize = 44;

/// Highest level of an index page: more than 2^64 entries would not need it.
pub const LEVEL_MAX: u8 = 10;

/// No page is longer: the bytes at which a page ends, one more record of the greatest length, and
/// the offset table.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// The version of a page: 2 when one of its entries has a hardlink group with a scope of its own.
pub(super) fn format_version(has_scoped: bool) -> u8 {
    if has_scoped { FORMAT_VERSION } else { 1 }
}

/// One stored page of a directory, validated at [`TreePage::parse`] and read in place.
#[derive(Debug)]
pub struct TreePage {
    bytes: Vec<u8>,
    version: u8,
    level: u8,
    count: usize,
    entries: u64,
    summary: Summary,
}

impl TreePage {
    /// Validates `bytes` and wraps them.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, TreeError> {
        if bytes.len() > PAGE_BYTES_MAX {
            return Err(invalid("a page is too long"));
        }
        let page = Self::parse_header(bytes)?;
        page.check_records()?;
        Ok(page)
    }

    fn parse_header(bytes: Vec<u8>) -> Result<Self, TreeError> {
        let mut reader = ByteReader::new(&bytes);
        if reader.array::<4>()? != MAGIC {
            return Err(invalid("not a tree page"));
        }
        let version = reader.u8()?;
        if !(1..=FORMAT_VERSION).contains(&version) {
            return Err(TreeError(format!(
                "format {version} is unknown to this release, which knows {FORMAT_VERSION}"
            )));
        }
        let level = reader.u8()?;
        if level > LEVEL_MAX {
            return Err(invalid("the level is too high"));
        }
        let has_links = read_links_flag(reader.u8()?)?;
        if reader.u8()? != 0 {
            return Err(invalid("reserved bits are set"));
        }
        let count = reader.u32()? as usize;
        let entries = reader.u64()?;
        let summary = read_totals(&mut reader, has_links)?;
        if count > cut::RECORDS_MAX {
            return Err(invalid("a page has too many records"));
        }
        if level > 0 && count == 0 {
            return Err(invalid("an index page is empty"));
        }
        reader.take(4 * count)?;
        Ok(Self { version, level, count, entries, summary, bytes })
    }

    /// Checks every record, their order, where they lie, and the totals.
    fn check_records(&self) -> Result<(), TreeError> {
        let records_at = HEADER_BYTES + 4 * self.count;
        let mut entries = 0;
        let mut summary = Summary::default();
        let mut has_scoped = false;
        let mut previous: &[u8] = &[];
        let mut position = records_at;
        for index in 0..self.count {
            if index > 0 && cut::ends_page(index, position - records_at, previous) {
                return Err(invalid("a page goes on after its boundary"));
            }
            if self.offset(index) != Some(position) {
                return Err(invalid("a record is not where it belongs"));
            }
            let record =
                self.record(index).ok_or_else(|| invalid("a record reaches past the end"))?;
            let name = if self.level == 0 {
                let entry = decode_entry(record)?;
                has_scoped |= has_scoped_group(record);
                entries = add_count(entries, 1)?;
                summary = add_summary(summary, entry.contribution()?)?;
                entry.name
            } else {
                let child = decode_child(record)?;
                entries = add_count(entries, child.entries)?;
                summary = add_summary(summary, child.summary)?;
                child.first_name
            };
            // No name is empty, so the first is above the initial `previous`.
            if name <= previous {
                return Err(invalid("names are not in ascending order"));
            }
            previous = name;
            position += record.len();
        }
        if position != self.bytes.len() {
            return Err(invalid("bytes after the last record"));
        }
        if self.version != format_version(has_scoped) {
            return Err(invalid("the format's version does not match the records"));
        }
        if entries != self.entries || summary != self.summary {
            return Err(invalid("the totals do not match the records"));
        }
        Ok(())
    }

    fn offset(&self, index: usize) -> Option<usize> {
        let at = HEADER_BYTES + 4 * index;
        let field = self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*field) as usize)
    }

    /// The bytes of one record.
    pub(super) fn record(&self, index: usize) -> Option<&[u8]> {
        if index >= self.count {
            return None;
        }
        let end = if index + 1 == self.count { self.bytes.len() } else { self.offset(index + 1)? };
        self.bytes.get(self.offset(index)?..end)
    }

    /// The encoded page.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that the page takes, for caches with a limit.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Totals over this page and all below it.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Number of directory entries in this page and in the pages below it.
    pub fn entry_count(&self) -> u64 {
        self.entries
    }

    /// Whether the page holds entries; otherwise it holds children.
    pub fn is_leaf(&self) -> bool {
        self.level == 0
    }

    /// Number of pages between this one and the entries: 0 for a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// Number of records: entries of a leaf, children of an index page.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no records: an empty directory.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Name of record `index` (an index page: first name below the child); `None` past the end.
    pub fn name(&self, index: usize) -> Option<&[u8]> {
        record_name(self.record(index)?, self.level)
    }

    /// Entry `index` of a leaf, borrowed; `None` past the end and for index pages.
    pub fn entry_ref(&self, index: usize) -> Option<EntryRef<'_>> {
        if !self.is_leaf() {
            return None;
        }
        decode_entry(self.record(index)?).ok()
    }

    /// Entry `index` of a leaf; `None` past the end and for index pages.
    pub fn entry(&self, index: usize) -> Option<Entry> {
        self.entry_ref(index)?.to_entry().ok()
    }

    /// Child `index` of an index page; `None` past the end and for leaves.
    pub fn child(&self, index: usize) -> Option<ChildRef<'_>> {
        if self.is_leaf() {
            return None;
        }
        decode_child(self.record(index)?).ok()
    }

    /// Finds a name among the records by binary search.
    ///
    /// # Errors
    /// The index at which a record of that name would be inserted.
    pub fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let mut low = 0;
        let mut high = self.count;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).unwrap_or(&[]).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Index of the child of an index page below which `name` is, if it is anywhere; `None` when
    /// it is before all.
    pub fn find_child(&self, name: &[u8]) -> Option<usize> {
        match self.find(name) {
            Ok(index) => Some(index),
            Err(index) => index.checked_sub(1),
        }
    }

    /// What this page references, once per naming entry.
    pub fn references(&self) -> Vec<Reference> {
        let mut references = Vec::new();
        for index in 0..self.count {
            if let Some(child) = self.child(index) {
                references.push(Reference::Tree(child.page));
            }
            match self.entry_ref(index).map(|entry| entry.content) {
                Some(ContentRef::File { blob: Some(blob), .. }) => {
                    references.push(Reference::Blob(blob))
                }
                Some(ContentRef::Directory { tree, .. }) => {
                    references.push(Reference::Tree(tree));
                }
                _ => {}
            }
        }
        references
    }
}
