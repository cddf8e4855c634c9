//! What a document is that is no list, told by its first bytes: so that a user reads what came, and not that line 1 of it has no
//! digest.

/// The mark that some editors put before UTF-8. It is no part of the first line.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What came in place of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// A compressed list, by the name of the compression.
    Compressed(&'static str),
    /// Text of two bytes a character.
    Utf16,
    /// A list inside a signature.
    Signed,
    /// A web page.
    Page,
}

impl Other {
    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Compressed(_) => "name the list that is not compressed",
            Self::Utf16 => "lists are UTF-8, as `sha256sum` writes them",
            Self::Signed => {
                "its signature would not be checked; name the list without one, as `gpg --decrypt` writes it"
            }
            Self::Page => {
                "if the URL is that of a directory, end it with `/`; otherwise name the list itself"
            }
        }
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Compressed(by) => write!(f, "it is compressed by {by}"),
            Self::Utf16 => f.write_str("it is UTF-16"),
            Self::Signed => f.write_str("it is signed text (OpenPGP)"),
            Self::Page => f.write_str("it is a web page"),
        }
    }
}

/// Looks at the first bytes of a document; returns how many of them come before the first line.
pub(super) fn look(first: &[u8]) -> Result<usize, Other> {
    for (magic, other) in [
        (&b"\x1f\x8b"[..], Other::Compressed("gzip")),
        (b"\xfd7zXZ\0", Other::Compressed("xz")),
        (b"BZh", Other::Compressed("bzip2")),
        (b"\x28\xb5\x2f\xfd", Other::Compressed("zstd")),
        (b"\xff\xfe", Other::Utf16),
        (b"\xfe\xff", Other::Utf16),
    ] {
        if first.starts_with(magic) {
            return Err(other);
        }
    }
    let marked = if first.starts_with(MARK) { MARK.len() } else { 0 };
    let text = first[marked..].trim_ascii_start();
    let begins =
        |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"-----BEGIN PGP ") {
        return Err(Other::Signed);
    }
    if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") {
        return Err(Other::Page);
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_documents_are_known_by_how_they_begin() {
        for (first, found) in [
            (&b"\x1f\x8b\x08\0"[..], Err(Other::Compressed("gzip"))),
            (b"\xfd7zXZ\0\0", Err(Other::Compressed("xz"))),
            (b"BZh91AY", Err(Other::Compressed("bzip2"))),
            (b"\x28\xb5\x2f\xfd\x24", Err(Other::Compressed("zstd"))),
            (b"\xff\xfea\0", Err(Other::Utf16)),
            (b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n", Err(Other::Signed)),
            (b"\n <!DOCTYPE HTML>", Err(Other::Page)),
            (b"<html><body>", Err(Other::Page)),
            (b"\xef\xbb\xbf<HTML>", Err(Other::Page)),
            (b"\xef\xbb\xbfabc", Ok(3)),
            (b"abc  f\n", Ok(0)),
            (b"", Ok(0)),
        ] {
            assert_eq!(look(first), found, "{first:?}");
        }
    }
}
