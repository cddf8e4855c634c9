//! Fields of a tar header block: numbers, device numbers, checksum. Pure.

use tar::Header;

use super::tar_read::BLOCK;

/// A numeric field: octal digits between spaces and NULs, or base 256 with its first bit set
/// (two's complement, as GNU tar writes large and negative numbers). Empty is 0.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let start = if first & 0x40 != 0 { -1 } else { 0 };
        let first = i128::from(first & 0x3f) + if start < 0 { -64 } else { 0 };
        return field[1..]
            .iter()
            .try_fold(first, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)));
    }
    let text = field.split(|byte| *byte == 0).find(|part| !part.is_empty()).unwrap_or(b"");
    let text = text.trim_ascii();
    text.iter().try_fold(0_i128, |value, digit| {
        matches!(digit, b'0'..=b'7').then(|| value * 8 + i128::from(digit - b'0'))
    })
}

/// Major and minor number of a device. `None` when they are not valid or the header has none.
pub(super) fn device(header: &Header) -> Option<(u32, u32)> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return None,
    };
    Some((u32::try_from(number(major)?).ok()?, u32::try_from(number(minor)?).ok()?))
}

/// Whether a header's checksum is right, counted with unsigned or, as some old writers did, with
/// signed bytes.
pub(super) fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let header = Header::from_byte_slice(block);
    let Some(expected) = number(&header.as_old().cksum) else {
        return false;
    };
    let others = || block[..148].iter().chain(&block[156..]);
    let spaces = i128::from(b' ') * 8;
    let unsigned: i128 = others().map(|byte| i128::from(*byte)).sum();
    let signed: i128 = others().map(|byte| i128::from(byte.cast_signed())).sum();
    expected == unsigned + spaces || expected == signed + spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_octal_and_base_256() {
        let cases: [(&[u8], Option<i128>); 10] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644 \0\0\0\0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"12x4\0", None),
            (b"8\0", None),
            (b"-1\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        ];
        for (raw, expected) in cases {
            assert_eq!(number(raw), expected, "{raw:?}");
        }
    }
}
