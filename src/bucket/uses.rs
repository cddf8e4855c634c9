//! What one version needs: the key of every pack, every object of one content and every index, those that it shares with
//! other versions too.
//!
//! All integers are little-endian.
//!
//! ```text
//!  0  4  magic "cUSE"
//!  4  1  format version: 1
//!  5  1  flags: 1 = has a base
//!  6  2  how many bases are below: 0 without one
//!    49  key of the base, where flagged
//!     4  keys that are added
//!     4  keys of the base that are taken away
//!        added keys, then those taken away, each in byte order: 49
//!    32  BLAKE3 of all before
//! ```
//!
//! A version that changes little names the uses of the version before it as its base, so that the list does not grow with the
//! repository. The lists that it builds on are needed as well: [`Uses::needs`] names them, too. A collector keeps what these lists name
//! and nothing else, so a key that is missing in them is lost to a live version (H47).

use std::collections::BTreeSet;

use super::fields::{Fields, FormatError, put_length};
use super::key::{ObjectKey, ObjectKind};

const MAGIC: [u8; 4] = *b"cUSE";
const FORMAT_VERSION: u8 = 1;
const FLAG_BASE: u8 = 1;
const OBJECT: &str = "list of what a version uses";

/// Bases below one list at most: so many objects are read to know what a version needs.
pub const BASES_MAX: u16 = 16;

/// What one object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Key of the list that these change, and how many bases are below this one.
    base: Option<(ObjectKey, u16)>,
    added: BTreeSet<ObjectKey>,
    removed: BTreeSet<ObjectKey>,
}

impl Changes {
    /// Takes a list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let refuse = |rule: &str| FormatError::new(OBJECT, rule);
        let mut fields = Fields::checked(OBJECT, bytes)?;
        fields.head(MAGIC, FORMAT_VERSION)?;
        let (flags, below) = (fields.u8()?, fields.u16()?);
        let base = match (flags, below) {
            (0, 0) => None,
            (FLAG_BASE, 1..=BASES_MAX) => Some((read_key(&mut fields, true)?, below)),
            _ => return Err(refuse("its flags and the number of its bases do not fit")),
        };
        let (added, removed) = (fields.u32()?, fields.u32()?);
        let added = read_keys(&mut fields, added)?;
        let removed = read_keys(&mut fields, removed)?;
        fields.end()?;
        if base.is_none() && !removed.is_empty() {
            return Err(refuse("it takes keys away from nothing"));
        }
        if !added.is_disjoint(&removed) {
            return Err(refuse("it adds a key that it takes away"));
        }
        Ok(Self { base, added, removed })
    }
}

/// Reads the key of a list, or of what a list may name.
fn read_key(fields: &mut Fields<'_>, is_list: bool) -> Result<ObjectKey, FormatError> {
    let key = ObjectKey::from_bytes(&fields.array()?);
    let is_allowed = |key: &ObjectKey| match key.kind {
        ObjectKind::Uses => is_list,
        ObjectKind::Blob | ObjectKind::Index | ObjectKind::Pack => !is_list,
        ObjectKind::Keys => false,
    };
    key.filter(is_allowed).ok_or_else(|| fields.refuse("a key is of a kind that no version needs"))
}

fn read_keys(fields: &mut Fields<'_>, count: u32) -> Result<BTreeSet<ObjectKey>, FormatError> {
    let mut keys = BTreeSet::new();
    for _ in 0..count {
        let key = read_key(fields, false)?;
        if keys.last().is_some_and(|last| *last >= key) {
            return Err(fields.refuse("its keys are not in order"));
        }
        keys.insert(key);
    }
    Ok(keys)
}

/// What a version needs, and in which lists that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uses {
    /// Packs, objects of one content, indexes.
    pub keys: BTreeSet<ObjectKey>,
    /// The list of the version, then its bases.
    pub lists: Vec<ObjectKey>,
}

