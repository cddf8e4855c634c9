//! Values as people read them.

use crate::control::utc::Created;
pub(crate) use crate::model::text::{count, printable};

/// Binary units above bytes.
const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Formats a size in binary units: `512 B`, `1.5 KiB`, `20 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = UNITS[0];
    for next in UNITS {
        unit = next;
        tenths = (tenths + 512) / 1024;
        // 1024 of a unit are one of the next.
        if tenths < 10_240 {
            break;
        }
    }
    if tenths < 100 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", (tenths + 5) / 10)
    }
}

/// Formats a time as people read it: `2026-11-20 22:14:00 UTC`.
pub(crate) fn time(created: &Created) -> String {
    instant(created)
}

/// Formats any time of the protocol as people read it.
pub(crate) fn instant(rfc3339: &impl AsRef<str>) -> String {
    let text = rfc3339.as_ref().replacen('T', " ", 1);
    match text.strip_suffix('Z') {
        Some(plain) => format!("{plain} UTC"),
        None => text,
    }
}

/// Formats a duration in the form that options take: in the largest unit that divides it.
pub(crate) fn duration(seconds: u64) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// Writes a path as `ls -b` does, spaces left alone: backslash escapes for control characters and
/// backslashes, three octal digits for bytes that are not UTF-8.
pub(crate) fn escape_path(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut text, c);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\{byte:03o}"));
        }
    }
    text
}

fn push_escaped(text: &mut String, c: char) {
    match c {
        '\\' => text.push_str("\\\\"),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\t' => text.push_str("\\t"),
        '\n' => text.push_str("\\n"),
        '\u{b}' => text.push_str("\\v"),
        '\u{c}' => text.push_str("\\f"),
        '\r' => text.push_str("\\r"),
        c if c.is_control() => {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                text.push_str(&format!("\\{byte:03o}"));
            }
        }
        c => text.push(c),
    }
}

/// Joins names for a table's cell; `-` when there are none.
pub(crate) fn joined(names: impl IntoIterator<Item = impl ToString>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (657 << 20, "657 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_in_the_unit_that_fits() {
        let cases =
            [(0, "0s"), (90, "90s"), (600, "10m"), (7200, "2h"), (86_400, "1d"), (90_000, "25h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn paths_are_escaped_like_ls() {
        let cases: [(&[u8], &str); 6] = [
            (b"usr/bin/cc", "usr/bin/cc"),
            (b"a b", "a b"),
            (b"a\nb\\\t\x1b", "a\\nb\\\\\\t\\033"),
            (b"\xff\xfeA", "\\377\\376A"),
            ("h\u{e9}".as_bytes(), "h\u{e9}"),
            ("\u{85}".as_bytes(), "\\302\\205"),
        ];
        for (path, text) in cases {
            assert_eq!(escape_path(path), text);
        }
    }
}
