//! BLAKE3 content hashes, one newtype per thing hashed.
//!
//! A [`BlobHash`] names file content, a [`TreeHash`] names the canonical encoding of a directory.
//! An [`ObjectHash`] names what a bucket keeps. They are different types so that one can never be passed for the other.

use std::fmt;
use std::str::FromStr;

/// Length of every hash, in bytes.
pub const HASH_BYTES: usize = 32;

/// A string that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hash: expected 64 hexadecimal digits")]
pub struct ParseHashError(String);

fn parse_hex(text: &str) -> Result<[u8; HASH_BYTES], ParseHashError> {
    blake3::Hash::from_hex(text)
        .map(|hash| *hash.as_bytes())
        .map_err(|_| ParseHashError(text.to_owned()))
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; HASH_BYTES]);

        impl $name {
            /// Wraps raw hash bytes.
            pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
                Self(bytes)
            }

            /// Wraps a slice; `None` when it is not [`HASH_BYTES`] long.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The raw hash bytes.
            pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
                &self.0
            }

            /// Hashes `data` in one go.
            pub fn of(data: &[u8]) -> Self {
                Self(*blake3::hash(data).as_bytes())
            }

            /// The first eight bytes as an integer: a well-spread key for tables that
            /// tolerate collisions.
            pub fn prefix(&self) -> u64 {
                let mut first = [0; 8];
                first.copy_from_slice(&self.0[..8]);
                u64::from_le_bytes(first)
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(*hash.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;
            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                parse_hex(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_type! {
    /// Names the content of a file: BLAKE3 of its bytes.
    BlobHash
}
hash_type! {
    /// Names a directory: BLAKE3 of its canonical encoding (see [`crate::model::tree_format`]).
    TreeHash
}
hash_type! {
    /// Names an object of a bucket: BLAKE3 of its bytes.
    ObjectHash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let hash = BlobHash::of(b"cairn");
        assert_eq!(hash.to_string().parse::<BlobHash>().unwrap(), hash);
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{hash}\""));
        assert!("abc".parse::<BlobHash>().is_err());
    }
}
