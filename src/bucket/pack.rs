//! Packs: many small contents, or pages of trees, as one object.
//!
//! All integers are little-endian.
//!
//! ```text
//! head        0  4  magic "cPAK"
//!             4  1  format version: 1
//!             5  1  kind: 1 content, 2 trees
//!             6  2  zero
//! entries     8     stored bytes, back to back
//! list        n*40  in the order of the entries: 32 name, 4 stored length, 4 length
//! trailer     0 32  BLAKE3 of the list
//!            32  4  n
//!            36  4  magic "cPKE"
//! ```
//!
//! An entry is named by BLAKE3 of its bytes, a page as [`TreeHash`](crate::model::hash::TreeHash) is. It is stored as it is, or
//! as one frame of zstd where that saves at least a sixteenth: the two differ by their lengths, so there is no flag
//! that could contradict them.
//!
//! The list is there for those who have no index of the pack: a push that finds what a killed one left. Who reads
//! has an index, and needs only the range of one entry. Nothing here is believed: lengths are
//! bounded before memory is taken, and bytes are handed out only when they hash to their name.

use super::fields::{Fields, FormatError, put_length};
use crate::model::hash::{BlobHash, HASH_BYTES, ObjectHash};
use crate::model::tree_format::PAGE_BYTES_MAX;

const MAGIC: [u8; 4] = *b"cPAK";
const END_MAGIC: [u8; 4] = *b"cPKE";
const FORMAT_VERSION: u8 = 1;
const HEAD_BYTES: usize = 8;
const LISTED_BYTES: usize = HASH_BYTES + 8;
const TRAILER_BYTES: usize = HASH_BYTES + 8;

/// Content of this length and more is an object of its own.
pub const OWN_OBJECT_BYTES: u64 = 8 << 20;

/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;

const OBJECT: &str = "pack";

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackKind {
    /// Content of files, each shorter than [`OWN_OBJECT_BYTES`].
    Content,
    /// Pages of trees.
    Trees,
}

impl PackKind {
    /// Bytes of a pack at most.
    pub const fn pack_bytes_max(self) -> usize {
        match self {
            Self::Content => 32 << 20,
            Self::Trees => 4 << 20,
        }
    }

    /// Bytes of an entry at most, unpacked.
    pub const fn entry_bytes_max(self) -> usize {
        match self {
            Self::Content => (8 << 20) - 1,
            Self::Trees => PAGE_BYTES_MAX,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Content => 1,
            Self::Trees => 2,
        }
    }
}

/// Where an entry is in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// BLAKE3 of its bytes.
    pub name: BlobHash,
    /// Where its stored bytes begin.
    pub offset: u32,
    /// How many they are.
    pub stored_bytes: u32,
    /// How many they are unpacked.
    pub bytes: u32,
}

/// A pack that is ready to be uploaded.
#[derive(Debug)]
pub struct Pack {
    /// The object.
    pub bytes: Vec<u8>,
    /// BLAKE3 of the object.
    pub hash: ObjectHash,
    /// What it holds.
    pub entries: Vec<PackEntry>,
}

