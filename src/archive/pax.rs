//! Extended headers of tar archives (pax): records of `LENGTH KEY=VALUE\n`, as POSIX describes
//! under "pax Extended Header" and GNU tar and star extend it.
//!
//! Values are any bytes, newlines included, so records are cut by their length alone. Keys of
//! extended attributes escape `=` and `%` the way GNU tar does. Pure: bytes in, values out.

use std::collections::BTreeMap;

use crate::model::time::Timestamp;

/// Prefix of a key that carries an extended attribute.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The records of one or more extended headers; of equal keys the last one counts.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Adds the records of an extended header to `records`. `None` when it is malformed.
pub(super) fn parse(mut data: &[u8], records: &mut Records) -> Option<()> {
    while !data.is_empty() {
        // Padding that some writers leave inside the size.
        if data.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = data.iter().position(|byte| *byte == b' ')?;
        let length: usize = decimal(&data[..space])?.try_into().ok()?;
        let record = data.get(space + 1..length)?;
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        records.insert(key.to_vec(), value.to_vec());
        data = &data[length..];
    }
    Some(())
}

/// Appends one record.
pub(super) fn push(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A decimal number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// A time as `[-]SECONDS[.FRACTION]`; beyond nanoseconds it is rounded down.
pub(super) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    let whole = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds = 0;
    for place in 0..9 {
        let digit = fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    let beyond = fraction.iter().skip(9).any(|digit| *digit != b'0');
    match (negative, nanoseconds, beyond) {
        (false, nanoseconds, _) => Timestamp::new(whole, nanoseconds),
        (true, 0, false) => Timestamp::new(-whole, 0),
        (true, nanoseconds, false) => Timestamp::new(-whole - 1, 1_000_000_000 - nanoseconds),
        (true, nanoseconds, true) => Timestamp::new(-whole - 1, 999_999_999 - nanoseconds),
    }
}

/// A time as pax writes it.
pub(super) fn format_time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    let (sign, whole, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, nanoseconds) => ("", seconds.unsigned_abs(), nanoseconds),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    match nanoseconds {
        0 => format!("{sign}{whole}"),
        nanoseconds => {
            let fraction = format!("{nanoseconds:09}");
            format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
        }
    }
}

/// The key that carries the extended attribute `name`.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR_PREFIX.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}

/// The extended attribute that `key` carries, if it carries one.
pub(super) fn xattr_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut rest = key.strip_prefix(XATTR_PREFIX)?;
    let mut name = Vec::with_capacity(rest.len());
    while let Some((first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"%25") {
            name.push(b'%');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(b"%3D") {
            name.push(b'=');
            rest = tail;
        } else {
            name.push(*first);
            rest = tail;
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes() {
        let long = vec![b'x'; 1000];
        let values: [&[u8]; 5] = [b"", b"v", b"a\nb=c\n12 path=/etc\n", b"\0\xff", &long];
        let mut data = Vec::new();
        for (index, value) in values.iter().enumerate() {
            push(&mut data, format!("key{index}").as_bytes(), value);
        }
        let mut records = Records::new();
        parse(&data, &mut records).unwrap();
        for (index, value) in values.iter().enumerate() {
            assert_eq!(records[format!("key{index}").as_bytes()], *value);
        }
        assert_eq!(records.len(), values.len());
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases: [&[u8]; 7] = [
            b"x",
            b"5 a=b",
            b"99 path=a\n",
            b"0 path=a\n",
            b"-6 a=b\n",
            b"6 ab\nx",
            b"99999999999999999999999 a=b\n",
        ];
        for data in cases {
            assert_eq!(parse(data, &mut Records::new()), None, "{data:?}");
        }
    }

    #[test]
    fn times_keep_sign_and_nanoseconds() {
        let cases = [
            ("0", 0, 0),
            ("12.5", 12, 500_000_000),
            ("1.000000001", 1, 1),
            ("-1", -1, 0),
            ("-0.000000001", -1, 999_999_999),
            ("-1.5", -2, 500_000_000),
        ];
        for (text, seconds, nanoseconds) in cases {
            let time = Timestamp::new(seconds, nanoseconds).unwrap();
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
            assert_eq!(format_time(time), text);
        }
        let beyond = Timestamp::new(-1, 999_999_998).unwrap();
        assert_eq!(parse_time(b"-0.0000000011"), Some(beyond));
        for bad in ["", "-", "1.x", "+1", "1e3", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn keys_of_extended_attributes_escape() {
        let key = xattr_key(b"user.a=b%25");
        assert_eq!(key, b"SCHILY.xattr.user.a%3Db%2525");
        assert_eq!(xattr_name(&key).unwrap(), b"user.a=b%25");
        assert_eq!(xattr_name(b"mtime"), None);
    }
}
