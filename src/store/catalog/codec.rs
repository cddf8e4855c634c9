//! How values of the model are kept in columns.
//!
//! Times are two columns, seconds and nanoseconds. Hashes are blobs of 32 bytes, names of entries
//! blobs, other names text. Extended attributes are one blob, NULL when there are none:
//!
//! ```text
//! (name length u32 LE, name, value length u32 LE, value)*      ascending by name
//! ```
//!
//! What a row holds is checked here on the way in: a value that breaks its type's rule is reported
//! as a corrupt catalog.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::model::digest::Sha256;
use crate::model::hash::{BlobHash, TreeHash};
use crate::model::time::Timestamp;
use crate::model::tree::{Root, Xattrs};
use crate::model::tree_format;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The error of a column that breaks a rule.
pub(super) fn corrupt(column: usize, error: impl Into<Error>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, error.into())
}

/// A time in two columns from `column`.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::new(row.get(column)?, row.get(column + 1)?)
        .ok_or_else(|| corrupt(column, "nanoseconds out of range"))
}

/// A blob's hash.
pub(super) fn blob_hash(row: &Row<'_>, column: usize) -> rusqlite::Result<BlobHash> {
    row.get(column).map(BlobHash::from_bytes)
}

/// A declared digest.
pub(super) fn sha256(row: &Row<'_>, column: usize) -> rusqlite::Result<Sha256> {
    row.get(column).map(Sha256::from_bytes)
}

/// A tree's hash.
pub(super) fn tree_hash(row: &Row<'_>, column: usize) -> rusqlite::Result<TreeHash> {
    row.get(column).map(TreeHash::from_bytes)
}

/// A name that is text.
pub(super) fn text<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| corrupt(column, error))
}

/// A root in its encoded form.
pub(super) fn root(row: &Row<'_>, column: usize) -> rusqlite::Result<Root> {
    tree_format::decode_root(row.get_ref(column)?.as_blob()?)
        .map_err(|error| corrupt(column, error))
}

/// A root in its encoded form, or NULL.
pub(super) fn optional_root(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Root>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => root(row, column).map(Some),
    }
}

/// Extended attributes as a column's value.
pub(super) fn encode_xattrs(xattrs: &Xattrs) -> Option<Vec<u8>> {
    if xattrs.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for part in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        // The kernel's limit is 64 KiB.
        let length = u32::try_from(part.len()).expect("an attribute is shorter than 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    Some(bytes)
}

/// Extended attributes from a column.
pub(super) fn xattrs(row: &Row<'_>, column: usize) -> rusqlite::Result<Xattrs> {
    let bytes = row.get_ref(column)?.as_blob_or_null()?.unwrap_or_default();
    decode_xattrs(bytes).ok_or_else(|| corrupt(column, "extended attributes are cut off"))
}

fn decode_xattrs(mut bytes: &[u8]) -> Option<Xattrs> {
    let mut xattrs = Xattrs::new();
    while !bytes.is_empty() {
        let name = take_part(&mut bytes)?;
        let value = take_part(&mut bytes)?;
        xattrs.insert(name.into(), value.into());
    }
    Some(xattrs)
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_attributes_have_a_fixed_form() {
        let mut xattrs = Xattrs::new();
        assert_eq!(encode_xattrs(&xattrs), None);
        xattrs.insert(b"user.b".as_slice().into(), b"".as_slice().into());
        xattrs.insert(b"user.a".as_slice().into(), b"\0\xff".as_slice().into());
        let bytes = encode_xattrs(&xattrs).unwrap();
        let golden = b"\x06\0\0\0user.a\x02\0\0\0\0\xff\x06\0\0\0user.b\0\0\0\0";
        assert_eq!(bytes, golden);
        assert_eq!(decode_xattrs(&bytes), Some(xattrs));
        for length in [1, 5, 12, bytes.len() - 1] {
            assert_eq!(decode_xattrs(&bytes[..length]), None, "{length}");
        }
    }
}
