//! Indexes: where in a bucket a content or a page of a tree is.
//!
//! All integers are little-endian.
//!
//! ```text
//!  0  4  magic "cIDX"                    objects, in byte order
//!  4  1  format version: 1 or 2           0 49  key: of a pack, or of one content
//!  5  3  zero                            49  8  length
//!  8  4  objects
//! 12  4  entries                         entries, in byte order of their names
//! 16  4  digests                          0 32  name: BLAKE3
//! 20     objects                         32  4  number of the object
//!        entries                         36  4  offset in the pack
//!        digests                         40  4  stored length
//!    32  BLAKE3 of all before            44  4  length
//!
//! an entry whose object is one content
//! 36  4  lower half of the content's length. In format 1 both halves are 0, and the object is the content and nothing else.
//! 40  4  upper half
//! 44  4  0
//!
//! digests, in byte order
//!  0 32  SHA-256
//! 32 32  BLAKE3 of the same bytes
//! ```
//!
//! Format 2 is written only where an object has more than its content: the values that verify its parts ([`super::groups`]).
//! So releases that know format 1 alone can read buckets without such objects.
//!
//! A lookup is a binary search over the bytes as they are. [`Index::parse`] looks at every field, so nothing that it accepted fails later.
//! Whether an index tells the truth shows only when somebody reads the place that it names: so bytes are always
//! compared with their name, and a digest is a hint until they came (H51).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Known;

use super::fields::{Fields, FormatError, put_length};
use super::key::{ObjectKey, ObjectKind};
use super::pack::{PackEntry, check_lengths};
use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, HASH_BYTES};
use crate::model::tree::FILE_BYTES_MAX;

const MAGIC: [u8; 4] = *b"cIDX";
const FORMAT_VERSION: u8 = 1;
const FORMAT_VERSION_WITH_GROUPS: u8 = 2;
const ENTRY_BYTES: usize = HASH_BYTES + 16;
const DIGEST_BYTES: usize = 2 * HASH_BYTES;
const OBJECT_BYTES: usize = ObjectKey::BYTES + 8;
const OBJECT: &str = "index";

/// Entries of an index that is written: 8 MiB of them.
const ENTRIES_MAX: usize = (8 << 20) / ENTRY_BYTES;

/// Digests of an index that is written.
const DIGESTS_MAX: usize = (8 << 20) / DIGEST_BYTES;

/// Where a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Key of the object.
    pub key: ObjectKey,
    /// Length of the object.
    pub object_bytes: u64,
    /// Where in it.
    pub place: Place,
}

/// Where in an object a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An entry of a pack.
    Entry {
        /// Where its stored bytes begin.
        offset: u32,
        /// How many they are.
        stored_bytes: u32,
        /// How many they are unpacked.
        bytes: u32,
    },
    /// The object has this content alone, from its beginning on.
    Own {
        /// How many bytes the content has. What follows them verifies its parts ([`super::groups`]).
        bytes: u64,
    },
}

impl Location {
    /// How long the content is.
    pub fn content_bytes(&self) -> u64 {
        match self.place {
            Place::Entry { bytes, .. } => bytes.into(),
            Place::Own { bytes } => bytes,
        }
    }
}

/// An index as it came from a bucket.
pub struct Index {
    objects: Vec<(ObjectKey, u64)>,
    entries: Vec<u8>,
    digests: Vec<u8>,
    has_groups: bool,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

impl Index {
    /// Takes an index.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let refuse = |rule: &str| FormatError::new(OBJECT, rule);
        let mut fields = Fields::checked(OBJECT, bytes)?;
        let version = fields.head_up_to(MAGIC, FORMAT_VERSION_WITH_GROUPS)?;
        if fields.array::<3>()? != [0; 3] {
            return Err(refuse("bytes that must be zero are not"));
        }
        let counts = (fields.u32()?, fields.u32()?, fields.u32()?);
        let listed = fields.records(counts.0, OBJECT_BYTES)?;
        if !is_sorted(listed, OBJECT_BYTES, ObjectKey::BYTES) {
            return Err(refuse("its objects are not in order"));
        }
        let mut objects = Vec::with_capacity(listed.len() / OBJECT_BYTES);
        let mut listed = Fields::new(OBJECT, listed);
        for _ in 0..counts.0 {
            let key = ObjectKey::from_bytes(&listed.array()?);
            let key = key.filter(|key| matches!(key.kind, ObjectKind::Blob | ObjectKind::Pack));
            let key = key.ok_or_else(|| refuse("it names an object that holds no content"))?;
            let bytes = listed.u64()?;
            if bytes > FILE_BYTES_MAX {
                return Err(refuse("an object is said to be longer than a file can be"));
            }
            objects.push((key, bytes));
        }
        let entries = fields.records(counts.1, ENTRY_BYTES)?.to_vec();
        let digests = fields.records(counts.2, DIGEST_BYTES)?.to_vec();
        fields.end()?;
        let has_groups = version == FORMAT_VERSION_WITH_GROUPS;
        let index = Self { objects, entries, digests, has_groups };
        index.check()?;
        Ok(index)
    }