impl Uses {
    /// Reads the list at `key` with its bases. `get` reads one object, `wrong` makes an error of one that is no list.
    ///
    /// # Errors
    /// Those of `get`; that a list is none.
    pub fn read<E>(
        mut key: ObjectKey,
        mut get: impl FnMut(&ObjectKey) -> Result<Vec<u8>, E>,
        wrong: impl Fn(&ObjectKey, FormatError) -> E,
    ) -> Result<Self, E> {
        let mut lists = vec![key];
        let mut chain = Vec::new();
        let mut below_before = None;
        loop {
            let Changes { base, added, removed } =
                Changes::parse(&get(&key)?).map_err(|error| wrong(&key, error))?;
            let below = base.as_ref().map_or(0, |(_, below)| *below);
            if below_before.is_some_and(|before: u16| below + 1 != before) {
                let rule = "its base has another number of bases than it says";
                return Err(wrong(&key, FormatError::new(OBJECT, rule)));
            }
            chain.push((added, removed));
            let Some((base, _)) = base else { break };
            below_before = Some(below);
            lists.push(base);
            key = base;
        }
        let mut keys = BTreeSet::new();
        for (added, removed) in chain.into_iter().rev() {
            keys.retain(|key| !removed.contains(key));
            keys.extend(added);
        }
        Ok(Self { keys, lists })
    }

    /// Every key that must be there for the version to be whole, the lists too.
    pub fn needs(&self) -> impl Iterator<Item = &ObjectKey> {
        self.keys.iter().chain(&self.lists)
    }
}

