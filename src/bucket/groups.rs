//! What lets a part of a large content be verified by itself (L4).
//!
//! BLAKE3 is a tree of hashes. A content is cut into groups of a power of two bytes, and the chaining value of each group, the hash
//! of its part of that tree, is kept behind the content in the content's own object:
//!
//! ```text
//! content
//! values     32 bytes for each group
//! footer      0  4  magic "cGRP"
//!             4  1  format version: 1
//!             5  1  binary logarithm of the bytes of a group
//!             6  2  zero
//!             8  8  length of the content, little-endian
//! ```
//!
//! The values prove themselves: merged as the tree merges them they give the name of the content, or they are not believed (H51).
//! So whoever has the values can verify any group as soon as it came, in any order.

use blake3::hazmat::{self, HasherExt, Mode};

use super::fields::{Fields, FormatError};
use crate::model::hash::{BlobHash, HASH_BYTES};

const MAGIC: [u8; 4] = *b"cGRP";
const FORMAT_VERSION: u8 = 1;
const OBJECT: &str = "list of group values";

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 16;

/// Bytes of a group, unless there would be too many.
const GROUP_BYTES_MIN: u64 = 256 << 10;

/// Groups of a content: so a list has 2 MiB at most, which are read before the first byte of the content.
const GROUPS_MAX: u64 = 1 << 16;

/// Bytes of a list that are read: a hostile one could be of any length.
pub const TRAILER_BYTES_MAX: u64 = 32 << 20;

/// Logarithms of the bytes of a group that are read: 1 KiB, the smallest part of the tree, and 1 TiB.
const LOGARITHMS: std::ops::RangeInclusive<u8> = 10..=40;

/// The chaining values of the groups of one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValues {
    content_bytes: u64,
    group_bytes: u64,
    values: Vec<[u8; HASH_BYTES]>,
}

/// How long the groups of a content are, in bytes.
fn group_bytes(content_bytes: u64) -> u64 {
    content_bytes.div_ceil(GROUPS_MAX).next_power_of_two().max(GROUP_BYTES_MIN)
}

/// How many bytes follow a content of that length in its object: its values and the footer.
pub fn trailer_bytes(content_bytes: u64) -> u64 {
    let groups = content_bytes.div_ceil(group_bytes(content_bytes));
    groups * HASH_BYTES as u64 + FOOTER_BYTES as u64
}

/// The length of the content in an object whose last bytes are `footer`; `None` where no values follow a content.
pub fn content_bytes(footer: &[u8], object_bytes: u64) -> Option<u64> {
    let (length, logarithm) = read_footer(footer.last_chunk()?).ok()?;
    let values = length.div_ceil(1 << logarithm).checked_mul(HASH_BYTES as u64)?;
    let whole = length.checked_add(values)?.checked_add(FOOTER_BYTES as u64)?;
    (whole == object_bytes && values < TRAILER_BYTES_MAX).then_some(length)
}

fn read_footer(footer: &[u8; FOOTER_BYTES]) -> Result<(u64, u8), FormatError> {
    let mut fields = Fields::new(OBJECT, footer);
    fields.head(MAGIC, FORMAT_VERSION)?;
    let logarithm = fields.u8()?;
    if !LOGARITHMS.contains(&logarithm) || fields.array::<2>()? != [0; 2] {
        return Err(fields.refuse("its groups have a length that is not known"));
    }
    Ok((fields.u64()?, logarithm))
}

/// The value of one group, whose bytes begin at `offset` of the content.
fn value(offset: u64, bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(bytes);
    hasher.finalize_non_root()
}

impl GroupValues {
    /// Reads the values of the content `name` from what follows it in its object.
    ///
    /// # Errors
    /// They are none, or not those of that content.
    pub fn parse(trailer: &[u8], name: &BlobHash, content_bytes: u64) -> Result<Self, FormatError> {
        let refuse = |rule: &str| FormatError::new(OBJECT, rule);
        let (values, footer) = trailer
            .split_last_chunk::<FOOTER_BYTES>()
            .ok_or_else(|| refuse("it is shorter than its end"))?;
        let (length, logarithm) = read_footer(footer)?;
        let group_bytes = 1 << logarithm;
        if length != content_bytes || length <= group_bytes {
            return Err(refuse("it is of a content of another length"));
        }
        let (values, rest) = values.as_chunks::<HASH_BYTES>();
        if values.len() as u64 != length.div_ceil(group_bytes) || !rest.is_empty() {
            return Err(refuse("it has not one value for each group"));
        }
        let values = Self { content_bytes, group_bytes, values: values.to_vec() };
        if values.name() != *name {
            return Err(refuse("its values are not those of the content"));
        }
        Ok(values)
    }

