//! The digest that others name content by: SHA-256, as checksum lists and manifests declare it.
//!
//! The pool names content by BLAKE3 ([`super::hash`]); the two types keep one from being taken for the other.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// Length of a digest, in bytes.
const DIGEST_BYTES: usize = 32;

/// A string that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a SHA-256 digest: expected 64 hexadecimal digits", super::text::printable(.0))]
pub struct ParseDigestError(String);

/// SHA-256 of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; DIGEST_BYTES]);

impl Sha256 {
    /// Wraps a slice; `None` when it does not have 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Wraps raw bytes.
    pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// The first eight bytes as an integer: a well-spread key for tables that tolerate collisions.
    pub fn prefix(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(first)
    }

    /// Hashes `data` in one go.
    pub fn of(data: &[u8]) -> Self {
        Self(sha2::Sha256::digest(data).into())
    }
}

/// Hashes bytes as they come.
#[derive(Clone, Default)]
pub struct Sha256Hasher(sha2::Sha256);

impl Sha256Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of all that came.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl fmt::Debug for Sha256Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Hasher")
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        // The parser of BLAKE3 hashes takes the same form: 64 hexadecimal digits of either case.
        blake3::Hash::from_hex(text)
            .map(|digits| Self(*digits.as_bytes()))
            .map_err(|_| ParseDigestError(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(empty.to_uppercase().parse::<Sha256>().unwrap(), Sha256::of(b""));
        let mut hasher = Sha256Hasher::default();
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), Sha256::of(b"abc"));
        assert_eq!(Sha256::from_slice(Sha256::of(b"abc").as_bytes()), Some(Sha256::of(b"abc")));
    }

    #[test]
    fn an_error_shows_no_control_characters_and_ends() {
        let error = format!("\u{1b}[2J{}", "x".repeat(10_000)).parse::<Sha256>().unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 200 && !text.contains('\u{1b}'), "{text}");
    }
}