    fn check(&self) -> Result<(), FormatError> {
        let refuse = |rule: &str| FormatError::new(OBJECT, rule);
        if !is_sorted(&self.entries, ENTRY_BYTES, HASH_BYTES) {
            return Err(refuse("its entries are not in order"));
        }
        if !is_sorted(&self.digests, DIGEST_BYTES, DIGEST_BYTES) {
            return Err(refuse("its digests are not in order"));
        }
        for record in self.entries.chunks_exact(ENTRY_BYTES) {
            let mut fields = Fields::new(OBJECT, &record[HASH_BYTES..]);
            let (number, offset) = (fields.u32()?, fields.u32()?);
            let (stored_bytes, bytes) = (fields.u32()?, fields.u32()?);
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let Some((key, object_bytes)) = self.objects.get(number) else {
                return Err(refuse("an entry is in an object that it does not name"));
            };
            if key.kind == ObjectKind::Blob {
                let is_part = match self.has_groups {
                    true => bytes != 0 || joined(offset, stored_bytes) > *object_bytes,
                    false => (offset, stored_bytes, bytes) != (0, 0, 0),
                };
                if is_part {
                    return Err(refuse("an entry is a part of an object of one content"));
                }
                if key.hash.as_bytes()[..] != record[..HASH_BYTES] {
                    return Err(refuse(
                        "an object of one content has another name than its content",
                    ));
                }
                continue;
            }
            check_lengths(stored_bytes, bytes)?;
            if u64::from(offset) + u64::from(stored_bytes) > *object_bytes {
                return Err(refuse("an entry reaches past the end of its pack"));
            }
        }
        Ok(())
    }

    /// How many contents it names.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where a content is, if this index has it.
    pub fn find(&self, name: &BlobHash) -> Option<Location> {
        let at = search(&self.entries, ENTRY_BYTES, name.as_bytes())?;
        let record = &self.entries[at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES];
        Some(self.location(record))
    }

    /// Everything that it names.
    pub fn entries(&self) -> impl Iterator<Item = (BlobHash, Location)> {
        self.entries.chunks_exact(ENTRY_BYTES).filter_map(|record| {
            let name = BlobHash::from_slice(&record[..HASH_BYTES])?;
            Some((name, self.location(record)))
        })
    }

    fn location(&self, record: &[u8]) -> Location {
        let field = |at: usize| {
            let at = HASH_BYTES + 4 * at;
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&record[at..at + 4]);
            u32::from_le_bytes(bytes)
        };
        let (key, object_bytes) = self.objects[usize::try_from(field(0)).unwrap_or(usize::MAX)];
        let place = if key.kind == ObjectKind::Blob {
            let bytes = match self.has_groups {
                true => joined(field(1), field(2)),
                false => object_bytes,
            };
            Place::Own { bytes }
        } else {
            Place::Entry { offset: field(1), stored_bytes: field(2), bytes: field(3) }
        };
        Location { key, object_bytes, place }
    }

    /// The blob that is said to have this SHA-256.
    pub fn blob_of(&self, digest: &Sha256) -> Option<BlobHash> {
        let at = search(&self.digests, DIGEST_BYTES, digest.as_bytes())?;
        let record = &self.digests[at * DIGEST_BYTES..(at + 1) * DIGEST_BYTES];
        BlobHash::from_slice(&record[HASH_BYTES..])
    }

    /// All digests that it names.
    pub fn digests(&self) -> impl Iterator<Item = (Sha256, BlobHash)> {
        self.digests.chunks_exact(DIGEST_BYTES).filter_map(|record| {
            let digest = Sha256::from_slice(&record[..HASH_BYTES])?;
            Some((digest, BlobHash::from_slice(&record[HASH_BYTES..])?))
        })
    }

    /// The objects that it names, with their lengths.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectKey, u64)> {
        self.objects.iter().copied()
    }
}

/// A number from its lower and upper half.
fn joined(lower: u32, upper: u32) -> u64 {
    u64::from(upper) << 32 | u64::from(lower)
}

/// Whether records of `width` bytes ascend strictly by their first `compared` bytes.
fn is_sorted(records: &[u8], width: usize, compared: usize) -> bool {
    let mut pairs = records.chunks_exact(width).zip(records.chunks_exact(width).skip(1));
    pairs.all(|(one, next)| one[..compared] < next[..compared])
}

