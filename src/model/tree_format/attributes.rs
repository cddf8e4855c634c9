//! The codec of attributes, which entries and roots share: mode, time, extended attributes.

use super::bytes::{ByteReader, length_u32};
use super::{TreeError, invalid};
use crate::model::name::NAME_BYTES_MAX;
use crate::model::time::Timestamp;
use crate::model::tree::{Attributes, Xattrs};

/// Most bytes that the extended attributes of one entry take, names and values and their lengths.
pub const XATTRS_BYTES_MAX: usize = 128 * 1024;

/// Most bytes of one extended attribute's value (`XATTR_SIZE_MAX` of Linux).
pub const XATTR_VALUE_BYTES_MAX: usize = 64 * 1024;

const MODE_MASK: u16 = 0o7777;

/// Extended attributes, borrowed from their page. Equal exactly when the attributes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrsRef<'a> {
    items: &'a [u8],
}

impl<'a> XattrsRef<'a> {
    /// Names and values, in byte order of the names.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut reader = ByteReader::new(self.items);
        std::iter::from_fn(move || read_xattr(&mut reader).ok())
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.items.is_empty()
    }

    /// Copies them out.
    pub fn to_xattrs(self) -> Xattrs {
        self.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// Checks that attributes have an encoding: mode bits, nanoseconds, names and sizes of extended
/// attributes.
///
/// # Errors
/// The rule that they break.
pub fn check_attributes(attributes: &Attributes) -> Result<(), TreeError> {
    if attributes.mode & !MODE_MASK != 0 {
        return Err(invalid("mode has bits beyond 0o7777"));
    }
    if attributes.mtime.nanoseconds >= 1_000_000_000 {
        return Err(invalid("nanoseconds reach a second"));
    }
    let mut bytes = 0;
    for (name, value) in &attributes.xattrs {
        check_xattr(name, value)?;
        bytes += 5 + name.len() + value.len();
    }
    if bytes > XATTRS_BYTES_MAX {
        return Err(invalid("too many bytes of extended attributes"));
    }
    Ok(())
}

fn check_xattr(name: &[u8], value: &[u8]) -> Result<(), TreeError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return Err(invalid("not the name of an extended attribute"));
    }
    if value.len() > XATTR_VALUE_BYTES_MAX {
        return Err(invalid("an extended attribute is too long"));
    }
    Ok(())
}

/// Writes the count and the items; nothing when there are none (a flag elsewhere says so).
pub(super) fn write_xattrs(out: &mut Vec<u8>, xattrs: &Xattrs) {
    if xattrs.is_empty() {
        return;
    }
    out.extend_from_slice(&length_u32(xattrs.len()).to_le_bytes());
    for (name, value) in xattrs {
        // A name that is too long is caught by `check_attributes`; 0 is refused by decoding.
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend_from_slice(&length_u32(value.len()).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
}

fn read_xattr<'a>(reader: &mut ByteReader<'a>) -> Result<(&'a [u8], &'a [u8]), TreeError> {
    let name_length = usize::from(reader.u8()?);
    let value_length = reader.u32()? as usize;
    Ok((reader.take(name_length)?, reader.take(value_length)?))
}

/// Reads what [`write_xattrs`] wrote; `present` is the flag.
pub(super) fn read_xattrs<'a>(
    reader: &mut ByteReader<'a>,
    present: bool,
) -> Result<XattrsRef<'a>, TreeError> {
    if !present {
        return Ok(XattrsRef { items: &[] });
    }
    let count = reader.u32()?;
    if count == 0 {
        return Err(invalid("extended attributes are flagged but absent"));
    }
    let all = reader.rest();
    let mut previous: &[u8] = &[];
    for _ in 0..count {
        let (name, value) = read_xattr(reader)?;
        check_xattr(name, value)?;
        if name <= previous {
            return Err(invalid("extended attributes are not in order"));
        }
        previous = name;
    }
    let items = &all[..all.len() - reader.rest().len()];
    if items.len() > XATTRS_BYTES_MAX {
        return Err(invalid("too many bytes of extended attributes"));
    }
    Ok(XattrsRef { items })
}

pub(super) fn read_mode(reader: &mut ByteReader<'_>) -> Result<u16, TreeError> {
    let mode = reader.u16()?;
    if mode & !MODE_MASK != 0 {
        return Err(invalid("mode has bits beyond 0o7777"));
    }
    Ok(mode)
}

pub(super) fn read_time(reader: &mut ByteReader<'_>) -> Result<Timestamp, TreeError> {
    let seconds = reader.i64()?;
    let nanoseconds = reader.u32()?;
    Timestamp::new(seconds, nanoseconds).ok_or_else(|| invalid("nanoseconds reach a second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`write_xattrs`] would write of these, whatever they are.
    fn encoded(xattrs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = length_u32(xattrs.len()).to_le_bytes().to_vec();
        for (name, value) in xattrs {
            out.push(u8::try_from(name.len()).unwrap());
            out.extend_from_slice(&length_u32(value.len()).to_le_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        out
    }

    fn is_read(xattrs: &[(&[u8], &[u8])]) -> bool {
        read_xattrs(&mut ByteReader::new(&encoded(xattrs)), true).is_ok()
    }

    /// A page may come from a stranger's bucket or a damaged disk. Its attributes are shown to the kernel as they are.
    #[test]
    fn r6_extended_attributes_that_no_file_can_have_are_refused() {
        let longest = vec![b'v'; XATTR_VALUE_BYTES_MAX];
        let too_long = vec![b'v'; XATTR_VALUE_BYTES_MAX + 1];
        let name = [b'n'; NAME_BYTES_MAX];
        assert!(is_read(&[(&name, b""), (b"user.a", b"\0\0"), (b"user.b", &longest)]));
        for (case, xattrs) in [
            ("no name", &[(&b""[..], &b"v"[..])][..]),
            ("a zero byte in a name", &[(b"user.\0a", b"v")]),
            ("a zero byte for a name", &[(b"\0", b"v")]),
            ("a value that is too long", &[(b"user.a", &too_long)]),
            ("the same name again", &[(b"user.a", b"1"), (b"user.a", b"2")]),
            ("names out of order", &[(b"user.b", b"1"), (b"user.a", b"2")]),
            ("too much in all", &[(b"user.a", &longest), (b"user.b", &longest)]),
            ("none", &[]),
        ] {
            assert!(!is_read(xattrs), "{case}");
        }
        let cut = &encoded(&[(b"user.a", b"value")])[..12];
        assert!(read_xattrs(&mut ByteReader::new(cut), true).is_err());
    }
}