    /// What follows the content in its object.
    pub fn to_trailer(&self) -> Vec<u8> {
        let mut trailer = self.values.as_flattened().to_vec();
        trailer.extend_from_slice(&MAGIC);
        let logarithm = u8::try_from(self.group_bytes.ilog2()).unwrap_or(u8::MAX);
        trailer.extend_from_slice(&[FORMAT_VERSION, logarithm, 0, 0]);
        trailer.extend_from_slice(&self.content_bytes.to_le_bytes());
        trailer
    }

    /// The name of the content that has these values.
    pub fn name(&self) -> BlobHash {
        let (left, right) = self.halves(&self.values, self.content_bytes);
        hazmat::merge_subtrees_root(&left, &right, Mode::Hash).into()
    }

    /// The values of both subtrees of a part of the tree that has two groups or more.
    fn halves(
        &self,
        values: &[[u8; HASH_BYTES]],
        bytes: u64,
    ) -> ([u8; HASH_BYTES], [u8; HASH_BYTES]) {
        let left_bytes = hazmat::left_subtree_len(bytes);
        let groups = usize::try_from(left_bytes / self.group_bytes).unwrap_or(usize::MAX);
        let (left, right) = values.split_at(groups);
        (self.merged(left, left_bytes), self.merged(right, bytes - left_bytes))
    }

    fn merged(&self, values: &[[u8; HASH_BYTES]], bytes: u64) -> [u8; HASH_BYTES] {
        if let [value] = values {
            return *value;
        }
        let (left, right) = self.halves(values, bytes);
        hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.values.len()
    }

    /// Length of the content in bytes.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// The group that has a byte of the content.
    pub fn group_at(&self, offset: u64) -> usize {
        usize::try_from(offset / self.group_bytes).unwrap_or(usize::MAX)
    }

    /// Where a group begins and ends in the content, in bytes.
    pub fn span(&self, group: usize) -> std::ops::Range<u64> {
        let start = group as u64 * self.group_bytes;
        start..self.content_bytes.min(start + self.group_bytes)
    }

    /// Whether these are the bytes of a group.
    pub fn is_right(&self, group: usize, bytes: &[u8]) -> bool {
        let span = self.span(group);
        bytes.len() as u64 == span.end - span.start
            && value(span.start, bytes) == self.values[group]
    }
}

/// Computes the values of a content that is read from its beginning to its end.
#[derive(Debug)]
pub struct GroupHasher {
    content_bytes: u64,
    group_bytes: u64,
    values: Vec<[u8; HASH_BYTES]>,
    hasher: blake3::Hasher,
    done: u64,
}

impl GroupHasher {
    /// For a content of that length, which is longer than a group.
    pub fn new(content_bytes: u64) -> Self {
        let group_bytes = group_bytes(content_bytes);
        let hasher = blake3::Hasher::new();
        Self { content_bytes, group_bytes, values: Vec::new(), hasher, done: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = self.group_bytes - self.done % self.group_bytes;
            let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.hasher.update(&bytes[..some]);
            self.done += some as u64;
            bytes = &bytes[some..];
            if self.done.is_multiple_of(self.group_bytes) {
                self.end_group();
            }
        }
    }

    fn end_group(&mut self) {
        self.values.push(self.hasher.finalize_non_root());
        self.hasher = blake3::Hasher::new();
        self.hasher.set_input_offset(self.done);
    }

    /// The values; `None` when the content had another length, or fits into one group.
    pub fn finish(mut self) -> Option<GroupValues> {
        if self.done != self.content_bytes || self.done <= self.group_bytes {
            return None;
        }
        if !self.done.is_multiple_of(self.group_bytes) {
            self.values.push(self.hasher.finalize_non_root());
        }
        let Self { content_bytes, group_bytes, values, .. } = self;
        Some(GroupValues { content_bytes, group_bytes, values })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content
    }

