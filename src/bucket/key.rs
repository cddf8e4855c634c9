//! The keys of a bucket: one grammar, in which each key has one spelling.
//!
//! ```text
//! cairn.json | head
//! KIND/HASH.NONCE     KIND: blobs, index, keys, packs, uses; 64 and 32 hexadecimal digits
//! probe/NONCE
//! log/NAME/NUMBER     NUMBER: 16 decimal digits, from 1
//! ```
//!
//! NAME is `=bucket`, or the name of a repository with every byte but `A-Z a-z 0-9 - . _` as `%XX`: so it is a file
//! name and a part of a URL, and no repository is called like the bucket's own log. A collector touches nothing whose
//! key does not parse here (H54).

use std::fmt;
use std::str::FromStr;

use crate::model::hash::ObjectHash;
use crate::model::name::{NameError, RepoName};

/// The directory of a log that belongs to the bucket and to no repository.
const BUCKET_LOG: &str = "=bucket";

/// Digits of an event's number.
const SEQ_DIGITS: usize = 16;

/// Why a text is no key of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has none of the forms.
    #[error("`{0}` is no key of a bucket")]
    Form(String),
    /// The name in it is no repository's.
    #[error("`{key}` is no key of a bucket: {error}")]
    Name {
        /// The text.
        key: String,
        /// The rule that the name breaks.
        error: NameError,
    },
}

/// A random number, 128 bits long, so that nothing is ever written under a key that was in use before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; Self::BYTES]);

impl Nonce {
    /// Its length in bytes.
    pub const BYTES: usize = 16;

    /// Wraps random bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness to offer.
    pub fn random() -> std::io::Result<Self> {
        crate::sys::random_bytes().map(Self)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

impl FromStr for Nonce {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Form(text.to_owned());
        let is_form = text.len() == 2 * Self::BYTES && text.bytes().all(is_hex_digit);
        let number = is_form.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or_else(wrong)
    }
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What an object holds that is written once. The order is that of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A large content.
    Blob,
    /// Where the contents of packs are.
    Index,
    /// Keys that a collector asks to give up, or that a sentence removes.
    Keys,
    /// Small contents or pages of trees.
    Pack,
    /// What one version needs.
    Uses,
}

impl ObjectKind {
    /// All kinds, in the order of their keys.
    pub const ALL: [Self; 5] = [Self::Blob, Self::Index, Self::Keys, Self::Pack, Self::Uses];

    /// The directory of its keys.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Blob => "blobs",
            Self::Index => "index",
            Self::Keys => "keys",
            Self::Pack => "packs",
            Self::Uses => "uses",
        }
    }

    /// Its number in formats.
    pub fn code(self) -> u8 {
        match self {
            Self::Blob => 1,
            Self::Index => 2,
            Self::Keys => 3,
            Self::Pack => 4,
            Self::Uses => 5,
        }
    }

    /// The kind of a number; `None` when it has none.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// The key of an object that is written once: kind, BLAKE3 of its bytes, nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// What it holds.
    pub kind: ObjectKind,
    /// BLAKE3 of its bytes.
    pub hash: ObjectHash,
    /// Who wrote the same bytes another time has another one.
    pub nonce: Nonce,
}

impl ObjectKey {
    /// Length of [`ObjectKey::to_bytes`].
    pub const BYTES: usize = 1 + 32 + Nonce::BYTES;

    /// As formats keep it: code of the kind, hash, nonce. Sorts as the key does.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.kind.code();
        bytes[1..33].copy_from_slice(self.hash.as_bytes());
        bytes[33..].copy_from_slice(self.nonce.as_bytes());
        bytes
    }

    /// Reads [`ObjectKey::to_bytes`]; `None` when there is no such kind.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let kind = ObjectKind::from_code(bytes[0])?;
        let hash = ObjectHash::from_slice(&bytes[1..33])?;
        let nonce = Nonce::from_bytes(bytes[33..].try_into().ok()?);
        Some(Self { kind, hash, nonce })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.kind.directory(), self.hash, self.nonce)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.parse()? {
            Key::Object(key) => Ok(key),
            _ => Err(KeyError::Form(text.to_owned())),
        }
    }
}

/// The number of an event in its log: starts at 1, has no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(u64);

impl Seq {
    /// Before the first event.
    pub const NONE: Self = Self(0);

    /// The highest one.
    pub const MAX: Self = Self(10_u64.pow(16) - 1);

