//! Reading fixed-width little-endian fields off the front of a slice, never past its end.

use super::{TreeError, invalid};
use crate::model::hash::{HASH_BYTES, TreeHash};

/// A slice that is consumed from its front.
pub(super) struct ByteReader<'a> {
    rest: &'a [u8],
}

impl<'a> ByteReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], TreeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| invalid("a field reaches past the end"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TreeError> {
        let (head, rest) =
            self.rest.split_first_chunk().ok_or_else(|| invalid("a field reaches past the end"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, TreeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TreeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TreeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TreeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, TreeError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn tree(&mut self) -> Result<TreeHash, TreeError> {
        self.array::<HASH_BYTES>().map(TreeHash::from_bytes)
    }

    /// Refuses bytes that no field claimed.
    pub(super) fn end(&self) -> Result<(), TreeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(invalid("bytes after the last field")) }
    }
}

/// The length of a field as its 32-bit form; a length that has none becomes one that no page can
/// hold, so that decoding refuses it.
pub(super) fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