/// A pack being written, in memory.
pub struct PackWriter {
    kind: PackKind,
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl PackWriter {
    /// Without an entry so far.
    pub fn new(kind: PackKind) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[FORMAT_VERSION, kind.code(), 0, 0]);
        Self { kind, bytes, entries: Vec::new() }
    }

    /// Whether an entry of that length can be added. One that may be in a pack always can be to an empty one.
    pub fn has_room(&self, entry_bytes: usize) -> bool {
        let listed = (self.entries.len() + 1) * LISTED_BYTES + TRAILER_BYTES;
        self.bytes.len() + entry_bytes + listed <= self.kind.pack_bytes_max()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends an entry. The caller has looked that there is room, that it is not empty, and that `name` is that of the bytes.
    pub fn add(&mut self, name: BlobHash, content: &[u8]) {
        assert!(!content.is_empty(), "nothing names empty content");
        assert!(content.len() <= self.kind.entry_bytes_max(), "an entry has a bound");
        assert!(self.has_room(content.len()), "a pack has a bound");
        let offset = self.bytes.len();
        match zstd::bulk::compress(content, LEVEL) {
            Ok(packed) if packed.len() < content.len() - content.len() / 16 => {
                self.bytes.extend_from_slice(&packed);
            }
            // What zstd cannot compress is stored as it is, for whatever reason it cannot.
            Ok(_) | Err(_) => self.bytes.extend_from_slice(content),
        }
        let stored = self.bytes.len() - offset;
        self.entries.push(PackEntry {
            name,
            offset: small(offset),
            stored_bytes: small(stored),
            bytes: small(content.len()),
        });
    }

    /// Ends it.
    pub fn finish(self) -> Pack {
        let Self { mut bytes, entries, .. } = self;
        let list = bytes.len();
        for entry in &entries {
            bytes.extend_from_slice(entry.name.as_bytes());
            bytes.extend_from_slice(&entry.stored_bytes.to_le_bytes());
            bytes.extend_from_slice(&entry.bytes.to_le_bytes());
        }
        let checksum = blake3::hash(&bytes[list..]);
        bytes.extend_from_slice(checksum.as_bytes());
        put_length(&mut bytes, entries.len());
        bytes.extend_from_slice(&END_MAGIC);
        Pack { hash: ObjectHash::of(&bytes), bytes, entries }
    }
}

/// A position in a pack, which the bound of packs keeps small.
fn small(position: usize) -> u32 {
    u32::try_from(position).unwrap_or_else(|_| unreachable!("a pack has a bound"))
}

/// How many bytes at the end of a pack hold its list and the trailer, by the pack's last bytes. Who gives fewer than those has
/// to come again with that many.
///
/// # Errors
/// When these are not the last bytes of a pack of that length.
pub fn tail_bytes(tail: &[u8], pack_bytes: u64) -> Result<usize, FormatError> {
    let refuse = |rule: &str| FormatError::new(OBJECT, rule);
    let trailer = tail.len().checked_sub(TRAILER_BYTES).map(|start| &tail[start..]);
    let trailer = trailer.ok_or_else(|| refuse("it is shorter than its trailer"))?;
    let mut fields = Fields::new(OBJECT, trailer);
    fields.take(HASH_BYTES)?;
    let count = fields.u32()?;
    if fields.array::<4>()? != END_MAGIC {
        return Err(refuse("it ends with other bytes; perhaps it was cut off"));
    }
    let bytes = u64::from(count) * LISTED_BYTES as u64 + TRAILER_BYTES as u64;
    let most = PackKind::Content.pack_bytes_max() as u64;
    if pack_bytes > most {
        return Err(refuse(&format!("it has {pack_bytes} bytes, at most {most} are read")));
    }
    if bytes + HEAD_BYTES as u64 > pack_bytes {
        return Err(refuse("its list is longer than itself"));
    }
    usize::try_from(bytes).map_err(|_| refuse("its list is longer than itself"))
}

/// What a pack of that length holds, by its last bytes: at least [`tail_bytes`] of them.
///
/// # Errors
/// What is wrong with them.
pub fn list(tail: &[u8], pack_bytes: u64) -> Result<Vec<PackEntry>, FormatError> {
    let wanted = tail_bytes(tail, pack_bytes)?;
    let mut fields = Fields::new(OBJECT, tail);
    let surplus = tail.len().checked_sub(wanted);
    fields.take(surplus.ok_or_else(|| fields.refuse("its list was not read as a whole"))?)?;
    let listed = fields.take(wanted - TRAILER_BYTES)?;
    if *blake3::hash(listed).as_bytes() != fields.array::<HASH_BYTES>()? {
        return Err(fields.refuse("its list does not match its checksum"));
    }
    let mut entries = Vec::with_capacity(listed.len() / LISTED_BYTES);
    let mut offset = HEAD_BYTES as u64;
    let mut records = Fields::new(OBJECT, listed);
    for _ in 0..listed.len() / LISTED_BYTES {
        let name = BlobHash::from_bytes(records.array()?);
        let (stored_bytes, bytes) = (records.u32()?, records.u32()?);
        check_lengths(stored_bytes, bytes)?;
        let at = u32::try_from(offset).map_err(|_| records.refuse("its entries are too long"))?;
        entries.push(PackEntry { name, offset: at, stored_bytes, bytes });
        offset += u64::from(stored_bytes);
    }
    // Entries, list and trailer fill the pack exactly, so no list reaches outside of it.
    if offset + wanted as u64 != pack_bytes {
        return Err(records.refuse("its entries do not fill it; perhaps it was cut off"));
    }
    Ok(entries)
}

