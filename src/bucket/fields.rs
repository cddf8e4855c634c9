//! Reading fixed-width little-endian fields off the front of an object of a bucket, never past its end.

use crate::model::hash::HASH_BYTES;

/// An object of a bucket that is none of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {object}: {rule}")]
pub struct FormatError {
    object: &'static str,
    rule: String,
}

impl FormatError {
    /// An `object` that breaks a rule of its format.
    pub(super) fn new(object: &'static str, rule: impl Into<String>) -> Self {
        Self { object, rule: rule.into() }
    }
}

/// A slice that is consumed from its front.
pub(super) struct Fields<'a> {
    object: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of `bytes`, which errors call `object`.
    pub(super) fn new(object: &'static str, bytes: &'a [u8]) -> Self {
        Self { object, rest: bytes }
    }

    /// Of an object that ends with the BLAKE3 of all before, which is compared.
    pub(super) fn checked(object: &'static str, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let Some((body, checksum)) = bytes.split_last_chunk::<HASH_BYTES>() else {
            return Err(FormatError::new(object, "it is shorter than its checksum"));
        };
        if blake3::hash(body) != *checksum {
            return Err(FormatError::new(object, "it does not match its checksum"));
        }
        Ok(Self::new(object, body))
    }

    pub(super) fn refuse(&self, rule: impl Into<String>) -> FormatError {
        FormatError::new(self.object, rule)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.refuse("a field reaches past the end"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.refuse("a field reaches past the end"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes `count` records of `width` bytes each.
    pub(super) fn records(&mut self, count: u32, width: usize) -> Result<&'a [u8], FormatError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let bytes = count.checked_mul(width);
        let bytes = bytes.ok_or_else(|| self.refuse("a field reaches past the end"))?;
        self.take(bytes)
    }

    /// Refuses bytes that no field claimed.
    pub(super) fn end(&self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.refuse("bytes after the last field")) }
    }

    /// Reads magic and format version, where only one version is known.
    pub(super) fn head(&mut self, magic: [u8; 4], known: u8) -> Result<(), FormatError> {
        self.head_up_to(magic, known).and_then(|version| match version == known {
            true => Ok(()),
            false => Err(self.unknown(version, known)),
        })
    }

    /// Reads magic and format version, where versions 1 to `newest` are known. Returns the version.
    pub(super) fn head_up_to(&mut self, magic: [u8; 4], newest: u8) -> Result<u8, FormatError> {
        if self.array::<4>()? != magic {
            return Err(self.refuse("it begins with other bytes"));
        }
        let version = self.u8()?;
        match (1..=newest).contains(&version) {
            true => Ok(version),
            false => Err(self.unknown(version, newest)),
        }
    }

    fn unknown(&self, version: u8, known: u8) -> FormatError {
        self.refuse(format!("its format {version} is unknown to this release, which knows {known}"))
    }
}

/// Appends a length or a count that a limit of the format keeps below 2^32.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    assert!(length < u32::MAX, "lengths in objects of a bucket have a bound");
    out.extend_from_slice(&length.to_le_bytes());
}