/// The number of the first record that begins with these bytes.
fn search(records: &[u8], width: usize, first: &[u8; HASH_BYTES]) -> Option<usize> {
    let (mut low, mut high) = (0, records.len() / width);
    while low < high {
        let middle = low + (high - low) / 2;
        if records[middle * width..middle * width + HASH_BYTES] < first[..] {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let found = records.get(low * width..low * width + HASH_BYTES)?;
    (found == first).then_some(low)
}

/// Several indexes as one. Where they differ, the one that was added first is asked first.
#[derive(Debug, Default)]
pub struct Indexes {
    all: Vec<(ObjectKey, Index)>,
}

impl Indexes {
    /// Adds the index that is at `key`.
    pub fn add(&mut self, key: ObjectKey, index: Index) {
        self.all.push((key, index));
    }

    /// Where a content is, by each index that has it, with the key of that index.
    pub fn find(&self, name: &BlobHash) -> impl Iterator<Item = (ObjectKey, Location)> {
        self.all.iter().filter_map(move |(key, index)| Some((*key, index.find(name)?)))
    }

    /// The blobs that are said to have this SHA-256.
    pub fn blobs_of(&self, digest: &Sha256) -> impl Iterator<Item = BlobHash> {
        self.all.iter().filter_map(move |(_, index)| index.blob_of(digest))
    }

    /// The indexes with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKey, &Index)> {
        self.all.iter().map(|(key, index)| (*key, index))
    }

    /// How many indexes they are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no index.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// An index being made. What is added twice stays where it was first.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    entries: BTreeMap<BlobHash, (ObjectKey, Place)>,
    objects: BTreeMap<ObjectKey, u64>,
    digests: BTreeMap<Sha256, BlobHash>,
}

impl IndexBuilder {
    /// Adds a pack of that length.
    pub fn add_pack(&mut self, key: ObjectKey, pack_bytes: u64, entries: &[PackEntry]) {
        self.objects.insert(key, pack_bytes);
        for entry in entries {
            let PackEntry { name, offset, stored_bytes, bytes } = *entry;
            if let Known::Vacant(vacant) = self.entries.entry(name) {
                vacant.insert((key, Place::Entry { offset, stored_bytes, bytes }));
            }
        }
    }

    /// Adds an object of `object_bytes` that has one content, of `bytes`.
    pub fn add_own(&mut self, key: ObjectKey, name: BlobHash, object_bytes: u64, bytes: u64) {
        if let Known::Vacant(vacant) = self.entries.entry(name) {
            vacant.insert((key, Place::Own { bytes }));
            self.objects.insert(key, object_bytes);
        }
    }

    /// Adds what another index says of a content.
    pub fn add_location(&mut self, name: BlobHash, location: &Location) {
        match location.place {
            Place::Own { bytes } => {
                self.add_own(location.key, name, location.object_bytes, bytes);
            }
            Place::Entry { offset, stored_bytes, bytes } => {
                let entry = PackEntry { name, offset, stored_bytes, bytes };
                self.add_pack(location.key, location.object_bytes, &[entry]);
            }
        }
    }

    /// Adds both digests of a content.
    pub fn add_digest(&mut self, digest: Sha256, blob: BlobHash) {
        self.digests.insert(digest, blob);
    }

    /// Whether it has a content.
    pub fn contains(&self, name: &BlobHash) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.digests.is_empty()
    }

    /// The bytes of the index: of none where it says nothing, of several where one would be too long.
    pub fn finish(self) -> Vec<Vec<u8>> {
        let entries: Vec<_> = self.entries.into_iter().collect();
        let digests: Vec<_> = self.digests.into_iter().collect();
        let parts = entries.len().div_ceil(ENTRIES_MAX).max(digests.len().div_ceil(DIGESTS_MAX));
        let part = |number: usize, length: usize, most: usize| {
            (number * most).min(length)..((number + 1) * most).min(length)
        };
        let encode = |number| {
            let entries = &entries[part(number, entries.len(), ENTRIES_MAX)];
            let digests = &digests[part(number, digests.len(), DIGESTS_MAX)];
            encode(&self.objects, entries, digests)
        };
        (0..parts).map(encode).collect()
    }
}

type Placed = (BlobHash, (ObjectKey, Place));

fn encode(
    objects: &BTreeMap<ObjectKey, u64>,
    entries: &[Placed],
    digests: &[(Sha256, BlobHash)],
) -> Vec<u8> {
    let mut numbers: BTreeMap<ObjectKey, usize> =
        entries.iter().map(|(_, (key, _))| (*key, 0)).collect();
    let has_groups = entries.iter().any(|(_, (key, place))| match place {
        Place::Own { bytes } => *bytes != objects[key],
        Place::Entry { .. } => false,
    });
    let version = if has_groups { FORMAT_VERSION_WITH_GROUPS } else { FORMAT_VERSION };
    let mut out = Vec::with_capacity(64 + entries.len() * ENTRY_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[version, 0, 0, 0]);
    for length in [numbers.len(), entries.len(), digests.len()] {
        put_length(&mut out, length);
    }
    for (number, (key, slot)) in numbers.iter_mut().enumerate() {
        *slot = number;
        out.extend_from_slice(&key.to_bytes());
        out.extend_from_slice(&objects[key].to_le_bytes());
    }
    for (name, (key, place)) in entries {
        out.extend_from_slice(name.as_bytes());
        put_length(&mut out, numbers[key]);
        match place {
            Place::Entry { offset, stored_bytes, bytes } => {
                for field in [offset, stored_bytes, bytes] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
            }
            Place::Own { bytes } => {
                let bytes = if has_groups { *bytes } else { 0 };
                out.extend_from_slice(&bytes.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
            }
        }
    }
    for (digest, blob) in digests {
        out.extend_from_slice(digest.as_bytes());
        out.extend_from_slice(blob.as_bytes());
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

#[cfg(test)]
mod tests;
