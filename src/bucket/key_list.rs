//! Lists of keys: what a mark names, and what a sentence condemns.
//!
//! All integers are little-endian.
//!
//! ```text
//!  0  4    magic "cKEY"
//!  4  1    format version: 1
//!  5  3    zero
//!  8  4    n
//! 12  n*49 keys (see ObjectKey::to_bytes), each greater than the one before
//! ```

use super::fields::{Fields, FormatError, put_length};
use super::key::{Nonce, ObjectKey, ObjectKind};
use crate::model::hash::ObjectHash;

const MAGIC: [u8; 4] = *b"cKEY";
const FORMAT_VERSION: u8 = 1;
const OBJECT: &str = "list of keys";

/// Keys in a list at most: 49 MB of them. What a collector finds beyond that waits for its next run.
pub const KEYS_MAX: usize = 1_000_000;

/// Keys in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyList(Vec<ObjectKey>);

impl KeyList {
    /// The first [`KEYS_MAX`] of these.
    pub fn of(keys: impl IntoIterator<Item = ObjectKey>) -> Self {
        let mut keys: Vec<ObjectKey> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(KEYS_MAX);
        Self(keys)
    }

    /// The keys.
    pub fn keys(&self) -> &[ObjectKey] {
        &self.0
    }

    /// Whether it has that key.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.0.len() * ObjectKey::BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[FORMAT_VERSION, 0, 0, 0]);
        put_length(&mut out, self.0.len());
        for key in &self.0 {
            out.extend_from_slice(&key.to_bytes());
        }
        out
    }

    /// Reads a list.
    ///
    /// # Errors
    /// The rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(OBJECT, bytes);
        fields.head(MAGIC, FORMAT_VERSION)?;
        if fields.array()? != [0; 3] {
            return Err(fields.refuse("a reserved byte is set"));
        }
        let count = fields.u32()?;
        let (records, rest) = fields.records(count, ObjectKey::BYTES)?.as_chunks();
        assert!(rest.is_empty(), "whole records were taken");
        fields.end()?;
        let keys: Option<Vec<ObjectKey>> = records.iter().map(ObjectKey::from_bytes).collect();
        let keys = keys.ok_or_else(|| fields.refuse("a key is of no kind"))?;
        if keys.len() > KEYS_MAX {
            return Err(fields.refuse("it is too long"));
        }
        if !keys.is_sorted_by(|one, next| one < next) {
            return Err(fields.refuse("keys are out of order"));
        }
        Ok(Self(keys))
    }

    /// The key under which these bytes are stored.
    pub fn key(bytes: &[u8], nonce: Nonce) -> ObjectKey {
        ObjectKey { kind: ObjectKind::Keys, hash: ObjectHash::of(bytes), nonce }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::testing::key;

    #[test]
    fn h54_a_list_is_in_order_and_whole() {
        let keys = [3, 1, 2, 1].map(|number| key(ObjectKind::Pack, number));
        let list = KeyList::of(keys);
        assert_eq!(list.keys().len(), 3);
        assert!(list.contains(&keys[0]) && !list.contains(&key(ObjectKind::Blob, 1)));
        let bytes = list.encode();
        assert_eq!(KeyList::decode(&bytes).unwrap(), list);
        assert_eq!(KeyList::decode(&KeyList::default().encode()).unwrap(), KeyList::default());
        for end in 0..bytes.len() {
            assert!(KeyList::decode(&bytes[..end]).is_err());
        }
        for (at, byte) in [(0, b'x'), (4, 2), (5, 1), (8, 255), (12, 0), (12, 5)] {
            let mut wrong = bytes.clone();
            wrong[at] = byte;
            assert!(KeyList::decode(&wrong).is_err(), "{byte} at {at}");
        }
    }

    #[test]
    fn the_format_of_a_list_is_what_it_was() {
        let list = KeyList::of([key(ObjectKind::Uses, 1)]);
        let hash = ObjectHash::of(&[1]);
        let expected = [&b"cKEY\x01\0\0\0\x01\0\0\0\x05"[..], hash.as_bytes(), &[1; Nonce::BYTES]];
        assert_eq!(list.encode(), expected.concat());
    }
}