    fn values(content: &[u8], piece: usize) -> GroupValues {
        let mut hasher = GroupHasher::new(content.len() as u64);
        content.chunks(piece).for_each(|piece| hasher.update(piece));
        hasher.finish().unwrap()
    }

    #[test]
    fn l4_values_give_the_name_and_verify_each_group() {
        let group = usize::try_from(GROUP_BYTES_MIN).unwrap();
        for bytes in [group + 1, 2 * group, 3 * group - 1, 5 * group + 777, 8 * group] {
            let content = content(bytes);
            let name = BlobHash::of(&content);
            let values = values(&content, 100_000);
            assert_eq!(values.name(), name, "{bytes} bytes");
            let trailer = values.to_trailer();
            assert_eq!(trailer.len() as u64, trailer_bytes(bytes as u64));
            let read = GroupValues::parse(&trailer, &name, bytes as u64).unwrap();
            assert_eq!(read, values);
            for group in 0..read.group_count() {
                let span = read.span(group);
                assert_eq!(read.group_at(span.start), group);
                assert_eq!(read.group_at(span.end - 1), group);
                let [start, end] = [span.start, span.end].map(|at| usize::try_from(at).unwrap());
                assert!(read.is_right(group, &content[start..end]));
                let mut other = content[start..end].to_vec();
                other[0] ^= 1;
                assert!(!read.is_right(group, &other));
                assert!(!read.is_right(group, &content[start..end - 1]));
            }
        }
    }

    #[test]
    fn h51_values_of_another_content_are_refused() {
        let content = content(700_000);
        let (name, length) = (BlobHash::of(&content), content.len() as u64);
        let trailer = values(&content, 4096).to_trailer();
        let refused = |trailer: &[u8], length| {
            GroupValues::parse(trailer, &name, length).unwrap_err().to_string()
        };
        let footer = trailer.len() - FOOTER_BYTES;
        for (at, to, why) in [
            (0, trailer[0] ^ 1, "not those of the content"),
            (footer, b'x', "it begins with other bytes"),
            (footer + 4, 2, "its format 2 is unknown"),
            (footer + 5, 9, "a length that is not known"),
            (footer + 5, 19, "not one value for each group"),
            (footer + 5, 20, "another length"),
            (footer + 6, 1, "a length that is not known"),
            (footer + 8, trailer[footer + 8] ^ 1, "another length"),
        ] {
            let mut changed = trailer.clone();
            changed[at] = to;
            let error = refused(&changed, length);
            assert!(error.contains(why), "byte {at}: {error}");
        }
        assert!(refused(&trailer[1..], length).contains("not one value"));
        assert!(refused(&trailer[..9], length).contains("shorter than its end"));
        assert!(refused(&trailer, length + 1).contains("another length"));
    }

    #[test]
    fn the_format_does_not_change() {
        let content = content(300_000);
        let trailer = values(&content, 1 << 20).to_trailer();
        let split = 256 << 10;
        assert_eq!(trailer[..32], value(0, &content[..split]));
        assert_eq!(trailer[32..64], value(split as u64, &content[split..]));
        let footer = b"cGRP\x01\x12\0\0\xe0\x93\x04\0\0\0\0\0";
        assert_eq!(&trailer[64..], footer);
        assert_eq!(content_bytes(&trailer, 300_000 + 80), Some(300_000));
        assert_eq!(content_bytes(&trailer, 300_000), None);
        assert_eq!(content_bytes(b"short", 5), None);
    }

    #[test]
    fn a_list_has_a_bound() {
        assert_eq!(group_bytes(8 << 20), 256 << 10);
        assert_eq!(group_bytes(16 << 30), 256 << 10);
        assert_eq!(group_bytes((16 << 30) + 1), 512 << 10);
        assert!(trailer_bytes(crate::model::tree::FILE_BYTES_MAX) <= (2 << 20) + 16);
    }

    proptest! {
        #[test]
        fn h54_any_bytes_are_read_or_refused(bytes: Vec<u8>, length: u64) {
            let name = BlobHash::of(b"");
            prop_assert!(GroupValues::parse(&bytes, &name, length).is_err());
            let _ = content_bytes(&bytes, length);
        }
    }
}