/// The list of a version that needs `keys`, as changes of `base` where that is shorter. Returns its bytes, and the lists
/// that whoever reads it reads as well: those of the base, or none.
pub fn encode<'a>(
    keys: &BTreeSet<ObjectKey>,
    base: Option<&'a Uses>,
) -> (Vec<u8>, &'a [ObjectKey]) {
    let changes = base.and_then(|base| {
        let below = u16::try_from(base.lists.len()).ok().filter(|below| *below <= BASES_MAX)?;
        let added: BTreeSet<ObjectKey> = keys.difference(&base.keys).copied().collect();
        let removed: BTreeSet<ObjectKey> = base.keys.difference(keys).copied().collect();
        let key = *base.lists.first()?;
        let is_shorter = added.len() + removed.len() + 1 < keys.len();
        is_shorter.then_some(Changes { base: Some((key, below)), added, removed })
    });
    let is_based = changes.is_some();
    let Changes { base: named, added, removed } = changes.unwrap_or_else(|| Changes {
        base: None,
        added: keys.clone(),
        removed: BTreeSet::new(),
    });
    let bases = base.filter(|_| is_based).map_or(&[][..], |uses| &uses.lists);
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.push(FORMAT_VERSION);
    out.push(if is_based { FLAG_BASE } else { 0 });
    out.extend_from_slice(&named.as_ref().map_or(0, |(_, below)| *below).to_le_bytes());
    if let Some((key, _)) = &named {
        out.extend_from_slice(&key.to_bytes());
    }
    put_length(&mut out, added.len());
    put_length(&mut out, removed.len());
    for key in added.iter().chain(&removed) {
        out.extend_from_slice(&key.to_bytes());
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    (out, bases)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::bucket::key::Nonce;
    use crate::model::hash::HASH_BYTES;
    use crate::model::hash::ObjectHash;

    fn key(kind: ObjectKind, number: u8) -> ObjectKey {
        let hash = ObjectHash::from_bytes([number; 32]);
        ObjectKey { kind, hash, nonce: Nonce::from_bytes([7; 16]) }
    }

    fn list(number: u8) -> ObjectKey {
        key(ObjectKind::Uses, number)
    }

    fn keys(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<ObjectKey> {
        numbers.into_iter().map(|number| key(ObjectKind::Pack, number)).collect()
    }

    #[derive(Debug, PartialEq)]
    enum Failed {
        Format(FormatError),
        Missing(ObjectKey),
    }

    /// Lists by their keys.
    #[derive(Default)]
    struct Lists(BTreeMap<ObjectKey, Vec<u8>>);

    impl Lists {
        fn read(&self, key: ObjectKey) -> Result<Uses, Failed> {
            let get = |key: &ObjectKey| self.0.get(key).cloned().ok_or(Failed::Missing(*key));
            Uses::read(key, get, |_, error| Failed::Format(error))
        }
    }

    #[test]
    fn the_format_does_not_change() {
        let (bytes, _) = encode(&keys([1]), None);
        assert_eq!(bytes[..16], *b"cUSE\x01\0\0\0\x01\0\0\0\0\0\0\0");
        assert_eq!(bytes[16..65], key(ObjectKind::Pack, 1).to_bytes());
        assert_eq!(bytes.len(), 65 + 32);
        let base = Uses { keys: keys(0..9), lists: vec![list(1)] };
        let (bytes, _) = encode(&keys(1..10), Some(&base));
        assert_eq!(bytes[..8], *b"cUSE\x01\x01\x01\0");
        assert_eq!(bytes[8..57], list(1).to_bytes());
        assert_eq!(bytes[57..65], *b"\x01\0\0\0\x01\0\0\0");
        assert_eq!(bytes[65..114], key(ObjectKind::Pack, 9).to_bytes());
        assert_eq!(bytes[114..163], key(ObjectKind::Pack, 0).to_bytes());
        assert_eq!(bytes.len(), 163 + 32);
    }

    #[test]
    fn a_damaged_list_is_refused() {
        let (good, _) = encode(&keys(0..9), None);
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let error = Changes::parse(&changed).unwrap_err().to_string();
            let expected =
                "not a valid list of what a version uses: it does not match its checksum";
            assert_eq!(error, expected);
            assert!(Changes::parse(&good[..at]).is_err());
        }
        for (at, to, why) in [
            (5, 1, "do not fit"),
            (6, 1, "do not fit"),
            (12, 1, "a field reaches past the end"),
            (8, 8, "bytes after the last field"),
            (17, 0xff, "not in order"),
            (16, ObjectKind::Keys.code(), "of a kind that no version needs"),
            (16, ObjectKind::Uses.code(), "of a kind that no version needs"),
        ] {
            let mut body = good[..good.len() - HASH_BYTES].to_vec();
            body[at] = to;
            let checksum = blake3::hash(&body);
            body.extend_from_slice(checksum.as_bytes());
            let error = Changes::parse(&body).unwrap_err().to_string();
            assert!(error.contains(why), "byte {at}: {error}");
        }
    }

    #[test]
    fn h47_a_base_that_is_gone_or_another_one_is_an_error() {
        let mut lists = Lists::default();
        lists.0.insert(list(1), encode(&keys(0..9), None).0);
        let base = lists.read(list(1)).unwrap();
        lists.0.insert(list(2), encode(&keys(0..10), Some(&base)).0);
        let second = lists.read(list(2)).unwrap();
        assert_eq!(second.needs().filter(|key| key.kind == ObjectKind::Uses).count(), 2);
        lists.0.insert(list(3), encode(&keys(0..11), Some(&second)).0);
        lists.0.remove(&list(1));
        assert_eq!(lists.read(list(3)), Err(Failed::Missing(list(1))));
        // A base that is its own base would never end.
        let own = lists.0[&list(2)].clone();
        lists.0.insert(list(1), own);
        assert!(matches!(lists.read(list(3)), Err(Failed::Format(_))));
    }

    proptest! {
        #[test]
        fn versions_need_what_they_were_given(
            histories in proptest::collection::vec(
                (proptest::collection::btree_set(any::<u8>(), 0..40), proptest::collection::btree_set(any::<u8>(), 0..4)),
                1..60,
            ),
        ) {
            let mut lists = Lists::default();
            let mut base: Option<Uses> = None;
            let mut wanted = BTreeSet::new();
            for (number, (fresh, few)) in (0_u8..).zip(histories) {
                // Now and then a version that has little in common with the one before.
                if number % 7 == 0 {
                    wanted = keys(fresh);
                } else {
                    wanted.extend(keys(few));
                }
                let key = list(number);
                let (bytes, bases) = encode(&wanted, base.as_ref());
                lists.0.insert(key, bytes);
                let read = lists.read(key).unwrap();
                prop_assert_eq!(&read.keys, &wanted);
                prop_assert_eq!(&read.lists[1..], bases);
                prop_assert!(read.lists.len() <= usize::from(BASES_MAX) + 1);
                base = Some(read);
            }
        }
    }
}