    /// An event's number, or 0 for [`Seq::NONE`]; `None` beyond [`Seq::MAX`].
    pub fn new(number: u64) -> Option<Self> {
        (number <= Self::MAX.0).then_some(Self(number))
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The next one. A log that is full would take longer to write than anything lasts.
    pub fn next(self) -> Self {
        assert!(self < Self::MAX, "a log has at most 10^16 events");
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogName {
    /// Of the bucket itself: repositories made, marks and what became of them.
    Bucket,
    /// Of a repository.
    Repository(RepoName),
}

impl LogName {
    /// The directory of its events, below `log`.
    pub fn directory(&self) -> String {
        match self {
            Self::Bucket => BUCKET_LOG.to_owned(),
            Self::Repository(name) => escape(name.as_str()),
        }
    }

    /// The log of that directory; `None` when there can be none.
    pub fn of_directory(text: &str) -> Option<Self> {
        Self::parse(text, text).ok()
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> String {
        format!("log/{}/", self.directory())
    }

    /// The key of an event.
    pub fn key(&self, seq: Seq) -> String {
        format!("{}{:0SEQ_DIGITS$}", self.prefix(), seq.0)
    }

    fn parse(text: &str, key: &str) -> Result<Self, KeyError> {
        if text == BUCKET_LOG {
            return Ok(Self::Bucket);
        }
        let wrong = || KeyError::Form(key.to_owned());
        let bytes = unescape(text).ok_or_else(wrong)?;
        let name =
            RepoName::new(&bytes).map_err(|error| KeyError::Name { key: key.to_owned(), error })?;
        let is_canonical = escape(name.as_str()) == text;
        is_canonical.then_some(Self::Repository(name)).ok_or_else(wrong)
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket => f.write_str("the bucket's own log"),
            Self::Repository(name) => write!(f, "the log of {name}"),
        }
    }
}

fn escape(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let one = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().map(one).collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}

/// Any key of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Format and id of the bucket.
    Format,
    /// The hint at the newest events.
    Head,
    /// An object that is written once.
    Object(ObjectKey),
    /// What a probe wrote.
    Probe(Nonce),
    /// An event.
    Event(LogName, Seq),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("cairn.json"),
            Self::Head => f.write_str("head"),
            Self::Object(key) => key.fmt(f),
            Self::Probe(nonce) => write!(f, "probe/{nonce}"),
            Self::Event(log, seq) => f.write_str(&log.key(*seq)),
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Form(text.to_owned());
        match text {
            "cairn.json" => return Ok(Self::Format),
            "head" => return Ok(Self::Head),
            _ => {}
        }
        let (directory, rest) = text.split_once('/').ok_or_else(wrong)?;
        match directory {
            "probe" => rest.parse().map(Self::Probe).map_err(|_| wrong()),
            "log" => {
                let (name, digits) = rest.split_once('/').ok_or_else(wrong)?;
                let is_form =
                    digits.len() == SEQ_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
                let seq = is_form.then(|| digits.parse().ok()).flatten().and_then(Seq::new);
                let seq = seq.filter(|seq| *seq > Seq::NONE).ok_or_else(wrong)?;
                Ok(Self::Event(LogName::parse(name, text)?, seq))
            }
            _ => {
                let kind = ObjectKind::ALL.into_iter().find(|kind| kind.directory() == directory);
                let (hash, nonce) = rest.split_once('.').ok_or_else(wrong)?;
                let is_form = hash.bytes().all(is_hex_digit);
                let hash = is_form.then(|| hash.parse().ok()).flatten().ok_or_else(wrong)?;
                let nonce = nonce.parse().map_err(|_| wrong())?;
                Ok(Self::Object(ObjectKey { kind: kind.ok_or_else(wrong)?, hash, nonce }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> LogName {
        LogName::Repository(name.parse().unwrap())
    }

    #[test]
    fn h54_keys_have_one_spelling_and_come_back_as_they_were() {
        let hash = "5f".repeat(32);
        let nonce = "0a".repeat(16);
        for text in [
            "cairn.json".to_owned(),
            "head".to_owned(),
            format!("packs/{hash}.{nonce}"),
            format!("blobs/{hash}.{nonce}"),
            format!("index/{hash}.{nonce}"),
            format!("uses/{hash}.{nonce}"),
            format!("keys/{hash}.{nonce}"),
            format!("probe/{nonce}"),
            "log/=bucket/0000000000000001".to_owned(),
            "log/gcc-14.2_x/9999999999999999".to_owned(),
            "log/%3Dbucket/0000000000000002".to_owned(),
            "log/a%20b%C3%A4/0000000000000010".to_owned(),
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert_eq!(repository("=bucket").key(Seq(7)), "log/%3Dbucket/0000000000000007");
    }

    #[test]
    fn h54_other_texts_are_no_keys() {
        let hash = "5f".repeat(32);
        let nonce = "0a".repeat(16);
        for text in [
            String::new(),
            "cairn.json/".to_owned(),
            format!("packs/{hash}"),
            format!("packs/{hash}.{nonce}.tmp"),
            format!("packs/{}.{nonce}", hash.to_uppercase()),
            format!("packs/{hash}.{}", nonce.to_uppercase()),
            format!("packs/{hash}.+{}", &nonce[1..]),
            format!("pack/{hash}.{nonce}"),
            format!("x/packs/{hash}.{nonce}"),
            format!("probe/{}", &nonce[1..]),
            "log/a/0000000000000000".to_owned(),
            "log/a/1".to_owned(),
            "log/a/+000000000000001".to_owned(),
            "log/a/b/0000000000000001".to_owned(),
            "log/../0000000000000001".to_owned(),
            "log//0000000000000001".to_owned(),
            "log/a b/0000000000000001".to_owned(),
            "log/%61/0000000000000001".to_owned(),
            "log/%c3%a4/0000000000000001".to_owned(),
            "log/%2F/0000000000000001".to_owned(),
            "log/a%/0000000000000001".to_owned(),
            "log/a%0A/0000000000000001".to_owned(),
            "log/=other/0000000000000001".to_owned(),
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_of_objects_sort_as_their_bytes_do() {
        let key = |kind, hash: &[u8], nonce| ObjectKey {
            kind,
            hash: ObjectHash::of(hash),
            nonce: Nonce::from_bytes([nonce; 16]),
        };
        let mut keys: Vec<ObjectKey> = Vec::new();
        for kind in ObjectKind::ALL {
            keys.extend([key(kind, b"a", 9), key(kind, b"a", 1), key(kind, b"b", 0)]);
        }
        keys.sort();
        assert!(keys.is_sorted_by_key(ObjectKey::to_bytes));
        assert!(keys.is_sorted_by_key(ToString::to_string));
        for key in keys {
            assert_eq!(ObjectKey::from_bytes(&key.to_bytes()), Some(key));
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        assert_eq!(ObjectKey::from_bytes(&[0; ObjectKey::BYTES]), None);
    }
}