/// Refuses lengths that no entry has, before memory is taken for it.
pub(super) fn check_lengths(stored_bytes: u32, bytes: u32) -> Result<(), FormatError> {
    let most = PackKind::Content.entry_bytes_max() as u64;
    if u64::from(bytes) > most {
        let rule = format!("an entry is said to have {bytes} bytes, at most {most} are read");
        return Err(FormatError::new(OBJECT, rule));
    }
    if stored_bytes == 0 || stored_bytes > bytes {
        let rule = format!("an entry of {bytes} bytes is said to be stored as {stored_bytes}");
        return Err(FormatError::new(OBJECT, rule));
    }
    Ok(())
}

/// Unpacks the stored bytes of an entry, and checks that the result has the declared length and the hash that is its name.
///
/// # Errors
/// When it has not.
pub fn unpack(name: &BlobHash, bytes: u32, stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    let refuse = |rule: String| FormatError::new(OBJECT, rule);
    let stored_bytes = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    check_lengths(stored_bytes, bytes)?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let content = if stored_bytes == bytes {
        stored.to_vec()
    } else {
        // zstd writes into as much memory as was declared, and fails where the frame has more.
        zstd::bulk::decompress(stored, length).map_err(|error| {
            refuse(format!("entry {name} cannot be unpacked into {bytes} bytes ({error})"))
        })?
    };
    if content.len() != length {
        return Err(refuse(format!("entry {name} has {} bytes, not {bytes}", content.len())));
    }
    if BlobHash::of(&content) != *name {
        return Err(refuse(format!("the bytes of entry {name} are not those of its name")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(kind: PackKind, contents: &[&[u8]]) -> Pack {
        let mut writer = PackWriter::new(kind);
        for content in contents {
            assert!(writer.has_room(content.len()));
            writer.add(BlobHash::of(content), content);
        }
        writer.finish()
    }

    fn stored<'a>(pack: &'a Pack, entry: &PackEntry) -> &'a [u8] {
        let start = usize::try_from(entry.offset).unwrap();
        &pack.bytes[start..start + usize::try_from(entry.stored_bytes).unwrap()]
    }

    #[test]
    fn the_format_does_not_change() {
        let pack = pack(PackKind::Content, &[b"abc"]);
        let list = [BlobHash::of(b"abc").as_bytes(), &[3, 0, 0, 0, 3, 0, 0, 0][..]].concat();
        let checksum = blake3::hash(&list);
        let expected =
            [b"cPAK\x01\x01\0\0abc", &list[..], checksum.as_bytes(), b"\x01\0\0\0cPKE"].concat();
        assert_eq!(pack.bytes, expected);
        assert_eq!(pack.hash, ObjectHash::of(&expected));
        assert_eq!(PackWriter::new(PackKind::Trees).finish().bytes[..8], *b"cPAK\x01\x02\0\0");
    }

    #[test]
    fn a_pack_is_refused_when_it_was_cut_off_or_changed() {
        let good = pack(PackKind::Trees, &[b"abc", &[7; 5000], b"other"]);
        let length = good.bytes.len() as u64;
        assert_eq!(list(&good.bytes, length).unwrap(), good.entries);
        for kept in 0..good.bytes.len() {
            let cut = &good.bytes[..kept];
            assert!(list(cut, kept as u64).is_err(), "cut to {kept} bytes");
        }
        let error = list(&good.bytes[..40], 40).unwrap_err().to_string();
        assert_eq!(error, "not a valid pack: it ends with other bytes; perhaps it was cut off");
        for at in good.bytes.len() - TRAILER_BYTES - 3 * LISTED_BYTES..good.bytes.len() {
            let mut changed = good.bytes.clone();
            changed[at] ^= 1;
            assert!(list(&changed, length).is_err(), "byte {at}");
        }
    }

    #[test]
    fn h54_lengths_are_bounded_before_memory_is_taken() {
        let error = check_lengths(5, u32::MAX).unwrap_err().to_string();
        let expected =
            "not a valid pack: an entry is said to have 4294967295 bytes, at most 8388607 are read";
        assert_eq!(error, expected);
        assert!(check_lengths(0, 0).is_err() && check_lengths(0, 5).is_err());
        assert!(check_lengths(6, 5).is_err());
        let many = [&[0_u8; 32][..], &u32::MAX.to_le_bytes(), b"cPKE"].concat();
        let error = list(&many, 1000).unwrap_err().to_string();
        assert_eq!(error, "not a valid pack: its list is longer than itself");
        let error = list(&many, 1 << 40).unwrap_err().to_string();
        assert!(error.contains("at most 33554432 are read"), "{error}");
    }

    #[test]
    fn h54_a_zstd_bomb_ends_at_the_declared_size() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        let error = unpack(&BlobHash::of(b"x"), 100_000, &bomb).unwrap_err().to_string();
        assert!(error.contains("cannot be unpacked into 100000 bytes"), "{error}");
    }

    #[test]
    fn h51_bytes_of_another_name_are_refused() {
        let entry = pack(PackKind::Content, &[b"abc"]);
        let other = BlobHash::of(b"abd");
        let error = unpack(&other, 3, stored(&entry, &entry.entries[0])).unwrap_err().to_string();
        assert!(error.ends_with("are not those of its name"), "{error}");
        let frame = zstd::bulk::compress(&[0; 100], 3).unwrap();
        let error = unpack(&BlobHash::of(&[0; 100]), 101, &frame).unwrap_err().to_string();
        assert!(error.ends_with("has 100 bytes, not 101"), "{error}");
    }

    #[test]
    fn a_pack_is_never_longer_than_its_bound() {
        let mut content = vec![0; PAGE_BYTES_MAX];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let mut writer = PackWriter::new(PackKind::Trees);
        while writer.has_room(content.len()) {
            writer.add(BlobHash::of(&content), &content);
        }
        while writer.has_room(1) {
            writer.add(BlobHash::of(b"x"), b"x");
        }
        let pack = writer.finish();
        assert!(pack.bytes.len() <= PackKind::Trees.pack_bytes_max());
        assert_eq!(list(&pack.bytes, pack.bytes.len() as u64).unwrap(), pack.entries);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            contents in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..300), 1_usize..40), 0..40,
            ),
        ) {
            let contents: Vec<Vec<u8>> =
                contents.iter().map(|(bytes, times)| bytes.repeat(*times)).collect();
            let borrowed: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let pack = pack(PackKind::Content, &borrowed);
            let length = pack.bytes.len() as u64;
            let tail = tail_bytes(&pack.bytes[pack.bytes.len() - TRAILER_BYTES..], length).unwrap();
            let entries = list(&pack.bytes[pack.bytes.len() - tail..], length).unwrap();
            prop_assert_eq!(&entries, &pack.entries);
            for (entry, content) in entries.iter().zip(&contents) {
                let bytes = unpack(&entry.name, entry.bytes, stored(&pack, entry)).unwrap();
                prop_assert_eq!(&bytes, content);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_listed(tail in proptest::collection::vec(any::<u8>(), 0..300), length: u64) {
            if let Ok(entries) = list(&tail, length) {
                prop_assert!(entries.len() * LISTED_BYTES <= tail.len());
            }
        }
    }
}
