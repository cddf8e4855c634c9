//! How a tree names the content of a file: by a digest together with its algorithm.
//!
//! What was written here is named by BLAKE3, as the pool names it. What a remote declares with its size is named
//! by the SHA-256 that was declared, whether its bytes were fetched or not: so a version is the same before and
//! after they come, and any machine can verify it.
//!
//! Two different names may therefore stand for the same bytes. To ask whether two files have the same content, call
//! [`same_content`]: `==` on names takes equal files for different ones.

use std::fmt;
use std::str::FromStr;

use super::digest::Sha256;
use super::hash::{BlobHash, ParseHashError};

/// What the text of a declared name begins with.
const SHA256_PREFIX: &str = "sha256:";

/// Name of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentName {
    /// BLAKE3, under which the pool keeps it.
    Blake3(BlobHash),
    /// The SHA-256 that a remote declared.
    Sha256(Sha256),
}

impl ContentName {
    /// The first eight bytes of the digest as an integer: a well-spread key for tables that tolerate collisions.
    pub fn prefix(&self) -> u64 {
        match self {
            Self::Blake3(hash) => hash.prefix(),
            Self::Sha256(digest) => digest.prefix(),
        }
    }

    /// The declared digest, if it is named by one.
    pub fn sha256(&self) -> Option<&Sha256> {
        match self {
            Self::Blake3(_) => None,
            Self::Sha256(digest) => Some(digest),
        }
    }
}

impl From<BlobHash> for ContentName {
    fn from(hash: BlobHash) -> Self {
        Self::Blake3(hash)
    }
}

impl From<Sha256> for ContentName {
    fn from(digest: Sha256) -> Self {
        Self::Sha256(digest)
    }
}

impl fmt::Display for ContentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(hash) => hash.fmt(f),
            Self::Sha256(digest) => write!(f, "{SHA256_PREFIX}{digest}"),
        }
    }
}

impl FromStr for ContentName {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        match text.strip_prefix(SHA256_PREFIX) {
            Some(digits) => {
                BlobHash::from_str(digits).map(|hash| Sha256::from_bytes(*hash.as_bytes()).into())
            }
            None => BlobHash::from_str(text).map(Self::from),
        }
    }
}

impl serde::Serialize for ContentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether two names are known to stand for the same bytes. `resolve` finds the blob of a declared digest, if the
/// store has it. What cannot be told counts as different.
///
/// # Errors
/// Those of `resolve`.
pub fn same_content<E>(
    one: Option<ContentName>,
    other: Option<ContentName>,
    resolve: impl Fn(&Sha256) -> Result<Option<BlobHash>, E>,
) -> Result<bool, E> {
    Ok(match (one, other) {
        (Some(ContentName::Blake3(blob)), Some(ContentName::Sha256(digest)))
        | (Some(ContentName::Sha256(digest)), Some(ContentName::Blake3(blob))) => {
            resolve(&digest)? == Some(blob)
        }
        (one, other) => one == other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_same_bytes_are_compared_through_the_store() {
        let blob = |bytes: &[u8]| Some(ContentName::from(BlobHash::of(bytes)));
        let declared = |bytes: &[u8]| Some(ContentName::from(Sha256::of(bytes)));
        let known = |digest: &Sha256| -> Result<Option<BlobHash>, ()> {
            Ok((*digest == Sha256::of(b"a")).then(|| BlobHash::of(b"a")))
        };
        for (one, other, same) in [
            (blob(b"a"), blob(b"a"), true),
            (blob(b"a"), blob(b"b"), false),
            (blob(b"a"), declared(b"a"), true),
            (declared(b"a"), blob(b"b"), false),
            (declared(b"b"), blob(b"b"), false),
            (declared(b"b"), declared(b"b"), true),
            (None, blob(b"a"), false),
            (None, None, true),
        ] {
            assert_eq!(same_content(one, other, known), Ok(same), "{one:?} {other:?}");
            assert_eq!(same_content(other, one, known), Ok(same), "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_declared_name_says_its_algorithm() {
        let digest = Sha256::of(b"a");
        assert_eq!(ContentName::from(digest).to_string(), format!("sha256:{digest}"));
        let blob = BlobHash::of(b"a");
        assert_eq!(ContentName::from(blob).to_string(), blob.to_string());
        for name in [ContentName::from(digest), ContentName::from(blob)] {
            assert_eq!(name.to_string().parse::<ContentName>().unwrap(), name);
        }
        assert!("sha256:xyz".parse::<ContentName>().is_err());
    }
}
